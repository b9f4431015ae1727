/** Golden repositories opened as the program opens them, copies of them, and what this machine can restore of them. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { errnoOf } from "../../src/base/errors.ts";
import { Secret } from "../../src/base/secret.ts";
import { systemRandom } from "../../src/codec/system-random.ts";
import type { SnapshotInfo, Store, Unlocking, VerifyReport } from "../../src/formats/format.ts";
import { formatOf } from "../../src/formats/registry.ts";
import { AT_FDCWD, mknodAt } from "../../src/posix/at.ts";
import { makeDevice } from "../../src/posix/stat.ts";
import { setXattr } from "../../src/posix/xattr.ts";
import { createSystemClock } from "../../src/state/system-clock.ts";
import { accessBySpec } from "../../src/targets/access.ts";
import { SAMPLE_ACL } from "../support/oddities.ts";
import { describeSnapshot, summed, type Abilities } from "./described.ts";
import type { ExpectedSnapshot, Manifest } from "./manifest.ts";

export const SIGNAL: AbortSignal = new AbortController().signal;

export function unlockingOf({ kind, secret }: Manifest["secrets"][number]): Unlocking {
  return { kind, secret: new Secret(secret) };
}

export async function openGolden(
  folder: string,
  { format, secrets }: Pick<Manifest, "format" | "secrets">,
  unlockings: readonly Unlocking[] = secrets.map(unlockingOf),
): Promise<Store> {
  const access = await accessBySpec({ driver: "local", path: folder });
  const options = { name: "golden", access, clock: createSystemClock(), random: systemRandom, host: "box", appendOnly: false };
  return await (await formatOf(format)).open(options, unlockings);
}

/** A listed snapshot as its manifest has it. */
export async function asExpected(store: Store, snapshot: SnapshotInfo, folders: readonly string[]): Promise<ExpectedSnapshot> {
  const { id, job, timeMs, mode, status, tags, description, hold, unreadable } = snapshot;
  return {
    id,
    job,
    time: new Date(timeMs).toISOString(),
    mode,
    status,
    tags,
    description,
    hold: typeof hold === "number" ? new Date(hold).toISOString() : hold,
    unreadable: unreadable.map(({ path }) => path),
    ...summed(await describeSnapshot(store, snapshot), folders),
  };
}

/** The expected snapshots are there and every entry of them is as it was; others may be there beside them. */
export async function expectKept(store: Store, manifest: Manifest): Promise<void> {
  const listed = await store.snapshots();
  for (const expected of manifest.snapshots) {
    const found = listed.find(({ id }) => id === expected.id);
    if (found === undefined) throw new Error(`snapshot ${expected.id} is gone`);
    expect(
      await asExpected(
        store,
        found,
        expected.summaries.map(({ folder }) => folder),
      ),
    ).toEqual(expected);
  }
}

/** Every byte verified. */
export async function verifyAll(store: Store): Promise<VerifyReport> {
  return await store.verify({ snapshots: [], readData: 1, onProgress: () => undefined, signal: SIGNAL });
}

/** Damage without its words, which may change. */
export function damageOf(report: VerifyReport): Manifest["damage"] {
  return report.damage
    .map(({ kind, id, snapshots, paths }) => ({ kind, id, snapshots, paths }))
    .toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** Every file below a folder by its path, with the hash of its bytes. */
export function filesOf(folder: string): Map<string, string> {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
  return new Map(
    names.map((name) => [name.slice(folder.length + 1), createHash("sha256").update(readFileSync(name)).digest("hex")]),
  );
}

/** A folder in the system's temporary folder, removed at the end. */
export function scratch(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "golden-"));
  const remove = (): void => {
    // Restored folders may refuse even their owner.
    if (process.getuid?.() !== 0) spawnSync("chmod", ["-R", "u+rwX", path]);
    rmSync(path, { recursive: true, force: true });
  };
  return { path, [Symbol.dispose]: remove };
}

/** A copy whose objects are as old as they were when it was made. */
export function copyOf(folder: string, to: string, made: string): string {
  cpSync(folder, to, { recursive: true });
  const seconds = Date.parse(made) / 1000;
  for (const name of filesOf(to).keys()) utimesSync(join(to, name), seconds, seconds);
  return to;
}

/** Tried, because it depends on the user, the container and the file system. */
export function abilitiesAt(folder: string): Abilities {
  const place = join(folder, "abilities");
  mkdirSync(place);
  const can = (act: () => void): boolean => {
    try {
      act();
      return true;
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      return false;
    }
  };
  const node = (name: string, mode: number, device: bigint): void =>
    mknodAt(AT_FDCWD, Buffer.from(join(place, name)), mode | 0o600, device);
  const able = {
    owners: process.getuid?.() === 0,
    xattrs: can(() => {
      setXattr(Buffer.from(place), Buffer.from("user.golden"), Buffer.from("1"));
      setXattr(Buffer.from(place), Buffer.from("system.posix_acl_default"), SAMPLE_ACL);
    }),
    devices: can(() => {
      node("character", 0o020_000, makeDevice(1, 3));
      node("block", 0o060_000, makeDevice(7, 200));
    }),
    sockets: can(() => node("socket", 0o140_000, 0n)),
  };
  rmSync(place, { recursive: true });
  return able;
}
