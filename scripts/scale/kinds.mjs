// What grows: the corpora, how they are made step by step, and the acts that are measured on them.
import * as fs from "node:fs";
import { join } from "node:path";
import { breathe, emptyFolder, remove } from "../bench/measure.mjs";
import { createNoise, createRandom, createText } from "../bench/random.mjs";

const FOLDER_FILES = 500;
const SMALL_FILES = 200;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const EXTENTS = 16;

const count = (number) => number.toLocaleString("en-US");

/** A small file as the disk has it, and what it takes of the repository. */
const BLOCK = 4096;
const STORED = 700;
const roomForFiles = (files) => ({ bytes: files * (BLOCK + STORED), inodes: files * 1.01 });

/**
 * `base` is the size at 1x, `least` the smallest that makes sense, `need` what a size takes on the disk. `open` begins a corpus in
 * a folder and returns what makes it as large as asked: `{ source, files, bytes, data, one, image? }`, where `data` is `bytes`
 * without holes, and `one` a file that is looked for and restored. `fill` puts into a new repository what the kind is about, and
 * resolves to how many snapshots are there then.
 */
export const KINDS = {
  files: {
    title: "small files of 100 to 2,000 bytes in folders of 500",
    base: 250_000,
    least: 2,
    show: (size) => `${count(size)} files`,
    need: roomForFiles,
    open: (data) => growingTree(data, "files", FOLDER_FILES),
    acts: ["first", "unchanged", "snapshots", "find", "verify", "one", "prune"],
  },
  folder: {
    title: "small files of 100 to 2,000 bytes in one folder",
    base: 125_000,
    least: 2,
    show: (size) => `${count(size)} files`,
    need: roomForFiles,
    open: (data) => growingTree(data, "folder", Infinity),
    acts: ["first", "unchanged", "snapshots", "find", "verify", "one", "prune"],
  },
  sparse: {
    title: "one sparse file with 16 extents of 1 MiB",
    base: 128 * GIB,
    least: 2 * EXTENTS * MIB,
    show: (size) => `${Number((size / GIB).toFixed(1))} GiB`,
    need: () => ({ bytes: 4 * EXTENTS * MIB, inodes: 100 }),
    open: sparseFile,
    acts: ["first", "unchanged", "snapshots", "find", "verify", "one", "restore", "prune"],
  },
  index: {
    title: "chunks of 64 KiB that the index names, in packs of 32 MiB",
    base: 1_250_000,
    least: 1,
    show: (size) => `${count(size)} chunks`,
    need: (chunks) => ({ bytes: chunks * 90, inodes: chunks / 400 + 1000 }),
    open: smallTree,
    fill: async ({ config, repository, size }) => {
      const { writeIndex } = await import("./library.mjs");
      await writeIndex(config, repository, size);
      return 0;
    },
    acts: ["first", "unchanged", "snapshots", "find", "verify", "one", "prunePlan"],
  },
  snapshots: {
    title: "snapshots of 200 files, of which one changes each time",
    base: 625,
    least: 4,
    show: (size) => `${count(size)} snapshots`,
    need: (snapshots) => ({ bytes: snapshots * 60_000, inodes: snapshots * 10 + 1000 }),
    open: smallTree,
    fill: async ({ config, source, size }) => {
      const { writeSnapshots } = await import("./library.mjs");
      await writeSnapshots(config, source, size - 1);
      return size - 1;
    },
    acts: ["unchanged", "snapshots", "find", "verify", "one", "pruneHalf"],
  },
};

/** Files are added to the same tree from step to step; which ones does not depend on the steps. */
function growingTree(data, seed, perFolder) {
  const random = createRandom(seed);
  const text = createText(seed);
  let [files, bytes] = [0, 0];
  const folderOf = (i) => {
    if (perFolder === Infinity) return data;
    const folder = Math.floor(i / perFolder);
    return join(data, String(folder >> 6), String(folder));
  };
  return async (size) => {
    for (; files < size; files++) {
      if (files % 256 === 0) await breathe();
      const folder = folderOf(files);
      if (files % perFolder === 0) fs.mkdirSync(folder, { recursive: true });
      const length = 100 + random.below(1901);
      fs.writeFileSync(join(folder, `${files}.txt`), text(length));
      bytes += length;
    }
    return { source: data, files, bytes, data: bytes, one: join(folderOf(size >> 1), `${size >> 1}.txt`) };
  };
}

/** The same few files at every step: something else grows. */
function smallTree(data) {
  const grow = growingTree(data, "small", Infinity);
  return () => grow(SMALL_FILES);
}

/** The first extent begins the file, the last one ends it. A small file lies beside it. */
function sparseFile(data) {
  const one = join(data, "note.txt");
  const path = join(data, "disk.img");
  return (size) => {
    emptyFolder(data);
    fs.writeFileSync(one, createText("note")(1000));
    const noise = createNoise("sparse");
    const file = fs.openSync(path, "wx");
    fs.ftruncateSync(file, size);
    const offsets = Array.from({ length: EXTENTS }, (_, i) => Math.floor((i * (size - MIB)) / (EXTENTS - 1) / BLOCK) * BLOCK);
    for (const offset of offsets) fs.writeSync(file, noise(MIB), 0, MIB, offset);
    fs.closeSync(file);
    const note = fs.statSync(one).size;
    return { source: data, files: 2, bytes: size + note, data: EXTENTS * MIB + note, one, image: { path, offsets } };
  };
}

