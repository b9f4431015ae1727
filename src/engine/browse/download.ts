import { HoldfastError } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import type { Session } from "../session.ts";
import { selectSnapshot, type SnapshotSelector } from "../snapshots.ts";
import { dumpEntry } from "./dump.ts";
import { entryAt } from "./entries.ts";

export interface DownloadQuery {
  readonly selector: SnapshotSelector;
  readonly path: Uint8Array;
  /** Undefined: a file as it is. */
  readonly as: "tar" | "zip" | undefined;
}

/** Content on its way out of a snapshot. */
export interface Download {
  /** For a file of its own; may hold anything but a slash. */
  readonly name: string;
  readonly kind: "file" | "tar" | "zip";
  /** Known of a file only. */
  readonly sizeBytes: number | undefined;
  /** Rejects when anything cannot be read; what came before is then not to be kept. */
  readonly bytes: AsyncIterable<Uint8Array>;
  /** Entries that the archive could not hold, so far. */
  readonly leftOut: () => number;
}

/**
 * Hands a file, or a folder as an archive, to `deliver`; the snapshot stays open until it has resolved. Rejects before
 * `deliver` for what is not there: `snapshot_missing`, `path_missing`, and `usage` for a folder without `as`.
 */
export async function downloadFrom(
  session: Session,
  { selector, path, as }: DownloadQuery,
  deliver: (download: Download) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const { info, store } = await selectSnapshot(session, selector, signal);
  const { entry } = await entryAt(store, info, path, signal);
  if (as === undefined && entry.type !== "file")
    throw new HoldfastError("usage", `${pathText(path)} is a ${entry.type}, not a file`, {
      hint: "Take it as an archive: as=zip or as=tar.",
    });
  let leftOut = 0;
  const name = entry.name.length === 0 ? `${info.job}-${info.source}-${info.id.slice(0, 8)}` : pathText(entry.name);
  await deliver({
    name: as === undefined ? name : `${name}.${as}`,
    kind: as ?? "file",
    sizeBytes: as === undefined ? entry.size : undefined,
    bytes: dumpEntry(store, info, path, { as: as ?? "auto", signal, onSkipped: () => void leftOut++ }),
    leftOut: () => leftOut,
  });
}
