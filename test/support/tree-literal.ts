/** Folders of a test, written down as a literal. */
import {
  chmodSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { errnoOf } from "../../src/base/errors.ts";

/**
 * A string or bytes is a file, an object a folder; `{ link }` a symlink, `{ hardLink }` a second name for a path from
 * the root of the literal that was written before, `{ file, mode, mtimeMs }` a file with metadata.
 */
export interface TreeLiteral {
  readonly [name: string]: TreeNode;
}

export type TreeNode = string | Uint8Array | LinkNode | HardLinkNode | FileNode | TreeLiteral;
/** Marked by symbols, so that no file name can be mistaken for one. */
export interface LinkNode {
  readonly [LINK]: string;
}
export interface HardLinkNode {
  readonly [HARD_LINK]: string;
}
export interface FileNode {
  readonly [FILE]: string | Uint8Array;
  readonly mode?: number;
  readonly mtimeMs?: number;
}

const LINK = Symbol("symlink");
const HARD_LINK = Symbol("hard link");
const FILE = Symbol("file");

export const symlink = (target: string): LinkNode => ({ [LINK]: target });
export const hardLink = (path: string): HardLinkNode => ({ [HARD_LINK]: path });
export const file = (
  content: string | Uint8Array,
  meta: { readonly mode?: number; readonly mtimeMs?: number } = {},
): FileNode => ({
  [FILE]: content,
  ...meta,
});

/** Makes the literal's entries in `root`, which is created when missing. */
export function writeTree(root: string, tree: TreeLiteral): void {
  mkdirSync(root, { recursive: true });
  writeInto(root, root, tree);
}

function writeInto(root: string, folder: string, tree: TreeLiteral): void {
  for (const [name, node] of Object.entries(tree)) {
    const path = join(folder, name);
    if (typeof node === "string" || node instanceof Uint8Array) writeFileSync(path, node);
    else if (LINK in node) symlinkSync((node as LinkNode)[LINK], path);
    else if (HARD_LINK in node) linkSync(join(root, (node as HardLinkNode)[HARD_LINK]), path);
    else if (FILE in node) writeWithMeta(path, node as FileNode);
    else {
      mkdirSync(path, { recursive: true });
      writeInto(root, path, node as TreeLiteral);
    }
  }
}

function writeWithMeta(path: string, node: FileNode): void {
  writeFileSync(path, node[FILE]);
  if (node.mode !== undefined) chmodSync(path, node.mode);
  if (node.mtimeMs !== undefined) lutimesSync(path, node.mtimeMs / 1000, node.mtimeMs / 1000);
}

/** A fresh folder in the system's temporary folder, removed with `using` or `[Symbol.dispose]()`. */
export interface TemporaryFolder extends Disposable {
  readonly path: string;
}

/** A temporary folder, holding `tree` when one is given. */
export function temporaryTree(tree: TreeLiteral = {}): TemporaryFolder {
  const path = mkdtempSync(join(tmpdir(), "holdfast-test-"));
  writeTree(path, tree);
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** How many descriptors of this process are open on `path` or below it. */
export function openDescriptorsBelow(path: string): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(path);
    } catch (error) {
      // A path over 4,096 bytes cannot be told, and only a test here has such. ENOENT: the descriptor that listed these.
      return errnoOf(error) === "ENAMETOOLONG";
    }
  }).length;
}
