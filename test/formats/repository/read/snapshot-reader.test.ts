import { closeSync, ftruncateSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ContentDecoder, SnapshotEntry, SnapshotInfo, Store } from "../../../../src/formats/format.ts";
import { createDecoder } from "../../../../src/formats/repository/read/content-decoder.ts";
import { writeOddities } from "../../../support/oddities.ts";
import { temporaryTree, type TemporaryFolder } from "../../../support/tree-literal.ts";
import { backUp, createRepository, flipByte, objectFiles, openRepository } from "./backed-up.ts";

let source: TemporaryFolder;
let target: TemporaryFolder;

beforeEach(() => {
  source = temporaryTree();
  target = temporaryTree();
});

afterEach(() => {
  source[Symbol.dispose]();
  target[Symbol.dispose]();
});

async function allFiles(store: Store, snapshot: SnapshotInfo): Promise<SnapshotEntry[]> {
  const files: SnapshotEntry[] = [];
  const walk = async (folder: SnapshotEntry): Promise<void> => {
    for await (const entries of store.list(folder))
      for (const entry of entries) {
        if (entry.entry.type === "directory") await walk(entry);
        else if (entry.entry.type === "file") files.push(entry);
      }
  };
  await walk((await store.lookup(snapshot, Buffer.from("/"))) as SnapshotEntry);
  return files;
}

async function digest(store: Store, file: SnapshotEntry): Promise<string> {
  const hash = createHash("sha256");
  for await (const bytes of store.read(file)) hash.update(bytes);
  return hash.digest("hex");
}

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

interface Delivery {
  readonly contents: Map<number, Buffer>;
  readonly errors: Map<number, string>;
  readonly batches: number;
  readonly frames: number[];
}

/** Runs the feed as a restore does, with payloads crossing structured clone, and puts the pieces together. */
async function deliver(store: Store, files: readonly SnapshotEntry[]): Promise<Delivery> {
  const feed = store.content(new AbortController().signal);
  expect(((await import(feed.decoderModule)) as object as { createDecoder: unknown }).createDecoder).toBe(createDecoder);
  const decoder: ContentDecoder = createDecoder(structuredClone(feed.decoderSetup));
  const contents = new Map<number, Buffer>();
  const errors = new Map<number, string>();
  const ended = new Set<number>();
  const frames: number[] = [];
  let batches = 0;
  for await (const batch of feed.batches(files)) {
    batches++;
    for (const { file, error } of batch.failed) errors.set(file, error.code);
    const payload = structuredClone(batch.payload, { transfer: [...batch.transfer] });
    frames.push(...(payload as { frames: { number: number }[] }).frames.map(({ number }) => number));
    for (const { file, first } of batch.files) {
      expect(ended.has(file)).toBe(false);
      expect(contents.has(file)).toBe(!first);
      if (first) contents.set(file, Buffer.alloc((files[file] as SnapshotEntry).entry.size));
    }
    for (const piece of decoder.decode(payload)) {
      if ("error" in piece) errors.set(piece.file, piece.error.code);
      else (contents.get(piece.file) as Buffer).set(piece.bytes, piece.offset);
    }
    for (const { file, last } of batch.files) if (last) ended.add(file);
  }
  for (const file of files.keys()) expect(ended.has(file) || errors.has(file), `file ${file} ended`).toBe(true);
  for (const file of errors.keys()) contents.delete(file);
  return { contents, errors, batches, frames };
}

describe("a snapshot of oddities", () => {
  it("is listed whole, in order, and found by path", async () => {
    writeOddities(source.path);
    await using store = await createRepository(target.path);
    const snapshot = await backUp(store, [source.path]);
    const names = await store.lookup(snapshot, Buffer.from(`${source.path}/names`));
    const listed: Buffer[] = [];
    for await (const entries of store.list(names as SnapshotEntry))
      listed.push(...entries.map((entry) => Buffer.from(entry.entry.name)));
    expect(listed).toEqual(listed.toSorted((a, b) => Buffer.compare(a, b)));
    expect(listed.length).toBeGreaterThan(10);
    for (const name of listed) {
      const path = Buffer.concat([Buffer.from(`${source.path}/names/`), name]);
      const found = (await store.lookup(snapshot, path)) as SnapshotEntry;
      expect(Buffer.from(found.path)).toEqual(path);
      expect(await digest(store, found)).toBe(sha256(readFileSync(path)));
    }
    expect((await store.lookup(snapshot, Buffer.from("/")))?.entry.type).toBe("directory");
    expect(await store.lookup(snapshot, Buffer.from("/nowhere"))).toBeUndefined();
    // Nothing of a frame hangs on what may cross threads.
    expect((structuredClone(names) as SnapshotEntry).path.buffer.byteLength).toBe((names as SnapshotEntry).path.length);
  });

  it("is delivered to threads byte for byte, holes left out, each frame once", async () => {
    writeOddities(source.path);
    truncateSync(join(source.path, "sparse/gibibyte"), 8 * 2 ** 20);
    await using store = await createRepository(target.path);
    const snapshot = await backUp(store, [source.path]);
    const files = await allFiles(store, snapshot);
    const { contents, errors, frames } = await deliver(store, files);
    expect(errors.size).toBe(0);
    for (const [i, file] of files.entries()) expect(sha256(contents.get(i) as Buffer)).toBe(await digest(store, file));
    expect(new Set(frames).size).toBe(frames.length);
  });
});

