import type { SourceConfig } from "../config/config.ts";
import { createCommandSource } from "../sources/command/command-source.ts";
import type { SnapshotKeeper } from "../sources/files/btrfs.ts";
import { createFilesSource } from "../sources/files/files-source.ts";
import type { Source } from "../sources/source.ts";

export interface SourceSurroundings {
  /** The whole environment of a program that it runs. */
  readonly env: Readonly<Record<string, string>>;
  /** For a source that wants snapshots of its file system. Without it the files are read as they are. */
  readonly keeper?: SnapshotKeeper | undefined;
}

/** The source that a configuration describes. */
export function createSource(config: SourceConfig, { env, keeper }: SourceSurroundings): Source {
  switch (config.type) {
    case "files":
      return createFilesSource(config, config.snapshot === undefined ? undefined : keeper);
    case "command":
      return createCommandSource({ ...config, env });
  }
}
