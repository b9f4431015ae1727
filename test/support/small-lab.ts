/** A repository small enough to be judged a thousand times, with something in it for a backup and a prune to do. */
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "../../src/base/errors.ts";
import { pathText } from "../../src/base/path-text.ts";
import type { SnapshotEntry, SnapshotInfo, Store } from "../../src/formats/format.ts";
import type { EntryMeta } from "../../src/sources/source.ts";
import type { ChildWork } from "./campaign-child.ts";
import { must } from "./campaign-lab.ts";
import { manifestDifferences, takeManifest } from "./campaign-manifest.ts";
import { restoreInto } from "./campaign-restore.ts";
import { campaignConfig, CampaignSession, TARGET } from "./campaign-session.ts";
import { SeededNumbers } from "./changing-tree.ts";
import { materialise, stateOf, type DiskState } from "./crash-model.ts";

export const CHILD = fileURLToPath(new URL("./campaign-child.ts", import.meta.url));

export type Operation = ChildWork["operation"];

const FILES = 10;
const FILE_BYTES = 24_000;
const PACK_BYTES = 32_768;
/** Snapshots that the retention of a campaign keeps. */
const KEPT = 3;

/** What must hold of a state. */
export interface Expectation {
  /** Snapshots that must be there. Any other that is listed must be one that is known, or `added`, and whole. */
  readonly required: ReadonlySet<string>;
  /** Whether one more snapshot, of the tree as it is, may be listed (`maybe`), must be or must not be. */
  readonly added: "yes" | "maybe" | "no";
  /** Whether there must be a repository. */
  readonly exists: boolean;
  /** Also runs every check of verify, then a backup, a prune and once more the checks. */
  readonly thorough: boolean;
}

export class SmallLab {
  readonly folder: string;
  readonly repository: string;
  readonly config: string;
  readonly #numbers: SeededNumbers;
  #base: DiskState = new Map();
  /** What each known snapshot holds, as `describe` says it. */
  readonly known = new Map<string, string>();
  /** What a snapshot of the tree as it is after the preparation holds. */
  #next: string | undefined;
  /** Of the known snapshots, those that the retention keeps. */
  readonly kept = new Set<string>();

  /** Makes the tree and the configuration in a missing folder; no repository yet. */
  constructor(folder: string, seed: string) {
    this.folder = folder;
    this.repository = join(folder, "repository");
    this.config = join(folder, "holdfast.yaml");
    this.#numbers = new SeededNumbers(`small ${seed}`);
    mkdirSync(join(this.#tree, "sub"), { recursive: true });
    for (let i = 0; i < FILES; i++) this.#writeFile(i);
    writeFileSync(this.config, campaignConfig(folder));
  }

  get #tree(): string {
    return join(this.folder, "tree");
  }

  /** Makes the repository: older snapshots for a retention to delete, condemned packs to sweep, half-used ones to repack. */
  async prepare(): Promise<void> {
    const trees: string[] = [];
    await this.#session(async (campaign) => {
      const backup = async (): Promise<void> => {
        this.change();
        trees.push(describeTree(this.#tree));
        await (trees.length === 1 ? campaign.apply() : campaign.backup());
      };
      await backup();
      // The first time a retention would delete much, it waits for an approval.
      await campaign.prune();
      for (let round = 0; round < 3; round++) await backup();
      await campaign.prune();
      for (let round = 0; round < 2; round++) await backup();
      const snapshots = await listed(await campaign.session.store(TARGET));
      for (const [i, { id }] of snapshots.entries()) this.known.set(id, trees.at(i - snapshots.length) as string);
      for (const { id } of snapshots.slice(-KEPT)) this.kept.add(id);
    });
    this.change();
    this.#save();
  }

  /** Nothing but the tree: for the making of a repository. */
  prepareNothing(): void {
    this.#save();
  }

  /** What a power loss leaves of the state and the cache does not concern the target; they are as before the operation. */
  #save(): void {
    this.#next = describeTree(this.#tree);
    mkdirSync(join(this.folder, "saved"));
    for (const name of ["state", "key"])
      if (existsSync(join(this.folder, name)))
        cpSync(join(this.folder, name), join(this.folder, "saved", name), { recursive: true });
    if (existsSync(this.repository)) {
      renameSync(this.repository, join(this.folder, "saved/repository"));
      this.#base = stateOf(join(this.folder, "saved/repository"));
    }
  }

  /** The key file that a creation made lies elsewhere: whatever becomes of the target, it stays. */
  keepKey(): void {
    cpSync(join(this.folder, "key"), join(this.folder, "saved/key"));
  }

  /** Where the repository lies as it was prepared, if there is one. */
  get saved(): string {
    return join(this.folder, "saved/repository");
  }

  /** Puts the repository into a state, by default the prepared one; the rest becomes as it was. */
  reset(state: DiskState | undefined = this.#base, keepCache = false): void {
    rmSync(this.repository, { recursive: true, force: true });
    materialise(state, this.repository);
    for (const name of ["state", "key"]) {
      rmSync(join(this.folder, name), { recursive: true, force: true });
      if (existsSync(join(this.folder, "saved", name)))
        cpSync(join(this.folder, "saved", name), join(this.folder, name), { recursive: true });
    }
    if (!keepCache) rmSync(join(this.folder, "cache"), { recursive: true, force: true });
  }

  /** The arguments of a child that performs an operation. */
  childArguments(operation: Operation, kill?: ChildWork["kill"]): string[] {
    return [CHILD, JSON.stringify({ config: this.config, operation, packBytes: PACK_BYTES, kill } satisfies ChildWork)];
  }

