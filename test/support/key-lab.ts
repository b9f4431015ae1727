/**
 * A place where each change of keys is killed at every system call of its target, and what must hold after each kill: a
 * known password opens, nothing has to be mended by hand, the same command or the next apply converges, verify is clean.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "../../src/base/errors.ts";
import { Secret } from "../../src/base/secret.ts";
import { applyNow } from "../../src/engine/apply.ts";
import { runPrune } from "../../src/engine/prune/prune.ts";
import type { Session } from "../../src/engine/session.ts";
import type { KeySlots, Store } from "../../src/formats/format.ts";
import { accessByPort, accessBySpec, type TargetAccess } from "../../src/targets/access.ts";
import { FAULT_POINTS, type FaultPoint } from "../../src/targets/local/fault-points.ts";
import { LocalTarget } from "../../src/targets/local/local-target.ts";
import { CampaignSession, TARGET } from "./campaign-session.ts";

export const KEY_OPERATIONS = ["add", "remove", "change", "rotate", "rewrite", "kit"] as const;
export type KeyOperation = (typeof KEY_OPERATIONS)[number];

/** A hit of one of the target's system calls. */
export interface KeyKill {
  readonly point: FaultPoint;
  readonly hit: number;
}

/** What a kill must leave usable. Those of no hard links belong to the driver, whose own tests kill there. */
export const KEY_POINTS = (Object.keys(FAULT_POINTS) as FaultPoint[]).filter(
  (point) => !/claim|folder create|parent/.test(point),
);

const CHILD = fileURLToPath(new URL("./key-child.ts", import.meta.url));
const PACK_BYTES = 2 ** 16;
const KDF = { function: "pbkdf2", hash: "sha512", iterations: 1000, saltBytes: 16 } as const;
const signal = new AbortController().signal;
const LABEL = "third";

/** Performs a change of keys as its command does. */
export async function changeKeys(session: Session, operation: KeyOperation): Promise<void> {
  if (operation === "change") {
    const warnings: string[] = [];
    Object.assign(session.surroundings, { onWarning: (text: string) => warnings.push(text) });
    await applyNow(session, { signal });
    if (warnings.length > 0) throw new Error(warnings.join("; "));
    return;
  }
  if (operation === "rewrite") {
    const { error } = await runPrune(session, TARGET, { dryRun: false, immediate: false, oldEpochs: true, signal });
    if (error !== undefined) throw error;
    return;
  }
  const keySlots = slotsOf(await session.store(TARGET));
  if (operation === "rotate") await keySlots.newEpoch(signal);
  else if (operation === "kit") await keySlots.recoveryKit({ where: "somewhere", signal });
  else if (operation === "add") await keySlots.add(passwordOf("third"), KDF, LABEL, signal);
  else
    for (const { id, label } of await keySlots.list(signal))
      if (label === LABEL) await keySlots.remove(id, passwordOf("old"), signal);
}

