/** The daemon and its configuration: what an edit does while it runs. */
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemRandom } from "../../src/codec/system-random.ts";
import { runDaemon, type DaemonOptions } from "../../src/daemon/daemon.ts";
import type { DaemonConfig, DaemonReading } from "../../src/daemon/reloader.ts";
import { readConfigFile } from "../../src/engine/config-file.ts";
import { Session } from "../../src/engine/session.ts";
import type { RepositoryStore } from "../../src/formats/repository/repository-format.ts";
import { openState, type State } from "../../src/state/state.ts";
import { createSystemClock } from "../../src/state/system-clock.ts";
import type { Log } from "../../src/telemetry/log.ts";
import { temporaryTree } from "../support/tree-literal.ts";

interface Edited {
  readonly jobs: Readonly<Record<string, string>>;
  readonly extra?: string;
}

interface Running extends AsyncDisposable {
  readonly path: string;
  readonly state: State;
  /** Lines of the log. */
  readonly lines: string[];
  /** Resolves when a line that has `text` was logged after the first `from` lines. */
  says(text: string, from?: number): Promise<void>;
  /** Replaces the file as editors do. */
  edit(config: Edited | string): void;
  /** As SIGHUP does. */
  hangUp(): void;
  /** Another process on the same configuration. */
  session(): Session;
}

const NOW = "schedule: { every: 1h }";

function text({ jobs, extra = "" }: Edited, folder = "/nowhere"): string {
  const lines = Object.entries(jobs).map(([name, rest]) => `  ${name}: { sources: [docs], targets: [disk], ${rest} }`);
  return `version: 1
host: tester
daemon: { stateDir: ./state, cacheDir: ./cache, timezone: UTC }
encryption: { main: { keyFile: ./key, generate: true } }
sources:
  docs: { type: files, paths: [./data] }
  slow: { type: command, command: [sh, -c, "while ! [ -e ${folder}/go ]; do sleep 0.05; done; echo done"], filename: x }
targets:
  disk: { type: local, path: ./repository, encryption: main }
jobs:
${lines.join("\n")}
${extra}`;
}

/** A daemon at work in this process, on a folder of its own. */
function running(config: Edited): Running {
  const folder = temporaryTree({ data: { a: "a" } });
  const path = join(folder.path, "holdfast.yaml");
  writeFileSync(path, text(config));
  const clock = createSystemClock();
  const lines: string[] = [];
  const watchers = new Set<() => void>();
  const at =
    (level: string): Log["info"] =>
    (line, fields = {}) => {
      lines.push(`${level} ${line} ${JSON.stringify(fields)}`);
      for (const look of watchers) look();
    };
  const log: Log = { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
  const read = async (): Promise<DaemonReading> => {
    const { config: valid, ...reading } = readConfigFile(
      path,
      { env: {}, cwd: folder.path, hostName: "tester", home: folder.path, isRoot: false, timezone: "UTC" },
      false,
    );
    const surroundings = {
      env: {},
      credentialsDirectory: undefined,
      clock,
      random: systemRandom,
      toolVersion: "0.0.0",
      configText: "",
      gitCommit: undefined,
    };
    return { ...reading, valid: valid && { config: valid, surroundings } };
  };
  const state = openState(join(folder.path, "state"));
  const stop = new AbortController();
  let hangUp = (): void => undefined;
  let begun: DaemonConfig | undefined;
  const ended = (async () => {
    const { valid, watched, problems } = await read();
    if (valid === undefined) throw new Error(`the configuration is not valid: ${JSON.stringify(problems)}`);
    begun = valid;
    const options: DaemonOptions = {
      ...valid,
      watched,
      state,
      log,
      read,
      onReload: (listener) => (hangUp = listener),
      signal: stop.signal,
    };
    await runDaemon(options);
  })();
  ended.catch(() => undefined);
  return {
    path: folder.path,
    state,
    lines,
    says: (wanted, from = 0) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!lines.slice(from).some((line) => line.includes(wanted))) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        void ended.then(() => reject(new Error(`it ended without ${wanted}:\n${lines.join("\n")}`)), reject);
        look();
      }),
    edit: (edited) => {
      writeFileSync(`${path}.new`, typeof edited === "string" ? edited : text(edited));
      renameSync(`${path}.new`, path);
    },
    hangUp: () => hangUp(),
    session: () => {
      if (begun === undefined) throw new Error("it has not started");
      return new Session(begun.config, state, { ...begun.surroundings, listener: () => undefined });
    },
    [Symbol.asyncDispose]: async () => {
      stop.abort();
      await ended;
      state[Symbol.dispose]();
      folder[Symbol.dispose]();
    },
  };
}

const backups = ({ state }: Running, job: string): number => state.runs({ kind: "backup", job, status: "success" }).length;

test("a job that is added runs at once, and one that is removed is not scheduled any more", async () => {
  await using daemon = running({ jobs: { one: NOW } });
  await daemon.says("run ended: success");
  daemon.edit({ jobs: { two: NOW } });
  await daemon.says("configuration reloaded");
  expect(daemon.lines.findLast((line) => line.includes("configuration reloaded"))).toMatch(/jobs\.one removed/);
  expect(daemon.lines.findLast((line) => line.includes("configuration reloaded"))).toMatch(/jobs\.two added/);
  await daemon.says(
    "run ended: success",
    daemon.lines.findIndex((line) => line.includes("reloaded")),
  );
  expect([backups(daemon, "one"), backups(daemon, "two")]).toEqual([1, 1]);
  expect(daemon.lines.filter((line) => line.startsWith("error"))).toEqual([]);
});

