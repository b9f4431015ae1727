/**
 * Repositories of every released version of the format stay readable for ever, by this program and by `recover.mjs`; reading
 * changes nothing; and on a copy the program goes on where an older version stopped.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { asRunId } from "../../src/base/ids.ts";
import { Secret } from "../../src/base/secret.ts";
import { performRestore } from "../../src/engine/restore/perform.ts";
import type { SnapshotInfo, Store } from "../../src/formats/format.ts";
import { formatOf } from "../../src/formats/registry.ts";
import { decodeNode } from "../../src/formats/repository/objects/tree-node.ts";
import { ChunkReader } from "../../src/formats/repository/read/chunk-reader.ts";
import type { RepositoryStore } from "../../src/formats/repository/repository-format.ts";
import { createFilesSource } from "../../src/sources/files/files-source.ts";
import {
  EVERYTHING,
  describeFolder,
  describeSource,
  summarise,
  visibleLines,
  type Abilities,
  type Described,
} from "./described.ts";
import { goldenNames, readManifest, repositoryFolder, VERSIONS, type ExpectedSnapshot, type Manifest } from "./manifest.ts";
import { MADE_BY_ENCODERS } from "./repositories.ts";
import {
  abilitiesAt,
  asExpected,
  copyOf,
  damageOf,
  expectKept,
  filesOf,
  openGolden,
  scratch,
  SIGNAL,
  unlockingOf,
  verifyAll,
} from "./opened.ts";

const PROGRAM = fileURLToPath(new URL("../../recover.mjs", import.meta.url));

let able: Abilities;
const before = new Map<string, string>();

beforeAll(() => {
  using folder = scratch();
  able = abilitiesAt(folder.path);
  for (const [name, hash] of filesOf(VERSIONS)) before.set(name, hash);
});

afterAll(() => {
  // The most important one: whoever opens a repository of another version only reads it.
  expect(filesOf(VERSIONS)).toEqual(before);
});

it("there are repositories of version 1", () => {
  expect(goldenNames().filter((name) => name.startsWith("v1/")).length).toBeGreaterThanOrEqual(5);
});

/** Compares a restored folder with a manifest, as far as this machine can restore it; files in `lost` must not be there. */
function expectRestored(folder: string, snapshot: ExpectedSnapshot, can: Abilities, lost: readonly string[]): void {
  const found = describeFolder(folder);
  const isListed = ({ path }: Described): boolean => !snapshot.summaries.some((one) => path.startsWith(`${one.folder}/`));
  const wanted = snapshot.entries.filter(({ path }) => !lost.includes(path));
  expect(visibleLines(found.filter(isListed), can)).toEqual(visibleLines(wanted, can));
  for (const { folder: below, entries, visibleSha256 } of snapshot.summaries)
    expect(summarise(found, below)).toMatchObject({ entries, visibleSha256 });
}

const unreadable = (snapshot: ExpectedSnapshot): string[] =>
  snapshot.entries.filter(({ sha256 }) => sha256?.startsWith("object_")).map(({ path }) => path);

const entriesOf = ({ entries, summaries }: ExpectedSnapshot): number =>
  summaries.reduce((sum, summary) => sum + summary.entries, entries.length);

async function restoreByEngine(store: Store, id: string, to: string): Promise<{ problems: string[] }> {
  const snapshot = (await store.snapshots()).find((one) => one.id === id) as SnapshotInfo;
  const report = await performRestore(
    {
      store,
      snapshot,
      path: Buffer.from("/"),
      destination: { kind: "folder", path: Buffer.from(to) },
      include: [],
      exclude: [],
      overwrite: "always",
      delete: false,
      confirmedLive: false,
      roots: undefined,
      protect: [],
    },
    { verifyFirst: false, verify: false, onProgress: () => undefined, signal: SIGNAL },
  );
  return { problems: report.problems.map(({ path }) => path) };
}

