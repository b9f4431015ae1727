import type { Format } from "./format.ts";

/** A format by its name, loaded on first use. */
export async function formatOf(kind: Format["kind"]): Promise<Format> {
  switch (kind) {
    case "repository":
      return (await import("./repository/repository-format.ts")).repositoryFormat;
    case "archive":
      return (await import("./archive/archive-format.ts")).archiveFormat;
  }
}