export class KeyLab {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
    mkdirSync(join(folder, "tree"), { recursive: true });
    for (const [name, size] of [
      ["a", 10_000],
      ["b", 150_000],
      ["c", 1],
    ] as const)
      writeFileSync(join(folder, "tree", name), Buffer.alloc(size, `${name} is not like the others. `));
    for (const password of ["old", "new"]) writeFileSync(join(folder, password), `${password}\n`, { mode: 0o600 });
    writeFileSync(this.#config("old"), configText(folder, ""));
    writeFileSync(this.#config("change"), configText(folder, "previous"));
    writeFileSync(this.#config("new"), configText(folder, "new"));
  }

  /** Makes what an operation begins with, and keeps a copy of it. */
  async prepare(operation: KeyOperation): Promise<void> {
    for (const part of PARTS) rmSync(join(this.folder, part), { recursive: true, force: true });
    {
      await using made = this.#open("old");
      await made.apply();
    }
    if (operation === "remove" || operation === "rewrite") {
      await using made = this.#open("old");
      await changeKeys(made.session, operation === "remove" ? "add" : "rotate");
    }
    rmSync(join(this.folder, "template"), { recursive: true, force: true });
    for (const part of PARTS) cpSync(join(this.folder, part), join(this.folder, "template", part), { recursive: true });
  }

  /** How often each point is hit when nothing goes wrong. */
  async count(operation: KeyOperation): Promise<Map<FaultPoint, number>> {
    const hits = new Map<FaultPoint, number>();
    this.#reset();
    await using access = this.#access((point) => void hits.set(point, (hits.get(point) ?? 0) + 1));
    await this.#perform(operation, access);
    return hits;
  }

  /**
   * Performs an operation whose target stops at a hit for good, in this process: what lies on the target is what a kill
   * leaves. Returns false when the operation ended before.
   */
  async stop(operation: KeyOperation, { point, hit }: KeyKill): Promise<boolean> {
    this.#reset();
    let left = hit;
    await using access = this.#access((passed) => {
      if (left > 0 && !(passed === point && --left === 0)) return;
      throw Object.assign(new Error("EIO: dead"), { code: "EIO" });
    });
    const failed = await this.#perform(operation, access).then(
      () => false,
      () => true,
    );
    // The lease of a process that is gone has ended; this one is still there.
    rmSync(join(this.folder, "repository/leases"), { recursive: true, force: true });
    // What comes after the change itself, as clearing away and giving the lease back, may fail unseen.
    const mayPass = operation === "add" ? /temporary unlink/ : /temporary unlink|delete/;
    assert(failed || left > 0 || mayPass.test(point), "it did not notice that its target was gone");
    return left === 0;
  }

  /** The same in a process of its own, which ends itself with SIGKILL. */
  kill(operation: KeyOperation, { point, hit }: KeyKill): boolean {
    this.#reset();
    const work = { config: this.#config(configOf(operation)), operation, crashAt: `${point}:${hit}`, packBytes: PACK_BYTES };
    const { status, signal: by, stderr } = spawnSync(process.execPath, [CHILD, JSON.stringify(work)], { encoding: "utf8" });
    assert(by === "SIGKILL" || status === 0, `a child ended with ${by ?? status}: ${stderr}`);
    return by === "SIGKILL";
  }

  /** What must hold after a kill. `thoroughly`: a backup and a verification of every byte too. */
  async survive(operation: KeyOperation, thoroughly: boolean): Promise<void> {
    if (operation === "change") assert((await this.#opens("old")) || (await this.#opens("new")), "neither password opens");
    else assert(await this.#opens("old"), "the password does not open");
    {
      await using again = this.#open(configOf(operation));
      const slots = await slotsOf(await again.session.store(TARGET)).list(signal);
      assert.deepEqual(
        slots.flatMap(({ problem }) => problem ?? []),
        [],
        "a key slot cannot be read",
      );
    }
    {
      await using again = this.#open(configOf(operation));
      await changeKeys(again.session, operation);
      const keySlots = slotsOf(await again.session.store(TARGET));
      const labels = (await keySlots.list(signal)).map(({ label }) => label);
      if (operation === "remove") assert(!labels.includes(LABEL), "the slot is still there");
      if (operation === "add") assert(labels.includes(LABEL) && labels.length <= 3, "the slot is not there");
      if (operation === "change") assert.equal(labels.length, 1, "not one slot is left");
    }
    if (operation === "change") assert.deepEqual([await this.#opens("old"), await this.#opens("new")], [false, true]);
    if (!thoroughly) return;
    await using again = this.#open(operation === "change" ? "new" : "old");
    await again.apply();
    const { ok, damage } = await again.verify();
    assert(ok, `verify found damage: ${JSON.stringify(damage.slice(0, 3))}`);
  }

  async #perform(operation: KeyOperation, access: TargetAccess): Promise<void> {
    await using opened = this.#open(configOf(operation), access);
    await changeKeys(opened.session, operation);
  }

  async #opens(password: "old" | "new"): Promise<boolean> {
    await using opened = this.#open(password);
    try {
      await opened.session.store(TARGET);
      return true;
    } catch (error) {
      if (error instanceof HoldfastError && error.code === "key_wrong") return false;
      throw error;
    }
  }

  #access(faultPoint: (point: FaultPoint) => void): TargetAccess {
    return accessByPort(new LocalTarget({ path: join(this.folder, "repository"), create: true, faultPoint }));
  }

  #open(config: "old" | "new" | "change", access?: TargetAccess): CampaignSession {
    return new CampaignSession(this.#config(config), PACK_BYTES, access === undefined ? {} : { accessFor: () => access });
  }

  #config(name: string): string {
    return join(this.folder, `${name}.yaml`);
  }

  #reset(): void {
    for (const part of PARTS) {
      rmSync(join(this.folder, part), { recursive: true, force: true });
      cpSync(join(this.folder, "template", part), join(this.folder, part), { recursive: true, preserveTimestamps: true });
    }
  }
}

/** What a campaign did: for each operation and point how often it was killed there. */
export class KeyCampaign {
  readonly kills = new Map<KeyOperation, Map<FaultPoint, number>>();
  readonly #lab: KeyLab;
  readonly #log: (line: string) => void;