describe.each(goldenNames())("%s", (name) => {
  const manifest = readManifest(name);
  const folder = repositoryFolder(name);

  /** What only repositories have. */
  const inRepositories = manifest.format === "repository" ? [manifest] : [];

  it.each(inRepositories)("holds objects whose names are the SHA-256 of their bytes", () => {
    const damaged = new Set(manifest.damage.map(({ id }) => id));
    for (const [path, hash] of filesOf(folder)) {
      if (path === "holdfast.json" || dirname(path) === "keys" || damaged.has(basename(path))) continue;
      expect({ path, hash }).toEqual({ path, hash: basename(path) });
    }
  });

  it("lists its snapshots, and every entry reads equal", async () => {
    await using store = await openGolden(folder, manifest);
    const listed = await store.snapshots();
    expect(listed.map(({ id }) => id)).toEqual(manifest.snapshots.map(({ id }) => id));
    expect(manifest.deleted.filter((id) => listed.some((one) => one.id === id))).toEqual([]);
    await expectKept(store, manifest);
  });

  it("opens with each of its secrets, and with no removed one", async () => {
    for (const secret of manifest.secrets) {
      await using store = await openGolden(folder, manifest, [unlockingOf(secret)]);
      expect((await store.snapshots()).length).toBe(manifest.snapshots.length);
    }
    for (const removed of manifest.removedSecrets)
      await expect(openGolden(folder, manifest, [{ kind: "password", secret: new Secret(removed) }])).rejects.toMatchObject({
        code: "key_wrong",
      });
  });

  it("verifies, naming its damage exactly", async () => {
    await using store = await openGolden(folder, manifest);
    const report = await verifyAll(store);
    expect(damageOf(report)).toEqual(manifest.damage);
    expect(report.ok).toBe(manifest.damage.length === 0);
    expect(report.snapshots).toBe(manifest.snapshots.length);
  });

  it("restores whole the snapshot that holds most", async () => {
    using out = scratch();
    const snapshot = manifest.snapshots.reduce((most, one) => (entriesOf(one) > entriesOf(most) ? one : most));
    const to = join(out.path, "restored");
    await using store = await openGolden(folder, manifest);
    const { problems } = await restoreByEngine(store, snapshot.id, to);
    const lost = unreadable(snapshot);
    const devices = snapshot.entries.filter(({ type }) => type === "chardev" || type === "blockdev").map(({ path }) => path);
    const wanted = [...lost, ...(able.devices ? [] : devices)];
    expect(problems.map((path) => path.replace(to, "")).toSorted()).toEqual(wanted.toSorted());
    expectRestored(to, snapshot, able, lost);
  });

  it.each(inRepositories.flatMap(({ snapshots }) => snapshots.map(({ id }, i) => [i, id] as const)))(
    "snapshot %i is restored by recover.mjs on plain Node: %s",
    (i, id) => {
      using out = scratch();
      const snapshot = manifest.snapshots[i] as ExpectedSnapshot;
      const secret = manifest.secrets[i % manifest.secrets.length] as (typeof manifest.secrets)[number];
      const file = join(out.path, "secret");
      writeFileSync(file, secret.secret);
      const to = join(out.path, "restored");
      const by = [secret.kind === "password" ? "--password-file" : "--key-file", file];
      // The last one from the packs alone, as if index/ were lost.
      const rebuild = i === manifest.snapshots.length - 1 ? ["--rebuild"] : [];
      const { status, stderr } = spawnSync(process.execPath, [PROGRAM, folder, ...by, ...rebuild, "restore", id, "--to", to], {
        encoding: "utf8",
        env: { PATH: process.env["PATH"] },
      });
      const lost = unreadable(snapshot);
      const hasDevices = snapshot.entries.some(({ type }) => type === "chardev" || type === "blockdev");
      expect({ status, stderr }).toMatchObject({ status: lost.length > 0 || (hasDevices && !able.devices) ? 3 : 0 });
      // It leaves sockets out, and says so.
      expectRestored(to, snapshot, { ...able, sockets: false }, lost);
    },
  );

  it.each(manifest.format === "archive" ? manifest.snapshots : [])("archive $id is a tar that tar unpacks", (snapshot) => {
    using out = scratch();
    const parts = join(folder, "archives", snapshot.id);
    const unpack = `cat "$1"/*.tar | tar x --directory "$2" --same-permissions --xattrs --xattrs-include='*'`;
    const { status, stderr } = spawnSync("sh", ["-c", unpack, "sh", parts, out.path], { encoding: "utf8" });
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expectRestored(out.path, snapshot, able, []);
  });

  it("on a copy, a new backup, a repair and a prune leave the old snapshots as they were", async () => {
    using out = scratch();
    const copy = copyOf(folder, join(out.path, "copy"), manifest.made);
    const source = join(out.path, "source");
    mkdirSync(source);
    writeFileSync(join(source, "new"), "written by a later version\n".repeat(10_000));
    await using store = await openGolden(copy, manifest);
    const added = await backUp(store, source);
    const expected = visibleLines(
      describeSource(source).filter(({ path }) => path.startsWith(source)),
      EVERYTHING,
    );
    const mine = async (opened: Store): Promise<string[]> => {
      const found = (await opened.snapshots()).find(({ id }) => id === added.id) as SnapshotInfo;
      const { entries } = await asExpected(opened, found, []);
      return visibleLines(
        entries.filter(({ path }) => path.startsWith(source)),
        EVERYTHING,
      );
    };
    expect(await mine(store)).toEqual(expected);

    if (manifest.format === "repository") {
      const repaired = await store.repair({ index: true, readData: true, onProgress: () => undefined, signal: SIGNAL });
      expect([repaired.packsMarked, repaired.indexRebuilt]).toEqual([manifest.unmarked, true]);
    }
    const objects = [...filesOf(copy).keys()].map((path) => basename(path));
    expect(manifest.condemned.filter((id) => !objects.includes(id))).toEqual([]);
    await using again = await openGolden(copy, manifest);
    const prune = { dryRun: false, immediate: false, graceMs: 72 * 3_600_000, maxUnused: 0.05 };
    const compression = { type: "zstd", level: 3 } as const;
    await again.prune({ ...prune, compression, onProgress: () => undefined, signal: SIGNAL });
    const left = [...filesOf(copy).keys()].map((path) => basename(path));
    // What nobody needs is gone, and what is damaged and needed stays.
    expect(manifest.condemned.filter((id) => left.includes(id))).toEqual([]);
    expect(manifest.damage.filter(({ id }) => !left.includes(id))).toEqual([]);
    await using last = await openGolden(copy, manifest);
    await expectKept(last, manifest);
    expect(await mine(last)).toEqual(expected);
    expect(damageOf(await verifyAll(last))).toEqual(manifest.damage);
  });
});