  /** Performs an operation here. Rejects as it does. */
  async perform(operation: Operation): Promise<void> {
    await this.#session((campaign) => campaign[operation === "key" ? "changeKeys" : operation]());
  }

  /** Rewrites some files of the tree. */
  change(): void {
    for (let i = 0; i < 4; i++) this.#writeFile(this.#numbers.below(FILES));
  }

  #writeFile(number: number): void {
    const content = Buffer.alloc(this.#numbers.below(FILE_BYTES));
    for (let i = 0; i < content.length; i++) content[i] = this.#numbers.below(256);
    writeFileSync(join(this.#tree, number % 3 === 0 ? "sub" : ".", `file-${number}`), content);
  }

  async #session<Result>(act: (campaign: CampaignSession) => Promise<Result>): Promise<Result> {
    await using campaign = new CampaignSession(this.config, PACK_BYTES);
    return await act(campaign);
  }

  async #restore(store: Store, snapshot: SnapshotInfo): Promise<void> {
    const destination = join(this.folder, "restored");
    rmSync(destination, { recursive: true, force: true });
    const report = await restoreInto(store, snapshot, destination);
    must(report.status === "success", `a restore was not complete: ${JSON.stringify(report.problems.slice(0, 3))}`);
    const differences = manifestDifferences(takeManifest(this.#tree), takeManifest(join(destination, this.#tree)));
    must(differences.length === 0, `snapshot ${snapshot.id} differs from its tree:\n  ${differences.join("\n  ")}`);
    rmSync(destination, { recursive: true, force: true });
  }

  /** Rejects with a `CampaignFailure` at the first promise that does not hold of the repository as it is. */
  async judge(expectation: Expectation): Promise<void> {
    const damaged = await this.#look(expectation);
    if (!expectation.thorough) return;
    if (damaged !== "missing") await this.#verify();
    await this.#session((campaign) => (damaged === "missing" ? campaign.apply() : campaign.backup()));
    await this.#session((campaign) => campaign.prune());
    await this.#verify();
    const left = await this.#look({ required: new Set(), added: "maybe", exists: true, thorough: true });
    must(left !== "missing" && left > 0, "no snapshot is left after a backup and a prune");
  }

  async #look({ required, added, exists, thorough }: Expectation): Promise<number | "missing"> {
    return await this.#session(async (campaign) => {
      let store: Store;
      try {
        store = await campaign.session.store(TARGET);
      } catch (error) {
        if (!exists && error instanceof HoldfastError && ["repository_missing"].includes(error.code)) return "missing";
        throw error;
      }
      const snapshots = await listed(store);
      const ids = new Set<string>(snapshots.map(({ id }) => id));
      for (const id of required) must(ids.has(id), `the committed snapshot ${id} is gone`);
      let more = 0;
      for (const snapshot of snapshots) {
        const found = await describeSnapshot(store, snapshot, this.#tree);
        const expected = this.known.get(snapshot.id) ?? this.#next;
        if (!this.known.has(snapshot.id)) more++;
        must(found === expected, `snapshot ${snapshot.id} reads otherwise than what was backed up`);
      }
      must(added !== "no" || more === 0, `${more} snapshots appeared`);
      must(added !== "yes" || more > 0, "the new snapshot is gone");
      const newest = snapshots.at(-1);
      if (thorough && newest !== undefined && !this.known.has(newest.id)) await this.#restore(store, newest);
      return snapshots.length;
    });
  }

  async #verify(): Promise<void> {
    const { ok, damage } = await this.#session((campaign) => campaign.verify());
    must(ok, `verify found damage: ${JSON.stringify(damage.slice(0, 3))}`);
  }
}

/** Every snapshot; rejects when anything that says which there are cannot be read. */
async function listed(store: Store): Promise<SnapshotInfo[]> {
  return await store.snapshots({
    onDamaged: (_, error) => {
      throw error;
    },
  });
}

/** Every entry at `below` with its metadata and the SHA-256 of its content, sorted, as one text. */
async function describeSnapshot(store: Store, snapshot: SnapshotInfo, below: string): Promise<string> {
  const lines: string[] = [];
  const visit = async (found: SnapshotEntry): Promise<void> => {
    const { type, meta, size } = found.entry;
    const hash = createHash("sha256");
    if (type === "file") for await (const bytes of store.read(found)) hash.update(bytes);
    lines.push(describeEntry(pathText(found.path), meta, type === "file" ? `${size} ${hash.digest("hex")}` : type));
    if (type === "directory") for await (const entries of store.list(found)) for (const child of entries) await visit(child);
  };
  const root = await store.lookup(snapshot, Buffer.from(below));
  must(root !== undefined, `snapshot ${snapshot.id} has nothing at ${below}`);
  await visit(root);
  return lines.toSorted().join("\n");
}

/** The same of the tree itself, by Node's own calls. */
function describeTree(root: string): string {
  const lines: string[] = [];
  const visit = (path: string): void => {
    const { mode, uid, gid, mtimeNs, size } = lstatSync(path, { bigint: true });
    const meta = { mode: Number(mode & 0o7777n), uid: Number(uid), gid: Number(gid), mtimeNs };
    const names = statSync(path).isDirectory() ? readdirSync(path) : undefined;
    const what = names === undefined ? `${size} ${createHash("sha256").update(readFileSync(path)).digest("hex")}` : "directory";
    lines.push(describeEntry(path, meta, what));
    for (const name of names ?? []) visit(join(path, name));
  };
  visit(root);
  return lines.toSorted().join("\n");
}

function describeEntry(path: string, meta: Pick<EntryMeta, "mode" | "uid" | "gid" | "mtimeNs">, what: string): string {
  return [path, meta.mode.toString(8), meta.uid, meta.gid, meta.mtimeNs, what].join(" ");
}
