// One large file of the binaries of this system, and the same with some pages changed and a little inserted.
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { breathe, filesBelow } from "./measure.mjs";
import { createNoise, createRandom } from "./random.mjs";

const BLOCK = 2 ** 23;
const PAGE = 4096;
const INSERTED = 1024;
const INSERTED_AT = 64 * 1024;

/** ELF files and static libraries first, everything else after them. Files under a page, and equal files, are left out. */
function binariesOf(folders) {
  const start = Buffer.alloc(8);
  const [binaries, others] = [[], []];
  for (const folder of folders.filter((path) => fs.existsSync(path)))
    for (const path of filesBelow(folder)) {
      try {
        const size = fs.lstatSync(path).size;
        if (size < PAGE || size > 2 ** 30) continue;
        const file = fs.openSync(path, "r");
        fs.readSync(file, start, 0, 8, 0);
        fs.closeSync(file);
      } catch {
        continue; // unreadable, or just gone
      }
      const binary = start.toString("latin1", 0, 4) === "\x7fELF" || start.toString("latin1") === "!<arch>\n";
      (binary ? binaries : others).push(path);
    }
  return [...binaries, ...others];
}

/**
 * base.img of `bytes` and changed.img. Where the system has too few bytes, what is there is repeated with every byte combined with a constant by XOR:
 * that compresses as well as the original, and no chunk of it equals one of the original.
 */
export async function makeImages(data, bytes, root) {
  const total = Math.round(bytes);
  const image = fs.openSync(join(data, "base.img"), "w+");
  const seen = new Set();
  let at = 0;
  let from = 0;
  for (const path of binariesOf([
    "/usr/lib",
    "/usr/bin",
    "/usr/sbin",
    "/usr/libexec",
    "/usr/local",
    join(root, "node_modules"),
  ])) {
    if (at >= total) break;
    await breathe();
    let content;
    try {
      content = fs.readFileSync(path);
    } catch {
      continue;
    }
    const digest = createHash("sha256").update(content).digest("base64");
    if (seen.has(digest)) continue;
    seen.add(digest);
    from++;
    at += fs.writeSync(image, content, 0, Math.min(content.length, total - at), at);
  }
  const uniqueBytes = at;
  if (uniqueBytes === 0) throw new Error("this system has no files to make an image of");
  const block = Buffer.alloc(BLOCK);
  for (let pass = 1; at < total; pass++)
    for (let read = 0; read < uniqueBytes && at < total; read += BLOCK) {
      await breathe();
      const length = fs.readSync(image, block, 0, Math.min(BLOCK, uniqueBytes - read, total - at), read);
      xor(block, (pass * 37) & 255 || 1);
      at += fs.writeSync(image, block, 0, length, at);
    }
  const changedPages = await change(image, join(data, "changed.img"), total);
  fs.closeSync(image);
  return { files: 1, bytes: total, uniqueBytes, from, changedPages };
}

function xor(block, value) {
  const lanes = new Uint32Array(block.buffer, block.byteOffset, block.length >> 2);
  const wide = Math.imul(value, 0x01010101);
  for (let i = 0; i < lanes.length; i++) lanes[i] ^= wide;
}

/** 1 % of the pages get other bytes that compress as before, then 1 KiB is inserted. */
async function change(image, path, total) {
  const random = createRandom("image");
  const pages = Math.floor(total / PAGE);
  const chosen = new Set();
  while (chosen.size < Math.max(1, Math.round(pages * 0.01))) chosen.add(random.below(pages));
  const out = fs.openSync(path, "w");
  const block = Buffer.alloc(BLOCK);
  for (let at = 0; at < total; at += BLOCK) {
    await breathe();
    const length = fs.readSync(image, block, 0, Math.min(BLOCK, total - at), at);
    for (let page = at / PAGE; page < (at + length) / PAGE; page++)
      if (chosen.has(page)) xor(block.subarray(page * PAGE - at, page * PAGE - at + PAGE), 1 + random.below(255));
    if (at === 0) {
      const cut = Math.min(INSERTED_AT, length);
      fs.writeSync(out, Buffer.concat([block.subarray(0, cut), createNoise("inserted")(INSERTED), block.subarray(cut, length)]));
    } else fs.writeSync(out, block, 0, length);
  }
  fs.closeSync(out);
  return chosen.size;
}
