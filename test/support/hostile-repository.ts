/**
 * Repositories as somebody with the key could make them: every object is sealed properly, and the trees say what no backup
 * would. The canary is what a restore must not touch.
 */
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathText } from "../../src/base/path-text.ts";
import type { SnapshotInfo } from "../../src/formats/format.ts";
import { encodeEntry, RepositoryWriter, u8, varint, type EntryFields } from "../recover/repository-writer.ts";
import { openRepository, type ReadingStore } from "../formats/repository/read/backed-up.ts";

/** Of `openRepository`. */
export const HOSTILE_PASSWORD = "correct horse";

export class HostileWriter extends RepositoryWriter {
  constructor(folder: string) {
    super(folder);
    this.writeSlot({ function: "pbkdf2", hash: "sha512", iterations: 1000 }, Buffer.from(HOSTILE_PASSWORD));
  }

  /** Bytes of a leaf of these entries in this order, whatever their names are. */
  static leafBytes(entries: readonly EntryFields[]): Buffer {
    return Buffer.concat([u8(1), u8(0), varint(entries.length), ...entries.map(encodeEntry)]);
  }

  /** Stores a leaf as it is; `id` forges its chunk id. */
  rawLeaf(entries: readonly EntryFields[], id?: Buffer): Buffer {
    return this.frame(2, [HostileWriter.leafBytes(entries)], 0, id === undefined ? undefined : [id])[0] as Buffer;
  }

  /** Ends packs and index, and writes the snapshot. */
  commit(root: Buffer): void {
    this.endPack(1);
    this.endPack(2);
    this.writeIndex();
    this.writeSnapshot(root, "01".repeat(16), "2026-02-01T00:00:00.000Z");
  }
}

export interface HostileSnapshot {
  readonly store: ReadingStore;
  readonly snapshot: SnapshotInfo;
}

/** Writes a repository to `folder` and opens it. `build` returns the root tree's id. */
export async function hostileSnapshot(folder: string, build: (writer: HostileWriter) => Buffer): Promise<HostileSnapshot> {
  const writer = new HostileWriter(folder);
  const root = build(writer);
  writer.commit(root);
  const store = await openRepository(folder);
  const snapshot = {
    id: "01".repeat(16),
    root: root.toString("hex"),
    files: 1,
    sourceBytes: 1,
    unreadable: [],
    unreadableCount: 0,
    facts: {},
  } as unknown as SnapshotInfo;
  return { store, snapshot };
}

/** A folder that nobody may touch, with one of everything that a write could go through. */
export function writeCanary(folder: string): void {
  mkdirSync(join(folder, "folder/inner"), { recursive: true });
  writeFileSync(join(folder, "file"), "untouched");
  writeFileSync(join(folder, "folder/inner/file"), "untouched, too");
  symlinkSync("file", join(folder, "way"));
}

/**
 * Everything that a write, a link, a change of metadata or a removal would leave behind in a folder, one line an entry:
 * names, inodes, modes, owners, link counts, sizes, both times and contents.
 */
export function traces(folder: string): string[] {
  const lines: string[] = [];
  const visit = (path: Buffer): void => {
    const stat = lstatSync(path, { bigint: true });
    const content = stat.isFile()
      ? createHash("sha256").update(readFileSync(path)).digest("hex")
      : stat.isSymbolicLink()
        ? readlinkSync(path)
        : "";
    const { ino, mode, uid, gid, nlink, size, mtimeNs, ctimeNs } = stat;
    lines.push([pathText(path), ino, mode.toString(8), uid, gid, nlink, size, mtimeNs, ctimeNs, content].join(" "));
    if (!stat.isDirectory()) return;
    for (const name of readdirSync(path, { encoding: "buffer" }).sort((a, b) => Buffer.compare(a, b)))
      visit(Buffer.concat([path, Buffer.from("/"), name]));
  };
  visit(Buffer.from(folder));
  return lines;
}
