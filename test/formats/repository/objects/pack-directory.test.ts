import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { ByteWriter } from "../../../../src/codec/binary.ts";
import { KeySet } from "../../../../src/formats/repository/keys/key-set.ts";
import { Sealer } from "../../../../src/formats/repository/keys/sealer.ts";
import {
  decodeDirectory,
  decodeTrailer,
  encodeDirectory,
  encodeTrailer,
  finishPack,
  locateDirectory,
  readDirectory,
  TRAILER_SIZE,
} from "../../../../src/formats/repository/objects/pack-directory.ts";
import type { PackDirectory, PackFrame } from "../../../../src/formats/repository/objects/pack-directory.ts";
import { asyncCode, code, expand, fixedRandom, MATERIAL, sha256 } from "../keys/fixtures.ts";
import { directory } from "./fixtures.ts";

const sealer = (): Sealer => new Sealer(new KeySet(MATERIAL), fixedRandom());

const FIXED: PackDirectory = {
  kind: 2,
  rows: [{ suite: 0, epoch: 3, keyId: Buffer.alloc(16, 0xaa), sealedKey: Buffer.alloc(0) }],
  frames: [
    {
      codec: 1,
      row: 0,
      storedLength: 300,
      rawLength: 1000,
      chunkIds: new Uint8Array(64).fill(0xbb, 0, 32).fill(0xcc, 32),
      chunkLengths: Uint32Array.of(999, 1),
    },
  ],
};

test("directories read back, and are refused when cut or extended", () => {
  fc.assert(
    fc.property(directory, (each) => {
      const bytes = encodeDirectory(each);
      expect(decodeDirectory(bytes)).toEqual(each);
      for (let length = 0; length < bytes.length; length++)
        expect(code(() => decodeDirectory(bytes.subarray(0, length)))).toBe("object_malformed");
      expect(code(() => decodeDirectory(Buffer.concat([bytes, Buffer.of(0)])))).toBe("object_malformed");
    }),
    { numRuns: 40 },
  );
});

test("fixed vector", () => {
  expect(encodeDirectory(FIXED).toString("hex")).toBe(
    "01" +
      "02" +
      "01" +
      ("00" + "03000000" + "aa".repeat(16) + "00") +
      "01" +
      ("01" + "00" + "ac02" + "e807" + "02" + "bb".repeat(32) + "e707" + "cc".repeat(32) + "01"),
  );
  expect(encodeTrailer(4080, 2).toString("hex")).toBe("f00f0000" + "02" + "000000" + "48465041434b3031");
});

/** The fixed directory with one frame member changed, encoded by hand so that nothing refuses to write it. */
function written(
  change: Partial<Record<keyof PackFrame, number>> & { lengths?: number[]; kind?: number; version?: number },
): Buffer {
  const [frame] = FIXED.frames as [PackFrame];
  const writer = new ByteWriter()
    .u8(change.version ?? 1)
    .u8(change.kind ?? 2)
    .varint(1)
    .u8(0)
    .u32(3)
    .raw(Buffer.alloc(16))
    .bytes(Buffer.alloc(0));
  const lengths = change.lengths ?? [999, 1];
  writer
    .varint(1)
    .u8(change.codec ?? 1)
    .varint(change.row ?? 0)
    .varint(change.storedLength ?? frame.storedLength);
  writer.varint(change.rawLength ?? frame.rawLength).varint(lengths.length);
  for (const length of lengths) writer.raw(Buffer.alloc(32)).varint(length);
  return writer.finish();
}

test("bounds of a directory", () => {
  expect(code(() => decodeDirectory(written({})))).toBe("no error");
  for (const change of [
    { version: 2 },
    { kind: 0 },
    { kind: 3 },
    { codec: 3 },
    { row: 1 },
    { storedLength: 47 },
    { storedLength: 1049 },
    { codec: 0 },
    { rawLength: 1001 },
    { lengths: [] },
    { lengths: [1000, 0] },
    { lengths: [999] },
    { rawLength: 2 ** 24 + 1, lengths: [2 ** 23, 2 ** 23, 1] },
    { rawLength: 2 ** 23 + 1, lengths: [2 ** 23 + 1] },
  ])
    expect(code(() => decodeDirectory(written(change)))).toBe("object_malformed");
  expect(code(() => decodeDirectory(written({ codec: 0, storedLength: 1048 })))).toBe("no error");
  expect(code(() => decodeDirectory(written({ rawLength: 2 ** 24, lengths: [2 ** 23, 2 ** 23] })))).toBe("no error");
});

test("counts that cannot be are refused before anything is allocated", () => {
  const huge = new ByteWriter().u8(1).u8(1).varint(0).varint(65_536).finish();
  expect(code(() => decodeDirectory(huge))).toBe("object_malformed");
  expect(
    code(() =>
      decodeDirectory(
        new ByteWriter()
          .u8(1)
          .u8(1)
          .varint(2 ** 50)
          .finish(),
      ),
    ),
  ).toBe("object_malformed");
});

