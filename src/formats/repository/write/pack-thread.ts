import { createHash, type Hash } from "node:crypto";
import { freeBytes } from "../../../base/buffers.ts";
import { asHoldfastError } from "../../../base/errors.ts";
import { asPackId } from "../../../base/ids.ts";
import { systemRandom } from "../../../codec/system-random.ts";
import { lowerPriority } from "../../../posix/priority.ts";
import { serveRuns, type RunPort } from "../../../posix/serve-runs.ts";
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

/** One backup. */
class PackRun {
  readonly #port: RunPort;
  #target: Target | undefined;
  #sealer: Sealer | undefined;
  #packBytes = 0;
  readonly #open = new Map<1 | 2, OpenPack>();
  readonly #puts = new Set<Promise<void>>();
  #failed = false;
  /** One message after the other: frames keep their order, and a flush sees all that came before it. */
  #queue: Promise<void> = Promise.resolve();
  readonly #look = setInterval(() => this.#enqueue(() => this.#finishOld()), LOOK_MS).unref();

  constructor(port: RunPort) {
    this.#port = port;
  }

  receive(message: ToPack): void {
    // What waits in front of it is not worth writing any more.
    if (message.type === "abort") this.#failed = true;
    this.#enqueue(() => this.#handle(message));
  }

  #enqueue(step: () => Promise<void>): void {
    this.#queue = this.#queue.then(step).catch((error: unknown) => this.#fail(error));
  }

  #post(message: FromPack): void {
    this.#port.postMessage(message);
  }

  #fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#post({ type: "failed", error: asHoldfastError(error).toWire() });
    this.#queue = this.#queue.then(() => this.#giveUp());
  }

  /** Forgets the open packs, and what was written of them. */
  async #giveUp(): Promise<void> {
    const objects = [...this.#open.values()].flatMap(({ object }) => object ?? []);
    this.#open.clear();
    await Promise.allSettled(objects.map((object) => object[Symbol.asyncDispose]()));
  }

  async #append(frame: PackFrameBytes): Promise<void> {
    let pack = this.#open.get(frame.kind);
    if (pack !== undefined && pack.chunks + frame.chunkLengths.length > PACK_CHUNKS) {
      this.#open.delete(frame.kind);
      await this.#finish(pack);
      pack = undefined;
    }
    if (pack === undefined) {
      const object = await this.#target?.begin?.();
      const begunMs = performance.now();
      pack = { kind: frame.kind, hash: createHash("sha256"), object, begunMs, parts: [], frames: [], chunks: 0, bytes: 0 };
      this.#open.set(frame.kind, pack);
    }
    pack.hash.update(frame.sealed);
    const { length } = frame.sealed;
    if (pack.object === undefined) pack.parts.push(frame.sealed);
    else {
      await pack.object.append([frame.sealed]);
      freeBytes(frame.sealed);
      this.#post({ type: "accepted", bytes: length });
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
    if (pack.bytes >= this.#packBytes) {
      this.#open.delete(frame.kind);
      await this.#finish(pack);
    }
  }

  /** Puts packs that have been open for long: what a crash takes stays small, and no clean-up takes them for left behind. */
  async #finishOld(): Promise<void> {
    for (const [kind, pack] of this.#open) {
      if (this.#failed || performance.now() - pack.begunMs < MAX_OPEN_MS) continue;
      this.#open.delete(kind);
      await this.#finish(pack);
    }
  }

  async #finish(pack: OpenPack): Promise<void> {
    try {
      await this.#hand(pack);
    } catch (error) {
      await pack.object?.[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Begins to put a pack. */
  async #hand(pack: OpenPack): Promise<void> {
    if (this.#target === undefined || this.#sealer === undefined) throw new Error("not set up");
    const directory: PackDirectory = { kind: pack.kind, rows: [this.#sealer.currentRow()], frames: pack.frames };
    const tail = finishPack(this.#sealer, directory, pack.bytes);
    for (const part of tail) pack.hash.update(part);
    const id = asPackId(pack.hash.digest("hex"));
    const sizeBytes = pack.bytes + tail.reduce((sum, part) => sum + part.length, 0);
    const record = toPackRecord(id, sizeBytes, directory);
    while (this.#puts.size >= PUTS_IN_FLIGHT) await Promise.race(this.#puts);
    const put = this.#store(`packs/${id.slice(0, 2)}/${id}`, pack, tail)
      .then(() => {
        if (!this.#failed) this.#post({ type: "packed", record });
        if (pack.object === undefined) this.#post({ type: "accepted", bytes: pack.bytes });
      })
      .catch((error: unknown) => this.#fail(error))
      .finally(() => this.#puts.delete(put));
    this.#puts.add(put);
  }

  async #store(name: string, pack: OpenPack, tail: readonly Uint8Array[]): Promise<void> {
    if (this.#target === undefined) throw new Error("not set up");
    if (pack.object === undefined) {
      await this.#target.put(name, [...pack.parts, ...tail]);
      for (const part of pack.parts) freeBytes(part);
      return;
    }
    await using object = pack.object;
    await object.append(tail);
    await object.finish(name);
  }

  async #handle(message: ToPack): Promise<void> {
    switch (message.type) {
      case "setup": {
        lowerPriority(message.nice);
        this.#target = new RetryTarget(await createTarget(message.target), { clock: createSystemClock(), random: systemRandom });
        this.#sealer = new Sealer(new KeySet(message.keys), systemRandom);
        this.#packBytes = message.packBytes;
        this.#post({ type: "ready" });
        break;
      }
      case "frames":
        for (const frame of message.frames) if (!this.#failed) await this.#append(frame);
        break;
      case "flush": {
        if (this.#failed) await this.#giveUp();
        for (const [kind, pack] of this.#open) {
          this.#open.delete(kind);
          await this.#finish(pack);
        }
        await Promise.all(this.#puts);
        this.#post({ type: "flushed" });
        break;
      }
      case "abort":
        await this.#giveUp();
        await Promise.allSettled(this.#puts);
        await this.#target?.[Symbol.asyncDispose]();
        this.#post({ type: "flushed" });
        clearInterval(this.#look);
        this.#port.close();
        break;
    }
  }
}

serveRuns<ToPack>((port) => {
  const run = new PackRun(port);
  return (message) => run.receive(message);
});
