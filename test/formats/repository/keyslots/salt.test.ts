import { expect, test } from "vitest";
import { Secret } from "../../../../src/base/secret.ts";
import {
  createSlot,
  kdfParameters,
  openSlot,
  parseSlot,
  saltBytes,
  type SlotDerivation,
} from "../../../../src/formats/repository/keys/slot.ts";

test("a slot's salt has the length that was asked for, and the slot opens", async () => {
  const derivation: SlotDerivation = { function: "pbkdf2", hash: "sha512", iterations: 1000, saltBytes: 48 };
  const root = Buffer.alloc(32, 7);
  const repositoryId = Buffer.alloc(16, 1);
  const secret = new Secret("a password");
  const slot = await createSlot(root, secret, kdfParameters(derivation), {
    id: "ab".repeat(16),
    salt: Buffer.alloc(saltBytes(derivation), 3),
    nonce: Buffer.alloc(12, 4),
    label: "test",
    created: "2026-01-01T00:00:00.000Z",
    repositoryId,
  });
  expect(parseSlot(slot).salt).toHaveLength(48);
  expect(JSON.stringify(parseSlot(slot).kdf)).not.toContain("saltBytes");
  expect(await openSlot(slot, secret, "password", repositoryId)).toEqual(root);
  expect(saltBytes({ function: "keyfile" })).toBe(32);
});
