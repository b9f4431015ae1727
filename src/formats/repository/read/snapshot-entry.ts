import { createHash } from "node:crypto";
import { HoldfastError } from "../../../base/errors.ts";
import type { Entry, Xattr } from "../../../sources/source.ts";
import type { SnapshotEntry } from "../../format.ts";
import { ENTRY_FLAG, TREE_ID_BYTES, type TreeEntry } from "../objects/tree-node.ts";
import { contentOf, type FileContent } from "./tree-reader.ts";

/** The `ref` of this format's entries. Every array owns its buffer, so that a clone carries nothing else along. */
type Ref = { readonly tree: Uint8Array } | { readonly ids: Uint8Array; readonly depth: number } | undefined;

const ROOT_PATH = Uint8Array.of(0x2f);

/** The directory `/` of a snapshot. Trees keep no metadata of it: it comes as 0755, root's, of 1970. */
export function rootEntry(root: string): SnapshotEntry {
  const meta = {
    mode: 0o755,
    uid: 0,
    gid: 0,
    user: "",
    group: "",
    mtimeNs: 0n,
    ctimeNs: 0n,
    inode: 0n,
    links: 1,
    device: 0n,
    xattrs: [],
  };
  return {
    path: ROOT_PATH,
    entry: { name: new Uint8Array(), type: "directory", meta, size: 0 },
    extents: undefined,
    changedWhileRead: false,
    ref: { tree: Uint8Array.from(Buffer.from(root, "hex")) } satisfies Ref,
    contentKey: root,
  };
}

/** An entry as everyone outside this format sees it. `parent` is the path of its directory. */
export function snapshotEntry(parent: Uint8Array, entry: TreeEntry): SnapshotEntry {
  const path = joinPath(parent, entry.name);
  const name = path.subarray(path.length - entry.name.length);
  const content = entry.type === "file" ? contentOf(entry) : undefined;
  const tree = entry.tree === undefined ? undefined : Uint8Array.from(entry.tree);
  const ref: Ref =
    tree !== undefined
      ? { tree }
      : content !== undefined
        ? { ids: Uint8Array.from(content.ids), depth: content.depth }
        : undefined;
  return {
    path,
    entry: publicEntry(name, entry),
    extents: content?.extents,
    changedWhileRead: (entry.flags & ENTRY_FLAG.changedWhileRead) !== 0,
    ref,
    contentKey: contentKey(entry, content),
  };
}

/** The tree of a directory's entry. Throws `unsupported` for what is no directory of this format. */
export function treeOf(entry: SnapshotEntry): Uint8Array {
  const ref = entry.ref as Ref;
  if (ref !== undefined && "tree" in ref) return ref.tree;
  throw new HoldfastError("unsupported", "Only a directory can be listed");
}

/** The content of a file's entry. Throws `unsupported` for what is no file of this format. */
export function fileContentOf(entry: SnapshotEntry): FileContent {
  const ref = entry.ref as Ref;
  if (ref !== undefined && "ids" in ref)
    return { size: entry.entry.size, depth: ref.depth, ids: ref.ids, extents: entry.extents };
  throw new HoldfastError("unsupported", "Only a file can be read");
}

function publicEntry(name: Uint8Array, entry: TreeEntry): Entry {
  const meta = entry.meta.xattrs.length === 0 ? entry.meta : { ...entry.meta, xattrs: entry.meta.xattrs.map(ownXattr) };
  const { type, size } = entry;
  switch (type) {
    case "symlink":
      return { name, type, meta, size, linkTarget: Uint8Array.from(entry.linkTarget ?? []) };
    case "chardev":
    case "blockdev":
      return { name, type, meta, size, rdev: entry.rdev ?? 0n };
    case "directory":
      return (entry.flags & ENTRY_FLAG.unreadable) === 0
        ? { name, type, meta, size }
        : { name, type, meta, size, unreadable: true };
    default:
      return { name, type, meta, size };
  }
}

function ownXattr({ name, value }: Xattr): Xattr {
  return { name: Uint8Array.from(name), value: Uint8Array.from(value) };
}

function contentKey(entry: TreeEntry, content: FileContent | undefined): string {
  if (content !== undefined) return fileKey(content);
  if (entry.tree !== undefined) return hex(entry.tree);
  if (entry.linkTarget !== undefined) return `symlink:${hex(entry.linkTarget)}`;
  return entry.rdev === undefined ? entry.type : `${entry.type}:${entry.rdev}`;
}

function fileKey({ size, depth, ids, extents }: FileContent): string {
  if (extents === undefined && ids.length <= TREE_ID_BYTES) return `${size}:${hex(ids)}`;
  const hash = createHash("sha256").update(`${depth}:`).update(ids);
  for (const { offset, length } of extents ?? []) hash.update(`,${offset}+${length}`);
  return `${size}:${extents === undefined ? "" : "sparse:"}${hash.digest("hex")}`;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

function joinPath(parent: Uint8Array, name: Uint8Array): Uint8Array {
  const start = parent.length === 1 ? 0 : parent.length;
  const path = new Uint8Array(start + 1 + name.length);
  if (start > 0) path.set(parent);
  path[start] = 0x2f;
  path.set(name, start + 1);
  return path;
}
