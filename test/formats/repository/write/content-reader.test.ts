import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { nextCut } from "../../../../src/chunker/cut.ts";
import { profileByNumber } from "../../../../src/chunker/profile.ts";
import { systemRandom } from "../../../../src/codec/system-random.ts";
import { KeySet } from "../../../../src/formats/repository/keys/key-set.ts";
import { keyMaterial, newKeyring } from "../../../../src/formats/repository/keys/keyring.ts";
import { ContentReader, SEGMENT_BYTES, type CutBatch } from "../../../../src/formats/repository/write/content-reader.ts";
import {
  FILE_CHANGED,
  FILE_OK,
  FILE_PART,
  FILE_RACY,
  FILE_UNREADABLE,
  FILE_VANISHED,
  type FileBatch,
  type FileExtra,
} from "../../../../src/formats/repository/write/messages.ts";
import type * as readFile from "../../../../src/sources/files/read-file.ts";
import { temporaryTree, type TemporaryFolder } from "../../../support/tree-literal.ts";
import { noise } from "./fixture.ts";

/** Called each time a descriptor's metadata are looked at: right after its content was read, and once more if it is not as seen. */
let onStat: ((call: number) => void) | undefined;
let stats = 0;
vi.mock("../../../../src/sources/files/read-file.ts", async (original) => {
  const real = await original<typeof readFile>();
  return {
    ...real,
    statOf: (fd: number) => {
      onStat?.(++stats);
      return real.statOf(fd);
    },
    isAsSeen: (...args: Parameters<typeof readFile.isAsSeen>) => {
      onStat?.(++stats);
      return real.isAsSeen(...args);
    },
  };
});

const keyring = newKeyring({
  master: systemRandom.bytes(32),
  lineageSecret: Buffer.alloc(32, 7),
  created: "2026-01-01T00:00:00.000Z",
});
const keys = new KeySet(keyMaterial(systemRandom.bytes(16), systemRandom.bytes(32), keyring));
const FILES = 1;
const STREAM = 2;

let folder: TemporaryFolder;
beforeEach(() => {
  folder = temporaryTree();
  onStat = undefined;
  stats = 0;
});
afterEach(() => folder[Symbol.dispose]());

const at = (name: string): string => join(folder.path, name);
const never = (): number => Number.MAX_SAFE_INTEGER;

function batchOf(names: readonly string[], flags = 0): FileBatch {
  const seen = names.map((name) => statSync(at(name), { bigint: true, throwIfNoEntry: false }));
  const paths = names.map((name) => Buffer.from(at(name)));
  let end = 0;
  return {
    batch: 1,
    files: Uint32Array.from(names, (_, i) => i),
    paths: Uint8Array.from(Buffer.concat(paths)),
    pathEnds: Uint32Array.from(paths, (path) => (end += path.length)),
    sizes: Float64Array.from(seen, (stat) => Number(stat?.size ?? 0n)),
    mtimes: BigInt64Array.from(seen.map((stat) => stat?.mtimeNs ?? 0n)),
    ctimes: BigInt64Array.from(seen.map((stat) => stat?.ctimeNs ?? 0n)),
    inodes: BigUint64Array.from(seen.map((stat) => stat?.ino ?? 0n)),
    uids: Uint32Array.from(names, () => 0),
    flags: Uint8Array.from(names, () => flags),
  };
}

interface Read {
  readonly status: number;
  readonly content: Buffer;
  readonly lengths: number[];
  readonly extra: FileExtra | undefined;
}

/** What each file of a finished batch gave, with its bytes as they lie in the arena; ids are checked against them. */
function gather(cut: CutBatch): Read[] {
  const { results } = cut;
  let chunk = 0;
  return Array.from(results.files, (_, item) => {
    const parts: Buffer[] = [];
    for (let i = results.chunkCounts[item] as number; i > 0; i--, chunk++) {
      const offset = cut.offsets[chunk] as number;
      const bytes = Buffer.from(cut.arena.subarray(offset, offset + (cut.lengths[chunk] as number)));
      expect(Buffer.compare(keys.chunkId(1, bytes), results.ids.subarray(chunk * 32, chunk * 32 + 32))).toBe(0);
      parts.push(bytes);
    }
    const status = results.status[item] as number;
    return {
      status,
      content: Buffer.concat(parts),
      lengths: parts.map((part) => part.length),
      extra: results.extras.find((one) => one.item === item),
    };
  });
}

