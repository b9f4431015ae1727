/** The audit log: what it keeps, and that tampering shows. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Audit, formatAuditHead, parseAuditHead, requireIntact, type AuditEntry } from "../../src/state/audit.ts";
import { openState, type State } from "../../src/state/state.ts";
import { temporaryTree } from "../support/tree-literal.ts";

let folder: ReturnType<typeof temporaryTree>;
let state: State;

beforeEach(() => {
  folder = temporaryTree({});
  state = openState(folder.path);
});
afterEach(() => {
  state.close();
  folder[Symbol.dispose]();
});

const entry = (action: string, more: Partial<AuditEntry> = {}): AuditEntry => ({
  actor: "ops",
  from: "127.0.0.1",
  action,
  subject: "docs",
  outcome: "accepted",
  ...more,
});

/** What somebody does who may write to the database and knows how it is kept safe from mistakes. */
function tamper(...statements: string[]): void {
  using database = new DatabaseSync(join(folder.path, "state.db"));
  database.exec("DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_shortened;");
  for (const statement of statements) database.exec(statement);
}

function fill(records: number): void {
  for (let n = 1; n <= records; n++) state.audit.append(entry(`job.run`, { subject: `job-${n}` }), n * 1000);
}

describe("the log", () => {
  test("keeps who did what from where and what came of it, each record naming the one before", () => {
    state.audit.append(entry("job.pause"), 1000);
    state.audit.append(entry("snapshot.delete", { outcome: "refused", code: "plan_held", detail: { count: 2 } }), 2000);
    const [second, first] = state.audit.records();
    expect(first).toMatchObject({ sequence: 1, timeMs: 1000, previous: "0".repeat(64), code: undefined, detail: "" });
    expect(second).toEqual({
      sequence: 2,
      timeMs: 2000,
      actor: "ops",
      from: "127.0.0.1",
      action: "snapshot.delete",
      subject: "docs",
      outcome: "refused",
      code: "plan_held",
      detail: '{"count":2}',
      previous: first?.hash,
      hash: createHash("sha256")
        .update(
          `["holdfast-audit-1",2,2000,"ops","127.0.0.1","snapshot.delete","docs","refused","plan_held","{\\"count\\":2}","${first?.hash}"]`,
        )
        .digest("hex"),
    });
    expect(state.audit.head()).toEqual({ sequence: 2, hash: second?.hash });
    expect(state.audit.verify()).toMatchObject({ intact: true, records: 2, first: 1 });
  });

  test("an empty one is intact", () => {
    expect(state.audit.verify()).toEqual({
      intact: true,
      head: { sequence: 0, hash: "0".repeat(64) },
      records: 0,
      first: 0,
      problems: [],
    });
    expect(state.audit.verify(state.audit.head())).toMatchObject({ intact: true });
  });

  test("is found by time, actor and action, the newest first", () => {
    fill(5);
    state.audit.append(entry("job.pause", { actor: "kim" }), 6000);
    expect(state.audit.records({ limit: 2 }).map(({ sequence }) => sequence)).toEqual([6, 5]);
    expect(state.audit.records({ since: 2000, until: 4000 }).map(({ sequence }) => sequence)).toEqual([3, 2]);
    expect(state.audit.records({ actor: "kim" }).map(({ action }) => action)).toEqual(["job.pause"]);
    expect(state.audit.records({ action: "job.run" })).toHaveLength(5);
  });

  test("takes texts of any kind and length, and stays intact", () => {
    const odd = ["\u0000", "\uD800 half", "line\nbreak", "\u202E", "x".repeat(5000), "é\u{1F600}".repeat(500), '"\\', ""];
    for (const text of odd)
      state.audit.append(entry(text, { actor: text, from: text, subject: text, code: text, detail: { [text]: text } }), 1);
    state.close();
    state = openState(folder.path);
    expect(state.audit.verify()).toMatchObject({ intact: true, records: odd.length });
    for (const { actor, subject, detail } of state.audit.records()) {
      expect([actor.length <= 128, subject.length <= 256, detail.length <= 1024]).toEqual([true, true, true]);
      expect(actor + subject + detail).not.toMatch(/[\p{Cc}\p{Cs}]/u);
    }
  });

  test("tells whoever listens, after it is stored", () => {
    const told: string[] = [];
    const listening = state.audit.onAppended(({ sequence, action }) => told.push(`${sequence} ${action}`));
    fill(2);
    listening[Symbol.dispose]();
    fill(1);
    expect(told).toEqual(["1 job.run", "2 job.run"]);
  });

  test("commits together with what it records, or neither", () => {
    const { result } = state.audit.during(entry("job.pause"), 1, () => {
      state.setPaused("docs", true, 1);
      return "done";
    });
    expect(result).toBe("done");
    expect([...state.pausedJobs()]).toEqual(["docs"]);
    expect(() =>
      state.audit.during(entry("job.pause"), 1, () => {
        state.setPaused("photos", true, 1);
        throw new Error("killed here");
      }),
    ).toThrow();
    tamper("DROP TABLE audit_head");
    expect(() => state.audit.during(entry("job.pause"), 1, () => state.setPaused("photos", true, 1))).toThrow(
      expect.objectContaining({ code: "state_unusable" }),
    );
    expect([...state.pausedJobs()]).toEqual(["docs"]);
    expect(state.audit.records()).toHaveLength(1);
  });

  test("cannot be changed by the program itself", () => {
    fill(2);
    using database = new DatabaseSync(join(folder.path, "state.db"));
    expect(() => database.exec("UPDATE audit SET actor = 'nobody'")).toThrow(/append-only/);
    expect(() => database.exec("DELETE FROM audit WHERE sequence = 1")).toThrow(/append-only/);
  });

  test("forgets its oldest records, and stays verifiable at any time", async () => {
    using database = new DatabaseSync(join(folder.path, "state.db"));
    database.exec("PRAGMA synchronous = OFF");
    const audit = new Audit(database, (work) => work(), 1000);
    const heads = [audit.head()];
    for (let n = 1; n <= 1010; n++) {
      audit.append(entry("job.run"), n);
      heads.push(audit.head());
    }
    expect(audit.verify()).toMatchObject({ intact: true, records: 1010, first: 1 });
    audit.append(entry("job.run"), 1011);
    expect(audit.records({ limit: 2 })).toMatchObject([
      { action: "audit.trim", actor: "holdfast", sequence: 1012 },
      { action: "job.run", sequence: 1011 },
    ]);
    expect(audit.verify(heads[1010])).toMatchObject({ intact: true, first: 13, records: 1000 });
    expect(audit.verify(heads[13])).toMatchObject({ intact: true });
    expect(audit.verify(heads[12])).toMatchObject({ intact: true });
    expect(audit.verify(heads[11]).problems).toEqual(["the noted head, record 11, is no longer kept: nothing can be said of it"]);
    // Trimmed again and again, also while it is verified.
    for (let round = 0; round < 5; round++) {
      const verifying = audit.verifyGently(audit.head());
      for (let n = 0; n < 30; n++) audit.append(entry("job.run"), n);
      expect(await verifying).toMatchObject({ intact: true, problems: [] });
      expect(audit.verify(audit.head())).toMatchObject({ intact: true });
    }
    const first = audit.verify().first;
    expect(first).toBeGreaterThan(100);
    tamper(`DELETE FROM audit WHERE sequence < ${first + 7}`);
    expect(audit.verify().problems).toEqual([
      `records ${first} to ${first + 6} are missing at the beginning, and no record says that they were taken away`,
    ]);
  });
});

