/** `holdfast audit`: what the command line records of its own changes, shows and verifies. */
import { readFileSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, expect, test } from "vitest";
import { runCli } from "../../src/cli/run.ts";
import { temporaryTree } from "../support/tree-literal.ts";
import { fakeShell } from "./fake-shell.ts";

const CONFIG = `version: 1
host: tester
daemon: { stateDir: ./state, cacheDir: ./cache, timezone: UTC }
encryption: { main: { keyFile: ./key, generate: true } }
sources: { docs: { type: files, paths: [./data] } }
targets: { disk: { type: local, path: ./repository, encryption: main } }
retention: { one: { keepLast: 1 } }
jobs: { docs: { sources: [docs], targets: [disk], retention: one } }
`;

let folder: ReturnType<typeof temporaryTree>;
beforeEach(() => {
  folder = temporaryTree({ data: { a: "a" }, "holdfast.yaml": CONFIG });
});
afterEach(() => folder[Symbol.dispose]());

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const shell = fakeShell(args, { cwd: folder.path });
  const code = await runCli(shell);
  return { code, out: shell.out(), err: shell.err() };
}

interface Record {
  readonly sequence: number;
  readonly actor: string;
  readonly from: string;
  readonly action: string;
  readonly subject: string;
  readonly outcome: string;
  readonly code: string | null;
  readonly detail: string;
  readonly hash: string;
}

async function records(): Promise<readonly Record[]> {
  return (JSON.parse((await run("audit", "--json")).out) as { records: readonly Record[] }).records;
}

test("what the command line changes without a daemon is recorded with its user, and no secret", async () => {
  expect((await run("apply")).code).toBe(0);
  for (const content of ["b", "c"]) {
    writeFileSync(join(folder.path, "data/a"), content);
    expect((await run("backup", "docs")).code).toBe(0);
  }
  const steps: readonly (readonly [string[], number])[] = [
    [["tag", "latest", "--add", "keep"], 0],
    [["key", "add", "--key-file", "spare", "--label", "safe"], 0],
    [["key", "rotate"], 0],
    [["key", "recovery-kit"], 0],
    [["pause", "docs"], 0],
    [["resume", "docs"], 0],
    [["pause", "other"], 2],
    [["restore", "latest", "--to", "out"], 0],
    [["prune", "--dry-run"], 0],
    [["prune", "--keep-last", "1", "--yes"], 0],
    [["repair"], 0],
    [["delete", "latest", "--yes"], 0],
  ];
  for (const [args, code] of steps) expect([args, await run(...args)]).toMatchObject([args, { code }]);
  const all = await records();
  expect(all.map(({ action, outcome }) => `${action} ${outcome}`)).toEqual([
    "plan.apply begun",
    "repository.create accepted",
    "plan.apply accepted",
    "snapshot.annotate accepted",
    "key.add accepted",
    "key.rotate accepted",
    "key.recovery-kit accepted",
    "job.pause accepted",
    "job.resume accepted",
    "restore.start begun",
    "restore.start accepted",
    "prune.run begun",
    "retention.delete accepted",
    "prune.run accepted",
    "target.repair begun",
    "target.repair accepted",
    "snapshot.delete accepted",
  ]);
  for (const { actor, from } of all) expect([actor, from]).toEqual([`cli:${userInfo().username}`, `process ${process.pid}`]);
  expect(all.find(({ action }) => action === "key.add")).toMatchObject({
    subject: "disk",
    detail: '{"kind":"keyfile","label":"safe"}',
  });
  expect(all.find(({ action }) => action === "retention.delete")).toMatchObject({
    subject: "docs on disk",
    detail: expect.stringContaining('"reason":"prune --keep-last","count":1'),
  });
  const text = JSON.stringify(all);
  expect(text).not.toContain(readFileSync(join(folder.path, "spare"), "utf8").trim());
  expect(text).not.toContain(readFileSync(join(folder.path, "key"), "utf8").trim());
});

test("what fails is recorded as failed, with its code", async () => {
  await run("apply");
  await run("tag", "latest", "--hold");
  const [slot] = (JSON.parse((await run("key", "list", "--json")).out) as { slots: { id: string }[] }).slots;
  expect((await run("key", "remove", String(slot?.id), "--yes")).code).toBe(1);
  expect((await run("restore", "--rollback", "ffff", "--yes")).code).not.toBe(0);
  const all = await records();
  expect(all.slice(-3)).toMatchObject([
    { action: "key.remove", subject: "disk", outcome: "failed", code: "key_last" },
    { action: "restore.rollback", subject: "ffff", outcome: "begun", code: null },
    { action: "restore.rollback", subject: "ffff", outcome: "failed", code: "name_unknown" },
  ]);
});

test("is shown as a table, as CSV, by number and by time", async () => {
  expect(await run("audit")).toMatchObject({ code: 0, out: "", err: "Nothing is recorded.\n" });
  await run("pause", "docs");
  await run("resume", "docs");
  const shown = await run("audit");
  expect(shown.out.split("\n")[0]).toMatch(/^NO\s+TIME\s+WHO\s+FROM\s+DID\s+TO\s+OUTCOME/);
  expect(shown.out).toMatch(/1\s+\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\s+cli:\S+\s+process \d+\s+job\.pause\s+docs\s+accepted/);
  expect((await run("audit", "--limit", "1")).out.trim().split("\n")).toHaveLength(2);
  expect((await run("audit", "--since", "2000-01-01")).out.trim().split("\n")).toHaveLength(3);
  expect((await run("audit", "--since", "2999-01-01")).out).toBe("");
  const csv = (await run("audit", "--format", "csv")).out.split("\r\n");
  expect(csv[0]).toBe("sequence,time,actor,from,action,subject,outcome,code,detail,previous,hash");
  expect(csv).toHaveLength(4);
  expect((await run("audit", "--limit", "none")).code).toBe(2);
});

test("is verified, also against a head that was noted; tampering is an error", async () => {
  await run("pause", "docs");
  await run("resume", "docs");
  const head = (await run("audit", "--head")).out.trim();
  expect(head).toMatch(/^2:[0-9a-f]{64}$/);
  await run("pause", "docs");
  expect(await run("audit", "--verify")).toMatchObject({ code: 0, err: expect.stringContaining("intact: 3 records, head 3:") });
  expect(await run("audit", "--since-hash", head)).toMatchObject({ code: 0 });
  expect(JSON.parse((await run("audit", "--verify", "--json")).out)).toMatchObject({ intact: true, records: 3, problems: [] });
  expect((await run("audit", "--since-hash", "2:abc")).code).toBe(2);
  using database = new DatabaseSync(join(folder.path, "state/state.db"));
  database.exec(`DROP TRIGGER audit_is_not_shortened; DELETE FROM audit WHERE sequence >= 2;
    UPDATE audit_head SET sequence = 1, hash = (SELECT hash FROM audit)`);
  expect((await run("audit", "--verify")).code).toBe(0);
  expect(await run("audit", "--since-hash", head)).toMatchObject({
    code: 1,
    err: expect.stringContaining("the noted head, record 2, is missing: the log ends with record 1"),
  });
  database.exec("DROP TRIGGER audit_is_not_changed; UPDATE audit SET actor = 'nobody'");
  expect(await run("audit", "--verify")).toMatchObject({ code: 1, err: expect.stringContaining("record 1 was changed") });
  const document = await run("audit", "--verify", "--json");
  expect(JSON.parse(document.out)).toMatchObject({ intact: false, problems: [expect.stringContaining("record 1")] });
  expect(document.err).toContain('"code":"audit_broken"');
});