/** Reads one file, part by part where it is large, as different threads would. */
function readWhole(name: string, flags = 0, given = batchOf([name], flags)): Read & { readonly parts: number } {
  const readers = [new ContentReader(keys, FILES, never), new ContentReader(keys, FILES, never)];
  let batch = given;
  const all: Read[] = [];
  for (let part = 0; ; part++) {
    const reader = readers[part % 2] as ContentReader;
    const cut = reader.read(batch);
    all.push(gather(cut)[0] as Read);
    reader.release(cut);
    if (cut.next === undefined) break;
    batch = { ...batch, segment: structuredClone(cut.next) };
  }
  return {
    parts: all.length,
    status: all.reduce((bits, one) => bits | (one.status & ~15), (all.at(-1) as Read).status & 15),
    content: Buffer.concat(all.map((one) => one.content)),
    lengths: all.flatMap((one) => one.lengths),
    extra: all.reduce<FileExtra | undefined>(
      (merged, one) => (one.extra === undefined ? merged : { ...merged, ...one.extra }),
      undefined,
    ),
  };
}

/** Cuts of the whole content in a single pass. */
function referenceCuts(content: Buffer, profile: number): number[] {
  const lengths: number[] = [];
  for (let position = 0; position < content.length;) {
    const length = nextCut(keys.lineage.gear, profileByNumber(profile), content, position, content.length);
    lengths.push(length);
    position += length;
  }
  return lengths;
}

/** Compares without printing megabytes. */
function expectSame(actual: Buffer, expected: Buffer): void {
  expect(actual.length).toBe(expected.length);
  expect(actual.equals(expected)).toBe(true);
}

test("a file in parts is cut as in a single pass, whatever its size and content", () => {
  const M = 2 ** 20;
  // Zeros cut at the maximum each time, noise near the target; the sizes lie around the borders of parts.
  const piece = fc.record({ sizeBytes: fc.oneof(fc.nat(6 * M), fc.constantFrom(M, 4 * M, 8 * M)), seed: fc.nat(50) });
  const edge = fc.constantFrom(
    SEGMENT_BYTES,
    SEGMENT_BYTES + 1,
    SEGMENT_BYTES + 4 * M,
    SEGMENT_BYTES + 4 * M + 1,
    2 * SEGMENT_BYTES + 1,
  );
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 5 }), fc.option(edge), (pieces, size) => {
      let content = Buffer.concat(
        pieces.map(({ sizeBytes, seed }) => (seed < 10 ? Buffer.alloc(sizeBytes, seed) : noise(sizeBytes, seed))),
      );
      if (size !== null) content = Buffer.concat([content, noise(size, 99)]).subarray(0, size);
      writeFileSync(at("file"), content);
      const read = readWhole("file");
      expectSame(read.content, content);
      expect(read.lengths).toEqual(referenceCuts(content, FILES));
      expect(read.status).toBe(FILE_OK);
      expect(read.extra).toBeUndefined();
    }),
    { numRuns: 12 },
  );
});

test("a stream in pieces of any size is cut as in a single pass", () => {
  fc.assert(
    fc.property(
      fc.nat(20 * 2 ** 20),
      fc.array(fc.integer({ min: 1, max: 2 ** 20 }), { minLength: 1, maxLength: 8 }),
      fc.nat(5),
      (sizeBytes, pieces, seed) => {
        // Tiny pieces make a short stream: some thousand feeds show as much as millions.
        const length = Math.min(sizeBytes, Math.ceil(2000 / pieces.length) * pieces.reduce((sum, bytes) => sum + bytes, 0));
        const content = seed === 0 ? Buffer.alloc(length) : noise(length, seed);
        const reader = new ContentReader(keys, STREAM, never);
        const all: Read[] = [];
        let parts = 0;
        const feed = (bytes: Uint8Array | undefined): void => {
          const cut = reader.readStream(parts, 5, 0, bytes);
          expect(cut.results.segment).toBe(parts++);
          all.push(gather(cut)[0] as Read);
          if (cut.arena.length > 0) reader.release(cut);
        };
        for (let position = 0, i = 0; position < content.length; i++) {
          const end = position + (pieces[i % pieces.length] as number);
          feed(content.subarray(position, end));
          position = end;
        }
        feed(undefined);
        expectSame(Buffer.concat(all.map((one) => one.content)), content);
        expect(all.flatMap((one) => one.lengths)).toEqual(referenceCuts(content, STREAM));
        expect(all.map((one) => one.status)).toEqual([...Array.from({ length: parts - 1 }, () => FILE_PART), FILE_OK]);
      },
    ),
    { numRuns: 12 },
  );
});

