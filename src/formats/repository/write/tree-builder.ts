// Longer than other files because it is one state machine: every step works on the same pending files, folders and
// counters, and parts of it would only hand that state to each other.

import { ByteWriter } from "../../../codec/binary.ts";
import { HoldfastError } from "../../../base/errors.ts";
import { metaOf } from "../../../sources/files/entry.ts";
import type { Entry, Extent, WalkEvent } from "../../../sources/source.ts";
import type { KeySet } from "../keys/key-set.ts";
import {
  buildChunkList,
  encodeEntry,
  encodeFileHead,
  ENTRY_FLAG,
  TreeSplitter,
  type StoredEntry,
  type TreeEntry,
} from "../objects/tree-node.ts";
import { SEGMENT_BYTES } from "./content-reader.ts";
import type { FrameBuilder } from "./frame-builder.ts";
import { NO_PROFILE } from "../../../chunker/profile.ts";
import type { BaselineFolder, BaselineTrees } from "./baseline-trees.ts";
import {
  FILE_CHANGED,
  FILE_PART,
  FILE_RACY,
  FILE_UNREADABLE,
  FILE_VANISHED,
  type FileBatch,
  type FileExtra,
  type FileResults,
  type TreeCounts,
} from "./messages.ts";

/** Content bytes after which a batch of files is handed to a CPU thread: a frame's, so that a batch of new files becomes one as it lies. */
const BATCH_BYTES = 2 * 2 ** 20;
const BATCH_FILES = 512;
/** Unchanged files asked about in one message. */
const CHECK_FILES = 256;
/** Tree chunks whose claims are asked in one message. */
const CLAIM_BYTES = 2 ** 20;
const CLAIM_COUNT = 512;

/** A directory being built. */
interface Node {
  readonly parent: Node | undefined;
  readonly slot: number;
  readonly entry: Entry;
  readonly path: Buffer;
  /** Entries in order, encoded already where they equal the baseline's; undefined: not known yet. */
  entries: (TreeEntry | StoredEntry | typeof NOTHING | undefined)[];
  /** The first entry that is not in `splitter` yet: what is known goes there at once and is forgotten here. */
  next: number;
  readonly splitter: TreeSplitter;
  pending: number;
  left: boolean;
  readonly baseline: BaselineFolder | undefined;
}

/** A file whose chunks are not known yet. */
interface PendingFile {
  readonly node: Node;
  readonly slot: number;
  readonly entry: Entry;
  readonly attempt: number;
  /** Parts of a large file that came so far, by number, and how many. */
  parts: (Uint8Array | undefined)[] | undefined;
  received: number;
  expectedParts: number | undefined;
  bytes: number;
  changed: boolean;
  racy: boolean;
  extra: FileExtra | undefined;
}

/** A file with several names: read for the first one, and the others take its chunks. */
interface LinkedFile {
  /** Names not met yet; forgotten when there are none. */
  left: number;
  entry: TreeEntry | undefined;
  /** Names that were met while the first one is being read. */
  waiting: PendingFile[];
}

/** A file that equals the baseline's, as far as a look tells: to be kept when all of its chunks are usable. */
interface Unchanged {
  readonly file: PendingFile;
  /** The baseline's bytes of it, or what they say where something that is not content has changed. */
  readonly base: StoredEntry | TreeEntry;
  readonly dataIds: Uint8Array;
  readonly listIds: Uint8Array;
}

/** What the builder asks of the thread around it. */
export interface TreeBuilderPort {
  files(batch: FileBatch): void;
  stream(file: number, once: number, uid: number): void;
  claims(batch: number, ids: Uint8Array<ArrayBuffer>, lengths: Uint32Array<ArrayBuffer>): void;
  check(check: number, ids: Uint8Array<ArrayBuffer>, counts: Uint32Array<ArrayBuffer>, listIds: Uint8Array<ArrayBuffer>): void;
  frames(): void;
  problem(path: Uint8Array, reason: string, message: string): void;
  ended(root: Uint8Array, counts: TreeCounts): void;
}

/** Columns of the batch being filled. */
interface OpenBatch {
  files: number[];
  paths: Uint8Array[];
  entries: Entry[];
  flags: number[];
  bytes: number;
}

/**
 * Turns a walk into canonical trees. Files that equal the baseline keep its chunks after a check that every chunk is
 * usable; all others go out in batches and come back with ids. A directory becomes tree chunks once all below it is known.
 * Memory: open directories, their entries, and a bounded number of batches.
 */
