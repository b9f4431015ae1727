import { globSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { dirname, join, relative } from "node:path";
import { expect, test } from "vitest";

/** Which floor may import which, besides itself. A new edge is a decision, made here. */
const FLOORS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  posix: ["base"],
  codec: ["base"],
  chunker: ["base"],
  config: ["base"],
  plan: ["base", "config"],
  scheduler: ["base", "config", "plan"],
  state: ["base", "config", "plan"],
  targets: ["base", "posix"],
  sources: ["base", "posix"],
  formats: ["base", "posix", "codec", "chunker", "state", "targets", "sources"],
  engine: ["base", "posix", "codec", "config", "plan", "scheduler", "state", "targets", "sources", "formats"],
  telemetry: ["base"],
  notify: ["base", "config", "plan", "state", "engine"],
  daemon: ["base", "posix", "config", "plan", "scheduler", "state", "engine", "notify", "telemetry"],
  "index.ts": [
    "base",
    "codec",
    "config",
    "plan",
    "scheduler",
    "state",
    "targets",
    "sources",
    "formats",
    "engine",
    "notify",
    "telemetry",
    "daemon",
  ],
  cli: ["index.ts"],
  api: ["index.ts"],
  "main.ts": ["cli", "api", "index.ts"],
};

/** Drivers of one floor that never import each other. */
const SIBLINGS = [
  ["sources/files", "sources/command"],
  ["targets/local", "targets/sftp", "targets/thread", "targets/wrap"],
  ["formats/repository", "formats/archive"],
] as const;

/** Where a package may be imported. One package, one folder, wherever that is possible. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  yaml: ["config"],
  ajv: ["config"],
  croner: ["scheduler", "config"],
  koffi: ["posix"],
  ssh2: ["targets/sftp"],
  ignore: ["sources"],
  pino: ["telemetry"],
  commander: ["cli"],
  undici: ["notify"],
  nodemailer: ["notify"],
  fastify: ["api"],
  "@fastify/helmet": ["api"],
  "@fastify/rate-limit": ["api"],
  "@fastify/swagger": ["api"],
  "prom-client": ["telemetry"],
};

/** Floors without input, output or time of their own. */
const PURE = ["base", "codec", "chunker", "config", "plan"];
const PURE_BUILTINS = new Set(["assert", "buffer", "crypto", "path", "path/posix", "util", "zlib"]);

interface Import {
  readonly from: string;
  readonly to: string;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join("src", file), "utf8");
  const found = [
    ...text.matchAll(/(?:^|[\s;])(?:import|export)\s[^;]*?from\s+"([^"]+)"|import\(\s*"([^"]+)"\s*\)|^import\s+"([^"]+)"/gm),
  ];
  return found.map(([, a, b, c]) => {
    const to = (a ?? b ?? c) as string;
    return { from: file, to: to.startsWith(".") ? relative("src", join("src", dirname(file), to)) : to };
  });
}

const files = globSync("**/*.ts", { cwd: "src" }).filter((file) => !file.endsWith(".d.ts"));
const imports = files.flatMap(importsOf);
const floorOf = (path: string): string => path.split("/")[0] as string;
const isInternal = ({ to }: Import): boolean => to.endsWith(".ts");
const isBuiltin = (name: string): boolean => name.startsWith("node:") || builtinModules.includes(name);

test("the table knows every floor, and there is no floor without files", () => {
  expect([...new Set(files.map(floorOf))].toSorted()).toEqual(Object.keys(FLOORS).toSorted());
});

test("imports point down only", () => {
  const wrong = imports
    .filter(isInternal)
    .filter(({ from, to }) => floorOf(from) !== floorOf(to) && !FLOORS[floorOf(from)]?.includes(floorOf(to)));
  expect(wrong).toEqual([]);
});

test("siblings never import each other", () => {
  const wrong = imports.filter(isInternal).filter(({ from, to }) =>
    SIBLINGS.some((group) => {
      const mine = group.find((folder) => from.startsWith(`${folder}/`));
      return mine !== undefined && group.some((folder) => folder !== mine && to.startsWith(`${folder}/`));
    }),
  );
  expect(wrong).toEqual([]);
});

test("a package is imported where the table says", () => {
  const wrong = imports
    .filter((one) => !isInternal(one) && !isBuiltin(one.to))
    .filter(({ from, to }) => {
      const name = to.startsWith("@") ? to.split("/").slice(0, 2).join("/") : (to.split("/")[0] as string);
      return !PACKAGES[name]?.some((folder) => from.startsWith(`${folder}/`));
    });
  expect(wrong).toEqual([]);
});

test("pure floors have no input, output, timers or process", () => {
  const wrong = imports.filter(
    ({ from, to }) => PURE.includes(floorOf(from)) && isBuiltin(to) && !PURE_BUILTINS.has(to.replace("node:", "")),
  );
  expect(wrong).toEqual([]);
  const uses = files
    .filter((file) => PURE.includes(floorOf(file)))
    .filter((file) => /\b(?:setTimeout|setInterval|setImmediate|Date\.now)\(|\bprocess\./.test(withoutComments(file)));
  expect(uses).toEqual([]);
});

test("only main.ts reads the process's arguments, environment, streams and exit code", () => {
  const wrong = files
    .filter((file) => file !== "main.ts")
    .filter((file) => /\bprocess\.(?:argv|env|exit|exitCode|on|once|stdin|stdout|stderr|cwd)\b/.test(withoutComments(file)));
  expect(wrong).toEqual([]);
});

test("every import of src has been seen", () => {
  // A file without a single import or export would mean that the expression above misses a form.
  expect(imports.length).toBeGreaterThan(files.length);
  expect(imports.filter(isInternal).filter(({ to }) => !files.includes(to))).toEqual([]);
});

function withoutComments(file: string): string {
  return readFileSync(join("src", file), "utf8").replace(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, "");
}