test("small files of a batch, with one that vanished and one that became something else", () => {
  writeFileSync(at("a"), "first");
  writeFileSync(at("b"), "");
  writeFileSync(at("c"), "gone");
  writeFileSync(at("d"), "replaced");
  writeFileSync(at("e"), noise(500_000));
  const batch = batchOf(["a", "b", "c", "d", "e"]);
  rmSync(at("c"));
  rmSync(at("d"));
  using other = temporaryTree();
  renameSync(other.path, at("d"));
  const reads = gather(new ContentReader(keys, FILES, never).read(batch));
  expect(reads.map(({ status }) => status)).toEqual([FILE_OK, FILE_OK, FILE_VANISHED, FILE_UNREADABLE, FILE_OK]);
  expect(reads[0]?.content.toString()).toBe("first");
  expect(reads[1]?.lengths).toEqual([]);
  expect(reads[3]?.extra?.problem).toMatchObject({ reason: "source_changed" });
  expectSame(reads[4]?.content as Buffer, noise(500_000));
});

test("an entry is racy when a change could hide in its time stamp", () => {
  writeFileSync(at("a"), "a");
  const { ctimeMs } = statSync(at("a"));
  for (const [age, racy] of [
    [0, FILE_RACY],
    [1999, FILE_RACY],
    [2002, 0],
    [1e6, 0],
    [-1e6, FILE_RACY],
  ] as const)
    expect(gather(new ContentReader(keys, FILES, () => Math.floor(ctimeMs) + age).read(batchOf(["a"])))[0]?.status).toBe(
      FILE_OK | racy,
    );
});

test("a file that changed since the walk is read as it is now, and is no changed one", () => {
  writeFileSync(at("a"), "before");
  const batch = batchOf(["a"]);
  writeFileSync(at("a"), "afterwards");
  const [read] = gather(new ContentReader(keys, FILES, never).read(batch));
  expect(read?.content.toString()).toBe("afterwards");
  expect(read?.status).toBe(FILE_OK);
  expect(read?.extra?.stat?.size).toBe(10);
});

test("a file that changes while it is read is read once more; twice, and it is marked", () => {
  writeFileSync(at("a"), "1111");
  onStat = (call) => {
    if (call === 1) writeFileSync(at("a"), "222222");
  };
  let [read] = gather(new ContentReader(keys, FILES, never).read(batchOf(["a"])));
  expect(read?.content.toString()).toBe("222222");
  expect(read?.status).toBe(FILE_OK);
  expect(stats).toBe(3);

  onStat = (call) => writeFileSync(at("a"), "x".repeat(call * 3));
  const batch = batchOf(["a"]);
  stats = 0;
  [read] = gather(new ContentReader(keys, FILES, never).read(batch));
  expect(read?.status).toBe(FILE_OK | FILE_CHANGED);
  // Its size is what was read of it, not what it has become.
  expect(read?.extra?.stat?.size).toBe(read?.content.length);
  expect(stats).toBe(3);
});

test("what has become a FIFO or a folder since the walk is not read, and its neighbours are", () => {
  for (const name of ["a", "b", "c"]) writeFileSync(at(name), name.repeat(1000));
  const batch = batchOf(["a", "b", "c"]);
  rmSync(at("a"));
  execFileSync("mkfifo", [at("a")]);
  rmSync(at("b"));
  mkdirSync(at("b"));
  const reads = gather(new ContentReader(keys, FILES, never).read(batch));
  expect(reads.map(({ status }) => status)).toEqual([FILE_UNREADABLE, FILE_UNREADABLE, FILE_OK]);
  for (const { extra } of reads.slice(0, 2)) expect(extra?.problem?.message).toMatch(/is no regular file any more$/);
  expect(reads[2]?.content.toString()).toBe("c".repeat(1000));
});

