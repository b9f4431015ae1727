import { HoldfastError } from "../../../base/errors.ts";
import type { FrameInfo } from "../index/chunk-index.ts";
import type { Repository } from "../repository.ts";

/** One ranged get: large enough to make its latency vanish, small enough to have several in flight. */
const MAX_GET_BYTES = 8 * 2 ** 20;
/** Reading past so many unwanted bytes is cheaper than another request. */
const MAX_GAP_BYTES = 64 * 1024;
const MAX_GETS = 16;

/** The sealed bytes of a frame, or why there are none. */
export type FetchedFrame = Uint8Array | HoldfastError;

/**
 * Fetches stored frames: neighbours in a pack by one ranged get, several at a time, in the order in which they were asked
 * for. What concerns single frames (a pack that is gone, short or unreadable) is an answer; what may pass rejects.
 */
export class FrameFetcher {
  readonly #repository: Repository;
  readonly #signal: AbortSignal;
  readonly #width: number;
  #running = 0;
  readonly #waiting: (() => void)[] = [];
  /** Requests made so far. */
  requests = 0;

  constructor(repository: Repository, signal: AbortSignal) {
    this.#repository = repository;
    this.#signal = signal;
    this.#width = Math.max(1, Math.min(MAX_GETS, repository.target.capabilities.concurrency));
  }

  /** Begins to fetch frames; the map has a promise for each. */
  fetch(numbers: Iterable<number>): Map<number, Promise<FetchedFrame>> {
    const fetched = new Map<number, Promise<FetchedFrame>>();
    for (const group of this.#groups(numbers)) {
      const answers = this.#getGroup(group);
      for (const frame of group) {
        const one = answers.then((map) => map.get(frame.number) as FetchedFrame);
        // A reader that stops early leaves promises behind.
        one.catch(() => undefined);
        fetched.set(frame.number, one);
      }
    }
    return fetched;
  }

  #groups(numbers: Iterable<number>): FrameInfo[][] {
    const order = [...numbers].map((number, position) => ({ frame: this.#repository.index.frame(number), position }));
    const byPlace = order.toSorted((a, b) =>
      a.frame.packId === b.frame.packId ? a.frame.offset - b.frame.offset : a.frame.packId < b.frame.packId ? -1 : 1,
    );
    const groups: { frames: FrameInfo[]; position: number; end: number }[] = [];
    for (const { frame, position } of byPlace) {
      const group = groups.at(-1);
      const first = group?.frames[0];
      const end = frame.offset + frame.storedLength;
      if (
        group !== undefined &&
        first !== undefined &&
        first.packId === frame.packId &&
        frame.offset - group.end <= MAX_GAP_BYTES &&
        end - first.offset <= MAX_GET_BYTES
      ) {
        group.frames.push(frame);
        group.end = end;
        group.position = Math.min(group.position, position);
      } else groups.push({ frames: [frame], position, end });
    }
    return groups.toSorted((a, b) => a.position - b.position).map(({ frames }) => frames);
  }

  async #getGroup(frames: readonly FrameInfo[]): Promise<Map<number, FetchedFrame>> {
    const first = frames[0] as FrameInfo;
    const last = frames.at(-1) as FrameInfo;
    const bytes = await this.#get(first, last.offset + last.storedLength - first.offset);
    if (!(bytes instanceof HoldfastError))
      return new Map(
        frames.map((frame) => {
          const start = frame.offset - first.offset;
          return [frame.number, bytes.subarray(start, start + frame.storedLength)];
        }),
      );
    if (frames.length === 1) return new Map([[first.number, bytes]]);
    // One of them may be past the end of a shortened pack: the others still count.
    const single = new Map<number, FetchedFrame>();
    for (const frame of frames) single.set(frame.number, await this.#get(frame, frame.storedLength));
    return single;
  }

  async #get(frame: FrameInfo, length: number): Promise<FetchedFrame> {
    await this.#enter();
    try {
      this.#signal.throwIfAborted();
      this.requests++;
      return await this.#repository.target.get(`packs/${frame.packId.slice(0, 2)}/${frame.packId}`, {
        range: { offset: frame.offset, length },
        signal: this.#signal,
      });
    } catch (error) {
      if (this.#signal.aborted || !(error instanceof HoldfastError) || error.transient) throw error;
      return error;
    } finally {
      this.#running--;
      this.#waiting.shift()?.();
    }
  }

  async #enter(): Promise<void> {
    while (this.#running >= this.#width) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#running++;
  }
}
