import type { SourceConfig } from "../config/config.ts";
import { createCommandSource } from "../sources/command/command-source.ts";
import { createFilesSource } from "../sources/files/files-source.ts";
import type { Source } from "../sources/source.ts";

/** The source that a configuration describes. `env` is the whole environment of a program that it runs. */
export function createSource(config: SourceConfig, env: Readonly<Record<string, string>>): Source {
  switch (config.type) {
    case "files":
      return createFilesSource(config);
    case "command":
      return createCommandSource({ ...config, env });
  }
}
