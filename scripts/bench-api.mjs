// How the control API answers beside a backup, and what it costs the backup: `npm run bench:api -- --rate 200 --seconds 60`.
// A daemon backs a corpus up in full (every byte is read and hashed; what is stored already is not stored again), in turn alone and under
// requests for status, jobs and snapshots over TCP with a token; and, because who asks works on the same cores, under the same requests to a
// server that does nothing but answer.
// Requests are sent at fixed moments, and latency counts from the moment a request was due. Prints JSON. Needs dist/ (`npm run build`).
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, createServer, request } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { openCorpus } from "./bench/corpora.mjs";

const { values } = parseArgs({
  options: {
    rate: { type: "string", default: "200" },
    seconds: { type: "string", default: "60" },
    corpus: { type: "string" },
  },
});
const rate = Number(values.rate);
const wantedMs = Number(values.seconds) * 1000;
const PATHS = ["/api/v1/status", "/api/v1/jobs", "/api/v1/snapshots"];

const cache = join(tmpdir(), "holdfast-bench");
mkdirSync(cache, { recursive: true });
const { data: corpus } = await openCorpus("linux", { scale: 1, cache, corpus: values.corpus && resolve(values.corpus) });
const folder = mkdtempSync(join(tmpdir(), "holdfast-bench-api-"));
const port = await freePort();
const token = randomBytes(32).toString("hex");
writeFileSync(join(folder, "token"), token, { mode: 0o600 });
writeFileSync(
  join(folder, "holdfast.yaml"),
  JSON.stringify({
    version: 1,
    host: "bench",
    daemon: { stateDir: "./state", cacheDir: "./cache", log: { level: "error" } },
    control: { listen: `127.0.0.1:${port}`, tokens: [{ name: "bench", role: "operator", token: { file: "./token" } }] },
    encryption: { main: { keyFile: "./key", generate: true } },
    sources: { corpus: { type: "files", paths: [corpus] } },
    targets: { disk: { type: "local", path: "./repository", encryption: "main" } },
    jobs: { corpus: { sources: ["corpus"], targets: ["disk"] } },
  }),
);

const daemon = spawn(resolve("bin/holdfast"), ["daemon", "-q", "-c", join(folder, "holdfast.yaml")], { stdio: "inherit" });
const agent = new Agent({ keepAlive: true, maxSockets: 64 });
const nothing = createServer((_, answer) => answer.end("{}"));
await new Promise((done) => nothing.listen(0, "127.0.0.1", done));
try {
  await untilServed();
  // The first one stores everything, and is not counted.
  await backup();
  const alone = [];
  const beside = [];
  const loaded = [];
  const latencies = [];
  let failed = 0;
  for (let loadedMs = 0; loadedMs < wantedMs; loadedMs += loaded.at(-1)) {
    alone.push(await backup());
    const idle = underLoad(nothing.address().port);
    beside.push(await backup());
    await idle.stop();
    const load = underLoad(port);
    loaded.push(await backup());
    const { latenciesMs, errors } = await load.stop();
    latencies.push(...latenciesMs);
    failed += errors;
  }
  latencies.sort((a, b) => a - b);
  const at = (share) => Number(latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))].toFixed(1));
  const slower = (than) => `${((median(loaded) / median(than) - 1) * 100).toFixed(1)} %`;
  console.log(
    JSON.stringify(
      {
        rate,
        requests: latencies.length,
        failed,
        latencyMs: { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) },
        backups: loaded.length,
        medianMs: { alone: median(alone), besideAServerThatDoesNothing: median(beside), besideRequests: median(loaded) },
        allMs: { alone, besideAServerThatDoesNothing: beside, besideRequests: loaded },
        slower: { thanAlone: slower(alone), thanBesideAServerThatDoesNothing: slower(beside) },
      },
      null,
      1,
    ),
  );
} finally {
  agent.destroy();
  nothing.close();
  daemon.kill("SIGTERM");
  await new Promise((done) => (daemon.exitCode === null ? daemon.once("exit", done) : done()));
  rmSync(folder, { recursive: true, force: true });
}

/** Sends requests to a port at the rate until it is stopped. */
function underLoad(to) {
  const start = performance.now();
  const latenciesMs = [];
  const open = new Set();
  let errors = 0;
  let sent = 0;
  const timer = setInterval(() => {
    for (; (sent * 1000) / rate <= performance.now() - start; sent++) {
      const due = start + (sent * 1000) / rate;
      const one = ask("GET", PATHS[sent % PATHS.length], undefined, to)
        .then(
          ({ status }) => {
            if (status !== 200) errors++;
          },
          () => errors++,
        )
        .then(() => latenciesMs.push(performance.now() - due))
        .finally(() => open.delete(one));
      open.add(one);
    }
  }, 1);
  return {
    stop: async () => {
      clearInterval(timer);
      await Promise.all(open);
      return { latenciesMs, errors };
    },
  };
}

/** Runs the job to its end; how long the run took, ms. */
async function backup() {
  const { status, text } = await ask("POST", "/api/v1/jobs/corpus/run", { mode: "full", wait: true });
  const last = JSON.parse(text.trimEnd().split("\n").at(-1));
  if (status !== 200 || last.result?.status !== "success") throw new Error(`The backup failed: ${text.slice(-2000)}`);
  return Math.round(last.result.durationMs);
}

function ask(method, path, body, to = port) {
  return new Promise((done, fail) => {
    const headers = {
      authorization: `Bearer ${token}`,
      ...(body !== undefined && { "content-type": "application/json" }),
    };
    const asked = request({ host: "127.0.0.1", port: to, method, path, agent, headers }, (answer) => {
      const chunks = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("end", () => done({ status: answer.statusCode, text: Buffer.concat(chunks).toString() }));
      answer.on("error", fail);
    });
    asked.on("error", fail);
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

async function untilServed() {
  for (let tries = 0; tries < 600; tries++) {
    const answer = await ask("GET", "/api/v1/status").catch(() => undefined);
    // Every repository has been made once there is an observation.
    if (answer?.status === 200 && JSON.parse(answer.text).targets.every(({ status }) => status === "ok")) return;
    if (daemon.exitCode !== null) throw new Error(`The daemon ended with ${daemon.exitCode}`);
    await sleep(100);
  }
  throw new Error("The daemon does not serve its API");
}

function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port: free } = server.address();
      server.close(() => done(free));
    });
  });
}

function median(of) {
  const sorted = of.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
