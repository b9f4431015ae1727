import { Secret } from "../../src/base/secret.ts";
import type { ControlConfig } from "../../src/config/config.ts";
import type { ApiStatus } from "../../src/daemon/access.ts";
import type { EventFeed } from "../../src/daemon/feed.ts";
import { HoldfastError } from "../../src/base/errors.ts";
import { asRunId } from "../../src/base/ids.ts";
import type { ConfigWriting } from "../../src/daemon/config-writing.ts";
import type { AuditEntry } from "../../src/state/audit.ts";
import type { AttachedHooks, DaemonControl, DaemonStatus } from "../../src/daemon/daemon-control.ts";
import { Tasks } from "../../src/daemon/tasks.ts";
import type { DaemonOperations, OperationHooks } from "../../src/engine/operations.ts";
import type { Queries } from "../../src/engine/queries.ts";
import { systemRandom } from "../../src/codec/system-random.ts";
import { createSystemClock } from "../../src/state/system-clock.ts";

export interface FakeControl extends DaemonControl {
  /** What was asked for, in order. */
  readonly asked: string[];
  /** What an operation does until it is replaced. */
  work: (hooks: AttachedHooks, request: unknown) => Promise<unknown>;
  feed: EventFeed;
  /** What `control:` says; `read()` tells that it was read anew. */
  settings: ControlConfig;
  /** What is behind secret references to files. */
  readonly secrets: Map<string, string>;
  read: () => void;
  /** Of the log: level and text. */
  readonly lines: string[];
  /** What the server said of itself, in order. */
  readonly served: (ApiStatus | undefined)[];
  /** What was recorded, in order. */
  readonly audited: AuditEntry[];
  /** What becomes of a change of the configuration. */
  write: ConfigWriting["write"];
  /** Answers of queries by their name; what is not here answers `{}`. */
  queries: Partial<Queries>;
  /** What was said in the log. */
  readonly complaints: string[];
}

export const NO_SETTINGS: ControlConfig = {
  listen: undefined,
  tls: undefined,
  tokens: [],
  restoreRoots: [],
  allowConfigWrites: false,
  commitConfigWrites: false,
  allowedHosts: [],
  allowedOrigins: [],
};

/** Of one token for each role, as the fake has them. */
export const TOKENS = { viewer: "v".repeat(32), operator: "o".repeat(32), admin: "a".repeat(32) } as const;

/** A feed in which nothing happens. */
const SILENT: EventFeed = {
  follow: () => ({
    next: () => undefined,
    position: "0",
    lost: () => undefined,
    progress: () => [],
    [Symbol.dispose]: () => undefined,
  }),
};

export const RUN = asRunId("0123456789abcdef0123456789abcdef");

