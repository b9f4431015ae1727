// What is measured: the lines with their aims, and how a group of lines that share a repository is run once with one tool.
import { copyFileSync, linkSync, mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { liveOneDay } from "./corpora.mjs";
import { createRandom, createText } from "./random.mjs";
import { emptyFolder, extent, filesBelow, remove, run, temporaryPath, together, warm } from "./measure.mjs";
import { checkRestored, fileOf } from "./tools.mjs";

export const TMPFS = "/dev/shm";
export const STATES = 30;
export const KEPT = 7;
// A tool may trust no attributes of files that changed within about the last two seconds.
const AGED_MS = 2500;

/**
 * Aims are of Holdfast: `wall`, `cpu`, `bytes` as ratios to restic, `limit` as a ratio to the limit, `rss` in decimal MB. `bytes` of a line
 * are what the repository holds after it (`stored`) or what it grew by (`new`); `limit` names the act of limit.mjs.
 */
const line = (title, group, bytes, aims = {}, limit) => ({ title, group, bytes, aims: { rss: 350, ...aims }, limit });
export const LINES = {
  first: line("first backup, Linux 6.1 source", "linux", "stored", { wall: 0.3, cpu: 0.5, bytes: 0.8, limit: 1.5 }, "backup"),
  unchanged: line("second backup, nothing changed", "linux", "new", { wall: 0.25 }),
  changed: line("second backup, 1 % of files changed", "linux", "new", { wall: 0.3 }),
  verify: line("verify, every byte read", "linux", undefined, { wall: 0.6 }),
  restore: line("restore of the Linux source into tmpfs", "linux", undefined, { wall: 0.35, limit: 1.5 }, "restore"),
  one: line("restore one file from it", "linux", undefined, { wall: 0.5 }),
  "first-tmpfs": line("first backup, repository in tmpfs", "tmpfs", "stored", { wall: 0.48, limit: 1.5 }, "backup"),
  image: line("first backup, image of binaries", "image", "stored", { wall: 0.6, bytes: 1, limit: 1.5 }, "backup"),
  "image-changed": line("the image, 1 % of pages changed, 1 KiB inserted", "image", "new", { wall: 0.6, bytes: 1.1 }),
  random: line("what does not compress", "random", "stored", { wall: 0.5 }, "backup"),
  states: line(`${STATES} daily states, all backups`, "states", "stored", { rss: undefined }),
  "states-kept": line(`keeping the last ${KEPT} of them, and prune`, "states", "stored", { rss: undefined }),
  "states-fresh": line(`a fresh repository of those ${KEPT}`, "states", "stored", { rss: undefined }),
  "sqlite-16M": line("first backup, SQLite file of 16 MB", "sqlite-16M", "stored", { rss: undefined }),
  "sqlite-16M-changed": line("the same, rows on 1 % of pages changed", "sqlite-16M", "new", { rss: undefined }),
  "sqlite-1G": line("first backup, SQLite file of 1 GB", "sqlite-1G", "stored", { rss: undefined }),
  "sqlite-1G-changed": line("the same, rows on 1 % of pages changed", "sqlite-1G", "new", { rss: undefined }),
  many: line("first backup, many small files", "many", "stored", { rss: undefined, rssAtTenMillion: 1000 }, "backup"),
  "many-unchanged": line("the same, nothing changed", "many", "new", { rss: undefined, rssAtTenMillion: 1000 }),
};

/** Names on the command line that stand for several lines. */
export const ALIASES = {
  states: ["states", "states-kept", "states-fresh"],
  sqlite: ["sqlite-16M", "sqlite-16M-changed", "sqlite-1G", "sqlite-1G-changed"],
  many: ["many", "many-unchanged"],
};

/**
 * The groups: `corpus` by name, `space` as multiples of the corpus's bytes on the disk of `work` and in tmpfs, `prepare` (once, not measured) giving
 * what `pass` needs. A pass runs every line of the group once with one tool: `open(options)` makes a repository of it, `step(line, tool, act)` measures.
 */
export const GROUPS = {
  linux: { corpus: "linux", space: { work: 3, tmpfs: 1.3 }, prepare: prepareLinux, pass: passLinux },
  tmpfs: {
    corpus: "linux",
    space: { work: 0.2, tmpfs: 1.2 },
    prepare: ({ corpus }) => ({ source: corpus.data }),
    pass: passTmpfs,
  },
  image: { corpus: "image", space: { work: 1.2 }, prepare: preparePair("image", "img"), pass: passPair("image") },
  random: { corpus: "random", space: { work: 1.2 }, prepare: ({ corpus }) => ({ source: corpus.data }), pass: passRandom },
  states: { corpus: "states", space: { work: 6 }, prepare: prepareStates, pass: passStates },
  "sqlite-16M": { corpus: "sqlite-16M", space: { work: 2 }, prepare: preparePair("small", "db"), pass: passPair("sqlite-16M") },
  "sqlite-1G": { corpus: "sqlite-1G", space: { work: 1.5 }, prepare: preparePair("large", "db"), pass: passPair("sqlite-1G") },
  many: { corpus: "many", space: { work: 2 }, prepare: ({ corpus }) => ({ source: corpus.data }), pass: passMany },
};

/** Where files are to change, everything of the group is backed up from a copy of the corpus. */
async function prepareLinux({ corpus, work, wanted }) {
  const extents = extent(corpus.data);
  if (!wanted.has("changed")) return { source: corpus.data, extents };
  const source = join(work, "linux");
  await run("cp", ["-a", corpus.data, source]);
  return { source, extents };
}

async function passLinux({ corpus, source, extents, work, tmpfs, wanted, open, step }) {
  const tool = await open({ source });
  await sleep(AGED_MS);
  await step("first", tool, () => tool.backup());
  await step("unchanged", tool, () => tool.backup());
  await step("verify", tool, () => tool.verify());
  if (wanted.has("restore")) {
    const out = emptyFolder(join(tmpfs, "out"));
    await step(
      "restore",
      tool,
      () => tool.restore(out),
      () => checkRestored(out, extents),
    );
    remove(out);
  }
  if (wanted.has("one")) {
    const out = emptyFolder(join(work, "out"));
    const path = fileOf(source);
    await step(
      "one",
      tool,
      () => tool.one(path, out),
      () => checkRestored(out, { files: 1, bytes: statSync(path).size }),
    );
    remove(out);
  }
  if (!wanted.has("changed")) return;
  const changed = changeFiles(source, "linux");
  try {
    await step("changed", tool, () => tool.backup());
  } finally {
    for (const path of changed) {
      const original = join(corpus.data, relative(source, path));
      const { atime, mtime } = statSync(original);
      copyFileSync(original, path);
      utimesSync(path, atime, mtime);
    }
  }
}

/** 1 % of the files get a line at a place of their own; which ones does not depend on the run. */
function changeFiles(root, seed) {
  const random = createRandom(`change ${seed}`);
  const text = createText(`change ${seed}`);
  const files = filesBelow(root);
  const chosen = new Set();
  while (chosen.size < Math.max(1, Math.round(files.length * 0.01))) chosen.add(random.pick(files));
  for (const path of chosen) {
    const old = readFileSync(path);
    const at = random.below(old.length + 1);
    writeFileSync(path, Buffer.concat([old.subarray(0, at), text(60), Buffer.from("\n"), old.subarray(at)]));
  }
  return chosen;
}

async function passTmpfs({ source, tmpfs, open, step }) {
  const tool = await open({ source, repository: join(tmpfs, "repository") });
  await step("first-tmpfs", tool, () => tool.backup());
}

async function passRandom({ source, open, step }) {
  const tool = await open({ source });
  await step("random", tool, () => tool.backup());
}

async function passMany({ source, open, step }) {
  const tool = await open({ source });
  await step("many", tool, () => tool.backup());
  await step("many-unchanged", tool, () => tool.backup());
}

/** One path that is the base and later the changed file: a link in the corpus's folder, so that no byte is copied. */
function preparePair(name, extension) {
  return ({ corpus }) => {
    const live = temporaryPath(join(corpus.folder, "live"));
    const source = join(live, `${name}.${extension}`);
    const show = async (version) => {
      mkdirSync(live, { recursive: true });
      remove(source);
      linkSync(join(corpus.data, `${version}.${extension}`), source);
      await warm(source);
    };
    return { source, show, limitSource: join(corpus.data, `base.${extension}`) };
  };
}

function passPair(name) {
  return async ({ source, show, open, step, wanted }) => {
    await show("base");
    const tool = await open({ source });
    await step(name, tool, () => tool.backup());
    if (!wanted.has(`${name}-changed`)) return;
    await show("changed");
    await step(`${name}-changed`, tool, () => tool.backup());
  };
}

function prepareStates({ corpus, work }) {
  const source = join(work, "states");
  /** Calls for each day, with the tree as it is on that day. */
  const eachDay = async (act) => {
    remove(source);
    await run("cp", ["-a", corpus.data, source]);
    for (let day = 1; day <= STATES; day++) {
      if (day > 1) liveOneDay(source, day);
      await act(day);
    }
    remove(source);
  };
  return { source, eachDay };
}

async function passStates({ source, eachDay, open, step }) {
  const tool = await open({ source });
  const fresh = await open({ source, name: "fresh" });
  const [all, kept] = [[], []];
  await eachDay(async (day) => {
    all.push(await tool.backup());
    if (day > STATES - KEPT) kept.push(await fresh.backup());
  });
  await step("states", tool, () => together(all));
  await step("states-fresh", fresh, () => together(kept));
  await step("states-kept", tool, () => tool.keepLast(KEPT));
}
