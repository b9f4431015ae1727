/**
 * The threads of verify, prune and repair without threads, for `vi.mock`: the same work in the caller's own thread, so that a
 * run depends on nothing but its seed. What the threads themselves do (messages, crashes, transfers) is tested elsewhere.
 */
import { Repacker } from "../../src/formats/repository/prune/repacker.ts";
import type { RepackReply, RepackRequest } from "../../src/formats/repository/prune/repack-messages.ts";
import { KeySet, type KeyMaterial } from "../../src/formats/repository/keys/key-set.ts";
import { Sealer } from "../../src/formats/repository/keys/sealer.ts";
import { checkPack } from "../../src/formats/repository/verify/check-pack.ts";
import type { NodesReply, NodesRequest, PackReply, PackRequest } from "../../src/formats/repository/verify/messages.ts";
import { readNodes } from "../../src/formats/repository/verify/read-nodes.ts";
import type { Randomness } from "../../src/base/random.ts";
import type { TargetAccess } from "../../src/targets/access.ts";
import type { TargetSpec } from "../../src/targets/registry.ts";
import type { Target } from "../../src/targets/target.ts";

/** Access to a target whose "threads" are handed the target itself. */
export function accessHere(target: Target, random: Randomness): TargetAccess {
  return {
    target,
    forThread: () => ({ spec: { driver: "here", target, random } as unknown as TargetSpec, transfer: [] }),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** In place of `verify-pool.ts`. Always two wide, whatever machine this is. */
export class VerifyPool implements AsyncDisposable {
  readonly size = 2;
  readonly #sealer: Sealer;

  private constructor(keys: KeyMaterial) {
    this.#sealer = new Sealer(new KeySet(keys), noRandom);
  }

  static start(keys: KeyMaterial): Promise<VerifyPool> {
    return Promise.resolve(new VerifyPool(keys));
  }

  async nodes(request: NodesRequest): Promise<NodesReply> {
    return readNodes(this.#sealer, request);
  }

  async pack(request: PackRequest): Promise<PackReply> {
    return checkPack(this.#sealer, request);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

/** In place of the `JobThread` of a repack: one request after the other, as there. */
export class JobThread implements AsyncDisposable {
  readonly load = 0;
  #repacker: Repacker | undefined;

  async run(request: RepackRequest): Promise<RepackReply> {
    if (request.type === "setup") {
      const { target, random } = request.target as unknown as { readonly target: Target; readonly random: Randomness };
      const { packBytes, codec, level, reseal } = request;
      this.#repacker = new Repacker({
        target,
        sealer: new Sealer(new KeySet(request.keys), random),
        random,
        packBytes,
        codec,
        level,
        reseal,
      });
      return { packed: [] };
    }
    if (this.#repacker === undefined) throw new Error("not set up");
    if (request.type === "copy") await this.#repacker.copy(request.pack, request.frames);
    else if (request.type === "regroup") await this.#repacker.regroup(request.kind, request.chunks);
    else await this.#repacker.flush();
    return { packed: this.#repacker.take() };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }
}

export function threadModule(): URL {
  return new URL("memory:");
}

const noRandom: Randomness = {
  bytes: () => {
    throw new Error("A verification needs no randomness");
  },
};
