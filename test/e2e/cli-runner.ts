/** Drives the built program as a person would: `bin/holdfast` in a folder of its own. */
import { spawn, type ChildProcess } from "node:child_process";
import { chmodSync, existsSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { once } from "node:events";
import { temporaryTree, type TreeLiteral } from "../support/tree-literal.ts";

const PROGRAM = resolve("bin/holdfast");

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface Playground extends Disposable {
  readonly path: string;
  /** Runs a command to its end, with the folder's configuration. */
  run(...args: string[]): Promise<Ran>;
  /** The one JSON document that a query prints. */
  json(...args: string[]): Promise<Record<string, unknown>>;
  /** Starts a command and leaves it running. */
  start(...args: string[]): Running;
  write(file: string, text: string, mode?: number): void;
  /** Removes a folder or a file. */
  remove(file: string): void;
}

export interface Running {
  readonly child: ChildProcess;
  /** Resolves when standard output or error has shown `text`; rejects when the process ends before. */
  says(text: string): Promise<void>;
  ended(): Promise<Ran>;
}

export const CONFIG = `version: 1
host: tester
daemon: { stateDir: ./state, cacheDir: ./cache, timezone: UTC, log: { format: text } }
encryption: { main: { keyFile: ./key, generate: true } }
sources:
  docs: { type: files, paths: [./data], exclude: ["*.tmp"] }
targets:
  disk: { type: local, path: ./repository, encryption: main }
jobs:
  docs: { sources: [docs], targets: [disk] }
`;

/** A folder with `data/`, a configuration of one job, and no repository yet. */
export function playground(options: { readonly config?: string; readonly data?: TreeLiteral } = {}): Playground {
  if (!existsSync("dist/main.js")) throw new Error("dist/ is missing: run `npm run build` first");
  const folder = temporaryTree({ data: options.data ?? { "a.txt": "first\n", sub: { "b.txt": "b".repeat(5000) } } });
  const { path } = folder;
  const write = (file: string, text: string, mode?: number): void => {
    writeFileSync(join(path, file), text);
    if (mode !== undefined) chmodSync(join(path, file), mode);
  };
  write("holdfast.yaml", options.config ?? CONFIG);
  const start = (...args: string[]): Running => running(args, path);
  const run = (...args: string[]): Promise<Ran> => start(...args).ended();
  return {
    path,
    run,
    start,
    write,
    async json(...args) {
      const { code, out, err } = await run(...args, "--json");
      if (code !== 0) throw new Error(`holdfast ${args.join(" ")} ended with ${code}: ${err}`);
      return JSON.parse(out) as Record<string, unknown>;
    },
    remove: (file) => rmSync(join(path, file), { recursive: true, force: true }),
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

function running(args: readonly string[], cwd: string): Running {
  // Only what every machine has: nothing of the tester's own configuration may leak in.
  const env = { PATH: process.env["PATH"], HOME: cwd, XDG_CONFIG_HOME: join(cwd, ".config"), LANG: "C.UTF-8" };
  const child = spawn(PROGRAM, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  let err = "";
  const watchers = new Set<() => void>();
  const notify = (): void => watchers.forEach((watcher) => watcher());
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
    notify();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    err += text;
    notify();
  });
  const closed = once(child, "close") as Promise<[number | null]>;
  return {
    child,
    says: (text) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          if (!`${out}${err}`.includes(text)) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        void closed.then(() => reject(new Error(`it ended without saying ${JSON.stringify(text)}: ${out}${err}`)));
        look();
      }),
    ended: async () => {
      const [code] = await closed;
      return { code, out, err };
    },
  };
}
