import * as crypto from "node:crypto";
import { describe, expect, test } from "vitest";
import { Secret } from "../../../../src/base/secret.ts";
import { deriveSlotKey } from "../../../../src/formats/repository/keys/kdf.ts";
import { createSlot, KEYFILE_KDF, openSlot, parseSlot } from "../../../../src/formats/repository/keys/slot.ts";
import type { KdfParameters, SecretKind } from "../../../../src/formats/repository/keys/slot.ts";
import { asyncCode, code, sha256 } from "./fixtures.ts";

const ROOT = Buffer.alloc(32, 0x77);
const REPOSITORY = Buffer.from("000102030405060708090a0b0c0d0e0f", "hex");
const OPTIONS = {
  id: "f0".repeat(16),
  salt: Buffer.alloc(32, 0x55),
  nonce: Buffer.alloc(12, 0x66),
  label: 'laptop "ö"',
  created: "2026-01-02T03:04:05.006Z",
  repositoryId: REPOSITORY,
};
const KEYFILE = new Secret(`${"ab".repeat(32)}\n`);
const PASSWORD = new Secret("correct horse\n");

/** Cheap parameters: what they cost is not what is tested. */
const CHEAP: readonly [string, KdfParameters, SecretKind, Secret][] = [
  ["argon2id", { function: "argon2id", memoryKiB: 64, passes: 1, parallelism: 2 }, "password", PASSWORD],
  ["scrypt", { function: "scrypt", logN: 4, r: 8, p: 1 }, "password", PASSWORD],
  ["pbkdf2", { function: "pbkdf2", hash: "sha512", iterations: 10 }, "password", PASSWORD],
  ["keyfile", KEYFILE_KDF, "keyfile", KEYFILE],
];

/** SHA-256 of whole slots. */
const VECTORS: Readonly<Record<KdfParameters["function"], string>> = {
  argon2id: "7a0653022c87e73da8e0b012b003c4d01967f8b0f02af9abf0a30c21d0e817d1",
  scrypt: "b0518f7e1b1a1ebcbd6a3384eccdd5c82490fd3dc7bffeb51f6fc26dce20c1db",
  pbkdf2: "b09090b91ee81c8dd1536ae6966743887c46f96819f52d316042991df2566370",
  keyfile: "0bb2edf6e9efb2d05c4710f70919644bf5924ae58e2c62d178c0c6c45c576f21",
};

/** A slot with members changed, for what no writer makes. */
function changed(slot: Buffer, change: (members: Record<string, unknown>) => void): Buffer {
  const members = JSON.parse(slot.toString("utf8")) as Record<string, unknown>;
  change(members);
  const json = Buffer.from(JSON.stringify(members));
  return Buffer.concat([json, Buffer.alloc(4096 - json.length, " ")]);
}

describe.each(CHEAP)("%s", (_, kdf, kind, secret) => {
  test("a slot opens with its secret and no other", async () => {
    const slot = await createSlot(ROOT, secret, kdf, OPTIONS);
    expect(slot.length).toBe(4096);
    expect(await openSlot(slot, secret, kind, REPOSITORY)).toEqual(ROOT);
    const other = new Secret(kind === "keyfile" ? "cd".repeat(32) : "correct horsf");
    expect(await openSlot(slot, other, kind, REPOSITORY)).toBeUndefined();
    expect(await openSlot(slot, secret, kind === "keyfile" ? "password" : "keyfile", REPOSITORY)).toBeUndefined();
  });

  test("parameters, salt, id, repository and wrapped key are bound", async () => {
    const slot = await createSlot(ROOT, secret, kdf, OPTIONS);
    const open = (bytes: Buffer, repository = REPOSITORY): Promise<string> =>
      asyncCode(async () => expect(await openSlot(bytes, secret, kind, repository)).toBeUndefined());
    expect(await open(slot, Buffer.alloc(16))).toBe("object_damaged");
    expect(await open(changed(slot, (members) => (members.id = "0f".repeat(16))))).toBe("object_damaged");
    expect(await open(changed(slot, (members) => (members.wrapped = Buffer.alloc(48).toString("base64"))))).toBe(
      "object_damaged",
    );
    expect(await open(changed(slot, (members) => (members.nonce = Buffer.alloc(12).toString("base64"))))).toBe("object_damaged");
    expect(await open(changed(slot, (members) => (members.label = "another")))).toBe("object_damaged");
    expect(await open(changed(slot, (members) => (members.created = "2020-01-01T00:00:00.000Z")))).toBe("object_damaged");
    expect(await open(changed(slot, (members) => (members.salt = Buffer.alloc(32).toString("base64"))))).toBe("no error");
    expect(await open(changed(slot, (members) => (members.commitment = Buffer.alloc(32).toString("base64"))))).toBe("no error");
  });

  test("fixed vector", async () => {
    expect(sha256(await createSlot(ROOT, secret, kdf, OPTIONS))).toBe(VECTORS[kdf.function]);
  });
});

