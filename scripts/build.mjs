// Makes dist/: the program and the library as few files, which start in half the time of one file a module, and the types.
// Packages stay where npm put them.
import { execFileSync } from "node:child_process";
import { cpSync, rmSync } from "node:fs";
import { dirname, relative, resolve } from "node:path";
import { rolldown } from "rolldown";

const root = resolve(import.meta.dirname, "..");
const source = `${root}/src`;

/** What is started or loaded by its path: each stays a file of its own, where its source is. */
const ENTRIES = [
  "main",
  "index",
  "engine/restore/restore-thread",
  "formats/archive/archive-thread",
  "formats/archive/content-decoder",
  "formats/repository/prune/repack-thread",
  "formats/repository/read/content-decoder",
  "formats/repository/verify/verify-thread",
  "formats/repository/write/cpu-thread",
  "formats/repository/write/pack-thread",
  "formats/repository/write/tree-thread",
  "targets/thread/target-worker",
];

const DIST_URL = "__DIST_URL__";

/** Gives every module the URL that it would have as a file of its own: modules name their threads by it. */
const ownUrls = {
  name: "own-urls",
  transform(code, id) {
    if (!code.includes("import.meta.url")) return null;
    const path = relative(source, id).replace(/\.ts$/, ".js");
    return code.replaceAll("import.meta.url", `new URL(${JSON.stringify(path)}, ${DIST_URL}).href`);
  },
  renderChunk(code, chunk) {
    if (!code.includes(DIST_URL)) return null;
    const dist = relative(dirname(chunk.fileName), ".") || ".";
    return code.replaceAll(DIST_URL, `new URL(${JSON.stringify(`${dist}/`)}, import.meta.url)`);
  },
};

rmSync(`${root}/dist`, { recursive: true, force: true });
const build = await rolldown({
  input: Object.fromEntries(ENTRIES.map((entry) => [entry, `${source}/${entry}.ts`])),
  external: /^[^./]/,
  platform: "node",
  plugins: [ownUrls],
  logLevel: "warn",
});
// Names without hashes: a daemon that runs on while the checkout is built anew still finds what it loads later.
await build.write({ dir: `${root}/dist`, format: "esm", entryFileNames: "[name].js", chunkFileNames: "chunks/[name].js" });
await build.close();
execFileSync(process.execPath, [`${root}/node_modules/typescript/bin/tsc`, "-p", `${root}/tsconfig.build.json`], {
  stdio: "inherit",
  cwd: root,
});
cpSync(`${root}/schemas`, `${root}/dist/schemas`, { recursive: true });
