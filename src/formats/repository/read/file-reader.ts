import { HoldfastError } from "../../../base/errors.ts";
import type { Repository } from "../repository.ts";
import { TREE_ID_BYTES } from "../objects/tree-node.ts";
import type { ChunkReader } from "./chunk-reader.ts";
import { storedLength, type FileContent, type TreeReader } from "./tree-reader.ts";

/** Raw bytes fetched ahead of the reader: a few frames, so that a slow target's latency is hidden. */
const AHEAD_BYTES = 8 * 2 ** 20;
/** Chunks as small as a byte must not make the list of them large. */
const AHEAD_CHUNKS = 1024;
/** Holes come in pieces of this one buffer. */
const ZEROS = new Uint8Array(256 * 1024);

/**
 * A file's bytes in order, holes as zeros in pieces of at most 256 KiB. Pieces are views that must not be changed.
 * Rejects with `chunk_missing` or `object_damaged`, and with `object_malformed` when the chunks are not as long as the file.
 */
export async function* readFile(
  repository: Repository,
  chunks: ChunkReader,
  trees: TreeReader,
  content: FileContent,
): AsyncGenerator<Uint8Array, void, undefined> {
  const data = readData(repository, chunks, trees, content);
  if (content.extents === undefined) {
    yield* data;
    return;
  }
  let position = 0;
  let rest: Uint8Array = new Uint8Array();
  for (const { offset, length } of content.extents) {
    yield* zeros(offset - position);
    for (let left = length; left > 0;) {
      if (rest.length === 0) {
        const next = await data.next();
        if (next.done === true) throw wrongLength("shorter");
        rest = next.value;
      }
      const part = rest.subarray(0, left);
      rest = rest.subarray(part.length);
      left -= part.length;
      yield part;
    }
    position = offset + length;
  }
  // Runs the check of the sum.
  if (rest.length > 0 || (await data.next()).done !== true) throw wrongLength("longer");
  yield* zeros(content.size - position);
}

async function* readData(
  repository: Repository,
  chunks: ChunkReader,
  trees: TreeReader,
  content: FileContent,
): AsyncGenerator<Uint8Array, void, undefined> {
  const ahead: { readonly bytes: Promise<Buffer>; readonly length: number }[] = [];
  let aheadBytes = 0;
  let left = storedLength(content);
  const take = async (): Promise<Buffer> => {
    const next = ahead.shift() as (typeof ahead)[number];
    aheadBytes -= next.length;
    const bytes = await next.bytes;
    left -= bytes.length;
    if (left < 0) throw wrongLength("longer");
    return bytes;
  };
  for await (const ids of trees.dataIds(content)) {
    for (let at = 0; at < ids.length; at += TREE_ID_BYTES) {
      const id = ids.subarray(at, at + TREE_ID_BYTES);
      const bytes = chunks.chunk(1, id);
      // Whoever stops early never awaits it.
      bytes.catch(() => undefined);
      const length = repository.index.findUsable(1, id)?.length ?? 0;
      ahead.push({ bytes, length });
      aheadBytes += length;
      while (aheadBytes > AHEAD_BYTES || ahead.length >= AHEAD_CHUNKS) yield await take();
    }
  }
  while (ahead.length > 0) yield await take();
  if (left > 0) throw wrongLength("shorter");
}

function* zeros(count: number): Generator<Uint8Array, void, undefined> {
  for (let left = count; left > 0; left -= ZEROS.length) yield left < ZEROS.length ? ZEROS.subarray(0, left) : ZEROS;
}

export function wrongLength(how: "longer" | "shorter"): HoldfastError {
  return new HoldfastError("object_malformed", `The chunks of a file are ${how} than the file`, {
    hint: "Run `holdfast verify` to learn which snapshots are concerned.",
  });
}