test("a slot is laid out as the format says, computed once more", async () => {
  const slot = parseSlot(await createSlot(ROOT, KEYFILE, KEYFILE_KDF, OPTIONS));
  const out = Buffer.from(crypto.hkdfSync("sha256", Buffer.alloc(32, 0xab), OPTIONS.salt, "holdfast/v1/slot", 64));
  const cipher = crypto.createCipheriv("aes-256-gcm", out.subarray(0, 32), OPTIONS.nonce);
  cipher.setAAD(
    Buffer.concat([
      Buffer.from("holdfast/v1/slot"),
      REPOSITORY,
      Buffer.alloc(16, 0xf0),
      Buffer.of(7),
      Buffer.from("keyfile"),
      Buffer.of(32),
      OPTIONS.salt,
      Buffer.of(Buffer.byteLength(OPTIONS.label)),
      Buffer.from(OPTIONS.label),
      Buffer.of(OPTIONS.created.length),
      Buffer.from(OPTIONS.created),
    ]),
  );
  expect(slot).toEqual({
    id: OPTIONS.id,
    label: OPTIONS.label,
    created: OPTIONS.created,
    kdf: { function: "keyfile" },
    salt: OPTIONS.salt,
    commitment: out.subarray(32),
    nonce: OPTIONS.nonce,
    wrapped: Buffer.concat([cipher.update(ROOT), cipher.final(), cipher.getAuthTag()]),
  });
});

describe("key derivation known answers", () => {
  const salt = Buffer.from("somesaltsomesalt");
  const hex = async (kdf: KdfParameters, secret: string): Promise<string> =>
    (await deriveSlotKey(new Secret(secret), kdf, salt)).toString("hex");

  // All but argon2id were made with Python's hashlib and hmac; the next test ties argon2id to its published vector.
  test.each<[string, KdfParameters, string, string]>([
    [
      "pbkdf2",
      { function: "pbkdf2", hash: "sha512", iterations: 1000 },
      "password",
      "6b9c20a161483cab89384b33a8c10a7e9c493189a870446c1d7682e82bdd91d69334290ee89c5c2ae0e83585e2de23c32e78e0242015b56b6c7ec7060190b43d",
    ],
    [
      "scrypt",
      { function: "scrypt", logN: 10, r: 8, p: 2 },
      "password",
      "919204b7427e33e5012415f9424d48f0d699c76facb45c2b2874cd530103d3379dd040e8ace39be18c91ecc79e8e9cd20956e675bbb6733c8cc2b84fe91522e9",
    ],
    [
      "argon2id",
      { function: "argon2id", memoryKiB: 1024, passes: 2, parallelism: 1 },
      "password",
      "bf4c433158b24b33d6734e6ecea9ea3106c53acdef22eff119d3575d1858e767d97027f8319c00468c2641a499eff4b75cf41234ac46b4f565daca8088d706ea",
    ],
    [
      "keyfile",
      { function: "keyfile" },
      "00".repeat(32),
      "d836f9ac6d9d7039ec3fb748adcae8465fbaecc76115a3485a66cbb38a44a080e8f0bc9ca93ed55534b771c66e8192a1b86664249f301036b00819310c9a9ac4",
    ],
  ])("%s", async (_, kdf, secret, expected) => {
    expect(await hex(kdf, secret)).toBe(expected);
  });

  test("argon2id takes its parameters in the order and unit of the reference implementation", async () => {
    const message = Buffer.from("password");
    const published = { message, nonce: Buffer.from("somesalt"), memory: 65_536, passes: 2, parallelism: 1, tagLength: 32 };
    expect(crypto.argon2Sync("argon2id", published).toString("hex")).toBe(
      "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7",
    );
    const kdf: KdfParameters = { function: "argon2id", memoryKiB: 256, passes: 3, parallelism: 4 };
    const same = { message, nonce: salt, memory: 256, passes: 3, parallelism: 4, tagLength: 64 };
    expect(await hex(kdf, "password")).toBe(crypto.argon2Sync("argon2id", same).toString("hex"));
  });

  test("one final newline is no part of a password, a second one is", async () => {
    const kdf: KdfParameters = { function: "pbkdf2", hash: "sha512", iterations: 1 };
    const plain = await hex(kdf, "pass");
    expect(await hex(kdf, "pass\n")).toBe(plain);
    expect(await hex(kdf, "pass\r\n")).toBe(plain);
    expect(await hex(kdf, "pass\n\n")).not.toBe(plain);
    expect(await hex(kdf, "pass ")).not.toBe(plain);
  });
});