test("trailers read back and are refused when wrong", () => {
  const trailer = encodeTrailer(123_456, 1);
  expect(trailer.length).toBe(TRAILER_SIZE);
  expect(decodeTrailer(trailer)).toEqual({ directorySize: 123_456, kind: 1 });
  expect(decodeTrailer(Buffer.concat([Buffer.alloc(50, 7), trailer]))).toEqual({ directorySize: 123_456, kind: 1 });
  for (let length = 0; length < TRAILER_SIZE; length++)
    expect(code(() => decodeTrailer(trailer.subarray(0, length)))).toBe("object_malformed");
  for (let at = 4; at < TRAILER_SIZE; at++) {
    const bad = Buffer.from(trailer);
    bad[at] = (bad[at] as number) ^ 0x10;
    expect(code(() => decodeTrailer(bad))).toBe("object_malformed");
  }
  expect(code(() => locateDirectory(trailer, 123_456 + 15))).toBe("object_malformed");
  expect(locateDirectory(trailer, 123_456 + 116)).toEqual({ offset: 100, size: 123_456, kind: 1 });
  expect(code(() => locateDirectory(trailer, 2 ** 30))).toBe("object_malformed");
});

/** A whole pack of `count` frames with real sealed bytes. */
function pack(count: number, chunks = 2): { bytes: Buffer; directory: PackDirectory } {
  const subject = sealer();
  const parts: Uint8Array[] = [];
  const frames: PackFrame[] = [];
  for (let i = 0; i < count; i++) {
    const raw = expand(`frame ${i}`, chunks * 100);
    parts.push(subject.sealFrame(1, 0, raw.length, raw));
    const chunkIds = Buffer.concat(
      Array.from({ length: chunks }, (_, k) => subject.keys.chunkId(1, raw.subarray(k * 100, k * 100 + 100))),
    );
    frames.push({
      codec: 0,
      row: 0,
      storedLength: raw.length + 48,
      rawLength: raw.length,
      chunkIds: Uint8Array.from(chunkIds),
      chunkLengths: new Uint32Array(chunks).fill(100),
    });
  }
  const made: PackDirectory = { kind: 1, rows: [{ ...subject.currentRow(), sealedKey: Buffer.alloc(0) }], frames };
  const total = frames.reduce((sum, frame) => sum + frame.storedLength, 0);
  return { bytes: Buffer.concat([...parts, ...finishPack(subject, made, total)]), directory: made };
}

test.each([0, 1, 3, 40])("a pack of %i frames is a multiple of 4,096 and its directory is read from its end", async (count) => {
  const { bytes, directory: made } = pack(count);
  expect(bytes.length % 4096).toBe(0);
  let reads = 0;
  const read = (offset: number, length: number): Promise<Uint8Array> => {
    reads++;
    expect(offset >= 0 && offset + length <= bytes.length).toBe(true);
    return Promise.resolve(bytes.subarray(offset, offset + length));
  };
  expect(await readDirectory(sealer(), bytes.length, read)).toEqual(made);
  expect(reads).toBe(1);
});

test("a directory larger than the first read takes a second one", async () => {
  const { bytes, directory: made } = pack(2, 3000);
  const reads: number[] = [];
  const found = await readDirectory(sealer(), bytes.length, (offset, length) => {
    reads.push(length);
    return Promise.resolve(bytes.subarray(offset, offset + length));
  });
  expect(found).toEqual(made);
  expect(reads.length).toBe(2);
});

test("fixed vector of a whole pack", () => {
  expect(sha256(pack(2).bytes)).toBe("688b66326ae0ab92eaf31996507c799948337a1f6ca4374af9bf7af794b592a2");
});

test("the frames of a pack open from what its directory says", async () => {
  const { bytes } = pack(3);
  const subject = sealer();
  const found = await readDirectory(subject, bytes.length, (offset, length) =>
    Promise.resolve(bytes.subarray(offset, offset + length)),
  );
  let offset = 0;
  for (const [i, frame] of found.frames.entries()) {
    const stored = bytes.subarray(offset, offset + frame.storedLength);
    const row = found.rows[frame.row];
    expect(row).toBeDefined();
    if (row !== undefined)
      expect(subject.openFrame({ ...frame, kind: found.kind, row }, stored)).toEqual(expand(`frame ${i}`, 200));
    offset += frame.storedLength;
  }
});

test("a pack that is cut, extended or altered at its end is refused", async () => {
  const { bytes } = pack(2);
  const read = (packed: Buffer): Promise<string> =>
    asyncCode(() =>
      readDirectory(sealer(), packed.length, (offset, length) => Promise.resolve(packed.subarray(offset, offset + length))),
    );
  expect(await read(bytes)).toBe("no error");
  for (let length = 0; length < bytes.length; length += 509) expect(await read(bytes.subarray(0, length))).toMatch(/^object_/);
  expect(await read(bytes.subarray(4096))).toBe("object_malformed");
  expect(await read(Buffer.concat([Buffer.alloc(4096), bytes]))).toBe("object_malformed");
  // Before the directory lie frames, whose tags are their own.
  const end = 2 * 248;
  for (let at = end; at < bytes.length; at += at > bytes.length - 20 ? 1 : 97) {
    const bad = Buffer.from(bytes);
    bad[at] = (bad[at] as number) ^ 4;
    expect(await read(bad)).toMatch(/^object_/);
  }
});

test("a directory that does not list what was written is a programmer fault", () => {
  expect(() => finishPack(sealer(), FIXED, 299)).toThrow("299");
});

test("a directory that does not open again ends the pack before it is put", () => {
  const subject = sealer();
  const seal = subject.sealObject.bind(subject);
  vi.spyOn(subject, "sealObject").mockImplementation((...args) => {
    const bytes = seal(...args);
    bytes[100] = (bytes[100] as number) ^ 1;
    return bytes;
  });
  expect(code(() => finishPack(subject, FIXED, 300))).toBe("write_verification_failed");
});