/** Titles of the acts in the order in which they are shown, and what each does in a step. */
export const ACTS = {
  first: { title: "first backup", perform: (step) => backUp(step, true) },
  unchanged: { title: "unchanged backup", perform: (step) => backUp(step, false) },
  snapshots: { title: "snapshots", perform: listSnapshots },
  find: { title: "find one name", perform: findName },
  verify: { title: "verify", perform: verify },
  one: { title: "restore one file", perform: restoreOne },
  restore: { title: "restore everything", perform: restoreAll },
  prune: { title: "prune", perform: (step) => prune(step, []) },
  prunePlan: { title: "prune --dry-run", perform: (step) => prune(step, ["--dry-run"]) },
  pruneHalf: { title: "prune, keeping half", perform: pruneHalf },
};

const check = (holds, what) => {
  if (!holds) throw new Error(`not as it should be: ${what}`);
};

/** What a command says of itself in the last line of its JSON. */
function summaryOf({ stdout }) {
  const summary = JSON.parse(stdout.trimEnd().split("\n").at(-1));
  check(summary.status === "success", JSON.stringify(summary).slice(0, 500));
  return summary;
}

/** Trees of the folders above the source change without it, and are stored again. */
const UNCHANGED_BYTES = 100_000;

/** Counts the snapshot in `step`. A first backup stores all data, a later one next to nothing. */
export async function backUp(step, isFirst) {
  const measured = await step.holdfast("backup", "corpus", "--json");
  const { files, sourceBytes, newBytes, unreadable, status } = summaryOf(measured).sources[0].snapshots[0];
  step.snapshots++;
  const what = `${files} files of ${sourceBytes} bytes, ${newBytes} new, ${unreadable} unreadable`;
  check(status === "success" && unreadable === 0 && files === step.files && sourceBytes === step.bytes, what);
  check(isFirst ? newBytes >= step.data : newBytes < UNCHANGED_BYTES, what);
  return measured;
}

async function listSnapshots(step) {
  const measured = await step.holdfast("snapshots");
  const told = numbersOf(measured.stderr, /([\d,]+) snapshots?$/m);
  check(told[0] === step.snapshots, `${told[0]} snapshots instead of ${step.snapshots}`);
  return measured;
}

async function findName(step) {
  const measured = await step.holdfast("find", step.one.slice(step.one.lastIndexOf("/") + 1));
  const told = numbersOf(measured.stderr, /([\d,]+) match(?:es)? in ([\d,]+) snapshots?$/m);
  check(
    told.every((number) => number === step.snapshots),
    `${told.join(" in ")} instead of ${step.snapshots} snapshots`,
  );
  check(measured.stdout.includes(step.one), `${step.one} is not named`);
  return measured;
}

const numbersOf = (text, pattern) => (pattern.exec(text)?.slice(1) ?? [NaN]).map((number) => Number(number.replaceAll(",", "")));

async function verify(step) {
  const measured = await step.holdfast("verify", "--json");
  const { ok, snapshots, checks } = summaryOf(measured).targets[0];
  check(ok && snapshots === step.snapshots && checks.every(({ failed }) => failed === 0), JSON.stringify(checks));
  const { checked } = checks.find(({ name }) => name === "files");
  check(checked >= step.files, `${checked} files instead of ${step.files}`);
  return measured;
}

async function restoreOne(step) {
  const out = emptyFolder(join(step.work, "out"));
  const measured = await step.holdfast("restore", `latest:${step.one}`, "--to", out, "--json");
  const { files } = summaryOf(measured).report;
  const found = fs.readdirSync(out, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  check(files === 1 && found.length === 1, `${found.length} files were restored`);
  const restored = fs.readFileSync(join(found[0].parentPath, found[0].name));
  check(restored.equals(fs.readFileSync(step.one)), `${step.one} differs`);
  remove(out);
  return measured;
}

/** The file that comes back must be as large, as sparse, and equal wherever it has data. */
async function restoreAll(step) {
  const out = emptyFolder(join(step.work, "out"));
  const measured = await step.holdfast("restore", "latest", "--to", out, "--json");
  check(summaryOf(measured).report.files === step.files, "not all files were restored");
  const { path, offsets } = step.image;
  const restored = join(out, path);
  const [{ size }, { size: found, blocks }] = [fs.statSync(path), fs.statSync(restored)];
  check(found === size, `${found} bytes instead of ${size}`);
  check(blocks * 512 < (offsets.length + 1) * MIB, `${blocks * 512} bytes are allocated`);
  for (const offset of offsets) check(bytesAt(restored, offset).equals(bytesAt(path, offset)), `the extent at ${offset} differs`);
  remove(out);
  return measured;
}

function bytesAt(path, offset) {
  const bytes = Buffer.alloc(MIB);
  const file = fs.openSync(path, "r");
  fs.readSync(file, bytes, 0, MIB, offset);
  fs.closeSync(file);
  return bytes;
}

/** Without a retention nothing is deleted. A dry run finds that no snapshot needs the packs that were made up. */
async function prune(step, flags) {
  const measured = await step.holdfast("prune", ...flags, "--json");
  const { deleted, report } = summaryOf(measured);
  check(deleted.length === 0 && report.packsBefore > 0 && report.packsDeleted === 0, JSON.stringify(report));
  if (flags.length > 0) check(report.packsCondemned > report.packsBefore / 2, JSON.stringify(report));
  return measured;
}

async function pruneHalf(step) {
  const kept = Math.floor(step.snapshots / 2);
  const measured = await step.holdfast("prune", "--keep-last", String(kept), "--immediate", "-y", "-q");
  step.snapshots = kept;
  await listSnapshots(step);
  return measured;
}