test("an empty password and a file that is no key file are refused with a hint", async () => {
  const kdf: KdfParameters = { function: "pbkdf2", hash: "sha512", iterations: 1 };
  for (const secret of ["", "\n", "\r\n"])
    expect(await asyncCode(() => createSlot(ROOT, new Secret(secret), kdf, OPTIONS))).toBe("key_wrong");
  for (const secret of ["", "ab", "ab".repeat(31), "ab".repeat(33), "zz".repeat(32)])
    expect(await asyncCode(() => createSlot(ROOT, new Secret(secret), KEYFILE_KDF, OPTIONS))).toBe("key_wrong");
});

test.each<[string, Record<string, unknown>]>([
  ["argon2id memory", { function: "argon2id", memoryKiB: 1_048_577, passes: 1, parallelism: 1 }],
  ["argon2id memory below its lanes", { function: "argon2id", memoryKiB: 31, passes: 1, parallelism: 4 }],
  ["argon2id passes", { function: "argon2id", memoryKiB: 1024, passes: 17, parallelism: 1 }],
  ["argon2id lanes", { function: "argon2id", memoryKiB: 1024, passes: 1, parallelism: 17 }],
  ["scrypt memory", { function: "scrypt", logN: 21, r: 8, p: 1 }],
  ["scrypt N", { function: "scrypt", logN: 64, r: 1, p: 1 }],
  ["scrypt p", { function: "scrypt", logN: 10, r: 8, p: 17 }],
  ["pbkdf2 iterations", { function: "pbkdf2", hash: "sha512", iterations: 10_000_001 }],
  ["pbkdf2 without iterations", { function: "pbkdf2", hash: "sha512", iterations: 0 }],
  ["pbkdf2 hash", { function: "pbkdf2", hash: "sha1", iterations: 10 }],
  ["unknown function", { function: "bcrypt" }],
  ["text for a number", { function: "scrypt", logN: "4", r: 8, p: 1 }],
  ["fraction", { function: "scrypt", logN: 4.5, r: 8, p: 1 }],
  ["nothing", {}],
])("a slot with %s out of bounds is refused before it costs anything", async (_, kdf) => {
  const slot = await createSlot(ROOT, KEYFILE, KEYFILE_KDF, OPTIONS);
  const bad = changed(slot, (members) => (members.kdf = kdf));
  expect(code(() => parseSlot(bad))).toBe("object_malformed");
  expect(await asyncCode(() => openSlot(bad, PASSWORD, "password", REPOSITORY))).toBe("object_malformed");
});

test("the largest parameters within bounds are accepted", async () => {
  const slot = await createSlot(ROOT, KEYFILE, KEYFILE_KDF, OPTIONS);
  for (const kdf of [
    { function: "argon2id", memoryKiB: 1_048_576, passes: 16, parallelism: 16 },
    { function: "scrypt", logN: 20, r: 8, p: 16 },
    { function: "pbkdf2", hash: "sha512", iterations: 10_000_000 },
  ])
    expect(parseSlot(changed(slot, (members) => (members.kdf = kdf))).kdf).toEqual(kdf);
});

test("anything else than a slot is refused", async () => {
  const slot = await createSlot(ROOT, KEYFILE, KEYFILE_KDF, OPTIONS);
  const refused = (bytes: Uint8Array): void => expect(code(() => parseSlot(bytes))).toBe("object_malformed");
  refused(new Uint8Array());
  refused(slot.subarray(0, 4095));
  refused(Buffer.concat([slot, Buffer.from(" ")]));
  refused(Buffer.alloc(4096));
  refused(Buffer.alloc(4096, " "));
  for (const byte of ["\n", "\t", "}", "x", "\0"]) {
    const bad = Buffer.from(slot);
    bad.write(byte, 4095);
    refused(bad);
  }
  const shifted = Buffer.concat([Buffer.from(" "), slot.subarray(0, 4095)]);
  refused(shifted);
  for (const name of ["version", "id", "label", "created", "kdf", "salt", "commitment", "nonce", "wrapped"])
    refused(changed(slot, (members) => delete members[name]));
  refused(changed(slot, (members) => (members.version = 2)));
  refused(changed(slot, (members) => (members.id = "F0".repeat(16))));
  refused(changed(slot, (members) => (members.salt = Buffer.alloc(15).toString("base64"))));
  refused(changed(slot, (members) => (members.salt = Buffer.alloc(65).toString("base64"))));
  refused(changed(slot, (members) => (members.wrapped = Buffer.alloc(47).toString("base64"))));
  refused(changed(slot, (members) => (members.nonce = "not base64!")));
  expect(parseSlot(changed(slot, (members) => (members.later = 1))).id).toBe(OPTIONS.id);
});

test("a secret never shows in an error", async () => {
  const error = await createSlot(ROOT, new Secret("hunter2"), KEYFILE_KDF, OPTIONS).catch((reason: unknown) => reason);
  expect(JSON.stringify(error) + String(error)).not.toContain("hunter2");
});
