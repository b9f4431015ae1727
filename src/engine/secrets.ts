import { execFile } from "node:child_process";
import { open } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { HoldfastError, errnoOf } from "../base/errors.ts";
import { Secret } from "../base/secret.ts";
import { describeSecretReference } from "../config/secret-reference.ts";
import type { SecretReference } from "../config/secret-reference.ts";

/** No secret is larger; a larger file was named by mistake. */
const MAX_BYTES = 1024 * 1024;
const COMMAND_TIMEOUT_MS = 60_000;

export interface SecretContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** `$CREDENTIALS_DIRECTORY`, where systemd puts credentials. */
  readonly credentialsDirectory: string | undefined;
  /** Told when the secret can be had but something about it is unsafe. Never given the secret. */
  readonly onWarning?: (message: string) => void;
  readonly signal?: AbortSignal;
}

/**
 * Reads a secret, without one final newline. Rejects with `secret_unavailable`, naming the file, variable, command or
 * credential, when it is missing, unreadable or empty; with `signal.reason` when aborted. Warns when a file that holds
 * it can be read by others. The secret itself is in no error, warning or argv.
 */
export async function resolveSecret(reference: SecretReference, context: SecretContext): Promise<Secret> {
  const bytes = withoutFinalNewline(await read(reference, context));
  if (bytes.length === 0) throw unavailable(reference, "is empty", "Put the secret there, or refer to another place.");
  return new Secret(bytes);
}

async function read(reference: SecretReference, context: SecretContext): Promise<Buffer> {
  if ("plain" in reference) return reference.plain.reveal();
  if ("file" in reference) return readFile(reference, reference.file, context);
  if ("command" in reference) return runCommand(reference, reference.command, context);
  if ("env" in reference) {
    const value = Object.hasOwn(context.env, reference.env) ? context.env[reference.env] : undefined;
    if (value === undefined)
      throw unavailable(reference, "is not set", `Set ${reference.env} in the environment of this process.`);
    return Buffer.from(value);
  }
  const { credentialsDirectory } = context;
  if (credentialsDirectory === undefined || !isAbsolute(credentialsDirectory)) {
    const hint = `Add LoadCredential=${reference.credential}:/path to the systemd unit, or refer to a file.`;
    throw unavailable(reference, "cannot be read: $CREDENTIALS_DIRECTORY is not set", hint);
  }
  return readFile(reference, join(credentialsDirectory, reference.credential), context);
}

function unavailable(reference: SecretReference, what: string, hint: string, cause?: unknown): HoldfastError {
  return new HoldfastError("secret_unavailable", `The secret (${describeSecretReference(reference)}) ${what}`, { hint, cause });
}

const HINTS: Readonly<Record<string, string>> = {
  ENOENT: "Create the file, or correct its path in the configuration.",
  EACCES: "Let the user that runs Holdfast read it: chown it, and chmod 600.",
  EISDIR: "Name the file, not its folder.",
};

async function readFile(reference: SecretReference, path: string, context: SecretContext): Promise<Buffer> {
  try {
    await using file = await open(path, "r");
    const status = await file.stat();
    if (status.isDirectory()) throw unavailable(reference, "is a folder", HINTS["EISDIR"]!);
    if (status.size > MAX_BYTES) throw unavailable(reference, "is larger than 1 MiB", "Name the file that holds the secret.");
    if (status.isFile() && (status.mode & 0o077) !== 0)
      context.onWarning?.(`${path} can be read by other users (mode ${(status.mode & 0o777).toString(8)}); chmod 600 it`);
    // One byte more than allowed, because a pipe tells no size.
    const buffer = Buffer.alloc(MAX_BYTES + 1);
    let length = 0;
    for (;;) {
      context.signal?.throwIfAborted();
      const { bytesRead } = await file.read(buffer, length, buffer.length - length);
      length += bytesRead;
      if (bytesRead === 0) break;
    }
    if (length > MAX_BYTES) throw unavailable(reference, "is larger than 1 MiB", "Name the file that holds the secret.");
    return buffer.subarray(0, length);
  } catch (error) {
    const errno = errnoOf(error);
    if (error instanceof HoldfastError || errno === undefined || context.signal?.aborted) throw error;
    throw unavailable(reference, `cannot be read: ${errno}`, HINTS[errno] ?? "Check the file and its permissions.", error);
  }
}

function runCommand(reference: SecretReference, command: readonly string[], context: SecretContext): Promise<Buffer> {
  const [program = "", ...args] = command;
  const options = {
    encoding: "buffer",
    env: { ...context.env },
    maxBuffer: MAX_BYTES,
    timeout: COMMAND_TIMEOUT_MS,
    signal: context.signal,
  } as const;
  return new Promise((resolve, reject) => {
    execFile(program, args, options, (error, stdout) => {
      if (error === null) return resolve(stdout);
      if (context.signal?.aborted) return reject(context.signal.reason as Error);
      // The cause is left out: it carries the output, which may be the secret.
      const code = errnoOf(error);
      const what =
        code === "ENOENT"
          ? "cannot be had: there is no such program"
          : error.killed
            ? "cannot be had: the command took over a minute, or printed over 1 MiB"
            : "cannot be had: the command failed";
      const status = typeof error.code === "number" ? ` with exit code ${error.code}` : "";
      return reject(unavailable(reference, what + status, `Run ${program} by hand, as the user that runs Holdfast.`));
    });
  });
}

function withoutFinalNewline(bytes: Buffer): Buffer {
  if (bytes.at(-1) !== 0x0a) return bytes;
  return bytes.subarray(0, bytes.at(-2) === 0x0d ? -2 : -1);
}
