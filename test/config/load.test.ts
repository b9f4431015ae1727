import { globSync, readFileSync } from "node:fs";
import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { EVENT_TYPES } from "../../src/base/events.ts";
import type { Secret } from "../../src/base/secret.ts";
import type { FilesSourceConfig, HookConfig, PasswordEncryptionConfig } from "../../src/config/config.ts";
import { diffConfigs, renderConfigDiff } from "../../src/config/diff.ts";
import { renderProblems } from "../../src/config/problem.ts";
import { starterConfig } from "../../src/config/starter.ts";
import { EXPECTED } from "./expected-problems.ts";
import { FIXTURES, brief, loadFile, loadText } from "./load-fixture.ts";

const ENV = { HOME: "/root", BASE: "/base", PASSWORD: "hunter2-canary", JOBS: "4", LEVEL: "" };
const names = (folder: string): string[] => globSync(`${folder}/*.yaml`, { cwd: FIXTURES }).toSorted();
const ROOT = new URL("../../", import.meta.url).pathname;

describe("fixtures", () => {
  test("each bad and each doubtful fixture has its row in the table", () => {
    expect(Object.keys(EXPECTED).toSorted()).toEqual([...names("bad"), ...names("warning")]);
  });

  test.each(Object.keys(EXPECTED))("%s", (name) => {
    const { config, problems } = loadFile(FIXTURES + name, { env: ENV });
    expect(problems.map(brief)).toEqual(EXPECTED[name]);
    expect(config === undefined).toBe(name.startsWith("bad/"));
    for (const problem of problems) {
      const line = readFileSync(problem.file, "utf8").split("\n")[problem.line - 1] ?? "";
      expect(problem.excerpt.length, "the excerpt is the line, masked").toBe(line.length);
      expect(problem.endColumn).toBeGreaterThan(problem.column);
    }
    expect(JSON.stringify(problems) + renderProblems(problems, { color: true })).not.toMatch(/canary|hunter2/);
  });

  test.each(names("good"))("%s", (name) => {
    const { config, problems } = loadFile(FIXTURES + name, { env: ENV, strict: true });
    expect(problems).toEqual([]);
    expect(config).toBeDefined();
  });

  test("the eight mistakes are eight problems", () => {
    const { problems } = loadFile(`${FIXTURES}bad/eight-mistakes.yaml`);
    const codes = problems.map(({ code }) => code);
    expect(codes).toEqual([
      "unknown_key",
      "same_path",
      "bad_size",
      "cron_never_fires",
      "duplicate_key",
      "wrong_type",
      "unknown_name",
      "objective_unreachable",
    ]);
    expect(problems.every(({ severity, line, column }) => severity === "error" && line > 0 && column > 0)).toBe(true);
  });

  test("strict makes warnings errors", () => {
    const { config, problems } = loadFile(`${FIXTURES}warning/plain-secrets.yaml`, { strict: true });
    expect(config).toBeUndefined();
    expect(problems.map(({ severity }) => severity)).toEqual(["error", "error"]);
  });

  test("the example and the starter are valid, even when strict", () => {
    const example = loadFile(`${ROOT}config.example.yaml`, { strict: true });
    expect(example.problems).toEqual([]);
    const text = starterConfig({
      host: "web1",
      sourcePath: '/home/me/a "b" ${HOME}',
      repositoryPath: "./var/backups",
      keyPath: "./var/key",
    });
    const starter = loadText(text, { strict: true });
    expect(starter.problems).toEqual([]);
    expect((starter.config!.sources.get("files") as FilesSourceConfig).paths).toEqual(['/home/me/a "b" ${HOME}']);
    expect(text.split("\n")[0]).toContain("yaml-language-server: $schema=");
  });
});

