/** Backups into repositories in memory, and what can be read back from them by someone who opens them anew. */
import { asRunId } from "../../../../src/base/ids.ts";
import { Secret } from "../../../../src/base/secret.ts";
import type { Clock } from "../../../../src/base/clock.ts";
import { systemRandom } from "../../../../src/codec/system-random.ts";
import type { SnapshotEntry, SnapshotInfo, StoreOptions, WriteRequest, WriteResult } from "../../../../src/formats/format.ts";
import { repositoryFormat, type RepositoryStore } from "../../../../src/formats/repository/repository-format.ts";
import type { Entry, EntryMeta, WalkEvent } from "../../../../src/sources/source.ts";
import { createFilesSource } from "../../../../src/sources/files/files-source.ts";
import { createSystemClock } from "../../../../src/state/system-clock.ts";
import { accessByPort, type TargetAccess } from "../../../../src/targets/access.ts";
import type { Target } from "../../../../src/targets/target.ts";
import { WrappedTarget, type TargetCall } from "../../../../src/targets/wrap/wrapped-target.ts";

export const PASSWORD = { kind: "password", secret: new Secret("correct horse") } as const;
export const QUICK_KDF = { function: "pbkdf2", hash: "sha512", iterations: 1000 } as const;

export interface StoreSettings {
  readonly name?: string;
  readonly packBytes?: number;
  readonly appendOnly?: boolean;
  readonly clock?: Clock;
  readonly kin?: readonly RepositoryStore[];
  /** How threads reach the target. Default: through ports. */
  readonly access?: TargetAccess;
}

function optionsOf(target: Target, settings: StoreSettings): StoreOptions {
  return {
    name: settings.name ?? "memory",
    access: settings.access ?? accessByPort(target),
    clock: settings.clock ?? createSystemClock(),
    random: systemRandom,
    host: "host",
    appendOnly: settings.appendOnly ?? false,
    packBytes: settings.packBytes,
  };
}

export async function createStore(target: Target, settings: StoreSettings = {}): Promise<RepositoryStore> {
  return (await repositoryFormat.create(optionsOf(target, settings), PASSWORD, QUICK_KDF, settings.kin ?? [])) as RepositoryStore;
}

/** The repository as another process would open it. */
export async function openStore(target: Target, settings: StoreSettings = {}): Promise<RepositoryStore> {
  return (await repositoryFormat.open(optionsOf(target, settings), [PASSWORD])) as RepositoryStore;
}

export function requestOf(overrides: Partial<WriteRequest> & Pick<WriteRequest, "stream">): WriteRequest {
  return {
    run: asRunId("00".repeat(16)),
    host: "host",
    job: "job",
    source: "source",
    sourceType: "files",
    profile: "files",
    mode: overrides.baseline === undefined ? "full" : "incremental",
    baseline: undefined,
    previous: undefined,
    finishSource: async () => ({}),
    compression: { type: "zstd", level: 1 },
    grouping: "frame",
    description: "",
    tags: [],
    configDigest: undefined,
    gitCommit: undefined,
    toolVersion: "0.0.0",
    dryRun: false,
    onProgress: () => undefined,
    signal: new AbortController().signal,
    ...overrides,
  };
}

/** Backs `paths` up to all `stores`; one result each. */
export async function backUpTo(
  stores: readonly RepositoryStore[],
  paths: readonly string[],
  overrides: Partial<WriteRequest> = {},
): Promise<WriteResult[]> {
  const source = createFilesSource({ paths });
  await using open = await source.open({ signal: new AbortController().signal });
  return await repositoryFormat.write(stores, requestOf({ stream: open.stream, ...overrides }));
}

/** The same for one store, which must get its snapshot. */
export async function backUp(
  store: RepositoryStore,
  paths: readonly string[],
  overrides: Partial<WriteRequest> = {},
): Promise<SnapshotInfo> {
  return snapshotOf((await backUpTo([store], paths, overrides))[0]);
}

export function snapshotOf(result: WriteResult | undefined): SnapshotInfo {
  if (result === undefined) throw new Error("no result");
  if ("error" in result) throw result.error;
  return result.snapshot;
}

