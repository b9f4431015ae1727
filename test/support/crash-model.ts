/**
 * What a power loss may leave of a folder, by what POSIX promises and no more: an fsync of a file makes the bytes written to it
 * before durable, an fsync of a folder its entries made and removed before. All else may have reached the disk or not, in any
 * order; of bytes, some of them. Only changes of one name keep their order.
 */
import { createHash } from "node:crypto";
import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import type { SeededNumbers } from "./changing-tree.ts";
import type { TracedCall } from "./traced-calls.ts";

/** Content that lies in a file already is linked, and never written again. */
interface Content {
  readonly bytes: Buffer;
  readonly existing: string | undefined;
}

/** Relative path to the content of a file, or to undefined for a folder; parents come before what they hold. Empty without the folder itself. */
export type DiskState = ReadonlyMap<string, Content | undefined>;

class FileNode {
  readonly original: Content | undefined;
  constructor(original?: Content) {
    this.original = original;
  }
}

class FolderNode {
  readonly original = new Map<string, AnyNode>();
}

type AnyNode = FileNode | FolderNode;

interface Times {
  readonly began: number;
  readonly returned: number;
}

/** A name of a folder begins or ceases to mean a node. */
interface EntryChange extends Times {
  readonly folder: FolderNode;
  readonly name: string;
  readonly node: AnyNode | undefined;
  /** A rename removes no name before it has made the other. */
  readonly after: EntryChange | undefined;
}

interface Written extends Times {
  readonly file: FileNode;
  readonly bytes: Buffer;
}

interface Synced extends Times {
  readonly synced: AnyNode;
}

type Change = EntryChange | Written | Synced;

const BLOCK_BYTES = 4096;
/** A file that is being written may be found in any of these shapes. */
const SHAPES = ["nothing", "everything", "beginning", "zeros", "blocks"] as const;

export class CrashModel {
  /** The parent of the folder, whose own entry may be lost, too. */
  readonly #root = new FolderNode();
  /** By call: most make one change, a rename two. */
  readonly #changes: readonly (readonly Change[])[];

  /** `before` is what was there, durable, before the calls, if anything; paths of the calls lie at or below `folder`, or are its parent. */
  constructor(before: string, folder: string, calls: readonly TracedCall[]) {
    if (existsSync(before)) this.#root.original.set(basename(folder), load(before));
    const view = new View(this.#root);
    this.#changes = calls.map((call) => view.apply(call, (path) => relative(dirname(folder), path)));
  }

  get calls(): number {
    return this.#changes.length;
  }

  /** The folder after the first `count` calls, when all of them have reached the disk: what a killed process leaves. */
  prefix(count: number): DiskState {
    const done = this.#changes.slice(0, count).flat();
    return this.#state(
      done.filter((change) => "name" in change),
      (file) => Buffer.concat(done.flatMap((change) => ("file" in change && change.file === file ? [change.bytes] : []))),
    );
  }

  /** What a power loss after the first `count` calls may leave; the numbers decide what had reached the disk. */
  powerLoss(count: number, numbers: SeededNumbers): DiskState {
    const done = this.#changes.slice(0, count).flat();
    const syncs = done.filter((change) => "synced" in change);
    const durable = (node: AnyNode, { returned }: Times): boolean =>
      syncs.some(({ synced, began }) => synced === node && began > returned);
    // So that some losses take almost all and others almost nothing.
    const kept = numbers.pick([0, 0.1, 0.5, 0.9, 1]);
    const persisted = new Set<EntryChange>();
    const lost = new Map<FolderNode, Set<string>>();
    const changes = done.filter((change) => "name" in change);
    for (const [at, change] of changes.entries()) {
      const { folder, name } = change;
      const isDurable = changes.some(
        (later, i) => i >= at && later.folder === folder && later.name === name && durable(folder, later),
      );
      const names = lost.get(folder) ?? new Set();
      lost.set(folder, names);
      const possible = !names.has(name) && (change.after === undefined || persisted.has(change.after));
      if (isDurable || (possible && numbers.unit() < kept)) persisted.add(change);
      else names.add(name);
    }
    const contents = new Map<FileNode, Buffer>();
    return this.#state([...persisted], (file) => {
      const known = contents.get(file) ?? contentAfterLoss(file, done, durable, numbers);
      contents.set(file, known);
      return known;
    });
  }

  #state(changes: readonly EntryChange[], contentOf: (file: FileNode) => Buffer): DiskState {
    const state = new Map<string, Content | undefined>();
    const visit = (folder: FolderNode, path: string | undefined): void => {
      const entries = new Map(folder.original);
      for (const change of changes) {
        if (change.folder !== folder) continue;
        if (change.node === undefined) entries.delete(change.name);
        else entries.set(change.name, change.node);
      }
      for (const [name, node] of entries) {
        const full = path === undefined ? "" : join(path, name);
        if (node instanceof FileNode) state.set(full, node.original ?? { bytes: contentOf(node), existing: undefined });
        else {
          state.set(full, undefined);
          visit(node, full);
        }
      }
    };
    visit(this.#root, undefined);
    return state;
  }
}

