import { readdirSync } from "node:fs";
import { performRestore } from "../../../src/engine/restore/perform.ts";
import type { PerformOptions, RestoreReport, RestoreRequest } from "../../../src/engine/restore/restore.ts";
import type { SnapshotInfo } from "../../../src/formats/format.ts";
import { backUp, createRepository, type ReadingStore } from "../../formats/repository/read/backed-up.ts";
import { temporaryTree } from "../../support/tree-literal.ts";

/** A source, a repository with a snapshot of it, and an empty place to restore to. */
export interface Fixture extends AsyncDisposable {
  readonly source: string;
  readonly target: string;
  readonly out: string;
  readonly store: ReadingStore;
  readonly snapshot: SnapshotInfo;
}

export async function fixture(fill: (source: string) => void, options: Parameters<typeof backUp>[2] = {}): Promise<Fixture> {
  await using stack = new AsyncDisposableStack();
  const [source, target, out] = [stack.use(temporaryTree()), stack.use(temporaryTree()), stack.use(temporaryTree())];
  fill(source.path);
  const store = stack.use(await createRepository(target.path));
  const snapshot = await backUp(store, [source.path], options);
  const rest = stack.move();
  return {
    source: source.path,
    target: target.path,
    out: out.path,
    store,
    snapshot,
    [Symbol.asyncDispose]: () => rest[Symbol.asyncDispose](),
  };
}

/** The content of the source into the empty place, unless `changes` say otherwise. */
export function requestOf(made: Fixture, changes: Partial<RestoreRequest> = {}): RestoreRequest {
  return {
    store: made.store,
    snapshot: made.snapshot,
    path: Buffer.from(made.source),
    destination: { kind: "folder", path: Buffer.from(made.out) },
    include: [],
    exclude: [],
    overwrite: "if-changed",
    delete: false,
    confirmedLive: false,
    roots: [Buffer.from(made.source)],
    protect: [],
    ...changes,
  };
}

export async function restore(
  made: Fixture,
  changes: Partial<RestoreRequest> = {},
  options: Partial<PerformOptions> = {},
): Promise<RestoreReport> {
  return await performRestore(requestOf(made, changes), {
    verifyFirst: false,
    verify: false,
    onProgress: () => undefined,
    signal: new AbortController().signal,
    ...options,
  });
}

/** Paths of a folder, relative, sorted. */
export function pathsOf(folder: string): string[] {
  const below = (path: string): string[] =>
    readdirSync(`${folder}/${path}`, { withFileTypes: true }).flatMap((entry) => {
      const inner = path === "" ? entry.name : `${path}/${entry.name}`;
      // Longer paths than the kernel takes are not listed.
      return entry.isDirectory() && inner.length < 3000 ? [inner, ...below(inner)] : [inner];
    });
  return below("").sort();
}

/** Temporary names that a restore left behind. */
export function leftOvers(folder: string): string[] {
  return pathsOf(folder).filter((path) => path.includes(".holdfast-"));
}
