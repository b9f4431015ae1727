/** The configured paths of a files source as a tree: which directories lead to them, and where they begin. */
import { strict as assert } from "node:assert";

/** A directory on the way to a configured path, or such a path itself. Names are latin1, one character a byte. */
export interface SelectionNode {
  /** A configured path, not merely on the way to one. */
  selected: boolean;
  readonly children: Map<string, SelectionNode>;
}

/** Components of an absolute path, latin1; repeated slashes and `.` are dropped. A `..` is a programmer fault. */
export function splitPath(path: Uint8Array): string[] {
  assert(path[0] === 0x2f, "configured paths are absolute");
  const parts = Buffer.from(path)
    .toString("latin1")
    .split("/")
    .filter((part) => part !== "" && part !== ".");
  assert(!parts.includes(".."), "configured paths are resolved");
  return parts;
}

/** The paths without repetitions and needless slashes, sorted bytewise. */
export function normalisePaths(paths: readonly Uint8Array[]): Buffer[] {
  const unique = new Set(paths.map((path) => `/${splitPath(path).join("/")}`));
  return [...unique].map((path) => Buffer.from(path, "latin1")).sort((a, b) => Buffer.compare(a, b));
}

/** The tree of the given paths; the node returned is `/`. */
export function buildSelection(paths: readonly Uint8Array[]): SelectionNode {
  const root: SelectionNode = { selected: false, children: new Map() };
  for (const path of paths) {
    let node = root;
    for (const part of splitPath(path)) {
      let child = node.children.get(part);
      if (child === undefined) node.children.set(part, (child = { selected: false, children: new Map() }));
      node = child;
    }
    node.selected = true;
  }
  return root;
}

/** Names of the children in byte order. */
export function childNames(node: SelectionNode | undefined): string[] {
  return node === undefined ? [] : [...node.children.keys()].sort();
}
