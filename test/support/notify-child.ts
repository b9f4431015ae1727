/** A process that runs one thing after another and tells a receiver of each, until it is killed; or only delivers what is left. */
import type { Clock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/codec/system-random.ts";
import { performRun } from "../../src/engine/runs.ts";
import { Session } from "../../src/engine/session.ts";
import { Notifier } from "../../src/notify/notifier.ts";
import { openState } from "../../src/state/state.ts";
import { createSystemClock } from "../../src/state/system-clock.ts";
import { configOf, webhook } from "../notify/setting.ts";

const { directory, url, mode, epochMs } = JSON.parse(process.argv[2] ?? "{}") as {
  readonly directory: string;
  readonly url: string;
  readonly mode: "work" | "deliver";
  /** Since when time goes faster, for all processes alike. */
  readonly epochMs: number;
};

/** The waits between attempts are not what is tested here. */
const FASTER = 200;
const system = createSystemClock();
const clock: Clock = {
  now: () => epochMs + (system.now() - epochMs) * FASTER,
  monotonic: () => system.monotonic() * FASTER,
  sleep: (ms, signal) => system.sleep(ms / FASTER, signal),
};
const config = configOf([webhook(url, { timeoutMs: 60_000 })]);
const state = openState(directory, { now: () => clock.now() });
const silent = (): void => undefined;
const notifier = new Notifier({
  state,
  clock,
  random: systemRandom,
  log: { debug: silent, info: silent, warn: silent, error: silent },
  toolVersion: "0.0.0",
  config: () => config,
  secrets: () => ({ env: {}, credentialsDirectory: undefined }),
});

if (mode === "work") {
  notifier.start();
  const session = new Session(config, state, {
    env: {},
    credentialsDirectory: undefined,
    clock,
    random: systemRandom,
    toolVersion: "0.0.0",
    configText: "",
    gitCommit: undefined,
    listener: () => undefined,
  });
  for (;;)
    await performRun(session, { kind: "backup", subject: "docs" }, new AbortController().signal, async () => {
      await system.sleep(20);
      return { status: "success", result: undefined };
    });
} else {
  for (;;) {
    await notifier.flush(3_600_000);
    if (state.outbox.deliveries({ state: "pending", limit: 1 }).length === 0) break;
    await clock.sleep(5000);
  }
  await notifier[Symbol.asyncDispose]();
  state.close();
}
