/**
 * The daemon itself is killed at random moments, again and again, while jobs run by the second, with hooks around them and a receiver that
 * fails half of the time. Afterwards the history is right, no slot has succeeded twice, every `after` hook has run, and every event
 * has arrived. `HOLDFAST_DAEMON_KILLS` sets how often; the seed is printed, and `HOLDFAST_SEED` sets it.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { expect, test } from "vitest";
import { eventIdOf } from "../../src/plan/events.ts";
import { openState } from "../../src/state/state.ts";
import { CONFIG, playground } from "../e2e/cli-runner.ts";
import { SeededNumbers } from "../support/changing-tree.ts";
import { httpReceiver } from "../support/http-receiver.ts";

const KILLS = Number(process.env["HOLDFAST_DAEMON_KILLS"] ?? 5);
const SEED = process.env["HOLDFAST_SEED"] ?? String(Date.now());
/** Reading the configuration, opening targets and a run or two lie within it. */
const LONGEST_MS = 3000;

const HOOK = `#!/bin/sh
echo "$HOLDFAST_HOOK $HOLDFAST_JOB $HOLDFAST_RUN" >>trace
`;

interface Told {
  readonly id: string;
  readonly type: string;
}

test(`a daemon that is killed ${KILLS} times does nothing twice, owes nothing and keeps nothing to itself (seed ${SEED})`, async () => {
  const numbers = new SeededNumbers(`daemon ${SEED}`);
  await using receiver = await httpReceiver();
  let requests = 0;
  let isWell = false;
  receiver.answer = () => (requests++ % 2 === 0 && !isWell ? { status: 500 } : undefined);
  const hooks = "hooks: { before: [{ run: [./hook] }], after: [{ run: [./hook] }] }";
  const jobs = [1, 2, 3].map(
    (seconds) =>
      `  every${seconds}: { sources: [docs], targets: [disk], schedule: { every: ${seconds}s, catchUp: true }, ${hooks} }`,
  );
  const config = `${CONFIG.replace(/jobs:\n[^]*$/, `jobs:\n${jobs.join("\n")}\n`)}webhooks: { all: { url: "${receiver.origin}/", events: ["backup_*"], allowPrivate: true } }\n`;
  using place = playground({ config });
  place.write("hook", HOOK, 0o755);
  place.write("trace", "");
  expect(await place.run("apply", "-q")).toMatchObject({ code: 0 });

  for (let kill = 0; kill < KILLS; kill++) {
    const daemon = place.start("daemon");
    // A random moment is what this is about: there is nothing to wait for.
    await setTimeout(numbers.unit() * LONGEST_MS);
    daemon.child.kill("SIGKILL");
    await daemon.ended();
  }
  // Nothing more begins, and what is left is done; a receiver that goes on failing would only take longer.
  isWell = true;
  place.write("holdfast.yaml", config.replaceAll("sources: [docs]", "enabled: false, sources: [docs]"));
  const last = place.start("daemon");
  await last.says("started");
  const left = (): number => {
    using state = openState(join(place.path, "state"));
    return state.outbox.deliveries({ state: "pending", limit: 100_000 }).length;
  };
  while (left() > 0) await setTimeout(100);
  last.child.kill("SIGTERM");
  expect((await last.ended()).code).toBe(0);

  using state = openState(join(place.path, "state"));
  const runs = state.runs({ limit: 100_000 }).filter(({ kind }) => kind === "backup");
  const begun = runs.filter(({ status }) => status !== "skipped");
  expect(begun.filter(({ status }) => status !== "success" && status !== "interrupted")).toEqual([]);
  const slots = begun
    .filter(({ status, reason }) => status === "success" && /slot of/.test(reason ?? ""))
    .map(({ subject, reason = "" }) => `${subject} ${/slot of [\d: -]+\d/.exec(reason)?.[0]}`);
  expect(new Set(slots).size).toBe(slots.length);

  const { snapshots } = (await place.json("snapshots")) as { snapshots: { run: string }[] };
  const taken = Map.groupBy(snapshots, ({ run }) => run);
  for (const { id, status } of begun) {
    const count = taken.get(id)?.length ?? 0;
    // One that was cut off between its commit and the note of its end is interrupted, and has its snapshot.
    if (status === "success") expect(count).toBe(1);
    else expect(count).toBeLessThanOrEqual(1);
  }
  expect(await place.run("verify", "--read-data")).toMatchObject({ code: 0 });

  const trace = readFileSync(join(place.path, "trace"), "utf8").trimEnd().split("\n");
  const ran = (hook: string): Set<string> =>
    new Set(trace.filter((line) => line.startsWith(`${hook} `)).map((line) => line.split(" ")[2] as string));
  const after = ran("after");
  expect([...ran("before")].filter((run) => !after.has(run))).toEqual([]);

  const told = new Map<string, Set<string>>();
  for (const { body } of receiver.received) {
    const { id, type } = JSON.parse(body) as Told;
    told.set(id, (told.get(id) ?? new Set()).add(type));
  }
  const missing = begun.flatMap(({ id, status }) =>
    (["backup_started", status === "success" ? "backup_completed" : "backup_failed"] as const).filter(
      (type) => told.get(eventIdOf(id, type))?.size !== 1,
    ),
  );
  expect(missing).toEqual([]);
  const interrupted = begun.filter(({ status }) => status === "interrupted").length;
  process.stdout.write(
    `${KILLS} kills, ${begun.length} runs (${interrupted} interrupted), ${slots.length} slots, ${trace.length} hooks, ${receiver.received.length} requests, ${told.size} events\n`,
  );
});
