import { createHash } from "node:crypto";
import { throwIfAborted } from "../../../base/abort.ts";
import { HoldfastError } from "../../../base/errors.ts";
import { isContentAddressed } from "../../../targets/names.ts";
import type { Target } from "../../../targets/target.ts";
import { inParallel } from "../repository.ts";

/** Bytes hashed without a pause. */
const HASH_BYTES = 4 * 2 ** 20;
/** Objects in memory at a time. */
const MAX_WIDTH = 3;

export interface ScrubReport {
  readonly objects: number;
  readonly bytes: number;
  readonly damaged: readonly { readonly name: string; readonly message: string }[];
}

/**
 * Compares every object that is named by its SHA-256 with its bytes. Needs no key: anyone who holds the target can find
 * bit rot. Objects with other names (`holdfast.json`, key slots) cannot be judged so and are left out.
 */
export async function scrubTarget(
  target: Target,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<ScrubReport> {
  const { signal } = options;
  const stats = (await target.list("", { signal })).filter(({ name }) => isContentAddressed(name));
  const damaged: { name: string; message: string }[] = [];
  let bytes = 0;
  await inParallel(stats, Math.min(MAX_WIDTH, target.capabilities.concurrency), async ({ name }) => {
    throwIfAborted(signal);
    try {
      const content = await target.get(name, { fresh: true, signal });
      bytes += content.length;
      if (!name.endsWith(await digestOf(content))) damaged.push({ name, message: "its SHA-256 is not its name" });
    } catch (error) {
      throwIfAborted(signal);
      if (!(error instanceof HoldfastError) || (error.code !== "target_io" && error.code !== "object_damaged")) throw error;
      damaged.push({ name, message: error.message });
    }
  });
  return { objects: stats.length, bytes, damaged: damaged.toSorted((a, b) => (a.name < b.name ? -1 : 1)) };
}

/** SHA-256 in steps, so that other work gets its turn. */
async function digestOf(bytes: Uint8Array): Promise<string> {
  const hash = createHash("sha256");
  for (let at = 0; at < bytes.length; at += HASH_BYTES) {
    hash.update(bytes.subarray(at, at + HASH_BYTES));
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return hash.digest("hex");
}