export class TreeBuilder {
  readonly #keys: KeySet;
  readonly #profile: number;
  readonly #frames: FrameBuilder;
  readonly #port: TreeBuilderPort;
  readonly #baseline: BaselineTrees | undefined;
  readonly #placeOf: (path: Uint8Array) => Uint8Array;
  readonly #writer = new ByteWriter();
  readonly #pending = new Map<number, PendingFile>();
  readonly #checks = new Map<number, readonly Unchanged[]>();
  readonly #claims = new Map<number, { chunks: Buffer[]; ids: Uint8Array[]; owners: number[] }>();
  /** Chunks of files with several links, by device and inode, so that they are read once. */
  readonly #links = new Map<string, LinkedFile>();
  #current: Node | undefined;
  #root: Uint8Array | undefined;
  #nextFile = 0;
  #nextBatch = 0;
  #nextCheck = 0;
  #nextClaim = 0;
  #batch: OpenBatch = emptyBatch();
  #checking: Unchanged[] = [];
  #claiming: { chunks: Buffer[]; ids: Uint8Array[]; owners: number[]; bytes: number } = {
    chunks: [],
    ids: [],
    owners: [],
    bytes: 0,
  };
  #ended = false;
  /** Batches that were sent and have not come back. */
  outstanding = 0;
  files = 0;
  directories = 0;
  others = 0;
  sourceBytes = 0;
  changedWhileRead = 0;
  vanished = 0;
  unchangedFiles = 0;

  /** `placeOf` says where the content of a path is opened. */
  constructor(
    keys: KeySet,
    profile: number,
    frames: FrameBuilder,
    port: TreeBuilderPort,
    baseline: BaselineTrees | undefined,
    placeOf: (path: Uint8Array) => Uint8Array,
  ) {
    this.#keys = keys;
    this.#profile = profile;
    this.#frames = frames;
    this.#port = port;
    this.#baseline = baseline;
    this.#placeOf = placeOf;
  }

  /** Takes the next step of the walk. Only entering a directory or meeting a large unchanged file may need to wait for the baseline. */
  take(event: WalkEvent): Promise<void> | undefined {
    switch (event.step) {
      case "enter":
        return this.#enter(event.entry);
      case "leaf":
        return this.#leaf(event.entry);
      case "leave":
        this.#leave();
        return undefined;
    }
  }

  /** The walk is over: sends what is still gathered. */
  end(): void {
    if (this.#current !== undefined || this.directories === 0)
      throw new HoldfastError("source_unreadable", "The source ended before all of its entries were told", {
        hint: "Nothing was committed. Run the backup again; if it happens each time, report it with the log of the run.",
      });
    this.#ended = true;
    this.#sendBatch();
    this.#sendCheck();
    this.#finishIfDone();
  }

  /** What is gathered goes out, so that waiting for answers cannot deadlock. */
  flushRequests(): void {
    this.#sendBatch();
    this.#sendCheck();
  }

  async #enter(entry: Entry): Promise<void> {
    const parent = this.#current;
    this.directories++;
    let baseline: BaselineFolder | undefined;
    if (this.#baseline !== undefined) {
      if (parent === undefined) baseline = await this.#baseline.root();
      else {
        const base = parent.baseline?.find(entry.name);
        if (base?.type === "directory" && base.tree !== undefined) baseline = await this.#baseline.folder(base.tree);
      }
    }
    const path = parent === undefined ? Buffer.alloc(0) : Buffer.concat([parent.path, SLASH, entry.name]);
    const slot = parent === undefined ? 0 : parent.entries.push(undefined) - 1;
    if (parent !== undefined) parent.pending++;
    const owner = entry.meta.uid;
    const splitter = new TreeSplitter((bytes) => this.#emit(bytes, owner, baseline?.idOf(bytes)));
    this.#current = { parent, slot, entry, path, entries: [], next: 0, splitter, pending: 0, left: false, baseline };
  }

  #leave(): void {
    const node = this.#current;
    if (node === undefined) throw new Error("left more directories than entered");
    node.left = true;
    this.#current = node.parent;
    this.#completeIfDone(node);
  }

  #leaf(entry: Entry): Promise<void> | undefined {
    const node = this.#current;
    if (node === undefined) throw new Error("an entry outside of any directory");
    if (entry.type !== "file") {
      this.others++;
      // Only stepped over: the file behind it may be as it was.
      node.baseline?.find(entry.name);
      node.entries.push(treeEntry(entry, 0));
      this.#advance(node);
      return undefined;
    }
    const slot = node.entries.push(undefined) - 1;
    node.pending++;
    const file: PendingFile = newPending(node, slot, entry, 0);
    if (entry.content === undefined) {
      this.#resolve(file, treeEntry(entry, this.#profile));
      return undefined;
    }
    if ("once" in entry.content) {
      this.flushRequests();
      const number = this.#nextFile++;
      this.#pending.set(number, file);
      this.outstanding++;
      this.#port.stream(number, entry.content.once, entry.meta.uid);
      return undefined;
    }
    const { baseline } = node;
    if (baseline !== undefined) {
      const kept = baseline.take(entry.name, this.#headOf(entry), entry.size === 0 ? NO_PROFILE : this.#profile, entry.size);
      if (kept !== undefined) {
        this.#addCheck(file, kept, kept.ids, NO_IDS);
        return undefined;
      }
      const base = baseline.find(entry.name);
      if (base !== undefined && this.#unchanged(entry, base)) return this.#askAbout(file, base);
    }
    this.#read(file);
    return undefined;
  }

  /** How the entry of an unchanged file without xattrs and holes begins; valid until the next call. */
  #headOf(entry: Entry): Uint8Array {
    encodeFileHead(this.#writer.reset(), entry.name, entry.meta, entry.size);
    return this.#writer.view();
  }

  #unchanged(entry: Entry, base: TreeEntry): boolean {
    return (
      base.type === "file" &&
      (base.flags & (ENTRY_FLAG.racy | ENTRY_FLAG.changedWhileRead)) === 0 &&
      // Without chunks there is no profile.
      (base.profile === this.#profile || base.ids.length === 0) &&
      base.size === entry.size &&
      base.meta.mtimeNs === entry.meta.mtimeNs &&
      base.meta.ctimeNs === entry.meta.ctimeNs &&
      base.meta.inode === entry.meta.inode
    );
  }

  #askAbout(file: PendingFile, base: TreeEntry): Promise<void> | undefined {
    if (base.depth === 0) {
      this.#addCheck(file, base, base.ids, NO_IDS);
      return undefined;
    }
    return this.#askAboutLarge(file, base);
  }

  async #askAboutLarge(file: PendingFile, base: TreeEntry): Promise<void> {
    const lists: Buffer[] = [];
    const dataIds = await (this.#baseline as BaselineTrees).chunkIds(base, lists);
    if (dataIds === undefined) this.#read(file);
    else this.#addCheck(file, base, dataIds, Buffer.concat(lists));
  }

  #addCheck(file: PendingFile, base: StoredEntry | TreeEntry, dataIds: Uint8Array, listIds: Uint8Array): void {
    this.#checking.push({ file, base, dataIds, listIds });
    if (this.#checking.length >= CHECK_FILES) this.#sendCheck();
  }

  #sendCheck(): void {
    const asked = this.#checking;
    if (asked.length === 0) return;
    this.#checking = [];
    const check = this.#nextCheck++;
    const ids = concat(asked.map((one) => one.dataIds));
    const counts = new Uint32Array(asked.length);
    for (const [i, { dataIds }] of asked.entries()) counts[i] = dataIds.length / 32;
    const listIds = concat(asked.map((one) => one.listIds));
    this.#checks.set(check, asked);
    this.outstanding++;
    this.#port.check(check, ids, counts, listIds);
  }

  /** The answer to a check: `missing[i]` is 1 when file i of it must be read after all. */
  checked(check: number, missing: Uint8Array): void {
    const asked = this.#checks.get(check);
    if (asked === undefined) throw new Error(`check ${check} was not asked`);
    this.#checks.delete(check);
    this.outstanding--;
    for (const [i, { file, base }] of asked.entries()) {
      if (missing[i] === 0) this.#keep(file, base);
      else this.#read(file);
    }
    this.#afterAnswer();
  }

  #keep(file: PendingFile, base: StoredEntry | TreeEntry): void {
    const { entry } = file;
    this.unchangedFiles++;
    this.#countFile(entry.size);
    this.#resolve(
      file,
      isStored(base)
        ? base
        : {
            ...base,
            name: entry.name,
            flags: base.flags & ~ENTRY_FLAG.racy,
            // xattrs come from the baseline: an unchanged ctime proves them unchanged.
            meta: { ...entry.meta, xattrs: base.meta.xattrs },
          },
    );
  }

  #read(file: PendingFile): void {
    const { entry } = file;
    if (file.attempt > 0 || entry.meta.links <= 1) {
      this.#enqueue(file);
      return;
    }
    const key = linkKey(entry);
    const linked = this.#links.get(key);
    if (linked === undefined) {
      this.#links.set(key, { left: entry.meta.links - 1, entry: undefined, waiting: [] });
      this.#enqueue(file);
    } else if (linked.entry === undefined) linked.waiting.push(file);
    else this.#takeLinked(file, linked, linked.entry);
  }

  /** Another name of a file that was read: its chunks, unless it changed in between. */
  #takeLinked(file: PendingFile, linked: LinkedFile, known: TreeEntry): void {
    const { entry } = file;
    if (--linked.left <= 0) this.#links.delete(linkKey(entry));
    if (known.meta.ctimeNs !== entry.meta.ctimeNs || known.size !== entry.size) {
      this.#enqueue(file);
      return;
    }
    this.#countFile(known.size);
    this.#resolve(file, { ...known, name: entry.name });
  }

  /** Tells the other names of a file what reading the first one gave; undefined when it gave nothing to share. */
  #settleLinked(entry: Entry, resolved: TreeEntry | undefined): void {
    const key = linkKey(entry);
    const linked = this.#links.get(key);
    if (linked === undefined || linked.entry !== undefined) return;
    const waiting = linked.waiting.splice(0);
    if (resolved === undefined) {
      // The next name is read as if it were the first.
      this.#links.delete(key);
      for (const file of waiting) this.#read(file);
      return;
    }
    linked.entry = resolved;
    for (const file of waiting) this.#takeLinked(file, linked, resolved);
  }

  #enqueue(file: PendingFile): void {
    const { entry } = file;
    const number = this.#nextFile++;
    this.#pending.set(number, file);
    const batch = this.#batch;
    const content = entry.content as { open: Uint8Array; sparse: boolean };
    const large = entry.size > BATCH_BYTES;
    if (large && batch.files.length > 0) this.#sendBatch();
    const target = this.#batch;
    target.files.push(number);
    target.paths.push(this.#placeOf(content.open));
    target.entries.push(entry);
    target.flags.push((content.sparse ? 1 : 0) | (file.attempt > 0 ? 2 : 0));
    target.bytes += entry.size;
    if (target.bytes >= BATCH_BYTES || target.files.length >= BATCH_FILES) this.#sendBatch();
  }

  #sendBatch(): void {
    const batch = this.#batch;
    if (batch.files.length === 0) return;
    this.#batch = emptyBatch();
    const ends = new Uint32Array(batch.files.length);
    let end = 0;
    batch.paths.forEach((path, i) => (ends[i] = end += path.length));
    this.outstanding++;
    this.#port.files({
      batch: this.#nextBatch++,
      files: Uint32Array.from(batch.files),
      paths: concat(batch.paths),
      pathEnds: ends,
      sizes: Float64Array.from(batch.entries, (entry) => entry.size),
      mtimes: BigInt64Array.from(batch.entries.map((entry) => entry.meta.mtimeNs)),
      ctimes: BigInt64Array.from(batch.entries.map((entry) => entry.meta.ctimeNs)),
      inodes: BigUint64Array.from(batch.entries.map((entry) => entry.meta.inode)),
      uids: Uint32Array.from(batch.entries, (entry) => entry.meta.uid),
      flags: Uint8Array.from(batch.flags),
    });
  }

  /** What a CPU thread found out about a batch, or about a part of a large file or stream. */
  results(results: FileResults): void {
    const extras = new Map(results.extras.map((extra) => [extra.item, extra]));
    let chunk = 0;
    let open = false;
    for (let item = 0; item < results.files.length; item++) {
      const number = results.files[item] as number;
      const file = this.#pending.get(number);
      const count = results.chunkCounts[item] as number;
      const ids = results.ids.subarray(chunk * 32, (chunk + count) * 32);
      chunk += count;
      if (file === undefined) {
        // An earlier part of a large file of which a later one has failed already.
        if (results.segment === undefined) throw new Error(`file ${number} is not pending`);
        open = true;
        continue;
      }
      const status = results.status[item] as number;
      const extra = extras.get(item);
      file.bytes += results.bytes[item] as number;
      file.changed ||= (status & FILE_CHANGED) !== 0;
      file.racy ||= (status & FILE_RACY) !== 0;
      if (extra !== undefined) file.extra = { ...file.extra, ...extra };
      if (results.segment === undefined) {
        this.#pending.delete(number);
        this.#settle(file, ids, status & 15);
        continue;
      }
      const parts = (file.parts ??= []);
      parts[results.segment] = Uint8Array.from(ids);
      file.received++;
      if ((status & 15) !== FILE_PART) file.expectedParts = results.segment + 1;
      const complete = file.received === file.expectedParts;
      const broken = (status & 15) === FILE_UNREADABLE || (status & 15) === FILE_VANISHED;
      if (complete || broken) {
        this.#pending.delete(number);
        // Of a file that ended in failure an earlier part may still be on its way.
        this.#settle(file, broken ? NO_IDS : concat(parts as Uint8Array[]), status & 15);
      } else open = true;
    }
    // A large file counts as one outstanding batch until its last part has come.
    if (!open) this.outstanding--;
    this.#afterAnswer();
  }

  #settle(file: PendingFile, ids: Uint8Array, status: number): void {
    const { entry, extra } = file;
    if (status === FILE_VANISHED) {
      this.vanished++;
      this.#resolve(file, undefined);
      this.#settleLinked(entry, undefined);
      return;
    }
    if (status === FILE_UNREADABLE) {
      this.#port.problem(
        entryPath(entry, file.node),
        extra?.problem?.reason ?? "EIO",
        extra?.problem?.message ?? "The file could not be read",
      );
      this.#resolve(file, undefined);
      this.#settleLinked(entry, undefined);
      return;
    }
    const large = file.parts !== undefined || entry.size > SEGMENT_BYTES;
    if (file.changed && file.attempt === 0 && large && entry.content !== undefined && "open" in entry.content) {
      // A large file changed under its parts: once more from the start. Small ones were read twice where they were read.
      this.#read({ ...newPending(file.node, file.slot, entry, 1) });
      return;
    }
    const stat = extra?.stat;
    const once = entry.content !== undefined && "once" in entry.content;
    const sparse = extra?.extents !== undefined;
    // What changed under the reading may have lost its end: the extents are those of the bytes that were really read.
    const extents = extra?.extents === undefined ? [] : file.changed ? trimmed(extra.extents, file.bytes) : extra.extents;
    const end = extents.at(-1);
    let size = once || (file.changed && !sparse) ? file.bytes : (stat?.size ?? entry.size);
    if (end !== undefined) size = Math.max(size, end.offset + end.length);
    if (file.changed) this.changedWhileRead++;
    this.#countFile(size);
    const content = this.#contentOf(ids, entry.meta.uid);
    const xattrs = extra?.xattrs ?? entry.meta.xattrs;
    const resolved: TreeEntry = {
      name: entry.name,
      type: entry.type,
      flags:
        (file.racy ? ENTRY_FLAG.racy : 0) |
        (file.changed ? ENTRY_FLAG.changedWhileRead : 0) |
        // A file that is one hole has no extents to tell it by.
        (sparse ? ENTRY_FLAG.sparse : 0),
      meta: stat !== undefined ? metaOf(stat, xattrs) : xattrs === entry.meta.xattrs ? entry.meta : { ...entry.meta, xattrs },
      size,
      profile: this.#profile,
      depth: content.depth,
      ids: content.ids,
      extents,
      linkTarget: undefined,
      rdev: undefined,
      tree: undefined,
    };
    this.#resolve(file, resolved);
    if (entry.meta.links > 1) this.#settleLinked(entry, file.changed ? undefined : resolved);
  }

  #contentOf(ids: Uint8Array, owner: number): { depth: number; ids: Uint8Array } {
    return buildChunkList(ids, (list) => this.#emit(list, owner));
  }

  #countFile(size: number): void {
    this.files++;
    this.sourceBytes += size;
  }

  #resolve(file: PendingFile, entry: TreeEntry | StoredEntry | undefined): void {
    file.node.entries[file.slot] = entry ?? NOTHING;
    file.node.pending--;
    this.#advance(file.node);
    this.#completeIfDone(file.node);
  }

  /** Encodes the entries that are known up to the first that is not: so a folder of any size takes little memory. */
  #advance(node: Node): void {
    const { entries, splitter } = node;
    for (; node.next < entries.length; node.next++) {
      const entry = entries[node.next];
      if (entry === undefined) return;
      entries[node.next] = undefined;
      if (entry === NOTHING) continue;
      if (isStored(entry)) splitter.add(entry.name, entry.encoded);
      else {
        encodeEntry(this.#writer.reset(), entry);
        splitter.add(entry.name, this.#writer.view());
      }
    }
  }

  #completeIfDone(start: Node): void {
    let node: Node | undefined = start;
    while (node !== undefined && node.left && node.pending === 0) {
      const root = node.splitter.finish();
      const parent: Node | undefined = node.parent;
      if (parent === undefined) {
        this.#root = root;
        this.#finishIfDone();
        return;
      }
      parent.entries[node.slot] = {
        ...treeEntry(node.entry, 0),
        flags: node.entry.unreadable === true ? ENTRY_FLAG.unreadable : 0,
        tree: root,
      };
      parent.pending--;
      node.entries = [];
      this.#advance(parent);
      node = parent;
    }
  }

  #emit(bytes: Buffer, owner: number, known?: Uint8Array): Uint8Array {
    const id = known ?? this.#keys.chunkId(2, bytes);
    const claiming = this.#claiming;
    claiming.chunks.push(bytes);
    claiming.ids.push(id);
    claiming.owners.push(owner);
    claiming.bytes += bytes.length;
    if (claiming.bytes >= CLAIM_BYTES || claiming.chunks.length >= CLAIM_COUNT) this.#sendClaims();
    return id;
  }

  #sendClaims(): void {
    const { chunks, ids, owners } = this.#claiming;
    if (chunks.length === 0) return;
    this.#claiming = { chunks: [], ids: [], owners: [], bytes: 0 };
    const batch = this.#nextClaim++;
    this.#claims.set(batch, { chunks, ids, owners });
    this.#port.claims(
      batch,
      concat(ids),
      Uint32Array.from(chunks, (chunk) => chunk.length),
    );
  }

  /** Which tree chunks must be stored, and where. */
  claimed(batch: number, masks: Uint8Array): void {
    const claim = this.#claims.get(batch);
    if (claim === undefined) throw new Error(`claims ${batch} were not asked`);
    this.#claims.delete(batch);
    claim.chunks.forEach((chunk, i) => {
      const mask = masks[i] as number;
      if (mask !== 0) this.#frames.add(chunk, claim.ids[i] as Uint8Array, mask, claim.owners[i] as number);
    });
    this.#port.frames();
    this.#finishIfDone();
  }

  #afterAnswer(): void {
    // Once the walk is over nothing fills the gathered batch up any more.
    if (this.#ended) this.flushRequests();
    this.#finishIfDone();
  }

  #finishIfDone(): void {
    if (!this.#ended || this.#root === undefined) return;
    this.#sendClaims();
    if (this.#claims.size > 0) return;
    this.#frames.flush();
    this.#port.frames();
    const root = this.#root;
    this.#root = undefined;
    this.#port.ended(root, {
      files: this.files,
      directories: this.directories,
      others: this.others,
      sourceBytes: this.sourceBytes,
      changedWhileRead: this.changedWhileRead,
      vanished: this.vanished,
      unchangedFiles: this.unchangedFiles,
    });
  }
}

