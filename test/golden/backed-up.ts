/**
 * The golden repositories that the program itself writes, with its threads, from files of this machine, in an order of days
 * as they might pass: backups, keys, notes, deletion and prune; and archives. Their randomness is the program's own.
 */
import { linkSync, mkdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { asRunId } from "../../src/base/ids.ts";
import { archiveFormat } from "../../src/formats/archive/archive-format.ts";
import type { Format, SnapshotInfo, Store, StoreOptions, WriteRequest } from "../../src/formats/format.ts";
import { repositoryFormat, type RepositoryStore } from "../../src/formats/repository/repository-format.ts";
import { AT_FDCWD, mknodAt } from "../../src/posix/at.ts";
import { setXattr } from "../../src/posix/xattr.ts";
import { createFilesSource } from "../../src/sources/files/files-source.ts";
import { accessByPort } from "../../src/targets/access.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { MemoryTarget } from "../support/memory-target.ts";
import { describeSource, type Described } from "./described.ts";
import { counterStream, fixedKey, FixedRandom, KEY_FILE, PASSWORD } from "./fixed.ts";
import { keyFile, password } from "./maker.ts";
import type { ExpectedSnapshot, Manifest } from "./manifest.ts";

const SIGNAL = new AbortController().signal;
const DAY = 24 * 3_600_000;
const OLD_PASSWORD = "a secret that was told to too many";

/** Where the source lies while it is backed up; its path is part of what is golden. */
const SOURCE = process.env["GOLDEN_SOURCE"] ?? join(tmpdir(), "golden");

/** A store in memory whose time stands still between steps, and what was backed up to it. */
class World {
  readonly clock = new FakeClock("2026-01-05T10:00:00Z");
  readonly target = new MemoryTarget({ now: () => this.clock.now() });
  readonly options: StoreOptions;
  readonly #format: Format;
  readonly #expected = new Map<string, Described[]>();

  constructor(format: Format, seed: string) {
    this.#format = format;
    this.options = {
      name: "golden",
      access: accessByPort(this.target),
      clock: this.clock,
      random: new FixedRandom(seed),
      host: "golden-host",
      appendOnly: false,
      packBytes: 64 * 1024,
    };
  }

  async backUp(store: Store, request: Partial<WriteRequest> = {}): Promise<SnapshotInfo> {
    await this.clock.advance(DAY);
    const expected = describeSource(SOURCE);
    const source = createFilesSource({ paths: [SOURCE] });
    await using open = await source.open({ signal: SIGNAL });
    const [result] = await this.#format.write([store], {
      run: asRunId(fixedKey("golden run", 16).toString("hex")),
      host: "golden-host",
      job: "home",
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
      configDigest: fixedKey("config").toString("hex"),
      gitCommit: undefined,
      toolVersion: "0.1.0",
      dryRun: false,
      onProgress: () => undefined,
      signal: SIGNAL,
      ...request,
    });
    if (result === undefined || "error" in result) throw result?.error ?? new Error("no outcome");
    this.#expected.set(result.snapshot.id, expected);
    return result.snapshot;
  }

  /** What must be found from now on; `said` are annotations as they were made. */
  async expect(store: Store, said: ReadonlyMap<string, Partial<ExpectedSnapshot>>): Promise<ExpectedSnapshot[]> {
    return (await store.snapshots()).map(({ id, job, timeMs, mode, status, tags, description }) => ({
      id,
      job,
      time: new Date(timeMs).toISOString(),
      mode,
      status,
      tags,
      description,
      hold: false,
      unreadable: [],
      summaries: [],
      entries: this.#expected.get(id) ?? [],
      ...said.get(id),
    }));
  }

  saveTo(folder: string): void {
    for (const [name, { bytes }] of this.target.objects) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), bytes);
    }
  }
}

function writeSource(): void {
  rmSync(SOURCE, { recursive: true, force: true });
  mkdirSync(join(SOURCE, "docs/notes"), { recursive: true });
  const put = (name: string, content: string | Buffer): void => writeFileSync(join(SOURCE, name), content);
  put("docs/a.txt", "the first file\n".repeat(2000));
  put("docs/b.txt", counterStream("golden b", 6000).toString("hex"));
  put("docs/notes/empty", "");
  put("data.bin", counterStream("golden data", 90_000));
  put("temporary.bin", counterStream("golden temporary", 70_000));
  linkSync(join(SOURCE, "docs/a.txt"), join(SOURCE, "docs/notes/the same"));
  symlinkSync("docs/a.txt", join(SOURCE, "link"));
  mknodAt(AT_FDCWD, Buffer.from(join(SOURCE, "fifo")), 0o010_640, 0n);
  setXattr(Buffer.from(join(SOURCE, "data.bin")), Buffer.from("user.comment"), Buffer.from("golden"));
  utimesSync(join(SOURCE, "docs/b.txt"), 1, -1.5);
}

