/**
 * Runs readers of bytes that nobody vouches for on damaged versions of what they read. Each must give a value or throw the
 * project's own error, and must not allocate what a damaged length asks for.
 */
import { performance } from "node:perf_hooks";
import { HoldfastError } from "../../../src/base/errors.ts";
import { SeededNumbers } from "../changing-tree.ts";
import { mutate } from "./mutate.ts";

/** A reader under test. */
export interface FuzzedParser {
  readonly name: string;
  /** Valid encodings, made by the real writers. */
  readonly corpus: readonly Buffer[];
  /** Reads the bytes; a value that breaks a promise of its own is thrown as a plain Error. */
  readonly parse: (bytes: Buffer, numbers: SeededNumbers) => unknown;
  /** Bytes that one allocation may have beside a multiple of the input. Default: 64 KiB. */
  readonly allowanceBytes?: number;
  /** Cases for each that a cheap parser gets. Default: 1. */
  readonly share?: number;
}

export interface FuzzCount {
  cases: number;
  /** How many of them gave a value: neither none nor all should. */
  accepted: number;
  seconds: number;
  slowestMs: number;
}

export class FuzzFailure extends Error {}

/** One input byte may become this many: an entry of a few bytes is an object, a character two bytes. */
const BYTES_A_BYTE = 128;
const ALLOWANCE_BYTES = 64 * 1024;

/** Case `number` of a parser, again and again the same. */
export async function fuzzCase(parser: FuzzedParser, seed: string, number: number, watch: AllocationWatch): Promise<boolean> {
  const numbers = new SeededNumbers(`${seed} ${parser.name} ${number}`);
  const bytes = mutate(numbers, parser.corpus);
  let accepted = true;
  watch.largestBytes = 0;
  try {
    const value = parser.parse(bytes, numbers);
    if (value instanceof Promise) await value;
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code === "internal") throw failure(parser, seed, number, bytes, error);
    accepted = false;
  }
  const allowed = bytes.length * BYTES_A_BYTE + (parser.allowanceBytes ?? ALLOWANCE_BYTES);
  if (watch.largestBytes > allowed)
    throw failure(parser, seed, number, bytes, new Error(`${watch.largestBytes} bytes were allocated at once`));
  return accepted;
}

/** Runs cases `from` to before `to` of a parser. Rejects with the first that fails, saying how to repeat it. */
export async function fuzz(parser: FuzzedParser, seed: string, from: number, to: number, count: FuzzCount): Promise<void> {
  using watch = watchAllocations();
  const started = performance.now();
  let before = started;
  for (let number = from; number < to; number++) {
    if (await fuzzCase(parser, seed, number, watch)) count.accepted++;
    count.cases++;
    const now = performance.now();
    if (now - before > count.slowestMs) count.slowestMs = now - before;
    before = now;
  }
  count.seconds += (performance.now() - started) / 1000;
}

function failure(parser: FuzzedParser, seed: string, number: number, bytes: Buffer, cause: unknown): FuzzFailure {
  const input = bytes.length > 2000 ? `${bytes.length} bytes` : bytes.toString("base64");
  const what = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
  return new FuzzFailure(
    `${parser.name}: ${what}\ninput ${input}\nagain: node scripts/fuzz.mjs --seed ${seed} --parser '${parser.name}' --case ${number}`,
    { cause },
  );
}

/** The largest block of memory asked for since it was set to 0. */
export interface AllocationWatch extends Disposable {
  largestBytes: number;
}

const ARRAYS = ["Uint8Array", "Uint32Array", "Float64Array", "Array"] as const;
const BUFFERS = ["alloc", "allocUnsafe", "allocUnsafeSlow"] as const;

/** Watches what is allocated by length, in this thread, until disposed. */
export function watchAllocations(): AllocationWatch {
  const undo: (() => void)[] = [];
  const watch: AllocationWatch = {
    largestBytes: 0,
    [Symbol.dispose]: () => {
      for (const back of undo) back();
    },
  };
  const note = (bytes: unknown): void => {
    if (typeof bytes === "number" && bytes > watch.largestBytes) watch.largestBytes = bytes;
  };
  for (const name of BUFFERS) {
    const original = Buffer[name];
    Buffer[name] = ((size: number, ...rest: []) => {
      note(size);
      return original(size, ...rest);
    }) as typeof original;
    undo.push(() => (Buffer[name] = original as never));
  }
  const scope = globalThis as unknown as Record<string, new (...args: unknown[]) => object>;
  for (const name of ARRAYS) {
    const original = scope[name] as new (...args: unknown[]) => object;
    scope[name] = new Proxy(original, {
      construct(target, args: unknown[], newTarget) {
        note(args.length === 1 && typeof args[0] === "number" ? args[0] : 0);
        return Reflect.construct(target, args, newTarget as never) as object;
      },
    });
    undo.push(() => (scope[name] = original));
  }
  return watch;
}
