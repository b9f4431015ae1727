// What `tar | zstd -3` makes of the same bytes: the size that a backup is compared with.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, basename } from "node:path";
import { Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import * as zlib from "node:zlib";
import { extent, hasProgram, run } from "./measure.mjs";

/** Bytes of this folder or file as one archive, by the zstd program or, without it, by Node. */
export async function archiveBytes(path) {
  const from = ["-C", dirname(path), "-cf", "-", basename(path)];
  if (hasProgram("zstd")) {
    const { stdout } = await run("sh", ["-c", 'tar "$@" | zstd -3 -q -c | wc -c', "sh", ...from]);
    return Number(stdout);
  }
  const tar = spawn("tar", from, { stdio: ["ignore", "pipe", "ignore"] });
  const ended = once(tar, "close");
  let bytes = 0;
  const count = new Writable({
    write(chunk, _encoding, done) {
      bytes += chunk.length;
      done();
    },
  });
  await pipeline(tar.stdout, zlib.createZstdCompress({ params: { [zlib.constants.ZSTD_c_compressionLevel]: 3 } }), count);
  const [status] = await ended;
  if (status !== 0) throw new Error(`tar ended with ${status}`);
  return bytes;
}

/** `{ raw, packed }` of one corpus, or the sum over all daily states, as a full archive every day would take. */
export async function archivesOf({ source, eachDay, limitSource }, kept) {
  if (eachDay === undefined) {
    const path = limitSource ?? source;
    return { raw: extent(path).bytes, packed: await archiveBytes(path) };
  }
  const all = { raw: 0, packed: 0 };
  const last = { raw: 0, packed: 0 };
  await eachDay(async (day) => {
    const raw = extent(source).bytes;
    const packed = await archiveBytes(source);
    for (const sum of day > kept.first ? [all, last] : [all]) {
      sum.raw += raw;
      sum.packed += packed;
    }
  });
  return { ...all, last };
}
