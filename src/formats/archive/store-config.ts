import { HoldfastError } from "../../base/errors.ts";
import { asRepositoryId, type RepositoryId } from "../../base/ids.ts";
import { randomHex } from "../../base/random.ts";
import type { Target } from "../../targets/target.ts";
import type { StoreOptions } from "../format.ts";
import { CONFIG_NAME, REPOSITORY_CONFIG_NAME } from "./object-names.ts";
import { decodeSealed, encodeSealed } from "./sealed-json.ts";

const FORMAT = "holdfast-archive";

/** The id in `holdfast-archive.json`, or undefined when there is none. Rejects with `object_foreign` on a repository's target. */
export async function readStoreId(target: Target, name: string, signal?: AbortSignal): Promise<RepositoryId | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await target.get(CONFIG_NAME, { signal });
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== "target_missing_object") throw error;
    if ((await target.stat(REPOSITORY_CONFIG_NAME, { signal })) === undefined) return undefined;
    throw new HoldfastError("object_foreign", `Target ${name} holds a repository, not archives`, {
      hint: "Set the target's format to repository, or point it at another, empty folder.",
    });
  }
  const members = decodeSealed(bytes, `${CONFIG_NAME} on target ${name}`);
  members.oneOf("format", [FORMAT]);
  const version = members.integer("version", 1);
  if (version !== 1)
    throw new HoldfastError(
      "repository_feature",
      `The archives on target ${name} have format version ${version}; this program knows version 1`,
      {
        hint: "Use the Holdfast version that wrote them, or a newer one.",
      },
    );
  return asRepositoryId(members.hex("id", 16));
}

/** Makes the target an archive target. Rejects with `repository_exists` when it is one, also when another process was faster. */
export async function createStoreConfig(
  { access: { target }, name, random, clock }: StoreOptions,
  signal?: AbortSignal,
): Promise<RepositoryId> {
  if ((await readStoreId(target, name, signal)) !== undefined)
    throw new HoldfastError("repository_exists", `Target ${name} already holds archives`, {
      hint: "Nothing was changed. Open it, or point the target at another, empty folder.",
    });
  const id = asRepositoryId(randomHex(random, 16));
  const created = new Date(clock.now()).toISOString();
  await target.put(CONFIG_NAME, [encodeSealed({ format: FORMAT, version: 1, id, created })], { signal });
  return id;
}
