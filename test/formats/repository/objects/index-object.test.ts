import fc from "fast-check";
import { expect, test } from "vitest";
import { asObjectId, asPackId } from "../../../../src/base/ids.ts";
import { ByteWriter } from "../../../../src/codec/binary.ts";
import { decodeIndexObject, encodeIndexObject, toPackRecord } from "../../../../src/formats/repository/objects/index-object.ts";
import { code } from "../keys/fixtures.ts";
import { directory, packRecord } from "./fixtures.ts";

const objectId = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((id) => asObjectId(Buffer.from(id).toString("hex")));

test("index objects read back, and are refused when cut or extended", () => {
  fc.assert(
    fc.property(fc.array(objectId, { maxLength: 3 }), fc.array(packRecord, { maxLength: 3 }), (supersedes, packs) => {
      const bytes = encodeIndexObject({ supersedes, packs });
      expect(decodeIndexObject(bytes)).toEqual({ supersedes, packs });
      for (let length = 0; length < bytes.length; length++)
        expect(code(() => decodeIndexObject(bytes.subarray(0, length)))).toBe("object_malformed");
      expect(code(() => decodeIndexObject(Buffer.concat([bytes, Buffer.of(0)])))).toBe("object_malformed");
    }),
    { numRuns: 40 },
  );
});

test("the record of a directory keeps the first half of each chunk id", () => {
  fc.assert(
    fc.property(directory, (each) => {
      const sizeBytes = each.frames.reduce((sum, frame) => sum + frame.storedLength, 4096);
      const record = toPackRecord(asPackId("ab".repeat(32)), sizeBytes, each);
      const [read] = decodeIndexObject(encodeIndexObject({ supersedes: [], packs: [record] })).packs;
      expect(read?.rows).toEqual(each.rows);
      for (const [i, frame] of each.frames.entries()) {
        const halves = Array.from(frame.chunkLengths, (_, k) => frame.chunkIds.subarray(k * 32, k * 32 + 16));
        expect(Buffer.compare(read?.frames[i]?.chunkIds as Uint8Array, Buffer.concat(halves))).toBe(0);
      }
    }),
  );
});

const ROWS = [{ suite: 0, epoch: 1, keyId: Buffer.alloc(16, 0xaa), sealedKey: Buffer.alloc(0) }];

test("fixed vector", () => {
  const frames = [
    {
      codec: 0,
      row: 0,
      storedLength: 148,
      rawLength: 100,
      chunkIds: new Uint8Array(16).fill(0xbb),
      chunkLengths: Uint32Array.of(100),
    },
  ];
  const packs = [{ id: asPackId("cd".repeat(32)), kind: 1 as const, sizeBytes: 4096, rows: ROWS, frames }];
  expect(encodeIndexObject({ supersedes: [asObjectId("ef".repeat(32))], packs }).toString("hex")).toBe(
    "01" +
      "01" +
      "ef".repeat(32) +
      "01" +
      ("cd".repeat(32) +
        "01" +
        "8020" +
        "01" +
        ("00" + "01000000" + "aa".repeat(16) + "00") +
        "01" +
        ("00" + "00" + "9401" + "64" + "01" + "bb".repeat(16) + "64")),
  );
});

test("bounds of an index object", () => {
  const pack = (kind: number, size: number): Buffer =>
    new ByteWriter().u8(1).varint(0).varint(1).raw(Buffer.alloc(32)).u8(kind).varint(size).varint(0).varint(0).finish();
  expect(code(() => decodeIndexObject(pack(1, 4096)))).toBe("no error");
  expect(code(() => decodeIndexObject(pack(0, 4096)))).toBe("object_malformed");
  expect(code(() => decodeIndexObject(pack(3, 4096)))).toBe("object_malformed");
  expect(code(() => decodeIndexObject(pack(1, 16)))).toBe("object_malformed");
  expect(code(() => decodeIndexObject(pack(1, 2 ** 30)))).toBe("object_malformed");
  expect(code(() => decodeIndexObject(Buffer.of(2, 0, 0)))).toBe("object_malformed");
  const frames = [
    { codec: 0, row: 0, storedLength: 5048, rawLength: 5000, chunkIds: new Uint8Array(16), chunkLengths: Uint32Array.of(5000) },
  ];
  const record = { id: asPackId("cd".repeat(32)), kind: 1 as const, sizeBytes: 4096, rows: ROWS, frames };
  expect(code(() => decodeIndexObject(encodeIndexObject({ supersedes: [], packs: [record] })))).toBe("object_malformed");
});
