// The limit: what the raw costs of the same bytes come to on all cores, with nothing of a backup program around them.
//   node limit.mjs backup FOLDER        walk, lstat, open, read, close, HMAC-SHA256 a file, zstd-3 of groups of 2 MiB, AES-256-GCM
//   node limit.mjs backup-check FOLDER  the same, and every frame decrypted, decompressed and compared
//   node limit.mjs restore FOLDER FRAMES OUT  frames are made from FOLDER first; measured are read, decrypt, decompress and write below OUT
// Prints { wall, cpu, bytes } in seconds and bytes of frames. Threads are started before the clock.
import * as crypto from "node:crypto";
import * as fs from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join, relative } from "node:path";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import * as zlib from "node:zlib";

const GROUP = 2 << 20;
const RANGE = 16 << 20;
const NONCE = Buffer.alloc(12);
const TAG = 16;
// Only the owner may leave the access time alone.
const READ = fs.constants.O_RDONLY | (process.getuid() === 0 ? fs.constants.O_NOATIME : 0);

function seal(raw, key) {
  const { ZSTD_c_compressionLevel: level, ZSTD_c_contentSizeFlag: size, ZSTD_c_checksumFlag: checksum } = zlib.constants;
  const packed = zlib.zstdCompressSync(raw, {
    params: { [level]: 3, [size]: 1, [checksum]: 0 },
    pledgedSrcSize: raw.length,
    chunkSize: raw.length + (raw.length >>> 8) + 1024,
  });
  const cipher = crypto.createCipheriv("aes-256-gcm", key, NONCE);
  const sealed = cipher.update(packed);
  cipher.final();
  return { sealed, tag: cipher.getAuthTag() };
}

function open(sealed, tag, length, key) {
  const decipher = crypto.createDecipheriv("aes-256-gcm", key, NONCE);
  decipher.setAuthTag(tag);
  const packed = decipher.update(sealed);
  decipher.final();
  return zlib.zstdDecompressSync(packed, { chunkSize: length, maxOutputLength: length });
}

/** Reads `[path, from, to]` in turn and passes groups of at least 2 MiB on, with the pieces each consists of. */
function readGroups(ranges, arena, hashKey, onGroup) {
  let filled = 0;
  let pieces = [];
  const flush = () => {
    if (filled > 0) onGroup(arena.subarray(0, filled), pieces);
    filled = 0;
    pieces = [];
  };
  for (const [path, from, to] of ranges) {
    const end = Math.min(to ?? Infinity, fs.lstatSync(path).size);
    const file = fs.openSync(path, READ);
    const hash = crypto.createHmac("sha256", hashKey);
    let at = from;
    do {
      const read = end > at ? fs.readSync(file, arena, filled, Math.min(GROUP, end - at), at) : 0;
      hash.update(arena.subarray(filled, filled + read));
      pieces.push([path, at, read]);
      filled += read;
      at += read;
      if (filled >= GROUP) flush();
      if (read === 0) break;
    } while (at < end);
    hash.digest();
    fs.closeSync(file);
  }
  flush();
}

function backUp(ranges, tools, check) {
  let bytes = 0;
  readGroups(ranges, tools.arena, tools.hashKey, (raw) => {
    const { sealed, tag } = seal(raw, tools.key);
    bytes += sealed.length;
    if (check && Buffer.compare(open(sealed, tag, raw.length, tools.key), raw) !== 0)
      throw new Error("a frame reads back differently");
  });
  return bytes;
}

/** Frames one after the other in one file, and what to find in them. */
function pack(ranges, tools, path) {
  const file = fs.openSync(path, "w");
  const frames = [];
  let at = 0;
  readGroups(ranges, tools.arena, tools.hashKey, (raw, pieces) => {
    const { sealed, tag } = seal(raw, tools.key);
    fs.writeSync(file, Buffer.concat([sealed, tag]));
    frames.push({ at, length: sealed.length, raw: raw.length, pieces });
    at += sealed.length + TAG;
  });
  fs.closeSync(file);
  return { path, frames };
}

