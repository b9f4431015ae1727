// The corpora: made on first use below the cache folder, and kept. A folder is complete when its meta.json is there.
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { dirname, join, relative } from "node:path";
import { breathe, emptyFolder, extent, filesBelow, freeBytes, keep, remove, run, temporaryPath } from "./measure.mjs";
import { makeImages } from "./image.mjs";
import { createNoise, createRandom, createText } from "./random.mjs";

const LINUX_PACKAGE = "linux-source-6.1";
const LINUX_ARCHIVE = `/usr/src/${LINUX_PACKAGE}.tar.xz`;
export const SOURCE_BYTES = { linux: 1.4e9, image: 4e9, random: 1e9, states: 2e8, "sqlite-16M": 16e6, "sqlite-1G": 1e9 };
const STATE_FILES = 4000;

/** Makers by name; each returns what is worth saying in the report. */
const makers = {
  linux: makeLinux,
  image: (folder, { scale, root }) => makeImages(folder, SOURCE_BYTES.image * scale, root),
  random: makeRandom,
  states: makeFirstState,
  "sqlite-16M": (folder, { scale }) => makeDatabases(folder, SOURCE_BYTES["sqlite-16M"] * scale),
  "sqlite-1G": (folder, { scale }) => makeDatabases(folder, SOURCE_BYTES["sqlite-1G"] * scale),
  many: makeMany,
};

/**
 * The corpus of this name: `{ folder, data, meta }`, made when it is not there yet. `options` are cache, scale, corpus, files, root.
 * Rejects with the reason when it cannot be made; what was begun is removed.
 */
export async function openCorpus(name, options) {
  const { scale, corpus, files, cache } = options;
  if (name === "linux" && corpus !== undefined && scale === 1) {
    if (!fs.existsSync(corpus)) throw new Error(`there is no folder ${corpus}`);
    return { folder: corpus, data: corpus, meta: extent(corpus) };
  }
  const own = name === "linux" && corpus !== undefined ? `-${createHash("sha256").update(corpus).digest("hex").slice(0, 8)}` : "";
  const folder = join(cache, `${name}${own}${name === "many" ? `-${files}` : ""}${scale === 1 ? "" : `@${scale}`}`);
  const meta = join(folder, "meta.json");
  const opened = () => ({ folder, data: join(folder, "data"), meta: JSON.parse(fs.readFileSync(meta, "utf8")) });
  if (fs.existsSync(meta)) return opened();
  const bytes =
    (name === "many" ? files * 4600 : SOURCE_BYTES[name] * (name === "image" || name.startsWith("sqlite") ? 2 : 1)) * scale;
  if (freeBytes(cache) < bytes * 1.05 + 1e8) throw new Error(`making it needs ${(bytes / 1e9).toFixed(1)} GB below ${cache}`);
  process.stderr.write(`making the corpus ${name} in ${folder}\n`);
  remove(folder);
  const part = temporaryPath(`${folder}.part`);
  emptyFolder(join(part, "data"));
  try {
    const told = await makers[name](join(part, "data"), options);
    fs.writeFileSync(join(part, "meta.json"), JSON.stringify({ ...extent(join(part, "data")), ...told }));
    fs.renameSync(part, folder);
    keep(part);
  } finally {
    remove(part);
  }
  return opened();
}

/** Debian's package holds the tree as one archive. With a scale, a part of the files is taken, always the same. */
async function makeLinux(data, { scale, corpus }) {
  let whole = corpus;
  if (corpus !== undefined && !fs.existsSync(corpus)) throw new Error(`there is no folder ${corpus}`);
  if (whole === undefined) {
    if (!fs.existsSync(LINUX_ARCHIVE)) {
      const help = `install the Debian package ${LINUX_PACKAGE}, or name a folder with --corpus`;
      if (process.getuid() !== 0) throw new Error(help);
      await run("apt-get", ["install", "-y", "--no-install-recommends", LINUX_PACKAGE]).catch((error) => {
        throw new Error(`${help} (${error.message.split("\n")[0]})`, { cause: error });
      });
    }
    whole = scale === 1 ? data : emptyFolder(temporaryPath(`${data}-whole`));
    await run("tar", ["-xf", LINUX_ARCHIVE, "--strip-components=1", "-C", whole]);
    if (scale === 1) return {};
  }
  for (const file of filesBelow(whole)) {
    const path = relative(whole, file);
    const chosen = createHash("sha256").update(path).digest().readUInt32LE(0) < scale * 2 ** 32;
    if (!chosen && path !== "MAINTAINERS") continue;
    await breathe();
    fs.mkdirSync(join(data, dirname(path)), { recursive: true });
    const { atime, mtime } = fs.statSync(file);
    fs.copyFileSync(file, join(data, path));
    fs.utimesSync(join(data, path), atime, mtime);
  }
  if (corpus === undefined) remove(whole);
  return {};
}

async function makeRandom(data, { scale }) {
  const noise = createNoise("random");
  const file = fs.openSync(join(data, "noise.bin"), "w");
  for (let left = Math.round(SOURCE_BYTES.random * scale); left > 0; left -= 2 ** 24) {
    await breathe();
    fs.writeSync(file, noise(Math.min(left, 2 ** 24)));
  }
  fs.closeSync(file);
  return {};
}

