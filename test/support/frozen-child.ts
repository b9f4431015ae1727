/**
 * A process that works on a campaign's repository and freezes itself (SIGSTOP) at a named boundary. When it is continued,
 * hours have passed by all its clocks. Says `at BOUNDARY` before it freezes, and `ended OUTCOME` at its end.
 */
import { writeSync } from "node:fs";
import { enableCompileCache } from "node:module";
import type { Clock } from "../../src/base/clock.ts";

export interface FrozenWork {
  readonly config: string;
  readonly operation: "backup" | "prune";
  readonly boundary: string;
  readonly frozenMs: number;
  readonly packBytes: number;
}

const [argument] = process.argv.slice(2);
if (argument === undefined) throw new Error("frozen-child is run by a test");
enableCompileCache();
const { config, operation, boundary, frozenMs, packBytes } = JSON.parse(argument) as FrozenWork;

const { createSystemClock } = await import("../../src/state/system-clock.ts");
const { CampaignSession } = await import("./campaign-session.ts");
const system = createSystemClock();
let passedMs = 0;
const clock: Clock = {
  now: () => system.now() + passedMs,
  monotonic: () => system.monotonic() + passedMs,
  sleep: (delayMs, signal) => system.sleep(delayMs, signal),
};
let outcome = "done";
{
  await using campaign = new CampaignSession(config, packBytes, { clock });
  try {
    if (operation === "backup") await campaign.backup(freeze);
    else await campaign.prune(freeze);
  } catch (error) {
    outcome = error instanceof Error && "code" in error ? String(error.code) : String(error);
  }
}
say(`ended ${outcome}`);

function freeze(name: string): void {
  if (name !== boundary || passedMs > 0) return;
  say(`at ${name}`);
  process.kill(process.pid, "SIGSTOP");
  // A signal may take a moment to stop every thread, this one included.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  passedMs = frozenMs;
}

function say(text: string): void {
  writeSync(1, `${text}\n`);
}