function restore({ path, frames, from, out }, tools) {
  const file = fs.openSync(path, "r");
  let bytes = 0;
  for (const { at, length, raw, pieces } of frames) {
    const frame = tools.arena.subarray(0, length + TAG);
    fs.readSync(file, frame, 0, frame.length, at);
    const content = open(frame.subarray(0, length), frame.subarray(length), raw, tools.key);
    let begin = 0;
    for (const [source, position, size] of pieces) {
      const target = fs.openSync(join(out, relative(from, source)), fs.constants.O_CREAT | fs.constants.O_WRONLY, 0o600);
      if (size > 0) fs.writeSync(target, content, begin, size, position);
      fs.closeSync(target);
      begin += size;
    }
    bytes += length;
  }
  fs.closeSync(file);
  return bytes;
}

function serve() {
  const tools = {
    arena: Buffer.allocUnsafeSlow(4 * GROUP),
    hashKey: crypto.createSecretKey(Buffer.alloc(32, 1)),
    key: Buffer.from(workerData.key),
  };
  parentPort.on("message", ({ act, work }) => {
    if (act === "backup" || act === "backup-check") parentPort.postMessage(backUp(work, tools, act === "backup-check"));
    else if (act === "pack") parentPort.postMessage(pack(work.ranges, tools, work.path));
    else parentPort.postMessage(restore(work, tools));
  });
  parentPort.postMessage("ready");
}

/** The next message of a thread; its error ends everything, as an uncaught one does. */
const once = (worker) => new Promise((resolve) => worker.once("message", resolve));

/** Gives each thread the next part whenever it is free; resolves to the answers. */
async function share(workers, act, parts) {
  const queue = [...parts];
  const answers = [];
  await Promise.all(
    workers.map(async (worker) => {
      for (let work = queue.shift(); work !== undefined; work = queue.shift()) {
        const answer = once(worker);
        worker.postMessage({ act, work });
        answers.push(await answer);
      }
    }),
  );
  return answers;
}

/** All files as parts of about the same number of files; few large files as ranges of 16 MiB. */
function partsOf(root) {
  const ranges = [];
  const folders = [];
  const walk = (folder) => {
    folders.push(folder);
    for (const entry of fs.readdirSync(folder, { withFileTypes: true }))
      if (entry.isDirectory()) walk(join(folder, entry.name));
      else if (entry.isFile()) ranges.push([join(folder, entry.name), 0]);
  };
  if (fs.statSync(root).isDirectory()) walk(root);
  else ranges.push([root, 0]);
  if (ranges.length < 64) {
    const parts = [];
    for (const [path] of ranges) {
      const { size } = fs.lstatSync(path);
      for (let at = 0; at === 0 || at < size; at += RANGE) parts.push([[path, at, at + RANGE]]);
    }
    return { parts, folders };
  }
  const each = Math.ceil(ranges.length / 64);
  const parts = Array.from({ length: Math.ceil(ranges.length / each) }, (_, i) => ranges.slice(i * each, (i + 1) * each));
  return { parts, folders };
}

async function main([act, root, frames, out]) {
  const key = crypto.randomBytes(32);
  const workers = Array.from(
    { length: availableParallelism() },
    () => new Worker(new URL(import.meta.url), { workerData: { key } }),
  );
  await Promise.all(workers.map(once));
  let packed;
  if (act === "restore") {
    const { parts, folders } = partsOf(root);
    packed = {
      folders,
      files: await share(
        workers,
        "pack",
        parts.map((ranges, i) => ({ ranges, path: join(frames, String(i)) })),
      ),
    };
  }
  const cpu = process.cpuUsage();
  const started = performance.now();
  let answers;
  if (packed === undefined) answers = await share(workers, act, partsOf(root).parts);
  else {
    const from = packed.folders.length === 0 ? dirname(root) : root;
    for (const folder of packed.folders) fs.mkdirSync(join(out, relative(root, folder)), { recursive: true });
    answers = await share(
      workers,
      "restore",
      packed.files.map((file) => ({ ...file, from, out })),
    );
  }
  const wall = (performance.now() - started) / 1000;
  const used = process.cpuUsage(cpu);
  for (const worker of workers) await worker.terminate();
  const bytes = answers.reduce((sum, one) => sum + one, 0);
  console.log(JSON.stringify({ wall, cpu: (used.user + used.system) / 1e6, bytes }));
}

if (!isMainThread) serve();
else await main(process.argv.slice(2));
