import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { CODEC_NUMBER, compress } from "../../../../src/codec/compress.ts";
import { KIND } from "../../../../src/codec/seal.ts";
import { KeySet } from "../../../../src/formats/repository/keys/key-set.ts";
import { rootMaterial } from "../../../../src/formats/repository/keys/keyring.ts";
import { Sealer } from "../../../../src/formats/repository/keys/sealer.ts";
import { code, fixedRandom, MATERIAL, sha256 } from "./fixtures.ts";

const sealer = (): Sealer => new Sealer(new KeySet(MATERIAL), fixedRandom());
const OBJECT_KINDS = [3, 4, 5, 6, 7, 8, 9];

test("frames open again, with every codec", () => {
  const subject = sealer();
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 5000 }),
      fc.constantFrom("none" as const, "zstd" as const, "gzip" as const),
      fc.constantFrom(1 as const, 2 as const),
      (bytes, codec, kind) => {
        const raw = Buffer.concat([bytes, Buffer.alloc(200)]);
        const plain = compress(codec, 3, raw);
        fc.pre(plain.length <= raw.length);
        const stored = subject.sealFrame(kind, CODEC_NUMBER[codec], raw.length, plain);
        const frame = { kind, codec: CODEC_NUMBER[codec], rawLength: raw.length, row: subject.currentRow() };
        expect(subject.openFrame(frame, stored).equals(raw)).toBe(true);
        expect(subject.unsealFrame(frame, stored).equals(plain)).toBe(true);
      },
    ),
  );
});

test("fixed vector of a frame", () => {
  expect(sealer().sealFrame(1, 0, 5, Buffer.from("hello")).toString("hex")).toBe(
    "0cd06190f896a7ac7f21ac5f6fc63f7cd5fd6d8d1d7885e52635bcda24ef52d208ac10c67134b1955a0d6572aef5bffd9ea83ab3ee",
  );
});

test("a frame under any other row, kind, codec or length is refused", () => {
  const subject = sealer();
  const raw = Buffer.alloc(1000, "frame ");
  const plain = compress("zstd", 3, raw);
  const stored = subject.sealFrame(1, 1, raw.length, plain);
  const row = subject.currentRow();
  const frame = { kind: 1 as const, codec: 1, rawLength: raw.length, row };
  expect(code(() => subject.openFrame(frame, stored))).toBe("no error");
  expect(code(() => subject.openFrame({ ...frame, kind: 2 }, stored))).toBe("object_damaged");
  expect(code(() => subject.openFrame({ ...frame, codec: 2 }, stored))).toBe("object_damaged");
  expect(code(() => subject.openFrame({ ...frame, codec: 3 }, stored))).toBe("object_malformed");
  expect(code(() => subject.openFrame({ ...frame, rawLength: 999 }, stored))).toBe("object_damaged");
  expect(code(() => subject.openFrame({ ...frame, row: { ...row, suite: 1 } }, stored))).toBe("object_malformed");
  expect(code(() => subject.openFrame({ ...frame, row: { ...row, epoch: 1 } }, stored))).toBe("object_malformed");
  expect(code(() => subject.openFrame({ ...frame, row: { ...row, sealedKey: Buffer.of(1) } }, stored))).toBe("object_malformed");
  expect(code(() => subject.openFrame({ ...frame, row: { ...row, keyId: Buffer.alloc(16) } }, stored))).toBe("object_foreign");
  expect(code(() => subject.openFrame(frame, stored.subarray(1)))).toBe("object_damaged");
});

test("what an old epoch sealed opens while its key is there", () => {
  const old = new Sealer(new KeySet({ ...MATERIAL, epochs: MATERIAL.epochs.slice(0, 1) }), fixedRandom());
  const object = old.sealObject(KIND.note, Buffer.from("{}"));
  expect(sealer().openObject(KIND.note, object).toString()).toBe("{}");
  const other = new Sealer(new KeySet({ ...MATERIAL, epochs: MATERIAL.epochs.slice(1) }), fixedRandom());
  expect(code(() => other.openObject(KIND.note, object))).toBe("object_foreign");
});

test("objects of every kind open again, are multiples of 4,096, and are as small as that allows", () => {
  const subject = sealer();
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 9000, size: "max" }),
      fc.constantFrom(...OBJECT_KINDS),
      fc.boolean(),
      (content, kind, packed) => {
        const object = subject.sealObject(kind, content, { codec: packed ? "zstd" : "none" });
        expect(object.length % 4096).toBe(0);
        if (!packed) expect(object.length - content.length - 92).toBeLessThan(4096);
        expect(Buffer.compare(subject.openObject(kind, object), content)).toBe(0);
      },
    ),
  );
});

test("an object that just fits has no padding, and one byte more has a whole page of it", () => {
  expect(sealer().sealObject(KIND.index, Buffer.alloc(4096 - 92)).length).toBe(4096);
  expect(sealer().sealObject(KIND.index, Buffer.alloc(4096 - 91)).length).toBe(8192);
});

test("fixed vector of an object", () => {
  const object = sealer().sealObject(KIND.snapshot, Buffer.from("{}"));
  expect(object.toString("hex", 0, 40)).toBe("48464f3105000000020000000200000000000000d70123ff6b2e13c8ffa279cecd77417c00000000");
  expect(sha256(object)).toBe("85bb4146a03f9a2340a248e66995265c9524a6dba1bd49a35c0a9194bbbccea7");
});

