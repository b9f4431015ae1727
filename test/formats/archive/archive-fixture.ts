/** Archives on a target, as tests make them. */
import { asRunId } from "../../../src/base/ids.ts";
import { systemRandom } from "../../../src/codec/system-random.ts";
import { archiveFormat } from "../../../src/formats/archive/archive-format.ts";
import type { SnapshotInfo, Store, StoreOptions, WriteRequest } from "../../../src/formats/format.ts";
import { createFilesSource } from "../../../src/sources/files/files-source.ts";
import { createSystemClock } from "../../../src/state/system-clock.ts";
import { accessByPort, type TargetAccess } from "../../../src/targets/access.ts";
import { MemoryTarget } from "../../support/memory-target.ts";

export function storeOptions(access: TargetAccess, options: Partial<StoreOptions> = {}): StoreOptions {
  return { name: "test", access, clock: createSystemClock(), random: systemRandom, host: "host", appendOnly: false, ...options };
}

/** A new store in memory, with parts of 64 KiB unless told otherwise. */
export async function memoryArchive(options: Partial<StoreOptions> = {}): Promise<{ target: MemoryTarget; store: Store }> {
  const target = new MemoryTarget();
  const store = await archiveFormat.create(
    storeOptions(accessByPort(target), { packBytes: 65_536, ...options }),
    undefined,
    undefined,
    [],
  );
  return { target, store };
}

/** A request to write `paths`. */
export async function requestFor(paths: readonly string[], options: Partial<WriteRequest> = {}): Promise<WriteRequest> {
  const signal = options.signal ?? new AbortController().signal;
  const source = createFilesSource({ paths });
  const open = await source.open({ signal });
  return {
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
    finishSource: async () => ({}),
    compression: { type: "none", level: 0 },
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
  };
}

/** Writes an archive of `paths` to a store. */
export async function archive(
  store: Store,
  paths: readonly string[],
  options: Partial<WriteRequest> = {},
): Promise<SnapshotInfo> {
  const [result] = await archiveFormat.write([store], await requestFor(paths, options));
  if (result === undefined || "error" in result) throw result?.error ?? new Error("no outcome");
  return result.snapshot;
}

/** The parts of an archive's tar, joined. */
export function joinedTar(target: MemoryTarget, snapshot: SnapshotInfo): Buffer {
  const names = [...target.objects.keys()]
    .filter((name) => name.startsWith(`archives/${snapshot.id}/`) && name.endsWith(".tar"))
    .toSorted();
  return Buffer.concat(names.map((name) => target.objects.get(name)?.bytes ?? new Uint8Array()));
}
