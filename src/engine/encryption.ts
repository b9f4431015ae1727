import { constants } from "node:fs";
import { mkdir, open, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { errnoOf, HoldfastError } from "../base/errors.ts";
import { randomHex, type Randomness } from "../base/random.ts";
import { Secret } from "../base/secret.ts";
import type { EncryptionConfig } from "../config/config.ts";
import type { KdfChoice, KeySlots, Unlocking } from "../formats/format.ts";
import { resolveSecret, type SecretContext } from "./secrets.ts";

/** The ways into a store that a configuration declares: the current one first, then `previous` ones. */
export async function unlockings(encryption: EncryptionConfig | undefined, surroundings: SecretContext): Promise<Unlocking[]> {
  if (encryption === undefined) return [];
  if (encryption.kind === "keyFile") return [{ kind: "keyfile", secret: await readKeyFile(encryption.keyFile) }];
  const current: Unlocking = { kind: "password", secret: await resolveSecret(encryption.password, surroundings) };
  const previous: Unlocking[] = [];
  for (const reference of encryption.previous) {
    // A previous password that is gone is only missed when the current one does not open.
    try {
      previous.push({ kind: "password", secret: await resolveSecret(reference, surroundings) });
    } catch (error) {
      if (!(error instanceof HoldfastError) || error.code !== "secret_unavailable") throw error;
    }
  }
  return [current, ...previous];
}

/** The way in for a new store; makes the key file when it is missing and may be generated. */
export async function unlockingForNew(
  encryption: EncryptionConfig,
  surroundings: SecretContext,
  random: Randomness,
): Promise<Unlocking> {
  if (encryption.kind === "keyFile" && encryption.generate) await generateKeyFile(encryption.keyFile, random);
  return (await unlockings(encryption, surroundings))[0] as Unlocking;
}

/** Parameters of new slots. */
export function kdfChoice(encryption: EncryptionConfig): KdfChoice | undefined {
  if (encryption.kind === "keyFile") return undefined;
  const { keyDerivation } = encryption;
  switch (keyDerivation.function) {
    case "argon2id":
      return {
        function: "argon2id",
        memoryKiB: Math.floor(keyDerivation.memoryBytes / 1024),
        passes: keyDerivation.passes,
        parallelism: keyDerivation.parallelism,
      };
    case "scrypt":
      return { function: "scrypt", logN: keyDerivation.logN, r: keyDerivation.blockSize, p: keyDerivation.parallelism };
    case "pbkdf2":
      return { function: "pbkdf2", hash: "sha512", iterations: keyDerivation.iterations, saltBytes: keyDerivation.saltLength };
  }
}

/** What a slot that takes another's place says in its label; the removal of that other one is repeated from it after a crash. */
const REPLACES = "replaces key slot ";

/**
 * Brings the key slots to the current password. Where it does not open yet (`opened` is false), a slot for it is written and
 * proven first; then the slot it replaces is removed. Returns what was done, or undefined when there was nothing to do.
 */
export async function settlePassword(
  keySlots: KeySlots,
  current: Unlocking,
  options: { readonly opened: boolean; readonly kdf: KdfChoice | undefined; readonly signal?: AbortSignal | undefined },
): Promise<string | undefined> {
  const { opened, kdf, signal } = options;
  const slots = await keySlots.list(signal);
  const inUse = slots.find((slot) => slot.inUse);
  if (inUse === undefined) return undefined;
  let old: string | undefined;
  if (opened) old = inUse.label.startsWith(REPLACES) ? inUse.label.slice(REPLACES.length) : undefined;
  else {
    old = inUse.id;
    await keySlots.add(current, kdf, REPLACES + old, signal);
  }
  if (old === undefined || !slots.some(({ id }) => id === old)) return undefined;
  await keySlots.remove(old, current, signal);
  return opened ? `removed key slot ${old}, whose password was changed` : `changed the password; key slot ${old} is removed`;
}

async function readKeyFile(path: string): Promise<Secret> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new HoldfastError("secret_unavailable", `The key file ${path} cannot be read (${errnoOf(error) ?? "unknown error"})`, {
      hint: "Without it nothing on its targets can be opened. Restore it from where you keep a copy; `generate: true` makes one only for a new repository.",
      cause: error,
    });
  }
  if (!/^[0-9a-fA-F]{64}\s*$/.test(text))
    throw new HoldfastError("secret_unavailable", `The key file ${path} does not hold 64 hex digits`, {
      hint: "It must be the file that `holdfast init` or `generate: true` made, unchanged.",
    });
  return new Secret(text.trim().toLowerCase());
}

/** Makes a key file with mode 0600; an existing one is left alone. */
export async function generateKeyFile(path: string, random: Randomness): Promise<boolean> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  try {
    await using file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    await file.writeFile(`${randomHex(random, 32)}\n`);
    // A repository sealed with a key that did not reach the disk could never be opened again.
    await file.sync();
  } catch (error) {
    if (errnoOf(error) === "EEXIST") return false;
    throw new HoldfastError("secret_unavailable", `The key file ${path} cannot be made (${errnoOf(error) ?? "unknown error"})`, {
      hint: "Make its folder writable, or name another place with `keyFile`.",
      cause: error,
    });
  }
  await using folder = await open(dirname(path), constants.O_RDONLY);
  await folder.sync();
  return true;
}
