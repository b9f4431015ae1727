import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { HoldfastError } from "../../../src/base/errors.ts";
import type { SourceConfig } from "../../../src/config/config.ts";
import { runBackup } from "../../../src/engine/apply.ts";
import type { Session } from "../../../src/engine/session.ts";
import { openState, type State } from "../../../src/state/state.ts";
import { FaultyTarget } from "../../support/faulty-target.ts";
import { MemoryTarget } from "../../support/memory-target.ts";
import { temporaryTree, type TemporaryFolder } from "../../support/tree-literal.ts";
import { filesSource, password, sessionOf, type Setup } from "./fixture.ts";

let folder: string;
let state: State;
let source: TemporaryFolder;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "holdfast-backup-"));
  state = openState(folder);
  source = temporaryTree({ a: "a", b: "b".repeat(200_000) });
});
afterEach(() => {
  state[Symbol.dispose]();
  source[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

const signal = (): AbortSignal => new AbortController().signal;
const command = (name: string, script: string): SourceConfig => ({
  type: "command",
  name,
  command: ["sh", "-c", script],
  filename: "dump",
  timeoutMs: undefined,
  grouping: "frame",
});

async function ready(setup: Omit<Setup, "sources"> & { readonly sources?: readonly SourceConfig[] }): Promise<Session> {
  const session = sessionOf(state, { sources: [filesSource("files", source.path)], ...setup });
  for (const name of Object.keys(setup.targets)) await session.create(name, { recreate: false });
  return session;
}

test("a run is recorded, and its snapshots are on every target under one id", async () => {
  await using session = await ready({ targets: { disk: new MemoryTarget(), cloud: new MemoryTarget() } });
  const first = await runBackup(session, "job", { signal: signal() });
  expect(first).toMatchObject({ status: "success", error: undefined });
  const ids = first.result?.outcomes[0]?.snapshots.map(({ snapshot }) => snapshot.id);
  expect(new Set(ids).size).toBe(1);
  expect(ids).toHaveLength(2);
  expect(first.result?.outcomes[0]?.snapshots[0]?.snapshot).toMatchObject({ mode: "full", baseline: undefined, run: first.run });
  expect(state.run(first.run)).toMatchObject({ status: "success", kind: "backup", subject: "job" });
  const second = await runBackup(session, "job", { signal: signal() });
  expect(second.result?.outcomes[0]?.snapshots[0]?.snapshot).toMatchObject({
    mode: "incremental",
    baseline: ids?.[0],
    previous: ids?.[0],
  });
});

const broken = (): HoldfastError => new HoldfastError("target_io", "broken");

test.each([
  // What could not be listed is only missed as a baseline; the writing itself goes well.
  ["listing snapshots", "list", /^snapshots/, true, "success"],
  ["a pack", "put", /^packs/, true, "failed"],
  ["a pack", "put", /^packs/, false, "partial"],
  ["its snapshot", "put", /^snapshots/, false, "partial"],
] as const)(
  "a target that fails at %s (%s %s, required: %s) leaves the other its snapshot: %s",
  async (_, verb, name, required, expected) => {
    const [disk, cloud] = [new MemoryTarget(), new MemoryTarget()];
    const faulty = new FaultyTarget(cloud);
    await using session = await ready({ targets: { disk, cloud: faulty }, required: { cloud: required } });
    faulty.queue({ verb, name, kind: "error", error: broken() });
    const run = await runBackup(session, "job", { signal: signal() });
    faulty.assertAllFired();
    expect(run.status).toBe(expected);
    expect(await (await session.store("disk")).snapshots()).toHaveLength(1);
    if (verb !== "list") {
      expect(run.result?.outcomes[0]?.errors).toMatchObject([{ target: "cloud", error: { code: "target_io" } }]);
      expect(
        state
          .logs(run.run)
          .map(({ text }) => text)
          .join("\n"),
      ).toContain("cloud");
    }
  },
);

test("a target that does not open is named, once, and the other gets its snapshot", async () => {
  const [disk, cloud] = [new MemoryTarget(), new MemoryTarget()];
  await using session = await ready({ targets: { disk } });
  await using both = sessionOf(state, { sources: [filesSource("files", source.path)], targets: { disk, cloud } });
  const run = await runBackup(both, "job", { signal: signal() });
  expect(run).toMatchObject({ status: "failed", error: { code: "repository_missing" } });
  expect(state.logs(run.run).filter(({ text }) => text.includes("cloud"))).toHaveLength(1);
  expect(await (await session.store("disk")).snapshots()).toHaveLength(1);
});

test("when nothing is chosen, nothing succeeds", async () => {
  await using session = await ready({ targets: { disk: new MemoryTarget() } });
  for (const more of [{ targets: ["cloud"] }, { sources: ["other"] }]) {
    const run = await runBackup(session, "job", { ...more, signal: signal() });
    expect(run).toMatchObject({ status: "failed", error: { code: "name_unknown" } });
  }
});

test("a command that fails, or is larger than allowed, commits nothing, and the other sources go on", async () => {
  const disk = new MemoryTarget();
  await using session = await ready({
    targets: { disk },
    job: { maxSnapshotSizeBytes: 1_000_000 },
    sources: [
      command("bad", "printf half; exit 3"),
      command("large", "head -c 1000001 /dev/zero"),
      command("good", "head -c 1000000 /dev/zero"),
      filesSource("files", source.path),
    ],
  });
  const run = await runBackup(session, "job", { signal: signal() });
  expect(run.status).toBe("failed");
  expect(
    run.result?.outcomes.map(({ source: name, snapshots, errors }) => [name, snapshots.length, errors[0]?.error.code]),
  ).toEqual([
    ["bad", 0, "command_failed"],
    ["large", 0, "source_changed"],
    ["good", 1, undefined],
    ["files", 1, undefined],
  ]);
  expect((await (await session.store("disk")).snapshots()).map((snapshot) => snapshot.source).sort()).toEqual(["files", "good"]);
});

test("a run that is cancelled says so, even in its very last request", async () => {
  const disk = new MemoryTarget();
  const faulty = new FaultyTarget(disk);
  await using session = await ready({ targets: { disk: faulty } });
  for (const name of [/^leases/, /^packs/, /^snapshots/]) {
    const abort = new AbortController();
    const put = disk.put.bind(disk);
    disk.put = async (object, parts, options) => {
      if (name.test(object)) abort.abort(new HoldfastError("cancelled", "enough"));
      options?.signal?.throwIfAborted();
      await put(object, parts, options);
    };
    const run = await runBackup(session, "job", { signal: abort.signal });
    disk.put = put;
    expect(run.status, String(name)).toBe("cancelled");
  }
  expect(await (await session.store("disk")).snapshots()).toEqual([]);
  expect((await runBackup(session, "job", { signal: signal() })).status).toBe("success");
});

test("a dry run writes nothing, not even a new key slot", async () => {
  const disk = new MemoryTarget();
  {
    await using session = await ready({ targets: { disk }, encryption: password("old") });
    expect(session.config.jobs.size).toBe(1);
  }
  await using session = sessionOf(state, {
    sources: [filesSource("files", source.path)],
    targets: { disk },
    encryption: password("new", ["old"]),
  });
  const before = [...disk.objects.keys()];
  const dry = await runBackup(session, "job", { dryRun: true, signal: signal() });
  expect(dry.status).toBe("success");
  expect(dry.result?.outcomes[0]?.snapshots[0]?.snapshot.newBytes).toBeGreaterThan(200_000);
  expect([...disk.objects.keys()]).toEqual(before);
  const run = await runBackup(session, "job", { signal: signal() });
  expect(run.status).toBe("success");
  expect(
    state
      .logs(run.run)
      .map(({ text }) => text)
      .join("\n"),
  ).toContain("changed the password");
  expect([...disk.objects.keys()].filter((name) => name.startsWith("keys/"))).not.toEqual(
    before.filter((name) => name.startsWith("keys/")),
  );
});
