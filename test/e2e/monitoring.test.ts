/** A real daemon as Prometheus, a container platform and a person see it. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { metricNamesIn } from "../support/metric-names.ts";
import { playground, type Playground, type Running } from "./cli-runner.ts";
import { freePort } from "../support/free-port.ts";

const hasPromtool = spawnSync("promtool", ["--version"]).status === 0;

/** `docs` and `bad` are due at the start; `bad` fails. The secret is in no answer. */
const SECRET = "canary-5f3a9c";
const config = (listen: string, more = ""): string => `version: 1
host: tester
daemon: { stateDir: ./state, cacheDir: ./cache, timezone: UTC, log: { format: text } }
encryption: { main: { password: { env: PW } } }
sources:
  docs: { type: files, paths: [./data] }
  bad: { type: command, command: [sh, -c, "echo ${SECRET} >&2; exit 1"], filename: x }
targets:
  disk: { type: local, path: ./repository, encryption: main, maxSize: 1GB }
retention: { few: { keepLast: 3 } }
jobs:
  docs: { sources: [docs], targets: [disk], schedule: { every: 1d }, retention: few, verify: { afterBackup: true }, objectives: { rpo: 26h } }
${more}webhooks:
  chat: { url: "https://chat.invalid/${SECRET}", events: [config_rejected] }
probes: { listen: "${listen}" }
`;
const BAD = "  bad: { sources: [bad], targets: [disk], schedule: { every: 1d }, retry: { attempts: 1 } }\n";

interface Answer {
  readonly status: number;
  readonly text: string;
}

function get(at: { readonly port: number } | { readonly socketPath: string }, path: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request({ ...("port" in at ? { host: "127.0.0.1" } : {}), ...at, path, agent: false }, (answer) => {
      let text = "";
      answer
        .setEncoding("utf8")
        .on("data", (chunk: string) => (text += chunk))
        .on("end", () => resolve({ status: answer.statusCode ?? 0, text }));
    })
      .on("error", reject)
      .end();
  });
}

/** A port that was free a moment ago. */
/** Asks until the answer fits: what the daemon knows it tells within a second. */
async function until(ask: () => Promise<Answer>, fits: (answer: Answer) => boolean): Promise<Answer> {
  for (;;) {
    const answer = await ask().catch((error: unknown): Answer => ({ status: 0, text: String(error) }));
    if (fits(answer)) return answer;
    await sleep(100);
  }
}