/** What changes before the backup of this number. */
function changeSource(backup: number): void {
  if (backup === 2) rmSync(join(SOURCE, "temporary.bin"));
  writeFileSync(join(SOURCE, `added ${backup}`), `written before backup ${backup}`);
  writeFileSync(join(SOURCE, "docs/b.txt"), counterStream(`golden b ${backup}`, 6000).toString("hex"));
}

async function keysAndPrune(folder: string): Promise<Manifest> {
  const world = new World(repositoryFormat, "keys and prune");
  const pbkdf2 = { function: "pbkdf2", hash: "sha512", iterations: 1000 } as const;
  const argon2id = { function: "argon2id", memoryKiB: 256, passes: 2, parallelism: 2 } as const;
  const scrypt = { function: "scrypt", logN: 5, r: 8, p: 1 } as const;
  const created = (await repositoryFormat.create(world.options, password(OLD_PASSWORD), pbkdf2, [])) as RepositoryStore;
  writeSource();
  const first = await world.backUp(created);
  changeSource(2);
  const second = await world.backUp(created, { mode: "incremental", baseline: first, previous: first.id, tags: ["weekly"] });
  await created.keySlots.add(password(PASSWORD), argon2id, "golden");
  await created.keySlots.add(password("another way in"), scrypt, "another");
  await created.keySlots.add(keyFile(KEY_FILE), undefined, "key file");
  const [old] = await created.keySlots.list();
  await created.keySlots.remove(old?.id ?? "", password(PASSWORD));
  await created.keySlots.newEpoch();
  const store = (await repositoryFormat.open(world.options, [password(PASSWORD)])) as RepositoryStore;
  changeSource(3);
  const third = await world.backUp(store, { mode: "differential", baseline: first, previous: second.id });
  const held = Date.parse("2030-01-01T00:00:00Z");
  await store.annotate(second, { addTags: ["kept"], removeTags: ["weekly"], hold: held });
  await store.annotate(third, { hold: true, description: "before the upgrade" });
  const report = await store.verify({ snapshots: [], readData: 1, onProgress: () => undefined, signal: SIGNAL });
  await store.noteVerification(["home"], [second.id, third.id], report);
  await store.notePolicy("home", { keepLast: 2 });
  await store.delete([first], { reason: "golden" });
  await world.clock.advance(DAY);
  const zstd = { type: "zstd", level: 3 } as const;
  await store.prune({
    dryRun: false,
    immediate: false,
    graceMs: 3 * DAY,
    maxUnused: 0.01,
    compression: zstd,
    onProgress: () => undefined,
    signal: SIGNAL,
  });
  // Members of a changed note apply in order, whoever reads them.
  const said = new Map<string, Partial<ExpectedSnapshot>>([
    [second.id, { tags: ["kept"], hold: new Date(held).toISOString() }],
    [third.id, { hold: true, description: "before the upgrade" }],
  ]);
  const snapshots = await world.expect(store, said);
  const condemned = (await store.repository.refreshCondemned()).flatMap(({ packs }) => packs);
  world.saveTo(folder);
  return {
    about:
      "Written by the program: epochs 1 and 2, a removed key, annotations, a deletion, a prune that repacked. zstd; argon2id, scrypt, key file.",
    format: "repository",
    made: new Date(world.clock.now()).toISOString(),
    secrets: [
      { kind: "password", secret: PASSWORD },
      { kind: "password", secret: "another way in" },
      { kind: "keyfile", secret: KEY_FILE },
    ],
    removedSecrets: [OLD_PASSWORD],
    deleted: [first.id],
    condemned,
    damage: [],
    unmarked: [],
    snapshots,
  };
}

async function archives(folder: string): Promise<Manifest> {
  const world = new World(archiveFormat, "archives");
  const store = await archiveFormat.create(world.options, undefined, undefined, []);
  writeSource();
  const first = await world.backUp(store, { description: "größer" });
  changeSource(2);
  const second = await world.backUp(store, { previous: first.id });
  changeSource(3);
  const third = await world.backUp(store, { previous: second.id, tags: ["x"] });
  await store.delete([first], { reason: "golden" });
  const report = await store.verify({ snapshots: [], readData: 1, onProgress: () => undefined, signal: SIGNAL });
  await store.noteVerification(["home"], [second.id, third.id], report);
  await store.notePolicy("home", { keepLast: 2 });
  const snapshots = await world.expect(store, new Map());
  world.saveTo(folder);
  return {
    about: "Archives: tar in several parts, an index and a manifest each; one was deleted.",
    format: "archive",
    made: new Date(world.clock.now()).toISOString(),
    secrets: [],
    removedSecrets: [],
    deleted: [first.id],
    condemned: [],
    damage: [],
    unmarked: [],
    snapshots,
  };
}

export const BACKED_UP: Readonly<Record<string, (folder: string) => Promise<Manifest>>> = {
  "keys-and-prune": keysAndPrune,
  archives,
};

export function removeSource(): void {
  rmSync(SOURCE, { recursive: true, force: true });
}