test("a file that shrinks while it is read keeps what there was", () => {
  writeFileSync(at("a"), noise(100_000));
  const batch = batchOf(["a"]);
  let size = 100_000;
  onStat = () => truncateSync(at("a"), (size -= 30_000));
  const [read] = gather(new ContentReader(keys, FILES, never).read(batch));
  expect(read?.status).toBe(FILE_OK | FILE_CHANGED);
  expect(read?.extra?.stat?.size).toBe(read?.content.length);
  expect(
    noise(100_000)
      .subarray(0, read?.content.length)
      .equals(read?.content as Buffer),
  ).toBe(true);
});

test("one file that grows beyond all bounds takes nothing from its neighbours", () => {
  writeFileSync(at("a"), "small");
  writeFileSync(at("b"), noise(400_000, 2));
  writeFileSync(at("c"), noise(400_000, 3));
  const batch = batchOf(["a", "b", "c"]);
  onStat = (call) => {
    if (call === 1) writeFileSync(at("a"), noise(2 * SEGMENT_BYTES - 600_000, 4));
  };
  const reads = gather(new ContentReader(keys, FILES, never).read(batch));
  expect(reads.map(({ status }) => status)).toEqual([FILE_OK | FILE_CHANGED, FILE_OK, FILE_OK]);
  expectSame(reads[1]?.content as Buffer, noise(400_000, 2));
  expectSame(reads[2]?.content as Buffer, noise(400_000, 3));
});

test("a large file that grows, shrinks, is replaced or vanishes between its parts is marked, or is gone", () => {
  const content = noise(3 * SEGMENT_BYTES, 5);
  const during = (change: () => void): Read & { readonly parts: number } => {
    writeFileSync(at("large"), content);
    stats = 0;
    const batch = batchOf(["large"]);
    // Two looks a part: before and after it is read.
    onStat = (call) => {
      if (call === 3) change();
    };
    try {
      return readWhole("large", 0, batch);
    } finally {
      onStat = undefined;
    }
  };
  const grown = during(() => appendFileSync(at("large"), "more"));
  expect([grown.status, grown.content.length]).toEqual([FILE_CHANGED, content.length]);
  const shrunk = during(() => truncateSync(at("large"), 2 * SEGMENT_BYTES));
  expect([shrunk.status, shrunk.content.length]).toEqual([FILE_CHANGED, 2 * SEGMENT_BYTES]);
  expect(shrunk.extra?.stat?.size).toBe(2 * SEGMENT_BYTES);
  const replaced = during(() => {
    writeFileSync(at("other"), noise(3 * SEGMENT_BYTES, 6));
    renameSync(at("other"), at("large"));
  });
  expect(replaced.status & FILE_CHANGED).toBe(FILE_CHANGED);
  expect(during(() => rmSync(at("large"))).status & 15).toBe(FILE_VANISHED);
});

function sparseFile(name: string, sizeBytes: number, data: readonly (readonly [number, Buffer])[]): void {
  const fd = openSync(at(name), "w");
  for (const [offset, bytes] of data) writeSync(fd, bytes, 0, bytes.length, offset);
  ftruncateSync(fd, sizeBytes);
  closeSync(fd);
}

test("holes are neither read nor stored, and the cuts are those of the data joined", () => {
  const M = 2 ** 20;
  sparseFile("small", 5 * M, [
    [M, noise(8192, 1)],
    [3 * M, noise(4096, 2)],
  ]);
  const small = readWhole("small", 1);
  expect(small.extra?.extents).toEqual([
    { offset: M, length: 8192 },
    { offset: 3 * M, length: 4096 },
  ]);
  expectSame(small.content, Buffer.concat([noise(8192, 1), noise(4096, 2)]));

  sparseFile("large", 2 ** 40, [
    [0, noise(10 * M, 3)],
    [2 ** 39, noise(9 * M, 4)],
  ]);
  const large = readWhole("large", 1);
  const joined = Buffer.concat([noise(10 * M, 3), noise(9 * M, 4)]);
  expectSame(large.content, joined);
  expect(large.lengths).toEqual(referenceCuts(joined, FILES));
  expect(large.extra?.extents).toEqual([
    { offset: 0, length: 10 * M },
    { offset: 2 ** 39, length: 9 * M },
  ]);
  expect([large.status, large.parts]).toEqual([FILE_OK, 3]);

  for (const size of [5 * M, 2 ** 40]) {
    sparseFile("hole", size, []);
    const hole = readWhole("hole", 1);
    expect([hole.content.length, hole.extra?.extents, hole.status]).toEqual([0, [], FILE_OK]);
  }
});