const value = (text: string, series: string): number | undefined => {
  const line = text.split("\n").find((one) => one.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
};

async function stopped(daemon: Running): Promise<void> {
  daemon.child.kill("SIGTERM");
  await daemon.ended();
}

function daemonOn(on: Playground): Running {
  return on.start("daemon");
}

describe("a daemon with a failing job", () => {
  test("is scraped, probed and asked; keeps its counters over a restart and loses what is not declared any more", async () => {
    const [port, other] = [await freePort(), await freePort()];
    using on = playground({ config: config(`127.0.0.1:${port}`, BAD).replace("{ env: PW }", "{ file: ./pw }") });
    on.write("pw", SECRET, 0o600);
    let daemon = daemonOn(on);
    try {
      await daemon.says("run ended: failed");
      await daemon.says("run ended: success");
      const metrics = (): Promise<Answer> => get({ port }, "/metrics");
      const first = await until(metrics, ({ text }) => value(text, 'holdfast_job_last_run_success{job="docs"}') === 1);
      expect(value(first.text, 'holdfast_job_last_run_success{job="bad"}')).toBe(0);
      expect(value(first.text, 'holdfast_runs_total{job="bad",kind="backup",status="failed"}')).toBe(1);
      expect(value(first.text, 'holdfast_runs_total{job="docs",kind="backup",status="success"}')).toBe(1);
      expect(value(first.text, 'holdfast_runs_total{job="docs",kind="restore",status="success"}')).toBe(0);
      expect(value(first.text, 'holdfast_job_last_backup_files{job="docs"}')).toBe(2);
      expect(value(first.text, 'holdfast_job_expected_interval_seconds{job="docs"}')).toBe(86_400);
      expect(value(first.text, 'holdfast_target_capacity_bytes{target="disk"}')).toBe(1e9);
      expect(value(first.text, 'holdfast_target_up{target="disk"}')).toBe(1);
      expect(first.text).not.toContain(SECRET);
      if (hasPromtool) {
        const { status, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], { input: first.text, encoding: "utf8" });
        expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "", stderr: "" });
      }
      // What the alerts and the dashboard ask for is exported.
      const exported = new Set([...first.text.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name));
      for (const file of ["holdfast.rules.yaml", "holdfast.rules.test.yaml", "holdfast.dashboard.json"]) {
        const asked = metricNamesIn(readFileSync(join("docs/monitoring", file), "utf8"));
        expect(asked.length).toBeGreaterThan(10);
        expect(asked.filter((name) => !exported.has(name))).toEqual([]);
      }

      // A backup that failed is for /healthz; it makes nobody restart the daemon.
      expect((await get({ port }, "/livez")).status).toBe(200);
      expect((await get({ port }, "/readyz")).status).toBe(200);
      const brief = await get({ port }, "/healthz");
      expect([brief.status, JSON.parse(brief.text)]).toMatchObject([
        503,
        { status: "critical", components: { job: { critical: 1 } } },
      ]);
      const socketPath = join(on.path, "state/control.sock");
      const detail = JSON.parse((await get({ socketPath }, "/api/v1/health")).text) as {
        components: { name: string; status: string }[];
      };
      expect(detail.components.find(({ status }) => status === "critical")).toMatchObject({
        component: "job",
        name: "bad",
        recommendation: expect.stringContaining("holdfast run bad"),
      });
      expect((await get({ socketPath }, "/metrics")).text).toContain("holdfast_build_info");
      const unhealthy = await on.run("health");
      expect(unhealthy).toMatchObject({ code: 1, err: "" });
      expect(unhealthy.out).toMatch(/^critical: /);
      expect(unhealthy.out).toContain("job bad: `holdfast logs ");
      expect(await on.run("health", "--ready")).toMatchObject({ code: 0 });
      expect(await on.json("health", "--ready")).toEqual({ alive: true, ready: true, reason: null });

      // A file that is refused shows, and does not make it unready; one that is mended does, and moves the listener.
      on.write("holdfast.yaml", "version: 1\ndaemon: { stateDir: ./state }\njobs: 7\n");
      await until(metrics, ({ text }) => value(text, "holdfast_config_last_reload_successful") === 0);
      expect(await on.run("health", "--ready")).toMatchObject({ code: 0 });
      on.write("holdfast.yaml", config(`127.0.0.1:${other}`).replace("{ env: PW }", "{ file: ./pw }"));
      const moved = (): Promise<Answer> => get({ port: other }, "/metrics");
      const later = await until(moved, ({ text }) => value(text, "holdfast_config_last_reload_successful") === 1);
      expect(later.text).not.toContain('job="bad"');
      await until(
        () => get({ port }, "/livez"),
        ({ text }) => text.includes("ECONNREFUSED"),
      );

      await stopped(daemon);
      expect(await on.run("health")).toMatchObject({
        code: 1,
        err: expect.stringContaining("No daemon works on the state folder"),
      });
      daemon = daemonOn(on);
      const again = await until(moved, ({ status }) => status === 200);
      expect(value(again.text, 'holdfast_runs_total{job="docs",kind="backup",status="success"}')).toBe(1);
      expect(value(again.text, 'holdfast_job_last_run_success{job="docs"}')).toBe(1);
    } finally {
      daemon.child.kill("SIGKILL");
      await daemon.ended();
    }
  });

  test("works on, and says so, when its listener cannot be bound", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as AddressInfo;
    using on = playground({ config: config(`127.0.0.1:${port}`).replace("{ env: PW }", "{ file: ./pw }") });
    on.write("pw", SECRET, 0o600);
    const daemon = daemonOn(on);
    try {
      await daemon.says(`ERROR probes are NOT answered on 127.0.0.1:${port}: it cannot listen there (EADDRINUSE)`);
      await daemon.says("run ended: success");
      expect(await on.run("health", "--ready")).toMatchObject({ code: 0 });
    } finally {
      daemon.child.kill("SIGKILL");
      await daemon.ended();
      taken.close();
    }
  });
});

test.skipIf(!hasPromtool)("the rules are rules, and each alert fires when it should and not before", () => {
  for (const args of [
    ["check", "rules", "holdfast.rules.yaml"],
    ["test", "rules", "holdfast.rules.test.yaml"],
  ]) {
    const { status, stdout, stderr } = spawnSync("promtool", args, { cwd: "docs/monitoring", encoding: "utf8" });
    expect({ args, status, stdout, stderr }).toMatchObject({ status: 0, stderr: "" });
  }
  const text = readFileSync("docs/monitoring/holdfast.rules.yaml", "utf8");
  const alerts = [...text.matchAll(/- alert: (\w+)/g)].map(([, name]) => name);
  const tested = new Set(
    [...readFileSync("docs/monitoring/holdfast.rules.test.yaml", "utf8").matchAll(/alertname: (\w+)/g)].map(([, name]) => name),
  );
  expect(alerts.length).toBeGreaterThan(9);
  expect(alerts.filter((name) => !tested.has(name))).toEqual([]);
});
