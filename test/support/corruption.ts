/**
 * Damages a store one object at a time, and holds it to its promises: a verification of every byte finds the damage and
 * names the object and what depends on it; a restore gives what was backed up or says by name what it could not give; what
 * the damage does not touch still restores.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "../../src/base/errors.ts";
import { pathText } from "../../src/base/path-text.ts";
import type { SnapshotInfo, Store, VerifyDamage, VerifyReport } from "../../src/formats/format.ts";
import { takeManifest, type Manifest } from "./campaign-manifest.ts";
import { restoreInto } from "./campaign-restore.ts";
import { SeededNumbers } from "./changing-tree.ts";
import { KEY_FILE, PASSWORD, type CorruptionWorld, type KnownSnapshot, type Victim } from "./corruption-world.ts";

const RECOVER = fileURLToPath(new URL("../../recover.mjs", import.meta.url));
const signal = new AbortController().signal;

/** What one class of object went through. */
export interface ClassCount {
  cases: number;
  found: number;
  named: number;
  /** Restores that gave everything, that said what they could not give, and that were not possible at all. */
  whole: number;
  partial: number;
  refused: number;
  recovered: number;
}

/** One case, in words that are enough to do it again by hand. */
export interface Case {
  readonly className: string;
  readonly name: string;
  readonly how: string;
  readonly bytes: Uint8Array | undefined;
}

/** What is lost: which snapshots altogether, and which paths (as people see them) of any. */
interface Loss {
  readonly error: HoldfastError | undefined;
  readonly report: VerifyReport | undefined;
}

type Outcome = "whole" | "partial" | "refused";

/** What came back of a snapshot, and the paths that it said it could not give. */
interface Given {
  readonly problems: readonly string[];
  readonly found: Manifest;
}

export interface CorruptionOptions {
  readonly world: CorruptionWorld;
  readonly seed: string;
  /** Every how many cases one of the snapshots is restored by the engine; all others are read. */
  readonly restoreEvery: number;
  /** Every how many cases recover.mjs reads the damaged repository too; 0 is never. */
  readonly recoverEvery: number;
  readonly log: (line: string) => void;
}

export class CorruptionFailure extends Error {}

function must(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new CorruptionFailure(otherwise);
}

export class Corruption {
  readonly counts = new Map<string, ClassCount>();
  readonly #world: CorruptionWorld;
  readonly #numbers: SeededNumbers;
  readonly #options: CorruptionOptions;
  #cases = 0;

  constructor(options: CorruptionOptions) {
    this.#options = options;
    this.#world = options.world;
    this.#numbers = new SeededNumbers(`damage ${options.seed}`);
  }

