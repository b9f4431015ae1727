import { closeSync, readSync } from "node:fs";
import { errnoOf, HoldfastError } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import { metaOf } from "../../sources/files/entry.ts";
import { dataExtents, openFileForRead, readXattrs, sameStat, statOf } from "../../sources/files/read-file.ts";
import type { Entry, Extent, SourceProblem } from "../../sources/source.ts";
import type { ArchiveBuilder } from "./archive-builder.ts";
import { dataLength } from "./entry-record.ts";
import type { FileWriter } from "./file-writer.ts";

/** Bytes read at a time. */
const READ_BYTES = 2 ** 20;

export interface LiveFileHooks {
  onProblem(problem: SourceProblem): void;
  /** Where the content of a path is opened. */
  placeOf(path: Uint8Array): Uint8Array;
  /** Called between blocks; reading waits for what it returns. */
  onBytes(): Promise<void> | undefined;
}

/**
 * Reads a file of this machine into the archive. One that changes while it is read is read once more, if it still fits
 * into the part being filled, or else marked; it never gets longer than it was when it was opened. One that vanished is
 * counted, one that cannot be read reported; neither becomes part of the archive.
 */
export async function readLiveFile(builder: ArchiveBuilder, entry: Entry, hooks: LiveFileHooks): Promise<void> {
  const { content } = entry;
  if (content === undefined || !("open" in content)) throw new HoldfastError("internal", "A file of the source has no content");
  let fd: number | undefined;
  let writer: FileWriter | undefined;
  try {
    const file = openFileForRead(hooks.placeOf(content.open));
    fd = file.fd;
    let { stat } = file;
    for (let attempt = 0; ; attempt++) {
      const extents = content.sparse ? holes(dataExtents(fd, stat.size), stat.size) : undefined;
      writer = builder.file(entry, metaOf(stat, readXattrs(fd)), stat.size, extents);
      await readData(fd, writer, extents ?? [{ offset: 0, length: stat.size }], hooks);
      const after = statOf(fd);
      const whole = sameStat(stat, after) && writer.written === dataLength(stat.size, extents);
      if (!whole && attempt === 0 && writer.undo()) {
        stat = after;
        continue;
      }
      builder.addFile(entry, writer, { changedWhileRead: !whole });
      return;
    }
  } catch (error) {
    const reason = errnoOf(error) ?? (error instanceof HoldfastError ? error.code : undefined);
    if (reason === undefined || reason === "internal" || reason === "unsupported") throw error;
    writer?.abandon();
    if (reason === "ENOENT") builder.counts.vanished++;
    else hooks.onProblem({ path: content.open, reason, message: `${pathText(content.open)} could not be read (${reason})` });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** The extents of a file that has holes; undefined when it turns out to have none. */
function holes(extents: readonly Extent[], size: number): readonly Extent[] | undefined {
  return dataLength(size, extents) === size ? undefined : extents;
}

async function readData(fd: number, writer: FileWriter, extents: readonly Extent[], hooks: LiveFileHooks): Promise<void> {
  for (const { offset, length } of extents) {
    for (let done = 0; done < length;) {
      const room = writer.room();
      const n = readSync(fd, room, 0, Math.min(room.length, length - done, READ_BYTES), offset + done);
      if (n === 0) return;
      writer.advance(n);
      done += n;
      const wait = hooks.onBytes();
      if (wait !== undefined) await wait;
    }
  }
}