describe("a resolved configuration", () => {
  const { config, digest, texts, places } = loadFile(`${FIXTURES}good/every-key.yaml`);
  const every = config!;
  const documents = every.jobs.get("documents")!;

  test("has bytes, milliseconds, fractions and absolute paths", () => {
    expect(every.daemon).toEqual({
      stateDir: "/var/lib/holdfast",
      cacheDir: `${FIXTURES}good/cache`,
      timezone: "Europe/Berlin",
      maxConcurrentJobs: 2,
      shutdownGraceMs: 90_000,
      log: { level: "debug", format: "text" },
    });
    const source = every.sources.get("documents") as FilesSourceConfig;
    expect(source.paths).toEqual(["/srv/documents", `${FIXTURES}data`]);
    expect(source.excludeLargerThanBytes).toBe(4 * 2 ** 30);
    expect(source.excludePlaces.map(({ line }) => line)).toEqual([25, 25, 25]);
    expect(every.sources.get("ldap")).toMatchObject({ command: ["sh", "-c", "echo ${HOME}"], timeoutMs: 1_800_000 });
    expect(every.targets.get("disk")).toMatchObject({
      maxSizeBytes: 100e9,
      capacityWarning: 0.85,
      format: { kind: "repository" },
    });
    expect(every.targets.get("tar")).toMatchObject({ encryption: undefined, format: { kind: "archive", container: "tar" } });
    expect(every.targets.get("near")).toMatchObject({ path: `${FIXTURES}good/parts/near` });
    expect(every.encryption.get("scrypt")).toMatchObject({
      keyDerivation: { function: "scrypt", logN: 16, blockSize: 8, parallelism: 1 },
    });
    expect((every.encryption.get("main") as PasswordEncryptionConfig).previous).toEqual([
      { file: `${FIXTURES}good/old` },
      { env: "OLD" },
      { command: ["pass", "show", "backup"] },
      { credential: "older" },
    ]);
  });

  test("has the control API, and nothing of it where nothing is said", () => {
    expect(every.control).toEqual({
      listen: { kind: "tcp", host: "0.0.0.0", port: 9480 },
      tls: { cert: `${FIXTURES}good/tls.crt`, key: "/etc/holdfast/tls.key" },
      tokens: [
        { name: "grafana", role: "viewer", token: { file: "/run/secrets/viewer" } },
        { name: "ops", role: "operator", token: { credential: "ops-token" } },
        { name: "boss", role: "admin", token: { env: "BOSS" } },
      ],
      restoreRoots: ["/srv/restore", `${FIXTURES}good/restored`],
      allowConfigWrites: true,
      commitConfigWrites: true,
      allowedHosts: ["backup.example.com"],
      allowedOrigins: ["https://grafana.example.com:3000"],
    });
    expect(loadFile(`${FIXTURES}good/small.yaml`).config!.control).toEqual({
      listen: undefined,
      tls: undefined,
      tokens: [],
      restoreRoots: [],
      allowConfigWrites: false,
      commitConfigWrites: false,
      allowedHosts: [],
      allowedOrigins: [],
    });
  });

  test("has hooks with their defaults, and programs with a path where they are", () => {
    const hook = (run: string[], onError: "fail" | "warn", timeoutMs = 300_000): HookConfig => ({ run, timeoutMs, onError });
    expect(every.sources.get("documents")!.hooks).toEqual({
      before: [hook([`${FIXTURES}good/quiesce`, "on"], "fail", 30_000)],
      after: [hook(["app", "resume"], "fail")],
      onSuccess: [],
      onFailure: [],
    });
    expect(documents.hooks).toEqual({
      before: [hook(["systemctl", "stop", "app"], "fail"), hook(["sync"], "warn")],
      after: [hook(["systemctl", "start", "app"], "warn")],
      onSuccess: [hook(["/usr/bin/curl", "-fsS", "https://example.com/ok"], "warn", 10_000)],
      onFailure: [hook(["logger", "failed"], "warn")],
    });
    expect(every.jobs.get("plain")!.hooks).toBeUndefined();
    expect(Object.isFrozen(documents.hooks!.before[0]!.run)).toBe(true);
  });

  test("has references instead of names", () => {
    expect(documents.targets[0]!.target).toBe(every.targets.get("disk"));
    expect(every.targets.get("share")!.encryption).toBe(every.encryption.get("lab"));
    expect(documents.schedules.map(({ schedule, mode }) => [schedule.text, mode])).toEqual([
      ["every sunday and wednesday at 03:00", "full"],
      ["cron 0 2 * * *", undefined],
      ["every 30m", "incremental"],
    ]);
    expect(documents.targets.map(({ retention, required }) => [retention?.name, retention?.keepLast, required])).toEqual([
      [undefined, 2, true],
      ["simple", undefined, false],
    ]);
    expect(documents.verify).toEqual({ afterBackup: true, schedule: every.schedules.get("sundays"), readData: 0.1 });
    expect(documents.retry).toEqual({ attempts: 3, backoffMinMs: 60_000, backoffMaxMs: 1_800_000 });
    expect(documents.notDuring.map(({ days, startMinute, endMinute }) => [days.join(""), startMinute, endMinute])).toEqual([
      ["12345", 480, 1080],
      ["01356", 1320, 360],
    ]);
  });

  test("takes defaults where a job says nothing", () => {
    const plain = every.jobs.get("plain")!;
    expect(plain.targets.map(({ target, retention }) => [target.name, retention?.name])).toEqual([
      ["disk", "standard"],
      ["share", "standard"],
    ]);
    expect(plain.schedules.map(({ schedule }) => schedule.name)).toEqual(["nightly"]);
    expect(plain.compression).toEqual({ type: "zstd", level: 19 });
    expect(plain.mode).toBe("incremental");
    expect(every.jobs.get("tapes")).toMatchObject({ mode: "full", verify: { readData: 1 } });
    expect(every.retention.get("standard")).toMatchObject({ keepHourly: undefined, keepLast: 3, keepWithinMs: 172_800_000 });
    const rules = ["sundays", "monthly", "last", "daily", "hourly"].map((name) => every.schedules.get(name)!.rule);
    expect(rules).toEqual([
      { kind: "cron", expression: "0 3 * * 0,3" },
      { kind: "cron", expression: "0 0 1 * *" },
      { kind: "cron", expression: "30 23 L * *" },
      { kind: "cron", expression: "0 0 * * *" },
      { kind: "every", everyMs: 3_600_000 },
    ]);
  });

  test("has receivers with the events that their patterns fit, and with references to their secrets", () => {
    const { webhooks, email } = every;
    const events = Object.fromEntries([...webhooks].map(([name, hook]) => [name, hook.events.join(" ")]));
    expect(events).toMatchObject({
      backup_failed: "backup_failed",
      chat: "backup_failed verify_failed prune_failed restore_failed drill_failed objective_missed",
      "dead-man": "backup_started backup_completed backup_partial backup_failed backup_overdue",
      room: "backup_partial",
      // From the included file.
      prune_failed: "prune_failed",
    });
    expect(webhooks.get("signed")!.events).toEqual([...EVENT_TYPES]);
    expect(webhooks.get("backup_failed")).toMatchObject({
      kind: "plain",
      method: "PUT",
      headers: [
        { name: "Authorization", prefix: "Bearer ", value: { file: `${FIXTURES}good/hook` } },
        { name: "x-team", prefix: "" },
      ],
      signingSecret: undefined,
      timeoutMs: 10_000,
      allowPrivate: false,
      jobs: undefined,
    });
    expect(webhooks.get("chat")).toMatchObject({
      url: { env: "CHAT_URL" },
      timeoutMs: 5000,
      allowPrivate: true,
      jobs: ["documents"],
    });
    expect(email).toMatchObject({
      smtp: { port: 2525, security: "starttls", login: { user: "backup", password: { file: `${FIXTURES}good/smtp` } } },
      to: ["ops@example.com", "boss@example.com"],
      digestMinute: 390,
    });
    const mail = (text: string): unknown =>
      loadText(`version: 1\nemail: { smtp: { host: mail, from: a@b.example${text}`).config?.email;
    expect(mail(", security: tls }, to: [a@b.example] }")).toMatchObject({
      smtp: { port: 465, login: undefined },
      digestMinute: undefined,
    });
    expect(mail(", security: none }, to: [a@b.example], digest: daily }")).toMatchObject({
      smtp: { port: 25 },
      events: [],
      digestMinute: 420,
    });
  });

  test("has a listener for probes where one is declared, with metrics unless they are declined", () => {
    expect(every.probes).toEqual({ listen: { kind: "tcp", host: "::1", port: 9481 }, metrics: false });
    const probes = (listen: string): unknown => {
      const { config: own, problems } = loadText(`version: 1\nprobes: { listen: "${listen}" }`);
      return own?.probes?.listen ?? problems.map(({ suggestion = "" }) => suggestion);
    };
    expect(loadText("version: 1").config?.probes).toBeUndefined();
    expect(loadText("version: 1\nprobes: { listen: localhost:9481 }").config?.probes?.metrics).toBe(true);
    expect(probes("0.0.0.0:9481")).toEqual({ kind: "tcp", host: "0.0.0.0", port: 9481 });
    expect(probes("unix:/run/holdfast/probes.sock")).toEqual({ kind: "unix", path: "/run/holdfast/probes.sock" });
    expect(probes("unix:probes.sock")).toEqual(["write unix:/probes.sock"]);
    expect(probes(":9481")).toEqual(["write 0.0.0.0:9481 for every address"]);
    expect(probes("localhost")).toEqual(["write localhost:9481"]);
    for (const wrong of ["a:99999", "::1:80", "http://x:80", "x:0", `unix:/${"x".repeat(103)}`])
      expect(probes(wrong)).toEqual([""]);
  });

  test("must name its host in a container, whose own name changes", () => {
    const told = (text: string, env: Readonly<Record<string, string>>): string[] => loadText(text, { env }).problems.map(brief);
    const missing = "holdfast.yaml:1:1 missing_key : `host` is required in a container, whose own name changes [add host: web1]";
    const containers: Record<string, string>[] = [
      { container: "oci" },
      { container: "podman" },
      { KUBERNETES_SERVICE_HOST: "10.0.0.1" },
    ];
    for (const env of containers) {
      expect(told("version: 1", env)).toEqual([missing]);
      expect(told("version: 1\nhost: web1", env)).toEqual([]);
    }
    for (const container of ["", "lxc"]) expect(told("version: 1", { container })).toEqual([]);
  });

  test("cannot be changed, and prints as JSON", () => {
    expect(Object.isFrozen(documents.targets[0]!.target)).toBe(true);
    expect(() => (every.jobs as Map<string, unknown>).set("more", {})).toThrow(TypeError);
    expect(() => (every.jobs as Map<string, unknown>).clear()).toThrow(TypeError);
    expect(JSON.parse(JSON.stringify(every))).toMatchObject({ jobs: { documents: { name: "documents" } } });
  });

  test("knows its texts and places", () => {
    expect(texts.map(({ path }) => path.replace(FIXTURES, ""))).toEqual(["good/every-key.yaml", "good/parts/more.yaml"]);
    expect(digest).toMatch(/^[0-9a-f]{64}$/);
    expect(loadText("version: 1\n").digest).not.toBe(loadText("version: 1 \n").digest);
    expect(places.get("sources.documents.exclude[1]")).toEqual({ file: `${FIXTURES}good/every-key.yaml`, line: 25, column: 24 });
  });

  test("expands variables after parsing", () => {
    const { config: expanded } = loadFile(`${FIXTURES}good/variables.yaml`, { env: ENV });
    expect(expanded).toMatchObject({ host: "4", daemon: { maxConcurrentJobs: 4, log: { level: "warn" } } });
    expect(expanded!.targets.get("disk")!.path).toBe("/base/disk$1${BASE}");
    expect((expanded!.sources.get("docs") as FilesSourceConfig).paths).toEqual(["/srv/docs", "/srv/$HOME$"]);
    const password = (expanded!.encryption.get("main") as PasswordEncryptionConfig).password as { plain: Secret };
    expect(password.plain.reveal().toString()).toBe("hunter2-canary");
  });

  test("never prints a secret", () => {
    const { config: plain } = loadFile(`${FIXTURES}warning/plain-secrets.yaml`);
    const { config: hooks } = loadFile(`${FIXTURES}warning/plain-hooks.yaml`);
    expect(hooks).toBeDefined();
    const changes = renderConfigDiff(diffConfigs(plain, hooks!), { color: false });
    expect(changes).toContain("webhooks.backup_failed");
    const printed = JSON.stringify([plain, hooks]) + inspect([plain, hooks], { depth: 20 }) + changes;
    expect(printed).toContain("***");
    expect(printed).not.toContain("canary");
  });
});

