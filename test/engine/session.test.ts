import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { Secret } from "../../src/base/secret.ts";
import { RepositoryStore } from "../../src/formats/repository/repository-format.ts";
import { openState, type State } from "../../src/state/state.ts";
import { FaultyTarget } from "../support/faulty-target.ts";
import { MemoryTarget } from "../support/memory-target.ts";
import { password, sessionOf, type Setup } from "./backup/fixture.ts";

let folder: string;
let state: State;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-session-"));
  state = openState(folder);
});
afterEach(() => {
  state[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

const slotsOf = (target: MemoryTarget): string[] => [...target.objects.keys()].filter((name) => name.startsWith("keys/"));
const repositoryOf = async (session: ReturnType<typeof sessionOf>, name: string): Promise<RepositoryStore["repository"]> => {
  const store = await session.store(name);
  if (!(store instanceof RepositoryStore)) throw new Error("no repository");
  return store.repository;
};

/** What a session of its own says of the target `disk`. */
async function codeOf(setup: Setup): Promise<string> {
  await using session = sessionOf(state, setup);
  return await session.store("disk").then(
    () => "open",
    (error: unknown) => (error as HoldfastError).code,
  );
}

test("a target is made once, opened at most once, and pinned", async () => {
  const disk = new MemoryTarget();
  await using session = sessionOf(state, { targets: { disk } });
  await expect(session.store("disk")).rejects.toMatchObject({
    code: "repository_missing",
    message: expect.stringContaining("disk"),
  });
  const created = await session.create("disk", { recreate: false });
  expect(await session.store("disk")).toBe(created);
  await expect(session.create("disk", { recreate: false })).rejects.toMatchObject({ code: "repository_changed" });
  await expect(session.create("disk", { recreate: true })).rejects.toMatchObject({ code: "repository_exists" });
  await using second = sessionOf(state, { targets: { disk } });
  disk.requests.get = 0;
  const [one, two] = await Promise.all([second.store("disk"), second.store("disk")]);
  expect(one).toBe(two);
  expect(disk.requests.get).toBe(3);
  expect(one.identity).toEqual(created.identity);
});

test("a target of another repository, an emptied one and one that was rolled back are refused, each by what it is", async () => {
  const [disk, other] = [new MemoryTarget(), new MemoryTarget()];
  {
    await using session = sessionOf(state, { targets: { disk } });
    await session.create("disk", { recreate: false });
    const old = new Map(disk.objects);
    await (await session.store("disk")).keySlots?.newEpoch();
    await using newer = sessionOf(state, { targets: { disk } });
    expect((await newer.store("disk")).identity?.generation).toBe(2);
    // Everything as it was before the new epoch.
    const rolledBack = new MemoryTarget();
    for (const [name, object] of old) rolledBack.objects.set(name, object);
    expect(await codeOf({ targets: { disk: rolledBack } })).toBe("repository_changed");
  }
  {
    const elsewhere = openState(join(folder, "elsewhere"));
    await using session = sessionOf(elsewhere, { targets: { disk: other } });
    await session.create("disk", { recreate: false });
    elsewhere[Symbol.dispose]();
  }
  expect(await codeOf({ targets: { disk: other } })).toBe("repository_changed");
  const empty = new MemoryTarget();
  expect(await codeOf({ targets: { disk: empty } })).toBe("repository_changed");
  await using session = sessionOf(state, { targets: { disk: empty } });
  await expect(session.create("disk", { recreate: false })).rejects.toMatchObject({
    code: "repository_changed",
    hint: expect.stringContaining("--allow recreate"),
  });
  expect(empty.objects.size).toBe(0);
  // Allowed by name, it begins anew, and the new one is the pinned one.
  await session.create("disk", { recreate: true });
  expect(await codeOf({ targets: { disk: empty } })).toBe("open");
  expect(await codeOf({ targets: { disk } })).toBe("repository_changed");
});

test("a missing folder is a new target, unless something was seen in it before", async () => {
  const path = join(folder, "disk");
  const setup: Setup = { targets: { disk: new MemoryTarget() }, surroundings: { accessFor: () => undefined } };
  const at = (session: ReturnType<typeof sessionOf>): void => void Object.assign(session.target("disk"), { path });
  {
    await using session = sessionOf(state, setup);
    at(session);
    await expect(session.store("disk")).rejects.toMatchObject({ code: "repository_missing" });
    await session.create("disk", { recreate: false });
  }
  rmSync(path, { recursive: true });
  await using session = sessionOf(state, setup);
  at(session);
  await expect(session.store("disk")).rejects.toMatchObject({
    code: expect.stringMatching(/^(target_unreachable|repository_changed)$/),
  });
});

test("a failure to open is not kept", async () => {
  const memory = new MemoryTarget();
  {
    await using session = sessionOf(state, { targets: { disk: memory } });
    await session.create("disk", { recreate: false });
  }
  const disk = new FaultyTarget(memory).queue({
    verb: "list",
    name: /^keyring/,
    kind: "error",
    error: new HoldfastError("target_unreachable", "not yet"),
  });
  await using session = sessionOf(state, { targets: { disk } });
  expect((await session.stores()).closed).toMatchObject([{ error: { code: "target_unreachable" } }]);
  expect((await session.stores()).open).toHaveLength(1);
});

test("targets of one configuration share a lineage", async () => {
  await using session = sessionOf(state, { targets: { disk: new MemoryTarget(), cloud: new MemoryTarget() } });
  await session.create("disk", { recreate: false });
  await session.create("cloud", { recreate: false });
  const [disk, cloud] = [await repositoryOf(session, "disk"), await repositoryOf(session, "cloud")];
  expect(Buffer.from(disk.keys.lineage.id).equals(Buffer.from(cloud.keys.lineage.id))).toBe(true);
  expect(Buffer.from(disk.keys.material.root).equals(Buffer.from(cloud.keys.material.root))).toBe(false);
});

test("without its secret a target that is there is said to need it, and a new one to be new", async () => {
  const disk = new MemoryTarget();
  {
    await using session = sessionOf(state, { targets: { disk } });
    await session.create("disk", { recreate: false });
  }
  const encryption = { ...password("secret"), password: { env: "NOT_SET" } } as Setup["encryption"] & object;
  expect(await codeOf({ targets: { disk }, encryption })).toBe("secret_unavailable");
  const elsewhere = openState(join(folder, "fresh"));
  await using fresh = sessionOf(elsewhere, { targets: { disk: new MemoryTarget() }, encryption });
  await expect(fresh.store("disk")).rejects.toMatchObject({ code: "repository_missing" });
  elsewhere[Symbol.dispose]();
});

async function made(): Promise<MemoryTarget> {
  const disk = new MemoryTarget();
  await using session = sessionOf(state, { targets: { disk }, encryption: password("old") });
  await session.create("disk", { recreate: false });
  return disk;
}

test("a previous password opens, a slot for the new one is added and the old one removed", async () => {
  const disk = await made();
  const [old] = slotsOf(disk);
  expect(await codeOf({ targets: { disk }, encryption: password("new") })).toBe("key_wrong");
  {
    await using session = sessionOf(state, { targets: { disk }, encryption: password("new", ["older", "old"]) });
    await session.store("disk");
    // Opening alone changes nothing: looking must not write.
    expect(slotsOf(disk)).toEqual([old]);
    // Two runs that begin together do it once.
    const told = (await Promise.all([session.settleKeys(["disk"]), session.settleKeys(["disk"])])).flat();
    expect(told).toMatchObject([{ level: "info", text: expect.stringContaining("changed the password") }]);
    expect(slotsOf(disk)).toHaveLength(1);
    expect(slotsOf(disk)).not.toContain(old);
    expect(await session.settleKeys(["disk"])).toEqual([]);
  }
  expect(await codeOf({ targets: { disk }, encryption: password("new") })).toBe("open");
  expect(await codeOf({ targets: { disk }, encryption: password("old") })).toBe("key_wrong");
});

test("after a crash between the two, both passwords open, and the next run removes the old one", async () => {
  const disk = await made();
  const [old] = slotsOf(disk);
  {
    const faulty = new FaultyTarget(disk).queue({
      verb: "delete",
      name: /^keys/,
      kind: "error",
      error: new HoldfastError("target_unreachable", "cut off"),
    });
    await using session = sessionOf(state, { targets: { disk: faulty }, encryption: password("new", ["old"]) });
    await session.store("disk");
    expect(await session.settleKeys(["disk"])).toMatchObject([{ level: "warn", text: expect.stringContaining("cut off") }]);
    faulty.assertAllFired();
  }
  expect(slotsOf(disk)).toHaveLength(2);
  for (const text of ["old", "new"]) expect(await codeOf({ targets: { disk }, encryption: password(text) })).toBe("open");
  {
    await using session = sessionOf(state, { targets: { disk }, encryption: password("new", ["old"]) });
    await session.store("disk");
    expect(await session.settleKeys(["disk"])).toMatchObject([
      { level: "info", text: expect.stringContaining("removed key slot") },
    ]);
  }
  expect(slotsOf(disk)).toHaveLength(1);
  expect(slotsOf(disk)).not.toContain(old);
});

test("where nothing may be deleted, or the new slot cannot be written, the old password goes on opening", async () => {
  const disk = await made();
  {
    const faulty = new FaultyTarget(disk).queue({
      verb: "put",
      name: /^keys/,
      kind: "error",
      error: new HoldfastError("target_read_only", "read-only"),
    });
    await using session = sessionOf(state, { targets: { disk: faulty }, encryption: password("new", ["old"]) });
    await session.store("disk");
    expect(await session.settleKeys(["disk"])).toMatchObject([{ level: "warn", text: expect.stringContaining("read-only") }]);
  }
  expect(slotsOf(disk)).toHaveLength(1);
  {
    await using session = sessionOf(state, { targets: { disk }, encryption: password("new", ["old"]), appendOnly: true });
    await session.store("disk");
    expect(await session.settleKeys(["disk"])).toMatchObject([{ level: "warn", text: expect.stringContaining("append-only") }]);
  }
  expect(slotsOf(disk)).toHaveLength(2);
  expect(await codeOf({ targets: { disk }, encryption: password("new") })).toBe("open");
});

test("a secret is in no message", async () => {
  const disk = await made();
  const canary = "canary-secret";
  await using session = sessionOf(state, { targets: { disk }, encryption: password(canary, ["wrong-canary"]) });
  const error = await session.store("disk").then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toMatchObject({ code: "key_wrong" });
  expect(JSON.stringify((error as HoldfastError).toWire())).not.toContain("canary");
  expect(JSON.stringify({ secret: new Secret(canary) })).not.toContain("canary");
});