  constructor(folder: string, log: (line: string) => void = () => undefined) {
    this.#lab = new KeyLab(folder);
    this.#log = log;
  }

  /** `once`: stopped at the first hit of each point, and killed at one of them. `thoroughly`: killed at every hit of every point. */
  async run(operations: readonly KeyOperation[], extent: "once" | "thoroughly"): Promise<void> {
    for (const operation of operations) {
      await this.#lab.prepare(operation);
      const hits = await this.#lab.count(operation);
      const points = KEY_POINTS.filter((point) => hits.has(point) && (operation === "kit" || !/read/.test(point)));
      assert(points.length > 0, `${operation} reaches no point`);
      for (const [number, point] of points.entries()) {
        if (extent === "once" && operation === "rewrite" && !REWRITE_POINTS.includes(point)) continue;
        const last = extent === "once" ? 1 : (hits.get(point) as number);
        for (let hit = 1; hit <= last; hit++) {
          const inChild = extent === "thoroughly" || point === CHILD_POINTS[operation];
          await this.#one(
            operation,
            { point, hit },
            inChild,
            extent === "thoroughly" || operation === "rewrite" || number === points.length - 1,
          );
        }
      }
    }
  }

  async #one(operation: KeyOperation, kill: KeyKill, inChild: boolean, thoroughly: boolean): Promise<void> {
    const step = `${operation} killed ${kill.point}:${kill.hit}${inChild ? "" : " (stopped in this process)"}`;
    try {
      const killed = inChild ? this.#lab.kill(operation, kill) : await this.#lab.stop(operation, kill);
      if (killed) {
        const rows = this.kills.get(operation) ?? new Map<FaultPoint, number>();
        this.kills.set(operation, rows.set(kill.point, (rows.get(kill.point) ?? 0) + 1));
      }
      await this.#lab.survive(operation, thoroughly);
      this.#log(`${step}: ${killed ? "survived" : "ended before"}`);
    } catch (error) {
      throw new Error(`${step}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
}

/** Where the bounded form kills a process of its own. */
const CHILD_POINTS: Readonly<Record<KeyOperation, FaultPoint>> = {
  add: "after link",
  remove: "before delete",
  change: "after link",
  rotate: "after link",
  rewrite: "before link",
  kit: "before read",
};
const PARTS = ["repository", "state", "cache"];
/** The bounded form of a rewrite, which is a prune and killed as one elsewhere, stops where objects come and go. */
const REWRITE_POINTS: readonly FaultPoint[] = ["before link", "after link", "before delete", "after delete"];

function configOf(operation: KeyOperation): "old" | "change" {
  return operation === "change" ? "change" : "old";
}

function slotsOf(store: Store): KeySlots {
  assert(store.keySlots !== undefined);
  return store.keySlots;
}

function passwordOf(text: string): { readonly kind: "password"; readonly secret: Secret } {
  return { kind: "password", secret: new Secret(text) };
}

function configText(folder: string, password: "" | "previous" | "new"): string {
  const quoted = (name: string): string => JSON.stringify(join(folder, name));
  const secret = (name: string): string => `{ file: ${quoted(name)} }`;
  const previous = password === "previous" ? `, previous: [${secret("old")}]` : "";
  return [
    "version: 1",
    "host: keys",
    `daemon: { stateDir: ${quoted("state")}, cacheDir: ${quoted("cache")} }`,
    `encryption: { main: { password: ${secret(password === "" ? "old" : "new")}${previous}, keyDerivation: { function: scrypt, cost: 1024, blockSize: 1 } } }`,
    `sources: { tree: { type: files, paths: [${quoted("tree")}] } }`,
    `targets: { ${TARGET}: { type: local, path: ${quoted("repository")}, encryption: main } }`,
    "jobs: { tree: { sources: [tree], targets: [disk] } }",
    "maintenance: { grace: 0s }",
    "",
  ].join("\n");
}

/** Runs one operation in a child process until its target's fault point kills it. */
export async function runKeyChild(work: {
  config: string;
  operation: KeyOperation;
  crashAt: string;
  packBytes: number;
}): Promise<void> {
  const { config } = CampaignSession.load(work.config);
  const spec = { driver: "local", path: config.targets.get(TARGET)?.path ?? "", create: true, crashAt: work.crashAt } as const;
  const access = await accessBySpec(spec);
  await using opened = new CampaignSession(work.config, work.packBytes, { accessFor: () => access });
  await changeKeys(opened.session, work.operation);
}
