/** A real repository with a snapshot of real folders, and the reading part of a Store over it. */
import { readdirSync, readFileSync, writeFileSync, chmodSync } from "node:fs";
import { join } from "node:path";
import { HoldfastError } from "../../../../src/base/errors.ts";
import { asRunId } from "../../../../src/base/ids.ts";
import { Secret } from "../../../../src/base/secret.ts";
import { systemRandom } from "../../../../src/codec/system-random.ts";
import type { SnapshotInfo, Store, WriteRequest } from "../../../../src/formats/format.ts";
import { SnapshotReader } from "../../../../src/formats/repository/read/snapshot-reader.ts";
import { Repository, type RepositoryOptions } from "../../../../src/formats/repository/repository.ts";
import { writeSnapshot } from "../../../../src/formats/repository/write/writer.ts";
import { createFilesSource } from "../../../../src/sources/files/files-source.ts";
import { createSystemClock } from "../../../../src/state/system-clock.ts";
import { accessBySpec } from "../../../../src/targets/access.ts";

/** Everything a reader needs of a Store; the rest is not asked for here. */
export type ReadingStore = Store & { readonly repository: Repository };

const unlocking = { kind: "password", secret: new Secret("correct horse") } as const;

async function optionsFor(folder: string): Promise<RepositoryOptions> {
  const access = await accessBySpec({ driver: "local", path: folder, create: true });
  return { name: "test", access, clock: createSystemClock(), random: systemRandom, host: "host", packBytes: 4 * 2 ** 20 };
}

/** A new repository in `folder`. */
export async function createRepository(folder: string): Promise<ReadingStore> {
  const repository = await Repository.create(
    await optionsFor(folder),
    unlocking,
    { function: "pbkdf2", hash: "sha512", iterations: 1000 },
    undefined,
  );
  return readingStore(repository);
}

/** The repository in `folder`, opened anew with its index. */
export async function openRepository(folder: string): Promise<ReadingStore> {
  const repository = await Repository.open(await optionsFor(folder), [unlocking]);
  await repository.loadIndex(() => undefined);
  return readingStore(repository);
}

/** Takes a snapshot of `paths`. */
export async function backUp(
  store: ReadingStore,
  paths: readonly string[],
  options: Partial<WriteRequest> & { readonly exclude?: readonly string[] } = {},
): Promise<SnapshotInfo> {
  const source = createFilesSource({ paths, exclude: options.exclude ?? [] });
  const signal = new AbortController().signal;
  await using open = await source.open({ signal });
  const [outcome] = await writeSnapshot([store.repository], {
    run: asRunId("00".repeat(16)),
    host: "host",
    job: "job",
    source: "source",
    sourceType: source.type,
    profile: source.profile,
    mode: "full",
    baseline: undefined,
    previous: undefined,
    stream: open.stream,
    finishSource: async () => ({ paths }),
    compression: { type: "zstd", level: 3 },
    grouping: "frame",
    description: "",
    tags: [],
    configDigest: undefined,
    gitCommit: undefined,
    toolVersion: "0.0.0",
    dryRun: false,
    onProgress: () => undefined,
    signal,
    ...options,
  });
  if (outcome?.snapshot === undefined) throw outcome?.error ?? new Error("no outcome");
  const { snapshot } = outcome;
  return {
    id: snapshot.uid,
    run: snapshot.run,
    host: snapshot.host,
    job: snapshot.job,
    source: snapshot.source,
    sourceType: snapshot.sourceType,
    timeMs: Date.parse(snapshot.time),
    endMs: Date.parse(snapshot.end),
    mode: snapshot.mode,
    baseline: undefined,
    previous: undefined,
    status: snapshot.status,
    sourceBytes: snapshot.bytes.source,
    newBytes: snapshot.bytes.new,
    storedBytes: snapshot.bytes.stored,
    files: snapshot.counts.files,
    directories: snapshot.counts.directories,
    others: snapshot.counts.others,
    unreadable: snapshot.unreadable,
    unreadableCount: snapshot.unreadableCount,
    changedWhileRead: snapshot.changedWhileRead,
    toolVersion: snapshot.tool,
    configDigest: undefined,
    gitCommit: undefined,
    description: "",
    tags: [],
    hold: false,
    facts: snapshot.facts,
    objectTimeMs: undefined,
    root: snapshot.root,
  };
}

function readingStore(repository: Repository): ReadingStore {
  const reader = new SnapshotReader(repository);
  const not = (): never => {
    throw new HoldfastError("unsupported", "not part of reading");
  };
  const reading: Pick<Store, "name" | "format" | "lookup" | "list" | "read" | "content" | typeof Symbol.asyncDispose> = {
    name: "test",
    format: "repository",
    lookup: (snapshot, path, signal) => reader.lookup(snapshot, path, signal),
    list: (directory, signal) => reader.list(directory, signal),
    read: (file, options) => reader.read(file, options),
    content: (signal) => reader.content(signal),
    [Symbol.asyncDispose]: () => repository[Symbol.asyncDispose](),
  };
  return new Proxy({ ...reading, repository } as unknown as ReadingStore, {
    get: (target, name) =>
      name in target ? (target as unknown as Record<string | symbol, unknown>)[name] : name === "then" ? undefined : not(),
  });
}

/** Files of the repository below one of its folders. */
export function objectFiles(folder: string, below: string): string[] {
  return readdirSync(join(folder, below), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** Flips one bit of a stored object. */
export function flipByte(path: string, offset: number): void {
  const bytes = readFileSync(path);
  bytes[offset] = (bytes[offset] as number) ^ 0x40;
  chmodSync(path, 0o600);
  writeFileSync(path, bytes);
}
