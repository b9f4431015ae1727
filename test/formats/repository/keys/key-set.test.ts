import * as crypto from "node:crypto";
import { expect, test } from "vitest";
import { KeySet } from "../../../../src/formats/repository/keys/key-set.ts";
import { rootMaterial } from "../../../../src/formats/repository/keys/keyring.ts";
import { code, MATERIAL } from "./fixtures.ts";

/** HKDF-SHA256 written out from RFC 5869, apart from Node's own. */
function hkdf(secret: Uint8Array, salt: Uint8Array, info: string, length: number): Buffer {
  const hmac = (key: Uint8Array, ...data: Uint8Array[]): Buffer => {
    const mac = crypto.createHmac("sha256", key);
    for (const part of data) mac.update(part);
    return mac.digest();
  };
  const prk = hmac(salt.length === 0 ? Buffer.alloc(32) : salt, secret);
  const blocks: Buffer[] = [];
  let block: Buffer = Buffer.alloc(0);
  for (let i = 1; blocks.length * 32 < length; i++) {
    block = hmac(prk, block, Buffer.from(info), Buffer.of(i));
    blocks.push(block);
  }
  return Buffer.concat(blocks).subarray(0, length);
}

const keys = new KeySet(MATERIAL);
const repo = MATERIAL.repositoryId;

test("keys of every purpose and epoch are those of the format", () => {
  const master = Buffer.alloc(32, 0x33);
  expect(keys.current.epoch).toBe(2);
  for (const purpose of ["data", "tree", "index", "snapshot", "notes", "salt"] as const)
    expect(keys.current.key(purpose)).toEqual(hkdf(master, repo, `holdfast/v1/${purpose}/2`, 32));
  expect(keys.current.keyId).toEqual(hkdf(master, repo, "holdfast/v1/key-id/2", 16));
  expect(keys.rootKeys.keyId).toEqual(hkdf(MATERIAL.root, repo, "holdfast/v1/key-id/0", 16));
  for (const purpose of ["keyring", "salt"] as const)
    expect(keys.rootKeys.key(purpose)).toEqual(hkdf(MATERIAL.root, repo, `holdfast/v1/${purpose}/0`, 32));
});

test("the lineage is that of the format", () => {
  const secret = MATERIAL.lineageSecret;
  const none = new Uint8Array();
  expect(keys.lineage.id).toEqual(hkdf(secret, none, "holdfast/v1/lineage/id", 16));
  const gear = hkdf(secret, none, "holdfast/v1/lineage/gear", 1024);
  expect([...keys.lineage.gear]).toEqual(Array.from({ length: 256 }, (_, i) => gear.readUInt32LE(i * 4)));
  const bytes = Buffer.from("some chunk");
  const id = (name: string): Buffer =>
    crypto
      .createHmac("sha256", hkdf(secret, none, `holdfast/v1/lineage/${name}`, 32))
      .update(bytes)
      .digest();
  expect(keys.chunkId(1, bytes)).toEqual(id("data-id"));
  expect(keys.chunkId(2, bytes)).toEqual(id("tree-id"));
});

test("fixed vectors", () => {
  expect(keys.current.keyId.toString("hex")).toBe("d70123ff6b2e13c8ffa279cecd77417c");
  expect(keys.lineage.id.toString("hex")).toBe("93427eb20ec94daed78bc42ba4995b35");
  expect(keys.lineage.gear[0]).toBe(3_254_608_883);
  expect(keys.chunkId(1, Buffer.from("some chunk")).toString("hex")).toBe(
    "74ef3a8837e44f8fda59e86893cc329d9dc2d5bf1a9f21b4460a9062bfd65540",
  );
});

test("epochs are found by key id, and nothing else is", () => {
  expect(keys.epochByKeyId(keys.current.keyId)?.epoch).toBe(2);
  const old = new KeySet({ ...MATERIAL, epochs: MATERIAL.epochs.slice(0, 1) }).current;
  expect(keys.epochByKeyId(old.keyId)?.epoch).toBe(1);
  expect(keys.epochByKeyId(keys.rootKeys.keyId)).toBeUndefined();
  expect(keys.epochByKeyId(Buffer.alloc(16))).toBeUndefined();
});

test("the same master key has other keys in another repository and another epoch", () => {
  const master = Buffer.alloc(32, 0x33);
  const other = new KeySet({ ...MATERIAL, repositoryId: Buffer.alloc(16, 9), epochs: [{ epoch: 2, master }] });
  expect(other.current.key("data")).not.toEqual(keys.current.key("data"));
  expect(new KeySet({ ...MATERIAL, epochs: [{ epoch: 3, master }] }).current.key("data")).not.toEqual(keys.current.key("data"));
  expect(other.chunkId(1, master)).toEqual(keys.chunkId(1, master));
});

test("material survives structured clone", () => {
  const clone = new KeySet(structuredClone(MATERIAL));
  expect(clone.current.key("data")).toEqual(keys.current.key("data"));
  expect(clone.chunkId(2, repo)).toEqual(keys.chunkId(2, repo));
});

test("before the keyring is open only the root key is there", () => {
  const root = new KeySet(rootMaterial(repo, MATERIAL.root));
  expect(root.rootKeys.keyId).toEqual(keys.rootKeys.keyId);
  expect(() => root.current).toThrow("keyring is not open");
  expect(() => root.lineage).toThrow("keyring is not open");
  expect(() => root.rootKeys.key("data")).toThrow("no key for data");
  expect(() => keys.current.key("keyring")).toThrow("no key for keyring");
});

test("a chunk is checked against the first 16 or all 32 bytes of its id", () => {
  const bytes = Buffer.from("some chunk");
  const id = keys.chunkId(1, bytes);
  expect(code(() => keys.checkChunk(1, bytes, id))).toBe("no error");
  expect(code(() => keys.checkChunk(1, bytes, id.subarray(0, 16)))).toBe("no error");
  expect(code(() => keys.checkChunk(2, bytes, id))).toBe("object_damaged");
  expect(code(() => keys.checkChunk(1, Buffer.from("some chunK"), id.subarray(0, 16)))).toBe("object_damaged");
});
