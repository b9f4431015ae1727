import * as crypto from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { decodeSealHeader, encodeSealHeader, seal, SEAL_OVERHEAD_BYTES, unseal } from "../../src/codec/seal.ts";
import type { SealHeader } from "../../src/codec/seal.ts";

const purposeKey = Buffer.alloc(32, 1);
const saltKey = Buffer.alloc(32, 2);
const repositoryId = Buffer.alloc(16, 3);
const random = Buffer.alloc(32, 4);

const HEADER: SealHeader = {
  magic: "frame",
  kind: 1,
  codec: 1,
  suite: 0,
  epoch: 7,
  rawLength: 1000,
  keyId: Buffer.alloc(16, 5),
  sealedKey: new Uint8Array(),
};

function code(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof HoldfastError ? error.code : String(error);
  }
  return "no error";
}

const header: fc.Arbitrary<SealHeader> = fc.record({
  magic: fc.constantFrom("object" as const, "frame" as const),
  kind: fc.integer({ min: 0, max: 255 }),
  codec: fc.integer({ min: 0, max: 255 }),
  suite: fc.integer({ min: 0, max: 255 }),
  epoch: fc.integer({ min: 0, max: 0xffff_ffff }),
  rawLength: fc.integer({ min: 0, max: 16 * 2 ** 20 }),
  keyId: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes)),
  sealedKey: fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
});

test("headers read back, and are refused when cut", () => {
  fc.assert(
    fc.property(header, (each) => {
      const bytes = encodeSealHeader(each);
      expect(bytes.length).toBe(40 + each.sealedKey.length);
      expect(decodeSealHeader(Buffer.concat([bytes, Buffer.of(9, 9)]))).toEqual({ header: each, size: bytes.length });
      for (let length = 0; length < bytes.length; length++)
        expect(code(() => decodeSealHeader(bytes.subarray(0, length)))).toBe("object_malformed");
    }),
    { numRuns: 30 },
  );
});

test("a header has these bytes", () => {
  expect(encodeSealHeader({ ...HEADER, sealedKey: Buffer.of(0xab, 0xcd) }).toString("hex")).toBe(
    "48464631" + "01" + "01" + "00" + "00" + "07000000" + "e803000000000000" + "05".repeat(16) + "02000000" + "abcd",
  );
});

test.each<[string, number, number]>([
  ["magic", 0, 0x49],
  ["magic digit", 3, 0x32],
  ["reserved byte", 7, 1],
  ["raw length over 16 MiB", 15, 2],
  ["raw length over 2^53", 19, 1],
  ["sealed key over its bound", 37, 17],
])("a header with a wrong %s is refused", (_, at, value) => {
  const bytes = Buffer.concat([encodeSealHeader(HEADER), Buffer.alloc(2000)]);
  bytes[at] = value;
  expect(code(() => decodeSealHeader(bytes))).toBe("object_malformed");
});

test("an object may be larger than a frame, up to 256 MiB", () => {
  const at =
    (magic: "object" | "frame", rawLength: number): (() => unknown) =>
    () =>
      decodeSealHeader(encodeSealHeader({ ...HEADER, magic, rawLength }));
  expect(code(at("object", 256 * 2 ** 20))).toBe("no error");
  expect(code(at("object", 256 * 2 ** 20 + 1))).toBe("object_malformed");
  expect(code(at("frame", 16 * 2 ** 20))).toBe("no error");
  expect(code(at("frame", 16 * 2 ** 20 + 1))).toBe("object_malformed");
});

test("sealed bytes open again", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 3000 }),
      header,
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      (plain, each, fresh) => {
        const sealed = seal({ purposeKey, saltKey, repositoryId, header: each, plain, random: fresh });
        expect(sealed.length).toBe(plain.length + SEAL_OVERHEAD_BYTES);
        expect(Buffer.compare(unseal({ purposeKey, repositoryId, header: each, sealed }), plain)).toBe(0);
      },
    ),
  );
});

test("the construction is the one of the format, written out once more", () => {
  const plain = Buffer.from("plain bytes");
  const salt = crypto
    .createHmac("sha256", saltKey)
    .update(Buffer.concat([random, Buffer.of(1, 1), crypto.createHash("sha256").update(plain).digest()]))
    .digest();
  const material = crypto.createHmac("sha512", purposeKey).update(salt).digest();
  const cipher = crypto.createCipheriv("aes-256-gcm", material.subarray(0, 32), material.subarray(32, 44));
  cipher.setAAD(Buffer.concat([Buffer.from("holdfast/v1"), repositoryId, encodeSealHeader(HEADER)]));
  const expected = Buffer.concat([salt, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  expect(seal({ purposeKey, saltKey, repositoryId, header: HEADER, plain, random }).toString("hex")).toBe(
    expected.toString("hex"),
  );
});

test("fixed vector", () => {
  const sealed = seal({ purposeKey, saltKey, repositoryId, header: HEADER, plain: Buffer.from("plain bytes"), random });
  expect(sealed.toString("hex")).toBe(
    "0ac39b7f236884c906e706ac7ef6938c5d64d4eb9cc971bcf768b9a9b54eb3d1fa7142167b69378c578c72995dc3b6918cf08ec80fbb22dc9d41d4",
  );
});

test("equal randomness with other content, kind or codec gives another salt", () => {
  const salt = (header: SealHeader, plain: string): string =>
    seal({ purposeKey, saltKey, repositoryId, header, plain: Buffer.from(plain), random }).toString("hex", 0, 32);
  const salts = [salt(HEADER, "a"), salt(HEADER, "b"), salt({ ...HEADER, kind: 2 }, "a"), salt({ ...HEADER, codec: 0 }, "a")];
  expect(new Set(salts).size).toBe(4);
});

test("any flipped bit of the sealed bytes, and any other header, key or repository, is refused", () => {
  const plain = Buffer.from("a secret of some length");
  const sealed = seal({ purposeKey, saltKey, repositoryId, header: HEADER, plain, random });
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const bad = Buffer.from(sealed);
    bad[bit >> 3] = (bad[bit >> 3] as number) ^ (1 << (bit & 7));
    expect(code(() => unseal({ purposeKey, repositoryId, header: HEADER, sealed: bad }))).toBe("object_damaged");
  }
  for (let length = 0; length < sealed.length; length++)
    expect(code(() => unseal({ purposeKey, repositoryId, header: HEADER, sealed: sealed.subarray(0, length) }))).toBe(
      "object_damaged",
    );
  const others: SealHeader[] = [
    { ...HEADER, magic: "object" },
    { ...HEADER, kind: 2 },
    { ...HEADER, codec: 0 },
    { ...HEADER, suite: 1 },
    { ...HEADER, epoch: 8 },
    { ...HEADER, rawLength: 999 },
    { ...HEADER, keyId: Buffer.alloc(16, 6) },
    { ...HEADER, sealedKey: Buffer.of(0) },
  ];
  for (const other of others)
    expect(code(() => unseal({ purposeKey, repositoryId, header: other, sealed }))).toBe("object_damaged");
  expect(code(() => unseal({ purposeKey: saltKey, repositoryId, header: HEADER, sealed }))).toBe("object_damaged");
  expect(code(() => unseal({ purposeKey, repositoryId: Buffer.alloc(16), header: HEADER, sealed }))).toBe("object_damaged");
});