/** A daemon that is none: one job, `docs`, and one run. */
export function fakeControl(): FakeControl {
  const asked: string[] = [];
  const lines: string[] = [];
  const served: (ApiStatus | undefined)[] = [];
  const listeners = new Set<() => void>();
  const secrets = new Map<string, string>(Object.entries(TOKENS));
  const at =
    (level: string) =>
    (text: string): void =>
      void lines.push(`${level} ${text}`);
  const audited: AuditEntry[] = [];
  const job = (name: string): void => {
    if (name !== "docs") throw new HoldfastError("name_unknown", `There is no job ${name}`, { hint: "It has: docs." });
  };
  const info = {
    pid: 1,
    version: "1.2.3",
    startedMs: 0,
    stopping: false,
    config: "/c.yaml",
    digest: "d",
    reload: undefined,
    api: undefined,
  };
  const status: DaemonStatus = {
    timeMs: 0,
    timezone: "UTC",
    host: "tester",
    config: "/c.yaml",
    digest: "d",
    jobs: [
      {
        job: "docs",
        enabled: true,
        paused: false,
        askedMs: undefined,
        last: undefined,
        lastSuccessMs: undefined,
        nextMs: undefined,
        overdueSinceMs: undefined,
        objectives: [],
      },
    ],
    targets: [],
    observedMs: undefined,
    pending: [],
    running: [],
    waiting: [],
    daemon: info,
  };
  const record = {
    id: RUN,
    kind: "backup",
    subject: "docs",
    startedMs: 0,
    endedMs: 1000,
    status: "success",
    reason: undefined,
    targets: undefined,
    error: undefined,
    statistics: undefined,
  } as const;
  const control: FakeControl = {
    asked,
    lines,
    served,
    secrets,
    settings: NO_SETTINGS,
    read: () => listeners.forEach((listener) => listener()),
    feed: SILENT,
    access: {
      config: () => control.settings,
      secret: async (reference) => {
        const secret = "file" in reference ? secrets.get(reference.file) : undefined;
        if (secret === undefined) throw new HoldfastError("secret_unavailable", "The secret cannot be read");
        return new Secret(secret);
      },
      onReading: (listener) => {
        listeners.add(listener);
        return { [Symbol.dispose]: () => void listeners.delete(listener) };
      },
      log: { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") },
      report: (status) => void served.push(status),
    },
    monitor: {
      isAlive: () => true,
      unready: () => undefined,
      health: () => ({ timeMs: 0, status: "ok", components: [] }),
      metrics: async () => ({ contentType: "text/plain; version=0.0.4; charset=utf-8", text: "up_to_you 1\n" }),
    },
    audited,
    write: async () => {
      throw new HoldfastError("config_write_refused", "Not here", { data: { yaml: "jobs:\n" } });
    },
    audit: {
      record: (entry) => void audited.push(entry),
      records: (query) => {
        asked.push(`audit ${JSON.stringify(query)}`);
        return [];
      },
      head: () => ({ sequence: 0, hash: "0".repeat(64) }),
      verify: async (noted) => ({ intact: true, head: noted ?? control.audit.head(), records: 0, first: 0, problems: [] }),
    },
    configWriting: {
      source: () => ({ digest: "d".repeat(64), files: [{ path: "/c.yaml", text: "version: 1\n" }], problems: [] }),
      write: (request) => control.write(request),
    },
    queries: {},
    complaints: [],
    complain: (text) => void control.complaints.push(text),
    tasks: new Tasks(createSystemClock(), systemRandom),
    listSnapshots: (query, page, signal) => control.query(signal, (queries) => queries.snapshots(query, page)),
    query: async (signal, act) =>
      await act(
        new Proxy({} as Queries, {
          get: (_, name: keyof Queries) =>
            control.queries[name] ??
            (async (...request: unknown[]) => {
              asked.push(`${name} ${JSON.stringify(request)}`);
              return {};
            }),
        }),
        signal,
      ),
    confineRestore: (to) => {
      if (to === "in-place" || !to.folder.startsWith("/restored"))
        throw new HoldfastError("restore_refused", "Not there", { hint: "Somewhere else." });
      return { to, within: [Buffer.from("/restored")] };
    },
    reports: {
      targets: () => ({ targets: [] }),
      schedules: async (name) => {
        if (name !== undefined) job(name);
        return { timezone: "UTC", time: "", jobs: [], maintenance: {} };
      },
      analytics: async (query) => {
        asked.push(`analytics ${JSON.stringify(query)}`);
        return { runs: 0, jobs: [] };
      },
      config: () => ({ version: 1 }),
      pending: () => ({ pending: [] }),
      assertPending: (plan) => {
        if (plan !== "0123456789ab") throw new HoldfastError("name_unknown", "No such plan waits");
      },
      outbox: () => ({ notifications: [] }),
      resend: () => 1,
      discard: (event, by) => {
        asked.push(`discard ${event} ${by}`);
        return 1;
      },
    },
    work: async () => ({ done: true }),
    info: () => info,
    status: () => status,
    runs: (query) => {
      asked.push(`runs ${JSON.stringify(query)}`);
      return [record];
    },
    run: (id) => {
      if (!RUN.startsWith(id)) throw new HoldfastError("name_unknown", `There is no run ${id}`);
      return record;
    },
    logs: () => [{ run: RUN, timeMs: 0, level: "info", text: "hello" }],
    requestRun: (name, mode) => {
      job(name);
      asked.push(`run ${name} ${mode}`);
    },
    followRun: async (name, _mode, hooks) => {
      job(name);
      return (await control.work(hooks, undefined)) as never;
    },
    pause: (name) => {
      job(name);
      asked.push(`pause ${name}`);
      return true;
    },
    resume: (name) => {
      job(name);
      asked.push(`resume ${name}`);
      return true;
    },
    cancel: (what) => {
      asked.push(`cancel ${what}`);
      return { cancelled: [what] };
    },
    reload: async () => ({ timeMs: 0, result: "unchanged", changes: [], problems: [], error: undefined }),
    operate: async (hooks, act) => {
      const perform = (name: string) => async (request: unknown, own: OperationHooks) => {
        asked.push(`${name} ${JSON.stringify(request)}`);
        return (await control.work({ ...hooks, ...own }, request)) as never;
      };
      const operations: DaemonOperations = {
        backup: perform("backup"),
        apply: perform("apply"),
        restore: perform("restore"),
        rollback: perform("rollback"),
        prune: perform("prune"),
        verify: perform("verify"),
      };
      return await act(operations, hooks);
    },
  };
  return control;
}