test("bytes beside an object count for its padding", () => {
  const subject = sealer();
  for (const extraBytes of [1, 16, 4095, 4096, 5000]) {
    const object = subject.sealObject(KIND.directory, Buffer.from("directory"), { extraBytes });
    expect((object.length + extraBytes) % 4096).toBe(0);
    expect(subject.openObject(KIND.directory, object, { extraBytes }).toString()).toBe("directory");
    expect(code(() => subject.openObject(KIND.directory, object, { extraBytes: extraBytes + 1 }))).toBe("object_malformed");
  }
});

test("any flipped bit of an object is refused", () => {
  const subject = sealer();
  const object = subject.sealObject(KIND.lease, Buffer.from("content"));
  const codes = new Set<string>();
  // The header whole, then bits throughout: all of them take a while and tell nothing more.
  for (let bit = 0; bit < object.length * 8; bit += bit < 800 ? 1 : 37) {
    const bad = Buffer.from(object);
    bad[bit >> 3] = (bad[bit >> 3] as number) ^ (1 << (bit & 7));
    const seen = code(() => subject.openObject(KIND.lease, bad));
    expect(seen).toMatch(/^object_/);
    codes.add(seen);
  }
  expect([...codes].toSorted()).toEqual(["object_damaged", "object_foreign", "object_malformed"]);
});

test("an object that is cut or extended is refused", () => {
  const subject = sealer();
  const object = subject.sealObject(KIND.lease, Buffer.alloc(5000));
  for (let length = 0; length < object.length; length += 61)
    expect(code(() => subject.openObject(KIND.lease, object.subarray(0, length)))).toMatch(/^object_/);
  expect(code(() => subject.openObject(KIND.lease, object.subarray(0, 4096)))).toBe("object_damaged");
  expect(code(() => subject.openObject(KIND.lease, Buffer.concat([object, Buffer.alloc(4096)])))).toBe("object_damaged");
});

test("an object of one kind is not taken for another", () => {
  const subject = sealer();
  for (const kind of OBJECT_KINDS)
    for (const wanted of OBJECT_KINDS)
      expect(code(() => subject.openObject(wanted, subject.sealObject(kind, Buffer.of(1))))).toBe(
        kind === wanted ? "no error" : "object_malformed",
      );
});

test("another repository's object is foreign", () => {
  const other = new Sealer(new KeySet({ ...MATERIAL, repositoryId: Buffer.alloc(16, 9) }), fixedRandom());
  expect(code(() => sealer().openObject(KIND.index, other.sealObject(KIND.index, Buffer.of(1))))).toBe("object_foreign");
});

test("keyrings are sealed under the root key alone", () => {
  const root = new Sealer(new KeySet(rootMaterial(MATERIAL.repositoryId, MATERIAL.root)), fixedRandom());
  const object = sealer().sealObject(KIND.keyring, Buffer.from("{}"));
  expect(root.openObject(KIND.keyring, object).toString()).toBe("{}");
  expect(
    sealer()
      .openObject(KIND.keyring, root.sealObject(KIND.keyring, Buffer.from("{}")))
      .toString(),
  ).toBe("{}");
  const wrong = new Sealer(new KeySet(rootMaterial(MATERIAL.repositoryId, Buffer.alloc(32))), fixedRandom());
  expect(code(() => wrong.openObject(KIND.keyring, object))).toBe("object_foreign");
});

test("what the format forbids is never sealed", () => {
  expect(() => sealer().sealFrame(1, 0, 4, Buffer.alloc(5))).toThrow("no larger");
  expect(() => sealer().sealFrame(1, 1, 4, Buffer.alloc(5))).toThrow("no larger");
  expect(() => sealer().sealFrame(1, 0, 2 ** 24 + 1, Buffer.alloc(2 ** 24 + 1))).toThrow("16 MiB");
  expect(() => sealer().sealObject(KIND.data, Buffer.alloc(5))).toThrow("no object");
});

test.each([
  ["the cipher", (bytes: Buffer, at: number) => (bytes[at] = (bytes[at] as number) ^ (1 << (at & 7)))],
  ["nothing else", undefined],
] as const)("an object is opened again before anyone gets it: a bit flipped by %s", (_name, flip) => {
  const content = Buffer.from("content ".repeat(40));
  for (const [i, codec] of (["none", "zstd"] as const).flatMap((each) => Array(20).fill(each) as ("none" | "zstd")[]).entries()) {
    const subject = sealer();
    const seal = subject.sealObject.bind(subject);
    vi.spyOn(subject, "sealObject").mockImplementation((...args) => {
      const bytes = seal(...args);
      flip?.(bytes, (i * 997) % bytes.length);
      return bytes;
    });
    const prove = (): Buffer => subject.sealProven(KIND.directory, content, { codec });
    if (flip === undefined) expect(subject.openObject(KIND.directory, prove()).equals(content)).toBe(true);
    else expect(code(prove)).toBe("write_verification_failed");
  }
});

test("an object whose content was changed on its way into the cipher is not written", () => {
  const subject = sealer();
  const content = Buffer.from("content ".repeat(40));
  const seal = subject.sealObject.bind(subject);
  vi.spyOn(subject, "sealObject").mockImplementation((kind, bytes, options) => {
    const other = Buffer.from(bytes);
    other[9] = (other[9] as number) ^ 4;
    return seal(kind, other, options);
  });
  expect(code(() => subject.sealProven(KIND.index, content))).toBe("write_verification_failed");
});
