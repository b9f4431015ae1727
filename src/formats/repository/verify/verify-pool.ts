import { availableParallelism } from "node:os";
import { strict as assert } from "node:assert";
import type { KeyMaterial } from "../keys/key-set.ts";
import { JobThread, threadModule } from "./job-thread.ts";
import type { NodesReply, NodesRequest, PackReply, PackRequest, VerifyReply, VerifyRequest } from "./messages.ts";

/** Each thread may hold a pack and what it decodes; four fill any disk that is not faster than four cores decode. */
const MAX_THREADS = 4;

/** Threads that read nodes and packs. */
export class VerifyPool implements AsyncDisposable {
  readonly #threads: readonly JobThread<VerifyRequest, VerifyReply>[];

  private constructor(threads: readonly JobThread<VerifyRequest, VerifyReply>[]) {
    this.#threads = threads;
  }

  static async start(keys: KeyMaterial): Promise<VerifyPool> {
    const count = Math.min(MAX_THREADS, availableParallelism());
    const threads = Array.from(
      { length: count },
      () => new JobThread<VerifyRequest, VerifyReply>(threadModule(import.meta.url, "verify-thread"), "verify thread"),
    );
    const pool = new VerifyPool(threads);
    try {
      await Promise.all(threads.map((thread) => thread.run({ type: "setup", keys })));
    } catch (error) {
      await pool[Symbol.asyncDispose]();
      throw error;
    }
    return pool;
  }

  get size(): number {
    return this.#threads.length;
  }

  /** `request.stored` is given away. Rejects when the frame does not open. */
  async nodes(request: NodesRequest): Promise<NodesReply> {
    const reply = await this.#run(request, request.stored);
    assert(reply.type === "nodes");
    return reply;
  }

  /** `request.bytes` are given away. */
  async pack(request: PackRequest): Promise<PackReply> {
    const reply = await this.#run(request, request.bytes);
    assert(reply.type === "pack");
    return reply;
  }

  #run(request: VerifyRequest, bytes: Uint8Array): Promise<VerifyReply> {
    const thread = this.#threads.reduce((best, each) => (each.load < best.load ? each : best));
    // A view of shared memory (Node's buffer pool) cannot be given away; it is small, and copied.
    const own = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer;
    return thread.run(request, own ? [bytes.buffer as ArrayBuffer] : []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread[Symbol.asyncDispose]()));
  }
}
