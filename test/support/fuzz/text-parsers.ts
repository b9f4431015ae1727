/** Every reader of what people write, and of what this machine keeps: configuration, arguments, state. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { HoldfastError } from "../../../src/base/errors.ts";
import { parseDuration } from "../../../src/base/duration.ts";
import { pathBytes, pathText } from "../../../src/base/path-text.ts";
import { parseSize } from "../../../src/base/size.ts";
import { parseCount, parsePathSelector, parsePercent, parseTime } from "../../../src/cli/selectors.ts";
import { FORMATS, parseBackoff, parseRate } from "../../../src/config/format.ts";
import { neverFires } from "../../../src/config/cron.ts";
import { interpolate, retype } from "../../../src/config/interpolate.ts";
import { parseWindow } from "../../../src/config/window.ts";
import { claimDaemon } from "../../../src/daemon/claim.ts";
import { cronProblem, nextRun } from "../../../src/scheduler/schedule.ts";
import { compileExclude } from "../../../src/sources/files/exclude.ts";
import { asRunId } from "../../../src/base/ids.ts";
import { openState } from "../../../src/state/state.ts";
import { FIXTURES, loadText } from "../../config/load-fixture.ts";
import type { FuzzedParser } from "./fuzz.ts";

const EVERY_KEY = readFileSync(`${FIXTURES}good/every-key.yaml`);
const SMALL = readFileSync(`${FIXTURES}good/small.yaml`);
const VARIABLES = readFileSync(`${FIXTURES}good/variables.yaml`);
const WHEN = { nowMs: Date.UTC(2026, 0, 1), timezone: "Europe/Berlin" };

const texts = (...all: string[]): Buffer[] => all.map((text) => Buffer.from(text));

/** A value that is no number people can use is a fault, even when nothing was thrown. */
function finite(value: number | undefined): void {
  if (value !== undefined && !(value >= 0)) throw new Error(`the number ${value}`);
}

function load(text: string, included?: string): void {
  const { config, problems } = loadText(text, {
    env: { A: "1", B: "" },
    ...(included !== undefined && { readInclude: () => [{ path: "/etc/part.yaml", text: included }] }),
  });
  if ((config === undefined) !== problems.some(({ severity }) => severity === "error"))
    throw new Error("neither a configuration nor a problem");
  if (config === undefined) throw new HoldfastError("config_invalid", "as reported");
}

/** A folder of its own for readers of files, removed at the end of the process. */
let scratch: string | undefined;
function folder(): string {
  if (scratch === undefined) {
    scratch = mkdtempSync(join(tmpdir(), "holdfast-fuzz-"));
    const made = scratch;
    process.once("exit", () => rmSync(made, { recursive: true, force: true }));
  }
  return scratch;
}

/** A state database with rows, whose texts can be replaced. */
function stateWithRows(): string {
  const path = join(folder(), "rows");
  using state = openState(path);
  state.acceptConfig({ digest: "d", timeMs: 1, text: "version: 1", targets: [] });
  state.startRun({ kind: "backup", subject: "home", targets: [], startedMs: 1, id: asRunId("0b".repeat(16)) });
  return path;
}