test("an invalid file changes nothing and is named once; the next valid one takes effect", async () => {
  await using daemon = running({ jobs: { one: NOW } });
  await daemon.says("run ended: success");
  daemon.edit(text({ jobs: { one: NOW } }).replace("targets: [disk]", "targets: [dsik]"));
  await daemon.says("is not valid: the one before stays in force");
  expect(
    daemon.lines.filter((line) => line.startsWith("error") && line.includes("holdfast.yaml:") && line.includes("dsik")),
  ).toHaveLength(1);
  daemon.edit("version: [");
  await daemon.says("is not valid", daemon.lines.length);
  rmSync(join(daemon.path, "holdfast.yaml"));
  await daemon.says("cannot be read");
  const before = daemon.lines.length;
  daemon.edit({ jobs: { one: NOW, two: NOW } });
  await daemon.says('"changes":"jobs.two added"', before);
  await daemon.says("run ended: success", before);
  expect(backups(daemon, "two")).toBe(1);
});

test("a run in flight keeps the configuration it began with, also when its job is removed", async () => {
  const slow = { slow: NOW };
  await using daemon = running({ jobs: { one: "enabled: false" } });
  daemon.edit(text({ jobs: slow }, daemon.path).replace("sources: [docs]", "sources: [slow]"));
  await daemon.says("backup of slow started");
  daemon.edit({ jobs: { one: NOW } });
  await daemon.says(
    "configuration reloaded",
    daemon.lines.findIndex((line) => line.includes("of slow started")),
  );
  writeFileSync(join(daemon.path, "go"), "");
  await daemon.says("taken of slow on disk");
  await daemon.says("taken of docs on disk");
  await daemon.says(
    "run ended: success",
    daemon.lines.findIndex((line) => line.includes("taken of docs")),
  );
  expect([backups(daemon, "slow"), backups(daemon, "one")]).toEqual([1, 1]);
});

test("an included file that appears, and one that changes", async () => {
  await using daemon = running({ jobs: { one: NOW }, extra: 'include: ["conf.d/*.yaml"]\n' });
  await daemon.says("run ended: success");
  mkdirSync(join(daemon.path, "conf.d"));
  writeFileSync(
    join(daemon.path, "conf.d/two.yaml"),
    `version: 1\njobs: { two: { sources: [docs], targets: [disk], ${NOW} } }\n`,
  );
  await daemon.says("jobs.two added");
  writeFileSync(
    join(daemon.path, "conf.d/two.yaml"),
    `version: 1\njobs: { three: { sources: [docs], targets: [disk], ${NOW} } }\n`,
  );
  await daemon.says("jobs.two removed");
  await daemon.says("backup of three started");
});

test("asked to read it, it says that nothing has changed, or takes it over at once", async () => {
  await using daemon = running({ jobs: { one: NOW } });
  await daemon.says("run ended: success");
  daemon.hangUp();
  await daemon.says("the configuration has not changed");
  daemon.edit({ jobs: { one: "schedule: { every: 2h }" } });
  daemon.hangUp();
  await daemon.says("jobs.one changed");
  daemon.edit(text({ jobs: { one: NOW } }).replace("./state", "./elsewhere"));
  await daemon.says("daemon.stateDir takes effect when the daemon is started again");
  expect(backups(daemon, "one")).toBe(1);
});

test("an epoch that another process begins is used by the next run", async () => {
  await using daemon = running({ jobs: { one: NOW } });
  await daemon.says("run ended: success");
  await using beside = daemon.session();
  const store = await beside.store("disk");
  await store.keySlots?.newEpoch();
  daemon.edit({ jobs: { one: NOW, two: NOW } });
  await daemon.says("backup of two started");
  await daemon.says(
    "run ended: success",
    daemon.lines.findIndex((line) => line.includes("of two started")),
  );
  await beside.close("disk");
  const { repository } = (await beside.store("disk")) as RepositoryStore;
  const epochs: number[] = [];
  for (const { id } of await repository.listObjects("snapshots"))
    epochs.push((await repository.readSealed("snapshots", id)).epoch);
  expect(epochs.toSorted((a, b) => a - b)).toEqual([1, 2]);
  expect(daemon.lines.filter((line) => line.startsWith("error"))).toEqual([]);
});

test("a promise that time alone breaks is told as broken, without any run, and as kept when it is", async () => {
  const promised = "objectives: { rpo: 3s }";
  const extra = `webhooks: { all: { url: "http://127.0.0.1:9/", events: [objective_missed, objective_met] } }`;
  await using daemon = running({ jobs: { one: `${NOW}, ${promised}` }, extra });
  await daemon.says("run ended: success");
  daemon.edit({ jobs: { one: `${NOW}, ${promised}, description: looked at` }, extra });
  await daemon.says("misses its objective rpo");
  const from = daemon.lines.length;
  daemon.edit({ jobs: { one: `schedule: { every: 1s }, ${promised}` }, extra });
  await daemon.says("run ended: success", from);
  daemon.edit({ jobs: { one: `schedule: { every: 1s }, ${promised}, description: looked at again` }, extra });
  await daemon.says("meets its objective rpo", from);
  expect(
    daemon.state.outbox
      .deliveries()
      .map(({ type }) => type)
      .toSorted(),
  ).toEqual(["objective_met", "objective_missed"]);
});
