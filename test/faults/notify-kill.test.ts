/**
 * A process that runs and tells is killed at any moment, again and again: each run that has ended is told of at least once, under
 * one id, at a receiver that fails half of the time; one that was cut off is told of as failed. `HOLDFAST_NOTIFY_KILLS` sets how
 * often; the seed is printed, and `HOLDFAST_SEED` sets it.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { eventIdOf } from "../../src/plan/events.ts";
import { openState } from "../../src/state/state.ts";
import { SeededNumbers } from "../support/changing-tree.ts";
import { httpReceiver } from "../support/http-receiver.ts";

const CHILD = fileURLToPath(new URL("../support/notify-child.ts", import.meta.url));
const KILLS = Number(process.env["HOLDFAST_NOTIFY_KILLS"] ?? 8);
const SEED = process.env["HOLDFAST_SEED"] ?? String(Date.now());
const WAYS = [{ status: 500 }, { status: 429 }, "close", "break"] as const;

interface Told {
  readonly type: string;
  readonly data: { readonly run: { readonly id: string; readonly status?: string } };
}

test(`killed ${KILLS} times, everything that happened is told at least once under one id (seed ${SEED})`, async () => {
  const numbers = new SeededNumbers(`notify ${SEED}`);
  const directory = mkdtempSync(join(tmpdir(), "holdfast-notify-kill-"));
  await using receiver = await httpReceiver();
  const epochMs = Date.now();
  let refused = 0;
  receiver.answer = () => (numbers.below(2) === 0 ? WAYS[refused++ % WAYS.length] : undefined);
  const start = (mode: "work" | "deliver"): ReturnType<typeof spawn> =>
    spawn(process.execPath, [CHILD, JSON.stringify({ directory, url: receiver.origin, mode, epochMs })], {
      stdio: ["ignore", "ignore", "inherit"],
    });
  try {
    for (let n = 0; n < KILLS; n++) {
      const child = start("work");
      const exit = once(child, "exit");
      // Killed at the request that comes so many after now: while it is answered, or while the next run begins or ends.
      await receiver.arrived(receiver.received.length + 1 + numbers.below(8));
      for (let turns = numbers.below(200); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
      child.kill("SIGKILL");
      expect(await exit).toEqual([null, "SIGKILL"]);
    }
    expect(await once(start("deliver"), "exit")).toEqual([0, null]);

    using state = openState(directory);
    const runs = state.runs({ limit: 100_000 });
    const told = new Map<string, { readonly id: string; readonly bodies: Set<string> }>();
    for (const { body, headers } of receiver.received) {
      const { type, data } = JSON.parse(body) as Told;
      const key = `${type} ${data.run.id}`;
      const id = String(headers["webhook-id"]);
      const known = told.get(key) ?? { id, bodies: new Set() };
      expect(known.id, `${key} came under two ids`).toBe(id);
      told.set(key, known);
      known.bodies.add(body);
    }
    const expected = runs.flatMap(({ id, status }) =>
      ["backup_started", status === "success" ? "backup_completed" : "backup_failed"].map((type) => ({
        key: `${type} ${id}`,
        id: eventIdOf(id, type as "backup_started"),
      })),
    );
    expect(runs.every(({ status }) => status === "success" || status === "interrupted")).toBe(true);
    // No more and no less: nothing is told of a run that has not ended so.
    expect([...told.keys()].toSorted()).toEqual(expected.map(({ key }) => key).toSorted());
    for (const { key, id } of expected) expect(told.get(key)).toMatchObject({ id, bodies: { size: 1 } });
    expect(state.outbox.deliveries({ limit: 100_000 }).filter((row) => row.state !== "delivered")).toEqual([]);
    const interrupted = runs.filter(({ status }) => status === "interrupted").length;
    process.stdout.write(
      `${KILLS} kills, ${runs.length} runs (${interrupted} interrupted), ${receiver.received.length} requests, ${refused} refused, ${told.size} events\n`,
    );
    expect(refused).toBeGreaterThan(0);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