describe("limits and places", () => {
  test("a file over 5 MiB is refused at once", () => {
    const { problems } = loadText(`version: 1\nx-big: "${"a".repeat(5 * 2 ** 20)}"\n`);
    expect(problems.map(({ code, line }) => [code, line])).toEqual([["yaml_limit", 1]]);
  });

  test.each([
    ["open brackets", `version: 1\na: ${"[a, ".repeat(2 ** 20)}`],
    ["open braces", "{a: ".repeat(2 ** 20)],
    ["markers", `version: 1\na:\n  ${"- ".repeat(2 ** 20)}`],
    ["questions", "? ".repeat(2 ** 20)],
  ])("nesting without end is refused as text: %s", (_, text) => {
    expect(loadText(text).problems.map(({ code }) => code)).toEqual(["yaml_limit"]);
  });

  test("there are at most 1,000 problems", () => {
    const many = loadText(`version: 1\n${"k: 1\n".repeat(3000)}host: "${"${".repeat(500)}"\n`);
    expect(many.config).toBeUndefined();
    expect(many.problems).toHaveLength(1000);
  });

  test("keys that JavaScript knows are only names", () => {
    const text = readFileSync(`${FIXTURES}good/small.yaml`, "utf8").replaceAll("docs", "constructor");
    expect(loadText(text).config?.jobs.get("constructor")?.name).toBe("constructor");
    const { problems } = loadText("version: 1\n__proto__: { a: 1 }\ntoString: 1\njobs: { __proto__: {} }\n");
    expect(problems.map(brief)).toEqual([
      'holdfast.yaml:2:1 unknown_key __proto__: unknown section "__proto__"',
      'holdfast.yaml:3:1 unknown_key toString: unknown section "toString"',
      'holdfast.yaml:4:9 bad_name jobs.__proto__: "__proto__" is not a name',
    ]);
  });

  test("a reader that throws is a problem, and no names are called missing", () => {
    const text = "version: 1\ninclude: [more.yaml]\njobs: { docs: { sources: [elsewhere], targets: [far], prority: 3 } }\n";
    const { problems } = loadText(text, {
      readInclude: () => {
        throw new Error("permission denied");
      },
    });
    expect(problems.map(({ code }) => code)).toEqual(["include_unreadable", "unknown_key"]);
  });

  test("an included file that includes the first ends", () => {
    const first = { path: "/etc/holdfast.yaml", text: "version: 1\ninclude: [b.yaml]\nhost: a\n" };
    const { problems, texts: read } = loadText(first.text, {
      readInclude: (name) =>
        name === "b.yaml" ? [{ path: "/etc/b.yaml", text: "version: 1\ninclude: [holdfast.yaml]\nhost: b\n" }] : [first],
    });
    expect(read).toHaveLength(2);
    expect(problems.map(brief)).toEqual([
      "b.yaml:3:1 duplicate_name host: host is given in two files; first at /etc/holdfast.yaml:3:1 [rename or remove one of them]",
    ]);
  });

  test("a secret is masked in every shape", () => {
    const shapes = [
      "password: canary",
      "password: { secret: canary }",
      "pasword: canary",
      "password: |\n      canary\n      canary",
      "previous: [canary, 5]",
      "keyFile: x, password: canary }",
      "password: 'canary",
      "password: *pw",
      'password: ["canary"]',
      "passphrase: canary",
      "password: !vault canary",
    ];
    for (const shape of shapes) {
      const { problems } = loadText(`version: 1\nx-pw: &pw canary\nencryption:\n  main:\n    ${shape}\n    wrong: true\n`);
      expect(problems.length, shape).toBeGreaterThan(0);
      expect(renderProblems(problems, { color: false }), shape).not.toContain("canary");
    }
  });
});