  /** The undamaged store verifies clean and restores whole: without this, nothing below would mean anything. */
  async checkIntact(ways: readonly ("restore" | "read")[] = ["read"]): Promise<void> {
    const loss = await this.#examine();
    must(loss.error === undefined && loss.report?.ok === true, `the intact store is not: ${JSON.stringify(loss)}`);
    must(
      loss.report.checks.every(({ failed }) => failed === 0),
      "a check of the intact store failed",
    );
    await using store = await this.#world.open();
    for (const known of this.#world.snapshots)
      for (const how of ways)
        must((await this.#restore(store, known, loss, how)) === "whole", `an intact store does not ${how} whole`);
  }

  /** Flips and truncations, in turn over all classes. */
  async flipsAndTruncations(cases: number): Promise<void> {
    const classes = [...this.#world.classes()];
    for (let i = 0; i < cases; i++) {
      const [className, victims] = classes[i % classes.length] as [string, Victim[]];
      const victim = this.#numbers.pick(victims);
      await this.run(this.#numbers.unit() < 0.6 ? this.#flip(className, victim) : this.#truncation(className, victim));
      if ((i + 1) % 50 === 0) this.#options.log(`${i + 1} of ${cases}`);
    }
  }

  #flip(className: string, { name, from, to }: Victim): Case {
    const bytes = this.#world.read(name);
    const at = from + this.#numbers.below(to - from);
    const bit = this.#numbers.below(8);
    bytes[at] = (bytes[at] as number) ^ (1 << bit);
    return { className, name, how: `bit ${bit} of byte ${at} of ${bytes.length} flipped`, bytes };
  }

  #truncation(className: string, { name }: Victim): Case {
    const bytes = this.#world.read(name);
    const size = Math.min(bytes.length - 1, this.#numbers.pick([0, 1, 27, bytes.length - 1, this.#numbers.below(bytes.length)]));
    return { className, name, how: `cut to ${size} of ${bytes.length} bytes`, bytes: bytes.subarray(0, size) };
  }

  /** Does one case, checks everything, and undoes it. Rejects with what did not hold, naming the case and the seed. */
  async run(damage: Case): Promise<void> {
    const world = this.#world;
    const before = world.objects().includes(damage.name) ? world.read(damage.name) : undefined;
    const count = this.#count(damage.className);
    count.cases++;
    this.#cases++;
    world.overwrite(damage.name, damage.bytes);
    try {
      await this.#checkCase(damage, count);
    } catch (error) {
      const text = error instanceof CorruptionFailure ? error.message : String(error instanceof Error ? error.stack : error);
      throw new CorruptionFailure(`${damage.className} ${damage.name}, ${damage.how} (seed ${this.#options.seed}): ${text}`, {
        cause: error,
      });
    } finally {
      world.overwrite(damage.name, before);
    }
  }

  #count(className: string): ClassCount {
    const known = this.counts.get(className);
    if (known !== undefined) return known;
    const count = { cases: 0, found: 0, named: 0, whole: 0, partial: 0, refused: 0, recovered: 0 };
    this.counts.set(className, count);
    return count;
  }

  async #checkCase(damage: Case, count: ClassCount): Promise<void> {
    const loss = damage.className === "key slot" ? await this.#examineSlot(damage, count) : await this.#examine();
    const { error, report } = loss;
    if (damage.className !== "key slot") {
      must(error !== undefined || report?.ok === false, "verify did not find it");
      count.found++;
      const named =
        error === undefined ? namedBy(report?.damage ?? [], damage.name) : textOf(error).includes(lastPart(damage.name));
      must(named, `verify did not name it: ${error === undefined ? JSON.stringify(report?.damage) : textOf(error)}`);
      count.named++;
    }
    if (this.#options.recoverEvery > 0 && this.#cases % this.#options.recoverEvery === 0) {
      this.#recover(this.#numbers.pick(this.#world.snapshots));
      count.recovered++;
    }
    if (error !== undefined) {
      count.refused += this.#world.snapshots.length;
      return;
    }
    await using store = await this.#world.open(damage.className === "key slot" ? [KEY_FILE, PASSWORD] : undefined);
    const restored = this.#cases % this.#options.restoreEvery === 0 ? this.#numbers.pick(this.#world.snapshots) : undefined;
    for (const known of this.#world.snapshots)
      count[await this.#restore(store, known, loss, known === restored ? "restore" : "read")]++;
  }

  /** Opens and verifies every byte; an error is what `verify` would end with. */
  async #examine(unlockings = [KEY_FILE]): Promise<Loss> {
    let store: Store;
    try {
      store = await this.#world.open(unlockings);
    } catch (error) {
      return { error: typed(error), report: undefined };
    }
    await using opened = store;
    const report = await opened.verify({ snapshots: [], readData: 1, onProgress: () => undefined, signal });
    return { error: undefined, report };
  }

  /**
   * Of a slot only who has its secret can tell whether it is whole, because nothing else vouches for it: then it refuses.
   * With another slot's secret everything is as before; what a look at the slot can tell, verify names.
   */
  async #examineSlot(damage: Case, count: ClassCount): Promise<Loss> {
    const opened = await Promise.all([[KEY_FILE], [PASSWORD]].map((unlockings) => this.#examine(unlockings)));
    const refused = opened.filter(({ error }) => error !== undefined);
    must(refused.length === 1, `${refused.length} of two slots refuse`);
    must(refused[0]?.error?.code === "key_wrong", `opening failed with ${refused[0]?.error?.code}`);
    count.found++;
    const loss = opened.find(({ error }) => error === undefined) as Loss;
    if (namedBy(loss.report?.damage ?? [], damage.name)) count.named++;
    else must(loss.report?.ok === true, `verify names something else: ${JSON.stringify(loss.report?.damage)}`);
    return loss;
  }

  /** Restores a snapshot, or only reads all of it, and compares that with what was backed up. */
  async #restore(store: Store, known: KnownSnapshot, { report }: Loss, how: "restore" | "read"): Promise<Outcome> {
    const damage = report?.damage ?? [];
    const listed = (await store.snapshots({ onDamaged: () => undefined })).find(({ id }) => id === known.info.id);
    if (listed === undefined) {
      must(
        damage.some(({ kind }) => kind === "snapshot"),
        `snapshot ${known.info.id} is not listed, and no snapshot is damaged`,
      );
      return "refused";
    }
    const lost = damage.filter(({ snapshots }) => snapshots.includes(known.info.id)).flatMap(({ paths }) => paths);
    const all = lost.includes("/") || damage.some(({ kind, id }) => kind === "index" && id === known.info.id);
    let given: { readonly problems: readonly string[]; readonly found: Manifest };
    try {
      given = how === "restore" ? await this.#restoreAll(store, listed, known) : await readAll(store, listed, known);
    } catch (error) {
      typed(error);
      must(all, `a restore was refused (${String(error)}), though verify names only ${JSON.stringify(lost)}`);
      return "refused";
    }
    const { problems, found } = given;
    const wrong = compare(known, found, how === "read" ? contentOf : problems.length === 0 ? (line) => line : withoutLinks);
    for (const { path, present } of wrong) {
      must(!present, `${path} was restored with other content`);
      must(isBelow(path, problems), `${path} is missing, and the restore does not say so: ${JSON.stringify(problems)}`);
      must(all || isBelow(path, lost), `${path} is missing, and verify does not say so: ${JSON.stringify(lost)}`);
    }
    for (const path of problems)
      must(
        // An empty folder is there although nobody knows any more that it was empty.
        all || isBelow(path, lost) || wrong.some((one) => isBelow(one.path, [path])),
        `a restore reports ${path}, which is whole`,
      );
    return problems.length === 0 ? "whole" : "partial";
  }

  async #restoreAll(store: Store, listed: SnapshotInfo, known: KnownSnapshot): Promise<Given> {
    const destination = join(this.#world.folder, "restored");
    rmSync(destination, { recursive: true, force: true });
    const { status, problems } = await restoreInto(store, listed, destination);
    must((status === "success") === (problems.length === 0), `a restore is ${status} with ${problems.length} problems`);
    return {
      problems: problems.map(({ path }) => path.slice(destination.length)),
      found: manifestBelow(join(destination, known.root)),
    };
  }

  /** The independent reader, on the same damage: what it puts down is right, and what it leaves out it names or fails. */
  #recover(known: KnownSnapshot): void {
    const destination = join(this.#world.folder, "recovered");
    rmSync(destination, { recursive: true, force: true });
    const args = [RECOVER, this.#world.target, "--key-file", this.#world.keyFile, "restore", known.info.id, "--to", destination];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    must(status !== null && [0, 1, 3, 10, 12].includes(status), `recover.mjs ended with ${status}: ${stderr}`);
    must(!/^\s+at .*recover\.mjs/m.test(stderr), `recover.mjs failed itself: ${stderr}`);
    if (status !== 0 && status !== 3) return;
    for (const { path, present } of compare(known, manifestBelow(join(destination, known.root)), withoutLinks)) {
      must(!present, `recover.mjs restored ${path} with other content`);
      must(status === 3, `recover.mjs left out ${path} and calls it a success`);
      // Where the topmost folder is lost, nobody knows what was in it: then it is named itself.
      const named = [...parents(path), "/ ("].some((above) => stderr.includes(`Not restored: ${destination}${above}`));
      must(named, `recover.mjs does not name ${path}: ${stderr}`);
    }
  }

  /** One line a class: how many cases, how many were found and named, and what became of the restores. */
  table(): string {
    const head = ["class", "cases", "found", "named", "whole", "partial", "refused", "recover.mjs"];
    const rows = [...this.counts].map(([name, each]) => [
      name,
      ...[each.cases, each.found, each.named, each.whole, each.partial, each.refused, each.recovered].map(String),
    ]);
    const sums = head.map((_, i) => (i === 0 ? "all" : String(rows.reduce((sum, row) => sum + Number(row[i]), 0))));
    const widths = head.map((text, i) => Math.max(text.length, ...[...rows, sums].map((row) => (row[i] as string).length)));
    return [head, ...rows, sums]
      .map((row) =>
        row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number))).join("  "),
      )
      .join("\n");
  }
}

/** True when one of the findings is about the object: by its own name, or as the archive of which it is the manifest. */
export function namedBy(damage: readonly VerifyDamage[], name: string): boolean {
  return damage.some(({ id }) => name === id || lastPart(name) === id || name === `archives/${id}/manifest.json`);
}

function lastPart(name: string): string {
  return name.slice(name.lastIndexOf("/") + 1);
}

function textOf(error: HoldfastError): string {
  return `${error.message} ${error.hint ?? ""} ${JSON.stringify(error.data ?? {})}`;
}

/** The error when it is one of the program's own that blames the store. */
function typed(error: unknown): HoldfastError {
  must(error instanceof HoldfastError && error.code !== "internal", `an error without a name: ${(error as Error).stack}`);
  return error;
}

/** Reads a whole snapshot in this thread; what cannot be read is a problem of its path. */
async function readAll(store: Store, listed: SnapshotInfo, known: KnownSnapshot): Promise<Given> {
  const problems: string[] = [];
  const found = new Map<string, string>();
  const top = await store.lookup(listed, Buffer.from("/"));
  must(top !== undefined, "a snapshot has no root");
  const waiting = [top];
  for (let entry = waiting.pop(); entry !== undefined; entry = waiting.pop()) {
    const path = Buffer.from(entry.path).toString("latin1");
    const isInside = path === known.root || path.startsWith(`${known.root}/`);
    try {
      if (entry.entry.type === "directory") for await (const entries of store.list(entry)) waiting.push(...entries);
      const hash = createHash("sha256");
      if (entry.entry.type === "file") for await (const bytes of store.read(entry)) hash.update(bytes);
      if (isInside) found.set(path.slice(known.root.length), entry.entry.type === "file" ? hash.digest("base64") : "");
    } catch (error) {
      typed(error);
      problems.push(pathText(entry.path));
      if (entry.entry.type === "directory" && isInside) found.set(path.slice(known.root.length), "");
    }
  }
  return { problems, found };
}

/** Of a line of a manifest what reading alone can tell. */
function contentOf(line: string): string {
  return /content (\S+?)(?:,|$)/.exec(line)?.[1] ?? (line.startsWith("mode") ? "" : line);
}

/** Which names are one file is compared only when all were brought back. */
function withoutLinks(line: string): string {
  return line.replace(/, hard link of .*$/, "");
}

/** Paths of a snapshot, as people see them, that were not given back as they were, comparing `part` of the manifest. */
function compare(
  known: KnownSnapshot,
  found: Manifest,
  part: (line: string) => string,
): { readonly path: string; readonly present: boolean }[] {
  const wrong: { path: string; present: boolean }[] = [];
  for (const [name, line] of known.manifest) {
    const other = found.get(name);
    if (other !== undefined && part(other) === part(line)) continue;
    wrong.push({ path: `${known.root}${pathText(Buffer.from(name, "latin1"))}`, present: other !== undefined });
  }
  for (const name of found.keys()) if (!known.manifest.has(name)) wrong.push({ path: `${known.root}${name}`, present: true });
  return wrong;
}

/** Nothing at all when not even the top was restored. */
function manifestBelow(root: string): Manifest {
  return existsSync(root) ? takeManifest(root) : new Map();
}

function* parents(path: string): Generator<string> {
  for (let end = path.length; end > 0; end = path.lastIndexOf("/", end - 1)) yield path.slice(0, end);
}

function isBelow(path: string, above: readonly string[]): boolean {
  return above.some((one) => one === path || one === "/" || one === "" || path.startsWith(`${one}/`));
}