/** An entry that vanished or could not be read. */
const NOTHING = Symbol("nothing");

function isStored(entry: TreeEntry | StoredEntry): entry is StoredEntry {
  return "encoded" in entry;
}

const SLASH = Buffer.from("/");
const NO_IDS = new Uint8Array(0);

function emptyBatch(): OpenBatch {
  return { files: [], paths: [], entries: [], flags: [], bytes: 0 };
}

function newPending(node: Node, slot: number, entry: Entry, attempt: number): PendingFile {
  return {
    node,
    slot,
    entry,
    attempt,
    parts: undefined,
    received: 0,
    expectedParts: undefined,
    bytes: 0,
    changed: false,
    racy: false,
    extra: undefined,
  };
}

/** The first `bytes` of the joined extents. */
function trimmed(extents: readonly Extent[], bytes: number): Extent[] {
  const kept: Extent[] = [];
  let left = bytes;
  for (const { offset, length } of extents) {
    if (left === 0) break;
    kept.push({ offset, length: Math.min(length, left) });
    left -= Math.min(length, left);
  }
  return kept;
}

function linkKey(entry: Entry): string {
  return `${entry.meta.device}:${entry.meta.inode}`;
}

function entryPath(entry: Entry, node: Node): Buffer {
  return Buffer.concat([node.path, SLASH, entry.name]);
}

function treeEntry(entry: Entry, profile: number): TreeEntry {
  return {
    name: entry.name,
    type: entry.type,
    flags: 0,
    meta: entry.meta,
    size: entry.size,
    profile,
    depth: 0,
    ids: NO_IDS,
    extents: [],
    linkTarget: entry.linkTarget,
    rdev: entry.rdev,
    tree: undefined,
  };
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