describe("tampering shows:", () => {
  test.each<[string, string[], RegExp]>([
    ["a changed actor", ["UPDATE audit SET actor = 'nobody' WHERE sequence = 3"], /record 3 was changed/],
    ["a changed time", ["UPDATE audit SET time_ms = 1 WHERE sequence = 3"], /record 3 was changed/],
    ["a changed origin", ["UPDATE audit SET origin = '' WHERE sequence = 3"], /record 3 was changed/],
    ["a changed action", ["UPDATE audit SET action = 'job.pause' WHERE sequence = 3"], /record 3 was changed/],
    ["a changed subject", ["UPDATE audit SET subject = '' WHERE sequence = 3"], /record 3 was changed/],
    ["a changed outcome", ["UPDATE audit SET outcome = 'failed' WHERE sequence = 3"], /record 3 was changed/],
    ["a code where there was none", ["UPDATE audit SET code = '' WHERE sequence = 3"], /record 3 was changed/],
    ["a changed detail", ["UPDATE audit SET detail = '{}' WHERE sequence = 3"], /record 3 was changed/],
    ["a changed hash", ["UPDATE audit SET hash = 'ff' WHERE sequence = 3"], /record 3 was changed/],
    ["one taken out of the middle", ["DELETE FROM audit WHERE sequence = 3"], /record 3 is missing between records 2 and 4/],
    [
      "one taken out, and the gap closed",
      ["DELETE FROM audit WHERE sequence = 3", "UPDATE audit SET sequence = sequence - 1 WHERE sequence > 3"],
      /record 3 was changed/,
    ],
    ["the first taken away", ["DELETE FROM audit WHERE sequence = 1"], /record 1 is missing at the beginning/],
    ["the last taken away", ["DELETE FROM audit WHERE sequence >= 5"], /records 5 to 6 are missing at the end/],
    [
      "two that changed places",
      [
        "UPDATE audit SET sequence = 99 WHERE sequence = 3",
        "UPDATE audit SET sequence = 3 WHERE sequence = 4",
        "UPDATE audit SET sequence = 4 WHERE sequence = 99",
      ],
      /record 3 was changed/,
    ],
    ["all taken away", ["DELETE FROM audit"], /records 1 to 6 are missing at the end/],
  ])("%s", (_name, statements, what) => {
    fill(6);
    expect(state.audit.verify()).toMatchObject({ intact: true });
    tamper(...statements);
    const verdict = state.audit.verify();
    expect(verdict.intact).toBe(false);
    expect(verdict.problems.join("; ")).toMatch(what);
    expect(() => requireIntact(verdict)).toThrow(expect.objectContaining({ code: "audit_broken" }));
  });

  test("a record made anew with a hash that fits it no longer fits the next", () => {
    fill(6);
    const third = state.audit.records().find(({ sequence }) => sequence === 3);
    const fields = [
      "holdfast-audit-1",
      3,
      3000,
      "nobody",
      "127.0.0.1",
      "job.run",
      "job-3",
      "accepted",
      null,
      "",
      third?.previous,
    ];
    const hash = createHash("sha256").update(JSON.stringify(fields)).digest("hex");
    tamper(`UPDATE audit SET actor = 'nobody', hash = '${hash}' WHERE sequence = 3`);
    expect(state.audit.verify().problems).toEqual(["record 4 does not follow record 3: one of them was changed or moved"]);
  });

  test("what is appended after a deletion at the end leaves the gap to be seen", () => {
    fill(6);
    tamper("DELETE FROM audit WHERE sequence >= 5");
    fill(1);
    expect(state.audit.verify().problems).toEqual(["records 5 to 6 are missing between records 4 and 7"]);
  });

  test("a deletion at the end with its traces is found by a head that was noted", () => {
    fill(6);
    const noted = state.audit.head();
    tamper(
      "DELETE FROM audit WHERE sequence >= 5",
      "UPDATE audit_head SET sequence = 4, hash = (SELECT hash FROM audit WHERE sequence = 4)",
    );
    expect(state.audit.verify()).toMatchObject({ intact: true });
    expect(state.audit.verify(noted).problems).toEqual(["the noted head, record 6, is missing: the log ends with record 4"]);
    fill(3);
    expect(state.audit.verify(noted).problems).toEqual(["record 6 is not the one whose hash was noted"]);
  });

  test("a log made anew as a whole is found by a head that was noted", () => {
    fill(6);
    const noted = parseAuditHead(formatAuditHead(state.audit.head()));
    tamper("DELETE FROM audit", `UPDATE audit_head SET sequence = 0, hash = '${"0".repeat(64)}'`);
    for (let n = 1; n <= 8; n++) state.audit.append(entry("job.run", { actor: "innocent" }), n);
    expect(state.audit.verify()).toMatchObject({ intact: true });
    expect(state.audit.verify(noted).problems).toEqual(["record 6 is not the one whose hash was noted"]);
  });
});

test.each(["", "1", "1:ff", `x:${"0".repeat(64)}`, `1:${"G".repeat(64)}`, `-1:${"0".repeat(64)}`])("%j is no head", (text) => {
  expect(() => parseAuditHead(text)).toThrow(expect.objectContaining({ code: "usage" }));
});