describe("large files", () => {
  it("are read through chunk lists, with holes, in parts", async () => {
    const big = randomBytes(11 * 2 ** 20 + 17);
    writeFileSync(join(source.path, "big"), big);
    const fd = openSync(join(source.path, "holes"), "w");
    for (const offset of [2 ** 20, 7 * 2 ** 20]) writeSync(fd, big.subarray(0, 5 * 2 ** 20 - 3), 0, undefined, offset);
    ftruncateSync(fd, 40 * 2 ** 20);
    closeSync(fd);
    await using store = await createRepository(target.path);
    const snapshot = await backUp(store, [source.path], { profile: "pages16" });
    const files = await allFiles(store, snapshot);
    const { contents, batches } = await deliver(store, files);
    expect(batches).toBeGreaterThan(2);
    for (const [i, file] of files.entries()) {
      const expected = readFileSync(Buffer.from(file.path));
      expect((contents.get(i) as Buffer).equals(expected)).toBe(true);
      expect(await digest(store, file)).toBe(sha256(expected));
    }
    expect(files[0]?.ref).toMatchObject({ depth: 1 });
    expect(files[1]?.extents?.length).toBeGreaterThan(1);
  });

  it("may be left in the middle", async () => {
    writeFileSync(join(source.path, "big"), randomBytes(24 * 2 ** 20));
    await using store = await createRepository(target.path);
    const snapshot = await backUp(store, [source.path]);
    const [file] = await allFiles(store, snapshot);
    for await (const bytes of store.read(file as SnapshotEntry)) {
      expect(bytes.length).toBeGreaterThan(0);
      break;
    }
    for await (const batch of store.content(new AbortController().signal).batches([file as SnapshotEntry])) {
      expect(batch.rawBytes).toBeGreaterThan(0);
      break;
    }
    const abort = new AbortController();
    abort.abort(new Error("enough"));
    await expect(
      store
        .content(abort.signal)
        .batches([file as SnapshotEntry])
        [Symbol.asyncIterator]()
        .next(),
    ).rejects.toThrow("enough");
  });
});

describe("contentKey", () => {
  it("is equal exactly for equal content", async () => {
    const text = Buffer.from("the same text");
    for (const name of ["a", "b"]) writeFileSync(join(source.path, name), text);
    writeFileSync(join(source.path, "c"), "another text.");
    await using store = await createRepository(target.path);
    const first = await backUp(store, [source.path]);
    const second = await backUp(store, [source.path]);
    const keys = (await allFiles(store, first)).map((file) => file.contentKey);
    expect(keys[0]).toBe(keys[1]);
    expect(keys[0]).not.toBe(keys[2]);
    expect((await allFiles(store, second)).map((file) => file.contentKey)).toEqual(keys);
  });
});

describe("damage", () => {
  /** Three files in frames of their own, then their pack, opened anew. */
  async function threeFrames(): Promise<{ packs: string[]; snapshot: SnapshotInfo }> {
    for (const name of ["a", "b", "c"]) writeFileSync(join(source.path, name), randomBytes(2 ** 20 + 7));
    await using store = await createRepository(target.path);
    const snapshot = await backUp(store, [source.path], { grouping: "file", profile: "pages16" });
    const trees = new Set([...store.repository.index.packs()].filter(({ kind }) => kind === 2).map(({ id }) => id as string));
    return { packs: objectFiles(target.path, "packs").filter((path) => !trees.has(path.slice(-64))), snapshot };
  }

  it("in a frame touches the files of that frame alone", async () => {
    const { packs, snapshot } = await threeFrames();
    flipByte(packs[0] as string, 1000);
    await using store = await openRepository(target.path);
    const files = await allFiles(store, snapshot);
    const { contents, errors } = await deliver(store, files);
    expect(errors.size).toBe(1);
    expect([...errors.values()]).toEqual(["object_damaged"]);
    expect(contents.size).toBe(2);
    const [bad] = errors.keys();
    await expect(digest(store, files[bad as number] as SnapshotEntry)).rejects.toMatchObject({ code: "object_damaged" });
  });

  it("that shortens or removes a pack leaves what is before it", async () => {
    const { packs, snapshot } = await threeFrames();
    for (const pack of packs) truncateSync(pack, 2 ** 20 + 500_000);
    const files = await (async () => {
      await using store = await openRepository(target.path);
      const found = await allFiles(store, snapshot);
      const { contents, errors } = await deliver(store, found);
      expect(errors.size + contents.size).toBe(3);
      expect(contents.size).toBeGreaterThanOrEqual(1);
      expect(errors.size).toBeGreaterThanOrEqual(1);
      return found;
    })();
    for (const pack of packs) rmSync(pack);
    await using store = await openRepository(target.path);
    const { errors } = await deliver(store, files);
    expect([...errors.values()]).toEqual(["target_missing_object", "target_missing_object", "target_missing_object"]);
  });

  it("of the index is a missing chunk", async () => {
    const { snapshot } = await threeFrames();
    await using store = await openRepository(target.path);
    const files = await allFiles(store, snapshot);
    const ref = (files[1] as SnapshotEntry).ref as { ids: Uint8Array };
    ref.ids[3] = (ref.ids[3] as number) ^ 1;
    const { errors } = await deliver(store, files);
    expect([...errors]).toEqual([[1, "chunk_missing"]]);
    await expect(digest(store, files[1] as SnapshotEntry)).rejects.toMatchObject({ code: "chunk_missing" });
  });

  it("of a length is noticed", async () => {
    const { snapshot } = await threeFrames();
    await using store = await openRepository(target.path);
    const [file] = await allFiles(store, snapshot);
    for (const size of [2 ** 20, 2 ** 20 + 8]) {
      const wrong = { ...(file as SnapshotEntry), entry: { ...(file as SnapshotEntry).entry, size } };
      expect([...(await deliver(store, [wrong])).errors.values()]).toEqual(["object_malformed"]);
      await expect(digest(store, wrong)).rejects.toMatchObject({ code: "object_malformed" });
    }
  });
});
