/** Folders and files of this machine. */
import { lstatSync } from "node:fs";
import { strict as assert } from "node:assert";
import { isAbsolute } from "node:path";
import { errnoOf, HoldfastError } from "../../base/errors.ts";
import type { FilesWalkOptions, OpenSource, Source } from "../source.ts";
import { freezePaths, type FrozenPaths, type SnapshotKeeper } from "./btrfs.ts";

/** A `files` source as configured; see `FilesWalkOptions` for what each rule means. */
export interface FilesSourceConfig {
  /** Absolute and resolved. */
  readonly paths: readonly string[];
  readonly exclude?: readonly string[];
  readonly excludeIfPresent?: readonly string[];
  readonly excludeLargerThanBytes?: number | undefined;
  readonly oneFileSystem?: boolean;
  /** Default 0: an empty source is fine. */
  readonly minimumEntries?: number;
}

/**
 * A source that is walked and read live, where files have no common consistency point; or, with a `keeper`, from snapshots of
 * its btrfs subvolumes, which are made by `open` and removed by disposing. `open` rejects with `source_unavailable` when none of
 * the paths exists, or one cannot be frozen; everything else that goes wrong is the walk's to report.
 */
export function createFilesSource(config: FilesSourceConfig, keeper?: SnapshotKeeper): Source {
  assert(config.paths.length > 0 && config.paths.every(isAbsolute), "a files source has absolute paths");
  const options: FilesWalkOptions = {
    paths: config.paths.map((path) => Uint8Array.from(Buffer.from(path))),
    exclude: config.exclude ?? [],
    excludeIfPresent: config.excludeIfPresent ?? [],
    excludeLargerThanBytes: config.excludeLargerThanBytes,
    oneFileSystem: config.oneFileSystem ?? false,
    minimumEntries: config.minimumEntries ?? 0,
  };
  return {
    type: "files",
    profile: "files",
    async open({ signal }) {
      signal.throwIfAborted();
      const failures = config.paths.map(failureOf);
      if (!failures.includes(undefined))
        throw new HoldfastError("source_unavailable", `None of the source's paths can be found: ${config.paths.join(", ")}`, {
          hint: "Check that the paths are right and that what holds them is mounted.",
          data: { reasons: failures },
        });
      if (keeper === undefined) return openSource(options);
      const { paths } = config;
      const frozen = await freezePaths({ paths, exclude: options.exclude, oneFileSystem: options.oneFileSystem, keeper, signal });
      return openFrozen(options, frozen);
    },
  };
}

function openFrozen(options: FilesWalkOptions, frozen: FrozenPaths): OpenSource {
  return {
    ...openSource({ ...options, views: frozen.views }),
    isFrozen: !frozen.hasLiveParts,
    facts: () => ({ fileSystemSnapshot: "btrfs", subvolumes: frozen.subvolumes }),
    [Symbol.asyncDispose]: () => frozen[Symbol.asyncDispose](),
  };
}

function failureOf(path: string): string | undefined {
  try {
    lstatSync(path);
    return undefined;
  } catch (error) {
    return errnoOf(error) ?? "unknown";
  }
}

function openSource(options: FilesWalkOptions): OpenSource {
  return {
    stream: { kind: "files", options },
    facts: () => ({}),
    finish: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
}