async function backUp(store: Store, path: string): Promise<SnapshotInfo> {
  const source = createFilesSource({ paths: [path] });
  await using open = await source.open({ signal: SIGNAL });
  const [result] = await (
    await formatOf(store.format)
  ).write([store], {
    run: asRunId("00".repeat(16)),
    host: "box",
    job: "later",
    source: "files",
    sourceType: source.type,
    profile: source.profile,
    mode: "full",
    baseline: undefined,
    previous: undefined,
    stream: open.stream,
    finishSource: async () => open.facts(),
    compression: { type: "zstd", level: 3 },
    grouping: "frame",
    description: "",
    tags: [],
    configDigest: undefined,
    gitCommit: undefined,
    toolVersion: "9.9.9",
    dryRun: false,
    onProgress: () => undefined,
    signal: SIGNAL,
  });
  if (result === undefined || "error" in result) throw result?.error ?? new Error("no outcome");
  return result.snapshot;
}

it("v1/damaged, which no compressor had a part in, is written again byte for byte", async () => {
  using out = scratch();
  const manifest = await (MADE_BY_ENCODERS["damaged"] as (folder: string) => Promise<Manifest>)(out.path);
  expect(manifest).toEqual(readManifest("v1/damaged"));
  expect(filesOf(out.path)).toEqual(filesOf(repositoryFolder("v1/damaged")));
});

it("v1/large has what it is for: chunk lists of three profiles, and a folder of several leaves", async () => {
  await using store = (await openGolden(repositoryFolder("v1/large"), readManifest("v1/large"))) as RepositoryStore;
  await store.loadIndex();
  const reader = new ChunkReader(store.repository);
  const [dump, database, home] = await store.snapshots();
  const rootOf = async (snapshot: SnapshotInfo | undefined): Promise<ReturnType<typeof decodeNode>> =>
    decodeNode(await reader.chunk(2, Buffer.from(snapshot?.root ?? "", "hex")));
  const shapes: Record<string, unknown> = {};
  for (const snapshot of [dump, database, home]) {
    const node = await rootOf(snapshot);
    for (const entry of node.type === "leaf" ? node.entries : [])
      shapes[Buffer.from(entry.name).toString()] =
        entry.tree === undefined
          ? [entry.profile, entry.depth, entry.ids.length / 32]
          : decodeNode(await reader.chunk(2, entry.tree)).type;
  }
  expect(shapes).toEqual({ "dump.sql": [2, 1, 1], "db.sqlite": [4, 1, 1], image: [3, 1, 1], many: "inner", lines: [1, 0, 3] });
});
