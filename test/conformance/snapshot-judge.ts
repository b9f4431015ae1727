/** The judge of every format: compares snapshots with the folder they were taken of, through nothing but the Store. */
import { createHash } from "node:crypto";
import { closeSync, constants, lstatSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { expect } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { pathText } from "../../src/base/path-text.ts";
import type { ContentDecoder, SnapshotEntry, SnapshotInfo, Store } from "../../src/formats/format.ts";
import { readXattrs } from "../../src/posix/xattr.ts";
import type { EntryType } from "../../src/sources/source.ts";

export async function everything(batches: AsyncIterable<readonly SnapshotEntry[]>): Promise<SnapshotEntry[]> {
  const entries: SnapshotEntry[] = [];
  for await (const batch of batches) entries.push(...batch);
  return entries;
}

export async function bytesOf(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(Uint8Array.from(piece));
  return Buffer.concat(all);
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** What the file system says of one entry, with the content's hash; looked at with Node's own calls. */
interface Truth {
  readonly type: EntryType;
  readonly size: number;
  readonly text: string;
  readonly sha256: string | undefined;
}

const OPEN_FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** Everything in a folder by its latin1 path; folders are held open, so paths may be of any length. */
function truthOf(folder: string): Map<string, Truth> {
  const truth = new Map<string, Truth>();
  const visit = (fd: number, path: string): void => {
    for (const name of readdirSync(`/proc/self/fd/${fd}`, { encoding: "latin1" })) {
      const place = Buffer.from(`/proc/self/fd/${fd}/${name}`, "latin1");
      const one = truthAt(place);
      truth.set(`${path}/${name}`, one);
      if (one.type !== "directory") continue;
      const inner = openSync(place, OPEN_FOLDER);
      visit(inner, `${path}/${name}`);
      closeSync(inner);
    }
  };
  const top = openSync(folder, OPEN_FOLDER);
  visit(top, Buffer.from(folder).toString("latin1"));
  closeSync(top);
  return truth;
}

function truthAt(place: Buffer): Truth {
  const stat = lstatSync(place, { bigint: true });
  const type = typeOf(stat);
  const isFile = type === "file";
  const target = type === "symlink" ? readlinkSync(place, { encoding: "latin1" }) : "";
  const device = type === "chardev" || type === "blockdev" ? stat.rdev : 0n;
  const xattrs = readXattrs(place).map(({ name, value }) => `${hex(name)}=${hex(value)}`);
  return {
    type,
    size: isFile ? Number(stat.size) : 0,
    text: describeEntry(Number(stat.mode & 0o7777n), stat.uid, stat.gid, stat.mtimeNs, target, device, xattrs),
    sha256: isFile ? sha256(readFileSync(place)) : undefined,
  };
}

function describeEntry(
  mode: number,
  uid: bigint,
  gid: bigint,
  mtimeNs: bigint,
  target: string,
  device: bigint,
  xattrs: readonly string[],
): string {
  return `mode ${mode.toString(8)}, owner ${uid}:${gid}, mtime ${mtimeNs}, target ${target}, device ${device}, attributes ${xattrs.join(" ")}`;
}

function typeOf(stat: ReturnType<typeof lstatSync> & object): EntryType {
  if (stat.isFile()) return "file";
  if (stat.isDirectory()) return "directory";
  if (stat.isSymbolicLink()) return "symlink";
  if (stat.isFIFO()) return "fifo";
  if (stat.isSocket()) return "socket";
  return stat.isBlockDevice() ? "blockdev" : "chardev";
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

async function entriesBelow(store: Store, snapshot: SnapshotInfo, folder: string): Promise<Map<string, SnapshotEntry>> {
  const found = new Map<string, SnapshotEntry>();
  const top = await store.lookup(snapshot, Buffer.from(folder));
  if (top === undefined) throw new Error(`${folder} is not in the snapshot`);
  const waiting = [top];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    let last: Uint8Array | undefined;
    for (const child of await everything(store.list(directory))) {
      if (last !== undefined) expect(Buffer.compare(last, child.entry.name)).toBe(-1);
      last = child.entry.name;
      found.set(Buffer.from(child.path).toString("latin1"), child);
      if (child.entry.type === "directory") waiting.push(child);
    }
  }
  return found;
}

/** Compares a snapshot with the folder it was taken of: entries, metadata, and content by both ways of reading it. */
export async function expectTree(store: Store, snapshot: SnapshotInfo, folder: string): Promise<void> {
  const truth = truthOf(folder);
  const entries = await entriesBelow(store, snapshot, folder);
  expect([...entries.keys()].toSorted()).toEqual([...truth.keys()].toSorted());
  const files: SnapshotEntry[] = [];
  const differences: string[] = [];
  for (const [path, { entry }] of entries) {
    const { mode, uid, gid, mtimeNs, xattrs } = entry.meta;
    const target = entry.linkTarget === undefined ? "" : Buffer.from(entry.linkTarget).toString("latin1");
    const text = describeEntry(
      mode,
      BigInt(uid),
      BigInt(gid),
      mtimeNs,
      target,
      entry.rdev ?? 0n,
      xattrs.map(({ name, value }) => `${hex(name)}=${hex(value)}`),
    );
    const expected = truth.get(path) as Truth;
    if (entry.type !== expected.type || entry.size !== expected.size || text !== expected.text)
      differences.push(
        `${pathText(Buffer.from(path, "latin1"))} is a ${entry.type} of ${entry.size} bytes, ${text}; not a ${expected.type} of ${expected.size}, ${expected.text}`,
      );
    if (entry.type === "file") files.push(entries.get(path) as SnapshotEntry);
  }
  expect(differences).toEqual([]);
  for (const file of files) {
    const expected = truth.get(Buffer.from(file.path).toString("latin1")) as Truth;
    if (sha256(await bytesOf(store.read(file))) !== expected.sha256)
      differences.push(`${pathText(file.path)} is read with other content`);
  }
  const fed = await feed(store, files);
  for (const [i, file] of files.entries()) {
    const expected = truth.get(Buffer.from(file.path).toString("latin1")) as Truth;
    const content = fed[i] as Buffer | HoldfastError;
    if (content instanceof HoldfastError) differences.push(`${pathText(file.path)} is not fed: ${content.message}`);
    else if (sha256(content) !== expected.sha256) differences.push(`${pathText(file.path)} is fed with other content`);
  }
  expect(differences).toEqual([]);
}

/** On damaged objects: whatever can be read is what was stored. */
export async function expectNothingWrong(store: Store, snapshot: SnapshotInfo, folder: string, damage: string): Promise<void> {
  const truth = truthOf(folder);
  for (const [path, entry] of await entriesBelow(store, snapshot, folder)) {
    if (entry.entry.type !== "file") continue;
    const expected = truth.get(path)?.sha256;
    let content: Buffer;
    try {
      content = await bytesOf(store.read(entry));
    } catch (error) {
      expect(error).toBeInstanceOf(HoldfastError);
      continue;
    }
    expect(sha256(content), damage).toBe(expected);
    const [fed] = await feed(store, [entry]);
    if (Buffer.isBuffer(fed)) expect(sha256(fed), damage).toBe(expected);
  }
}

/** Reads files as the threads of a restore do: batches cloned across, decoded by the format's module, written by place. */
async function feed(store: Store, files: readonly SnapshotEntry[]): Promise<(Buffer | HoldfastError)[]> {
  const source = store.content(new AbortController().signal);
  const { createDecoder } = (await import(/* @vite-ignore */ source.decoderModule)) as {
    createDecoder: (setup: unknown) => ContentDecoder;
  };
  const decoder = createDecoder(structuredClone(source.decoderSetup));
  const contents: (Buffer | HoldfastError)[] = files.map(({ entry }) => Buffer.alloc(entry.size));
  const state = files.map(() => "waiting");
  for await (const batch of source.batches(files)) {
    for (const { file, first, last } of batch.files) {
      expect(state[file]).toBe(first ? "waiting" : "begun");
      state[file] = last ? "ended" : "begun";
    }
    for (const { file, error } of batch.failed) {
      contents[file] = HoldfastError.fromWire(error);
      state[file] = "failed";
    }
    const payload: unknown = structuredClone(batch.payload, { transfer: [...batch.transfer] });
    for (const piece of decoder.decode(payload)) {
      const content = contents[piece.file];
      if ("error" in piece) contents[piece.file] = piece.error;
      else if (Buffer.isBuffer(content)) {
        expect(piece.offset + piece.bytes.length).toBeLessThanOrEqual(content.length);
        content.set(piece.bytes, piece.offset);
      }
    }
  }
  expect(state.every((one) => one === "ended" || one === "failed")).toBe(true);
  return contents;
}
