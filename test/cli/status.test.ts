/** The screen of `holdfast status`. */
import { expect, test } from "vitest";
import { renderStatus } from "../../src/cli/commands/status.ts";
import { widthOf } from "../../src/cli/width.ts";
import type { DaemonStatus } from "../../src/daemon/daemon-control.ts";
import type { JobReport } from "../../src/engine/status.ts";

const NOW = Date.UTC(2026, 10, 20, 12);
const HOUR = 3_600_000;

const job = (name: string, changes: Partial<JobReport> = {}): JobReport => ({
  job: name,
  enabled: true,
  paused: false,
  askedMs: undefined,
  last: { run: "ab".repeat(16), status: "success", startedMs: NOW - 2 * HOUR, endedMs: NOW - HOUR, error: undefined },
  lastSuccessMs: NOW - 2 * HOUR,
  nextMs: NOW + HOUR,
  overdueSinceMs: undefined,
  objectives: [],
  ...changes,
});

const failed: JobReport["last"] = {
  run: "cd".repeat(16),
  status: "failed",
  startedMs: NOW - HOUR,
  endedMs: NOW - HOUR,
  error: { code: "target_full", message: "Target disk is full", transient: false },
};

const STATUS: DaemonStatus = {
  timeMs: NOW,
  timezone: "UTC",
  host: "tester",
  config: "/etc/holdfast/config.yaml",
  digest: "d",
  daemon: {
    pid: 42,
    version: "1.2.3",
    startedMs: NOW - 48 * HOUR,
    stopping: false,
    config: "/etc/holdfast/config.yaml",
    digest: "d",
    api: undefined,
    reload: { timeMs: NOW - HOUR, result: "reloaded", changes: ["jobs.docs added"], problems: [], error: undefined },
  },
  jobs: [
    job("docs", { objectives: [{ objective: "rpo", met: true, reason: "fine" }] }),
    job("mail", {
      last: failed,
      lastSuccessMs: undefined,
      overdueSinceMs: NOW - 10 * HOUR,
      objectives: [{ objective: "copies", met: false, reason: "mail has 1 current copies (disk), 2 promised" }],
    }),
    job("music", { paused: true, nextMs: undefined, objectives: undefined }),
    job("old", { enabled: false, nextMs: undefined }),
    job("photos", { last: undefined, lastSuccessMs: undefined }),
    job("web", { askedMs: NOW - 1000 }),
    job("by-hand", { nextMs: undefined }),
  ],
  targets: [
    { target: "disk", status: "ok", error: undefined, snapshots: 1200 },
    { target: "nas", status: "unreachable", error: "Nothing is mounted at /mnt/nas", snapshots: undefined },
  ],
  observedMs: NOW - 180_000,
  pending: [{ plan: "0123456789ab", sinceMs: NOW - HOUR, text: "one\ntwo" }],
  running: [
    {
      run: "ef".repeat(16),
      kind: "backup",
      subject: "photos",
      startedMs: NOW - 90_000,
      progress: {
        phase: "reading",
        filesDone: 120,
        filesTotal: undefined,
        bytesDone: 5e6,
        bytesTotal: undefined,
        storedBytes: 0,
        current: "/x",
      },
    },
  ],
  waiting: [{ kind: "prune", subject: "disk", why: "slot of 2026-11-20 12:00" }],
};

test("tells everything on one screen", () => {
  expect(renderStatus(STATUS, { width: Number.POSITIVE_INFINITY, bold: false })).toBe(`\
Daemon  process 42, since 2026-11-18 12:00
Config  /etc/holdfast/config.yaml
        reloaded 2026-11-20 11:00: jobs.docs added

JOB      LAST                SUCCESS     NEXT                      OBJECTIVES
docs     success 1h 00m ago  2h 00m ago  2026-11-20 13:00          met
mail     failed 1h 00m ago   never       OVERDUE 2026-11-20 02:00  MISSED: copies
music    success 1h 00m ago  2h 00m ago  paused                    not judged yet
old      success 1h 00m ago  2h 00m ago  disabled
photos   never ran           never       running
web      success 1h 00m ago  2h 00m ago  waiting
by-hand  success 1h 00m ago  2h 00m ago  no schedule

mail: Target disk is full (run cdcdcdcd)
mail: copies: mail has 1 current copies (disk), 2 promised

TARGET  STATUS       SNAPSHOTS
disk    ok                1200
nas     unreachable             Nothing is mounted at /mnt/nas
Targets and objectives as of 3m 00s ago.

Running  backup of photos for 1m 30s: reading, 120 files, 5.00 MB (run efefefef)
Waiting  prune of disk: slot of 2026-11-20 12:00
Held     2 changes since 2026-11-20 11:00; \`holdfast plan\` shows what would be deleted
         approve with: holdfast apply --approve 0123456789ab
`);
});

test("fits the terminal, and steers it by nothing that others wrote", () => {
  const hostile: DaemonStatus = {
    ...STATUS,
    targets: [{ target: "disk", status: "unreadable", error: `bad \u001b[2J ${"long ".repeat(50)}`, snapshots: undefined }],
    jobs: [
      job("mail", {
        last: failed && { ...failed, error: { code: "internal", message: "a\u001b]0;x\u0007b", transient: false } },
      }),
    ],
  };
  const text = renderStatus(hostile, { width: 80, bold: false });
  expect(
    text
      .split("\n")
      .map(widthOf)
      .filter((width) => width > 80),
  ).toEqual([]);
  // oxlint-disable-next-line no-control-regex
  expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
});

test("says when no daemon runs, when the file is refused, and when nothing is declared or known", () => {
  const { daemon, waiting: _, ...rest } = STATUS;
  const alone = renderStatus(
    { ...rest, jobs: [], targets: [], pending: [], running: [], observedMs: undefined },
    { width: 80, bold: false },
  );
  expect(alone).toBe(
    "Daemon  none runs: nothing happens by schedule (`holdfast daemon` starts one)\nConfig  /etc/holdfast/config.yaml\n\nNo jobs are declared.\n",
  );
  const refused = renderStatus(
    {
      ...STATUS,
      daemon: {
        ...daemon,
        stopping: true,
        reload: { timeMs: NOW, result: "invalid", changes: [], problems: [{} as never, {} as never], error: undefined },
      },
      observedMs: undefined,
    },
    { width: 200, bold: false },
  );
  expect(refused).toContain("since 2026-11-18 12:00, stopping\n");
  expect(refused).toContain("NOT VALID since 2026-11-20 12:00, the one before is in force: 2 errors; `holdfast validate`\n");
  expect(refused).toContain("Targets and objectives have not been looked at yet.\n");
});
