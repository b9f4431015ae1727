import { createHash, type Hash } from "node:crypto";
import { parentPort } from "node:worker_threads";
import { freeBytes } from "../../../base/buffers.ts";
import { asHoldfastError } from "../../../base/errors.ts";
import { asPackId } from "../../../base/ids.ts";
import { systemRandom } from "../../../codec/system-random.ts";
import { lowerPriority } from "../../../posix/priority.ts";
import { createSystemClock } from "../../../state/system-clock.ts";
import { createTarget } from "../../../targets/registry.ts";
import { RetryTarget } from "../../../targets/wrap/retry.ts";
import type { Target, UnnamedObject } from "../../../targets/target.ts";
import { KeySet } from "../keys/key-set.ts";
import { Sealer } from "../keys/sealer.ts";
import { toPackRecord } from "../objects/index-object.ts";
import { finishPack, type PackDirectory, type PackFrame } from "../objects/pack-directory.ts";
import type { FromPack, PackFrameBytes, ToPack } from "./messages.ts";

// The I/O thread of one target: gathers frames into packs and hashes them as they come. Where the target takes an object
// before its name is known, frames are written at once and leave memory; elsewhere each pack is put whole.

const port = parentPort;
if (port === null) throw new Error("pack-thread runs as a worker");

/** Packs being put at a time on a target that takes several; each holds up to a pack's bytes in memory. */
const PUTS_IN_FLIGHT = 3;

/** Chunks in a pack: what one index object holds. Millions of tiny files would else outgrow a directory's bounds. */
const PACK_CHUNKS = 65_536;

/** Far below the age from which left-overs are cleaned up. */
const MAX_OPEN_MS = 3_600_000;
const LOOK_MS = 600_000;

interface OpenPack {
  readonly kind: 1 | 2;
  readonly hash: Hash;
  /** Where the frames went; without it they wait in `parts`. */
  readonly object: UnnamedObject | undefined;
  readonly begunMs: number;
  readonly parts: Uint8Array[];
  readonly frames: PackFrame[];
  chunks: number;
  bytes: number;
}

let target: Target | undefined;
let sealer: Sealer | undefined;
let packBytes = 0;
const open = new Map<1 | 2, OpenPack>();
const puts = new Set<Promise<void>>();
let failed = false;

function post(message: FromPack): void {
  port?.postMessage(message);
}

function fail(error: unknown): void {
  if (failed) return;
  failed = true;
  post({ type: "failed", error: asHoldfastError(error).toWire() });
  queue = queue.then(giveUp);
}

/** Forgets the open packs, and what was written of them. */
async function giveUp(): Promise<void> {
  const objects = [...open.values()].flatMap(({ object }) => object ?? []);
  open.clear();
  await Promise.allSettled(objects.map((object) => object[Symbol.asyncDispose]()));
}

async function append(frame: PackFrameBytes): Promise<void> {
  let pack = open.get(frame.kind);
  if (pack !== undefined && pack.chunks + frame.chunkLengths.length > PACK_CHUNKS) {
    open.delete(frame.kind);
    await finish(pack);
    pack = undefined;
  }
  if (pack === undefined) {
    const object = await target?.begin?.();
    const begunMs = performance.now();
    pack = { kind: frame.kind, hash: createHash("sha256"), object, begunMs, parts: [], frames: [], chunks: 0, bytes: 0 };
    open.set(frame.kind, pack);
  }
  pack.hash.update(frame.sealed);
  const { length } = frame.sealed;
  if (pack.object === undefined) pack.parts.push(frame.sealed);
  else {
    await pack.object.append([frame.sealed]);
    freeBytes(frame.sealed);
    post({ type: "accepted", bytes: length });
  }
  pack.bytes += length;
  pack.chunks += frame.chunkLengths.length;
  pack.frames.push({
    codec: frame.codec,
    row: 0,
    storedLength: length,
    rawLength: frame.rawLength,
    chunkIds: frame.chunkIds,
    chunkLengths: frame.chunkLengths,
  });
  if (pack.bytes >= packBytes) {
    open.delete(frame.kind);
    await finish(pack);
  }
}

/** Puts packs that have been open for long: what a crash takes stays small, and no clean-up takes them for left behind. */
async function finishOld(): Promise<void> {
  for (const [kind, pack] of open) {
    if (failed || performance.now() - pack.begunMs < MAX_OPEN_MS) continue;
    open.delete(kind);
    await finish(pack);
  }
}

async function finish(pack: OpenPack): Promise<void> {
  try {
    await hand(pack);
  } catch (error) {
    await pack.object?.[Symbol.asyncDispose]();
    throw error;
  }
}

/** Begins to put a pack. */
async function hand(pack: OpenPack): Promise<void> {
  if (target === undefined || sealer === undefined) throw new Error("not set up");
  const directory: PackDirectory = { kind: pack.kind, rows: [sealer.currentRow()], frames: pack.frames };
  const tail = finishPack(sealer, directory, pack.bytes);
  for (const part of tail) pack.hash.update(part);
  const id = asPackId(pack.hash.digest("hex"));
  const sizeBytes = pack.bytes + tail.reduce((sum, part) => sum + part.length, 0);
  const record = toPackRecord(id, sizeBytes, directory);
  while (puts.size >= PUTS_IN_FLIGHT) await Promise.race(puts);
  const put = store(`packs/${id.slice(0, 2)}/${id}`, pack, tail)
    .then(() => {
      if (!failed) post({ type: "packed", record });
      if (pack.object === undefined) post({ type: "accepted", bytes: pack.bytes });
    })
    .catch(fail)
    .finally(() => puts.delete(put));
  puts.add(put);
}

async function store(name: string, pack: OpenPack, tail: readonly Uint8Array[]): Promise<void> {
  if (target === undefined) throw new Error("not set up");
  if (pack.object === undefined) {
    await target.put(name, [...pack.parts, ...tail]);
    for (const part of pack.parts) freeBytes(part);
    return;
  }
  await using object = pack.object;
  await object.append(tail);
  await object.finish(name);
}

async function handle(message: ToPack): Promise<void> {
  switch (message.type) {
    case "setup": {
      lowerPriority(message.nice);
      target = new RetryTarget(await createTarget(message.target), { clock: createSystemClock(), random: systemRandom });
      sealer = new Sealer(new KeySet(message.keys), systemRandom);
      packBytes = message.packBytes;
      post({ type: "ready" });
      break;
    }
    case "frames":
      for (const frame of message.frames) if (!failed) await append(frame);
      break;
    case "flush": {
      if (failed) await giveUp();
      for (const [kind, pack] of open) {
        open.delete(kind);
        await finish(pack);
      }
      await Promise.all(puts);
      post({ type: "flushed" });
      break;
    }
    case "abort":
      await giveUp();
      await Promise.allSettled(puts);
      await target?.[Symbol.asyncDispose]();
      post({ type: "flushed" });
      port?.close();
      break;
  }
}

// One message after the other: frames keep their order, and a flush sees all that came before it.
let queue: Promise<void> = Promise.resolve();
port.on("message", (message: ToPack) => {
  // What waits in front of it is not worth writing any more.
  if (message.type === "abort") failed = true;
  queue = queue.then(() => handle(message)).catch(fail);
});

setInterval(() => {
  queue = queue.then(finishOld).catch(fail);
}, LOOK_MS).unref();
