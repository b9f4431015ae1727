/** What tests of the notifier share: receivers as configurations have them, and the world around a sending. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EventType } from "../../src/base/events.ts";
import { EVENT_TYPES } from "../../src/base/events.ts";
import { Secret } from "../../src/base/secret.ts";
import { systemRandom } from "../../src/codec/system-random.ts";
import type { Config, EmailConfig, WebhookConfig } from "../../src/config/config.ts";
import { systemLookup } from "../../src/notify/guard.ts";
import { Notifier, type NotifierOptions } from "../../src/notify/notifier.ts";
import type { SendContext } from "../../src/notify/sending.ts";
import { makeEvent, type EventDescription, type StoredEvent } from "../../src/plan/events.ts";
import { openState, type State } from "../../src/state/state.ts";
import { createSystemClock } from "../../src/state/system-clock.ts";
import { config, job } from "../plan/literals.ts";
import { FakeClock } from "../support/fake-clock.ts";

export function webhook(url: string, changes: Partial<WebhookConfig> = {}): WebhookConfig {
  return {
    name: "hook",
    kind: "plain",
    events: EVENT_TYPES,
    jobs: undefined,
    targets: undefined,
    url: { plain: new Secret(url) },
    method: "POST",
    headers: [],
    signingSecret: undefined,
    timeoutMs: 10_000,
    allowPrivate: true,
    ...changes,
  };
}

export function email(port: number, changes: Partial<EmailConfig> = {}, smtp: Partial<EmailConfig["smtp"]> = {}): EmailConfig {
  return {
    events: EVENT_TYPES,
    jobs: undefined,
    targets: undefined,
    smtp: { host: "127.0.0.1", port, security: "none", from: "backup@example.com", login: undefined, ...smtp },
    to: ["ops@example.com"],
    digestMinute: undefined,
    ...changes,
  };
}

/** A configuration with these receivers and a job `docs`. */
export function configOf(webhooks: readonly WebhookConfig[], changes: Partial<Config> = {}): Config {
  return config([job("docs"), job("mails")], { webhooks: new Map(webhooks.map((one) => [one.name, one])), ...changes });
}

export function context(changes: Partial<SendContext> = {}): SendContext {
  return {
    clock: createSystemClock(),
    secrets: { env: {}, credentialsDirectory: undefined },
    lookup: systemLookup,
    toolVersion: "1.2.3",
    timezone: "UTC",
    trust: undefined,
    signal: new AbortController().signal,
    ...changes,
  };
}

let count = 0;

/** An event of a kind, with the next id. */
export function event(of: Config, type: EventType = "backup_failed", changes: Partial<EventDescription> = {}): StoredEvent {
  const id = `evt_${String(++count).padStart(32, "0")}`;
  return makeEvent(of, id, {
    type,
    timeMs: Date.parse("2026-01-01T00:00:00Z"),
    summary: `Backup of docs failed on web1: number ${count}`,
    jobs: ["docs"],
    targets: ["disk"],
    ...changes,
  });
}

export interface Post extends AsyncDisposable {
  readonly state: State;
  readonly directory: string;
  readonly clock: FakeClock;
  readonly notifier: Notifier;
  /** Lines of the log: level and text. */
  readonly lines: string[];
  /** Replaces the configuration in force. */
  use(next: Config): void;
  /** Another process's notifier on the same state. */
  another(changes?: Partial<NotifierOptions>): { readonly notifier: Notifier; readonly state: State };
}

/** A notifier on a state of its own, with a clock that only tests move. */
export function post(first: Config, changes: Partial<NotifierOptions> = {}): Post {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-notify-"));
  const clock = new FakeClock();
  const lines: string[] = [];
  let current = first;
  const opened: AsyncDisposable[] = [];
  const at =
    (level: string) =>
    (text: string): void =>
      void lines.push(`${level} ${text}`);
  const another = (more: Partial<NotifierOptions> = {}): { notifier: Notifier; state: State } => {
    const state = openState(directory);
    const notifier = new Notifier({
      state,
      clock,
      random: systemRandom,
      log: { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") },
      toolVersion: "1.2.3",
      config: () => current,
      secrets: () => ({ env: {}, credentialsDirectory: undefined }),
      ...changes,
      ...more,
    });
    opened.push({
      [Symbol.asyncDispose]: async () => {
        await notifier[Symbol.asyncDispose]();
        state.close();
      },
    });
    return { notifier, state };
  };
  return {
    ...another(),
    directory,
    clock,
    lines,
    use: (next) => (current = next),
    another,
    [Symbol.asyncDispose]: async () => {
      for (const one of opened) await one[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true });
    },
  };
}