/** The tree that the daily states begin with: six in seven are text, sizes from 300 B to 350 kB. */
async function makeFirstState(data, { scale }) {
  const random = createRandom("states");
  const text = createText("states");
  const noise = createNoise("states");
  for (let i = 0; i < Math.max(60, STATE_FILES * scale); i++) {
    if (i % 64 === 0) await breathe();
    const folder = join(data, `project-${i % 24}`, `part-${random.below(8)}`);
    fs.mkdirSync(folder, { recursive: true });
    const size = Math.round(300 * (350_000 / 300) ** random.unit());
    fs.writeFileSync(join(folder, `file-${i}${i % 7 === 0 ? ".bin" : ".txt"}`), i % 7 === 0 ? noise(size) : text(size));
  }
  return {};
}

/** One day in the tree: 2 % of the files edited, half a percent added, fewer deleted and renamed, every fifth day a folder renamed. */
export function liveOneDay(tree, day) {
  const random = createRandom(`day ${day}`);
  const text = createText(`day ${day}`);
  const files = filesBelow(tree);
  const few = (share) => Array.from({ length: Math.max(1, Math.round(files.length * share)) }, () => random.pick(files));
  for (const file of few(0.02)) {
    const old = fs.readFileSync(file);
    const at = random.below(old.length);
    const length = 20 + random.below(400);
    const rest = random.below(2) === 0 ? at : Math.min(old.length, at + length);
    fs.writeFileSync(file, Buffer.concat([old.subarray(0, at), text(length), old.subarray(rest)]));
  }
  for (const [i, file] of few(0.005).entries())
    fs.writeFileSync(join(dirname(file), `new-${day}-${i}.txt`), text(300 + random.below(60_000)));
  for (const file of few(0.003)) fs.rmSync(file, { force: true });
  for (const [i, file] of few(0.003).entries())
    if (fs.existsSync(file)) fs.renameSync(file, join(dirname(random.pick(files)), `moved-${day}-${i}`));
  if (day % 5 !== 0) return;
  const folders = fs.readdirSync(tree).toSorted();
  fs.renameSync(join(tree, random.pick(folders)), join(tree, `renamed-${day}`));
}

/** base.db, and changed.db where rows on about 1 % of its pages have another value. */
async function makeDatabases(data, bytes) {
  const { DatabaseSync } = await import("node:sqlite");
  const random = createRandom(`sqlite ${bytes}`);
  const text = createText(`sqlite ${bytes}`);
  const [base, changed] = [join(data, "base.db"), join(data, "changed.db")];
  const database = new DatabaseSync(base);
  database.exec("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA page_size = 4096");
  database.exec("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, body TEXT, amount REAL)");
  database.exec("CREATE INDEX item_name ON item (name)");
  const insert = database.prepare("INSERT INTO item (name, body, amount) VALUES (?, ?, ?)");
  let rows = 0;
  while (fs.statSync(base).size < bytes) {
    await breathe();
    database.exec("BEGIN");
    for (let i = 0; i < 1000; i++, rows++)
      insert.run(
        `${String(rows).padStart(9, "0")} ${text(12).toString()}`,
        text(100 + random.below(800)).toString(),
        random.unit(),
      );
    database.exec("COMMIT");
  }
  database.close();
  fs.copyFileSync(base, changed);
  const pages = fs.statSync(base).size / 4096;
  const again = new DatabaseSync(changed);
  again.exec("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN");
  const update = again.prepare("UPDATE item SET amount = ? WHERE id = ?");
  for (let i = 0; i < pages * 0.01; i++) update.run(random.unit(), 1 + random.below(rows));
  again.exec("COMMIT");
  again.close();
  return { files: 1, bytes: fs.statSync(base).size, rows, ...(await pagesThatDiffer(base, changed)) };
}

async function pagesThatDiffer(one, other) {
  const block = 2 ** 24;
  const [a, b] = [Buffer.alloc(block), Buffer.alloc(block)];
  const [first, second] = [fs.openSync(one, "r"), fs.openSync(other, "r")];
  let changedPages = 0;
  for (let at = 0; ; at += block) {
    await breathe();
    const read = fs.readSync(first, a, 0, block, at);
    fs.readSync(second, b, 0, block, at);
    for (let i = 0; i < read; i += 4096) if (a.compare(b, i, i + 4096, i, i + 4096) !== 0) changedPages++;
    if (read < block) break;
  }
  fs.closeSync(first);
  fs.closeSync(second);
  return { changedPages };
}

/** Small files of 64 B to 2 kB, 256 in a folder, 256 folders in a folder. */
async function makeMany(data, { files, scale }) {
  const random = createRandom("many");
  const text = createText("many");
  let folder = data;
  for (let i = 0; i < files * scale; i++) {
    if (i % 256 === 0) {
      await breathe();
      folder = join(data, String(i >> 16), String((i >> 8) & 255));
      fs.mkdirSync(folder, { recursive: true });
    }
    fs.writeFileSync(join(folder, `${i}.txt`), text(64 + random.below(1936)));
  }
  return {};
}
