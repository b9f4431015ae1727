import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { Secret } from "../../src/base/secret.ts";
import type { SecretReference } from "../../src/config/secret-reference.ts";
import { resolveSecret } from "../../src/engine/secrets.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-secrets-"));
afterAll(() => rmSync(folder, { recursive: true }));

function fileWith(name: string, content: string | Uint8Array, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

const warnings: string[] = [];
const context = {
  env: { PW: "from-env\n", EMPTY: "", PATH: process.env["PATH"] },
  credentialsDirectory: folder,
  onWarning: (text: string) => void warnings.push(text),
};
const reveal = async (reference: SecretReference): Promise<string> =>
  (await resolveSecret(reference, context)).reveal().toString("latin1");

async function refused(reference: SecretReference, more: object = {}): Promise<HoldfastError> {
  const error: unknown = await resolveSecret(reference, { ...context, ...more }).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(HoldfastError);
  expect((error as HoldfastError).code).toBe("secret_unavailable");
  expect((error as HoldfastError).hint).toBeTruthy();
  return error as HoldfastError;
}

test("reads each kind, without one final newline", async () => {
  expect(await reveal({ file: fileWith("a", "two\n\n") })).toBe("two\n");
  expect(await reveal({ file: fileWith("b", "windows\r\n") })).toBe("windows");
  expect(await reveal({ file: fileWith("c", Buffer.from([0xff, 0x00, 0x0a])) })).toBe("\xff\x00");
  expect(await reveal({ env: "PW" })).toBe("from-env");
  expect(await reveal({ credential: "a" })).toBe("two\n");
  expect(await reveal({ command: ["printf", "%s\\n", "printed"] })).toBe("printed");
  expect(await reveal({ plain: new Secret("plain") })).toBe("plain");
  expect(warnings).toEqual([]);
});

test("warns when others can read the file", async () => {
  const path = fileWith("open", "canary", 0o644);
  expect(await reveal({ file: path })).toBe("canary");
  expect(warnings.splice(0)).toEqual([`${path} can be read by other users (mode 644); chmod 600 it`]);
});

test("names what is missing", async () => {
  expect((await refused({ file: join(folder, "none") })).message).toBe(
    `The secret (file ${join(folder, "none")}) cannot be read: ENOENT`,
  );
  expect((await refused({ env: "NONE" })).message).toBe("The secret (environment variable NONE) is not set");
  expect((await refused({ env: "toString" })).message).toContain("is not set");
  expect((await refused({ env: "EMPTY" })).message).toContain("is empty");
  expect((await refused({ file: fileWith("newline", "\n") })).message).toContain("is empty");
  expect((await refused({ credential: "a" }, { credentialsDirectory: undefined })).message).toContain(
    "$CREDENTIALS_DIRECTORY is not set",
  );
  expect((await refused({ command: ["holdfast-no-such-program"] })).message).toContain("there is no such program");
  mkdirSync(join(folder, "folder"));
  expect((await refused({ file: join(folder, "folder") })).message).toContain("is a folder");
  expect((await refused({ file: fileWith("large", Buffer.alloc(2 ** 20 + 1)) })).message).toContain("larger than 1 MiB");
  expect((await refused({ file: "/dev/zero" })).message).toContain("larger than 1 MiB");
});

test("a failing command tells its exit code and nothing it printed", async () => {
  const error = await refused({ command: ["sh", "-c", "echo canary; echo canary >&2; exit 3"] });
  expect(error.message).toBe("The secret (output of sh) cannot be had: the command failed with exit code 3");
  expect(JSON.stringify(error.toWire()) + String(error.stack) + String(error.cause)).not.toContain("canary");
});

test("an abort is the signal's reason", async () => {
  const reason = new Error("enough");
  await expect(resolveSecret({ command: ["sleep", "30"] }, { ...context, signal: AbortSignal.abort(reason) })).rejects.toBe(
    reason,
  );
  await expect(resolveSecret({ file: fileWith("d", "x") }, { ...context, signal: AbortSignal.abort(reason) })).rejects.toBe(
    reason,
  );
});