describe("rendering", () => {
  test("shows place, line, caret and help", () => {
    const { problems } = loadText("version: 1\ndaemon: { maxConcurentJobs: 2 }\n");
    expect(renderProblems(problems, { color: false })).toBe(
      [
        'error[unknown_key]: unknown key "maxConcurentJobs" in daemon',
        " --> /etc/holdfast.yaml:2:11 (daemon.maxConcurentJobs)",
        "  |",
        "2 | daemon: { maxConcurentJobs: 2 }",
        "  |           ^^^^^^^^^^^^^^^^",
        "  = expected: one of stateDir, cacheDir, timezone, maxConcurrentJobs, shutdownGrace, log",
        '  = help: did you mean "maxConcurrentJobs"?',
        "",
        "1 error",
        "",
      ].join("\n"),
    );
    expect(renderProblems([], { color: true })).toBe("");
  });

  test("escapes control characters and cuts long lines", () => {
    const { problems } = loadText(
      `version: 1\n"ev\\u001b[31mil": 1 # \u001b[2J\u202e\n${" ".repeat(0)}x-a: 1\nhosst: ${"y".repeat(500)}\n`,
    );
    const rendered = renderProblems(problems, { color: false });
    expect(rendered).not.toContain("\u001b");
    expect(rendered).not.toContain("\u202e");
    expect(rendered).toContain("ev\\x1b[31mil");
    expect(rendered).toContain("\\u{202e}");
    expect(Math.max(...rendered.split("\n").map((line) => line.length))).toBeLessThan(200);
  });
});