export function textParsers(): FuzzedParser[] {
  const stateFolder = join(folder(), "state");
  openState(stateFolder)[Symbol.dispose]();
  const database = readFileSync(join(stateFolder, "state.db"));
  const rows = stateWithRows();
  const claims = join(folder());
  return [
    {
      name: "configuration",
      corpus: [SMALL, SMALL, VARIABLES, EVERY_KEY],
      parse: (bytes) => load(bytes.toString("utf8")),
      share: 0.01,
    },
    {
      name: "included configuration",
      corpus: [SMALL, VARIABLES],
      parse: (bytes) => load("version: 1\ninclude: [part.yaml]\n", bytes.toString("utf8")),
      share: 0.02,
    },
    {
      name: "interpolation",
      corpus: texts("${A}", "${A:-x}", "$$ ${B:?not set} ${C}", "${A:-${B}}", "12e5", "true", "~"),
      parse: (bytes) => {
        const text = bytes.toString("utf8");
        interpolate(text, { A: "1", B: "" });
        retype(text);
      },
    },
    {
      name: "sizes, durations, rates, windows",
      corpus: texts("64MiB", "1.5 GB", "30s", "1h30m", "50MB/s", "1m..30m", "10%", "Mon-Fri 08:00-18:00", "22:00-06:00", "UTC"),
      parse: (bytes) => {
        const text = bytes.toString("utf8");
        finite(parseSize(text));
        finite(parseDuration(text));
        finite(parseRate(text));
        finite(parseBackoff(text)?.minMs);
        parseWindow(text);
      },
    },
    {
      name: "what is wrong with a value",
      corpus: texts("64 mib", "30 sec", "50MB", "1m..", "110%", "Mo 8-9", "berlin", "0 2 * *", "2026-02-30"),
      parse: (bytes) => {
        const text = bytes.toString("utf8");
        for (const { explain } of Object.values(FORMATS)) explain(text);
      },
      share: 0.02,
    },
    {
      name: "cron",
      corpus: texts("0 2 * * *", "*/15 0-6 1,15 * mon-fri", "@daily", "0 0 L * *", "5 4 * * 7", "0 0 29 2 *"),
      parse: (bytes) => {
        const expression = bytes.toString("utf8");
        if (cronProblem(expression, "Europe/Berlin") !== undefined) throw new HoldfastError("config_invalid", "as reported");
        if (FORMATS["cron"]?.explain(expression) !== undefined || neverFires(expression)) return;
        const next = nextRun({ kind: "cron", expression }, WHEN.nowMs, "Europe/Berlin");
        if (next !== undefined && !(next > WHEN.nowMs)) throw new Error(`the next run is at ${next}`);
      },
      share: 0.05,
    },
    {
      name: "command-line selectors and times",
      corpus: texts("3f2a:/srv/x", "latest", "2026-11-20 14:30:05", "2026-11-20T14:30:00Z", "3d", "10%", "5", "a:/\\xff/b\\\\c"),
      parse: (bytes, numbers) => {
        const text = bytes.toString("utf8");
        const readers = [
          () => parsePathSelector(text, {}, WHEN),
          () => parsePathSelector("latest", { at: text }, WHEN),
          () => parsePercent(text, "--read-data"),
          () => parseCount(text, "--keep"),
          () => {
            const timeMs = parseTime(text, WHEN);
            if (Number.isNaN(new Date(timeMs).getTime())) throw new Error(`the time ${timeMs}`);
          },
        ];
        return numbers.pick(readers)();
      },
    },
    {
      name: "paths for people",
      corpus: texts("/a/b", "/\\xff\\x00", "\\\\", "/\u202e/é"),
      parse: (bytes) => {
        if (!pathBytes(pathText(bytes)).equals(bytes)) throw new Error("the path is another one");
      },
    },
    {
      name: "exclude patterns",
      corpus: texts("*.tmp", "/a/**/b", "!keep", "[a-z]?/", "\\#x", "a\\", "[", "{a,b}"),
      parse: (bytes) => compileExclude(bytes.toString("utf8").split("\n"))?.match("a/b.tmp", false),
      share: 0.2,
    },
    {
      name: "state database",
      corpus: [database],
      parse: (bytes) => {
        const path = join(folder(), "damaged");
        rmSync(path, { recursive: true, force: true });
        openState(path)[Symbol.dispose]();
        for (const suffix of ["-wal", "-shm"]) rmSync(join(path, `state.db${suffix}`), { force: true });
        writeFileSync(join(path, "state.db"), bytes);
        using state = openState(path);
        state.runs({});
        state.acceptedConfig();
        state.pausedJobs();
      },
      share: 0.001,
      allowanceBytes: 2 ** 20,
    },
    {
      name: "texts in the state database",
      corpus: texts('["disk"]', '{"code":"internal","message":"x"}', "null", "[]"),
      parse: (bytes, numbers) => {
        const raw = new DatabaseSync(join(rows, "state.db"));
        try {
          const text = bytes.toString("utf8");
          const good = ["[]", "{}", "{}", "[]"];
          good[numbers.below(4)] = text;
          raw.prepare("UPDATE runs SET targets = ?, error = ?, statistics = ?").run(...good.slice(0, 3));
          raw.prepare("UPDATE configs SET targets = ?").run(good[3] as string);
        } finally {
          raw.close();
        }
        using state = openState(rows);
        state.runs({});
        state.acceptedConfig();
      },
      share: 0.001,
    },
    {
      name: "claim of a daemon",
      corpus: texts('{"pid":1,"processStart":"1","bootId":"b","pidNamespace":"n"}\n', "null", ""),
      parse: (bytes) => {
        writeFileSync(join(claims, "daemon.json"), bytes);
        claimDaemon(claims)[Symbol.dispose]();
      },
      share: 0.05,
    },
  ];
}