function contentAfterLoss(
  file: FileNode,
  done: readonly Change[],
  durable: (node: AnyNode, change: Times) => boolean,
  numbers: SeededNumbers,
): Buffer {
  const written = done.filter((change) => "file" in change).filter((change) => change.file === file);
  const safe = Buffer.concat(written.flatMap((change) => (durable(file, change) ? [change.bytes] : [])));
  const all = Buffer.concat(written.map(({ bytes }) => bytes));
  if (safe.length === all.length) return all;
  switch (numbers.pick(SHAPES)) {
    case "nothing":
      return safe;
    case "everything":
      return all;
    case "beginning":
      return all.subarray(0, safe.length + numbers.below(all.length - safe.length));
    case "zeros":
      return Buffer.concat([safe, Buffer.alloc(all.length - safe.length)]);
    case "blocks": {
      const some = Buffer.from(all);
      for (let at = safe.length; at < all.length; at += BLOCK_BYTES)
        if (numbers.below(2) === 0) some.fill(0, at, Math.min(at + BLOCK_BYTES, all.length));
      return some;
    }
  }
}

/** The folder as the calls see it, so that paths become nodes. */
class View {
  readonly #entries = new Map<FolderNode, Map<string, AnyNode>>();
  readonly #root: FolderNode;

  constructor(root: FolderNode) {
    this.#root = root;
  }

  apply(call: TracedCall, relativePath: (path: string) => string): Change[] {
    const times: Times = { began: call.began, returned: call.returned };
    const path = relativePath(call.path);
    const enter = (at: string, node: AnyNode | undefined, after?: EntryChange): EntryChange => {
      const folder = this.#nodeAt(dirname(at));
      if (!(folder instanceof FolderNode)) throw new Error(`${call.call} in ${at}, whose folder is not known`);
      const name = at.slice(at.lastIndexOf("/") + 1);
      if (node === undefined) this.#entriesOf(folder).delete(name);
      else this.#entriesOf(folder).set(name, node);
      return { folder, name, node, after, ...times };
    };
    switch (call.call) {
      case "create":
        return [enter(path, new FileNode())];
      case "mkdir":
        return [enter(path, new FolderNode())];
      case "unlink":
      case "rmdir":
        return [enter(path, undefined)];
      case "link":
        return [enter(path, this.#known(relativePath(call.from)))];
      case "rename": {
        const made = enter(path, this.#known(relativePath(call.from)));
        return [made, enter(relativePath(call.from), undefined, made)];
      }
      case "fsync":
        return [{ synced: this.#known(path), ...times }];
      case "write": {
        const file = this.#known(path);
        if (!(file instanceof FileNode) || file.original !== undefined)
          throw new Error(`A write into ${path}, which was there before`);
        return [{ file, bytes: call.bytes, ...times }];
      }
    }
  }

  #known(path: string): AnyNode {
    const node = this.#nodeAt(path);
    if (node === undefined) throw new Error(`${path} is not known`);
    return node;
  }

  #nodeAt(path: string): AnyNode | undefined {
    let node: AnyNode | undefined = this.#root;
    for (const name of path.split("/")) {
      if (name === "" || name === ".") continue;
      if (!(node instanceof FolderNode)) return undefined;
      node = this.#entriesOf(node).get(name);
    }
    return node;
  }

  #entriesOf(folder: FolderNode): Map<string, AnyNode> {
    const entries = this.#entries.get(folder) ?? new Map(folder.original);
    this.#entries.set(folder, entries);
    return entries;
  }
}

function load(path: string): FolderNode {
  const folder = new FolderNode();
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const full = join(path, entry.name);
    const node = entry.isDirectory() ? load(full) : new FileNode({ bytes: readFileSync(full), existing: full });
    folder.original.set(entry.name, node);
  }
  return folder;
}

/** The state of a folder as it is. */
export function stateOf(path: string): DiskState {
  const model = new CrashModel(path, path, []);
  return model.prefix(0);
}

/** Equal for states that no reader can tell apart. */
export function stateKey(state: DiskState): string {
  const lines = [...state].map(([path, content]) => `${path} ${content === undefined ? "folder" : sha256(content.bytes)}`);
  return sha256(Buffer.from(lines.toSorted().join("\n")));
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Makes the state at a missing folder. What was there before the calls is linked: nothing may be written into it. */
export function materialise(state: DiskState, folder: string): void {
  for (const [path, content] of state) {
    const full = join(folder, path);
    if (content === undefined) mkdirSync(full);
    else if (content.existing !== undefined) linkSync(content.existing, full);
    else writeFileSync(full, content.bytes, { mode: 0o600 });
  }
}