/** Every entry of a snapshot by its path below `root`, read through a repository that is opened anew; files with their content. */
export async function readBack(
  target: Target,
  snapshot: SnapshotInfo,
  root: string,
): Promise<Map<string, { readonly entry: SnapshotEntry; readonly content: Buffer | undefined }>> {
  await using store = await openStore(target);
  const [listed] = (await store.snapshots()).filter(({ id }) => id === snapshot.id);
  if (listed === undefined) throw new Error("the snapshot is not listed");
  const found = new Map<string, { entry: SnapshotEntry; content: Buffer | undefined }>();
  const walk = async (directory: SnapshotEntry, below: string): Promise<void> => {
    for await (const batch of store.list(directory))
      for (const child of batch) {
        const path = `${below}${Buffer.from(child.entry.name).toString("latin1")}`;
        let content: Buffer | undefined;
        if (child.entry.type === "file") {
          const parts: Uint8Array[] = [];
          for await (const part of store.read(child)) parts.push(Uint8Array.from(part));
          content = Buffer.concat(parts);
        }
        found.set(path, { entry: child, content });
        if (child.entry.type === "directory") await walk(child, `${path}/`);
      }
  };
  const top = await store.lookup(listed, Buffer.from(root));
  if (top === undefined) throw new Error(`${root} is not in the snapshot`);
  await walk(top, "");
  return found;
}

/** Contents of all files below `root`, for comparing. */
export async function contentsOf(target: Target, snapshot: SnapshotInfo, root: string): Promise<Record<string, string>> {
  const contents: Record<string, string> = {};
  for (const [path, { content }] of await readBack(target, snapshot, root))
    if (content !== undefined) contents[path] = content.toString("latin1");
  return contents;
}

/** Passes every call on, keeps what was asked in order, and lets a test step in between. */
export class SpyTarget extends WrappedTarget {
  readonly log: string[] = [];
  /** Called before each request; what it throws is the request's failure. */
  before: ((call: TargetCall) => unknown) | undefined;
  /** Called after each request that succeeded. */
  after: ((call: TargetCall) => unknown) | undefined;

  protected async around<T>(call: TargetCall, perform: () => Promise<T>): Promise<T> {
    this.log.push(`${call.verb} ${call.name}`);
    await this.before?.(call);
    const result = await perform();
    await this.after?.(call);
    return result;
  }

  /** The log with names shortened to their folder, repeats of one line joined. */
  get steps(): string[] {
    const short = this.log.map((line) => line.replace(/\/.*$/, "/"));
    return short.filter((line, i) => line !== short[i - 1]);
  }
}

const NO_META: EntryMeta = {
  mode: 0o600,
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

/** An entry stream of files that can be read once, by name. `counts.opened` counts the openings, `counts.most` those at a time. */
export function onceStream(files: Readonly<Record<string, () => AsyncIterable<Uint8Array>>>): {
  readonly stream: WriteRequest["stream"];
  readonly counts: { opened: number; most: number };
} {
  const names = Object.keys(files).sort();
  const counts = { opened: 0, most: 0 };
  let now = 0;
  const entry = (name: string, type: Entry["type"], more: Partial<Entry> = {}): Entry => ({
    name: Buffer.from(name),
    type,
    meta: NO_META,
    size: 0,
    ...more,
  });
  async function* events(): AsyncGenerator<readonly WalkEvent[]> {
    yield [{ step: "enter", entry: entry("", "directory") }];
    for (const [once, name] of names.entries()) yield [{ step: "leaf", entry: entry(name, "file", { content: { once } }) }];
    yield [{ step: "leave" }];
  }
  async function* openOnce(n: number): AsyncGenerator<Uint8Array> {
    counts.opened++;
    counts.most = Math.max(counts.most, ++now);
    try {
      yield* (files[names[n] as string] as () => AsyncIterable<Uint8Array>)();
    } finally {
      now--;
    }
  }
  return { stream: { kind: "events", events: events(), openOnce }, counts };
}

/** Bytes that do not compress and that `seed` decides. */
export function noise(sizeBytes: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(sizeBytes);
  let state = (seed * 2_654_435_761) >>> 0 || 1;
  for (let i = 0; i < sizeBytes; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state & 0xff;
  }
  return bytes;
}
