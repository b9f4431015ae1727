import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { asPackId } from "../../../../src/base/ids.ts";
import type { PackId } from "../../../../src/base/ids.ts";
import { ChunkIndex } from "../../../../src/formats/repository/index/chunk-index.ts";
import { decodeIndexObject, encodeIndexObject } from "../../../../src/formats/repository/objects/index-object.ts";
import type { PackRecord } from "../../../../src/formats/repository/objects/index-object.ts";
import { expand } from "../keys/fixtures.ts";

const ROWS = [{ suite: 0, epoch: 1, keyId: Buffer.alloc(16, 0xaa), sealedKey: Buffer.alloc(0) }];

function packId(number: number): PackId {
  return asPackId(number.toString(16).padStart(64, "0"));
}

/** A pack whose frames hold the chunks of these numbers; chunk n is n + 1 bytes long. */
function pack(number: number, frames: readonly (readonly number[])[], kind: 1 | 2 = 1): PackRecord {
  return {
    id: packId(number),
    kind,
    sizeBytes: 2 ** 20,
    rows: ROWS,
    frames: frames.map((chunks, i) => {
      const rawLength = chunks.reduce((sum, chunk) => sum + chunk + 1, 0);
      return {
        codec: i % 3,
        row: 0,
        storedLength: rawLength + 48,
        rawLength,
        chunkIds: Uint8Array.from(Buffer.concat(chunks.map(chunkId))),
        chunkLengths: Uint32Array.from(chunks, (chunk) => chunk + 1),
      };
    }),
  };
}

function chunkId(chunk: number): Buffer {
  return expand(`chunk ${chunk}`, 16);
}

test("chunks are found where their packs say, at any offset of the ids given", () => {
  const index = new ChunkIndex();
  index.addPack(pack(1, [[0, 1], [2]]));
  index.addPack(pack(2, [[3]], 2));
  expect([index.chunkCount, index.frameCount, index.packCount]).toEqual([4, 3, 2]);
  expect(index.find(1, chunkId(1))).toEqual({ chunk: 1, frame: 0, offset: 1, length: 2 });
  expect(index.find(1, Buffer.concat([Buffer.alloc(5), chunkId(2), Buffer.alloc(3)]), 5)).toEqual({
    chunk: 2,
    frame: 1,
    offset: 0,
    length: 3,
  });
  expect(index.find(1, chunkId(9))).toBeUndefined();
  expect(index.find(1, chunkId(3))).toBeUndefined();
  expect(index.find(2, chunkId(3))).toEqual({ chunk: 3, frame: 2, offset: 0, length: 4 });
  expect([index.has(1, chunkId(3)), index.has(2, chunkId(3))]).toEqual([false, true]);
});

test("frames tell all that reading them takes", () => {
  const index = new ChunkIndex();
  index.addPack(pack(1, [[0, 1], [2]]));
  const frame = index.frame(1);
  expect({ ...frame }).toEqual({
    number: 1,
    packId: packId(1),
    kind: 1,
    offset: 51,
    storedLength: 51,
    rawLength: 3,
    codec: 1,
    row: ROWS[0],
    firstChunk: 2,
    chunkCount: 1,
    chunkIds: Uint8Array.from(chunkId(2)),
    chunkLengths: Uint32Array.of(3),
  });
  expect(index.packOfFrame(1)).toBe(packId(1));
  expect([...index.chunksOf(0)].map((chunk) => chunk.offset)).toEqual([0, 1]);
  expect([...index.framesOf(packId(1))].map((each) => each.number)).toEqual([0, 1]);
  expect([...index.framesOf(packId(7))]).toEqual([]);
  expect(() => index.frame(2)).toThrow("frame 2");
});

test("records come out as they went in, through an index object and back", () => {
  const index = new ChunkIndex();
  const packs = [pack(1, [[0, 1], [2]]), pack(2, [[1, 4, 5]], 2)];
  for (const each of decodeIndexObject(encodeIndexObject({ supersedes: [], packs })).packs) index.addPack(each);
  expect(packs.map((each) => index.record(each.id))).toEqual(packs);
  expect(index.record(packId(3))).toBeUndefined();
});

test("ids of 32 bytes, as a directory has them, count by their first 16", () => {
  const index = new ChunkIndex();
  const record = pack(1, [[0, 1]]);
  const [frame] = record.frames as [PackRecord["frames"][number]];
  const long = Uint8Array.from(Buffer.concat([chunkId(0), Buffer.alloc(16, 1), chunkId(1), Buffer.alloc(16, 2)]));
  index.addPack({ ...record, frames: [{ ...frame, chunkIds: long }] });
  expect(index.find(1, chunkId(1))?.offset).toBe(1);
  expect(index.record(record.id)).toEqual(record);
});

test("adding a pack again changes nothing", () => {
  const index = new ChunkIndex();
  index.addPack(pack(1, [[0]]));
  index.setPackState(packId(1), "condemned");
  index.addPack(pack(1, [[0]]));
  expect([index.chunkCount, index.packCount, index.packState(packId(1))]).toEqual([1, 1, "condemned"]);
  expect([index.hasPack(packId(1)), index.hasPack(packId(2)), index.packState(packId(2))]).toEqual([true, false, undefined]);
  index.setPackState(packId(2), "damaged");
  expect([...index.packs()]).toEqual([
    { id: packId(1), kind: 1, sizeBytes: 2 ** 20, state: "condemned", firstFrame: 0, frameCount: 1 },
  ]);
});

test("new data builds on good packs only; reading takes the best there is", () => {
  const index = new ChunkIndex();
  for (const number of [1, 2, 3]) index.addPack(pack(number, [[7]]));
  const order = (): PackId[] => index.locations(1, chunkId(7)).map((location) => index.packOfFrame(location.frame));
  const usable = (): PackId | undefined => {
    const location = index.findUsable(1, chunkId(7));
    return location && index.packOfFrame(location.frame);
  };
  expect(order()).toEqual([packId(1), packId(2), packId(3)]);
  index.setPackState(packId(1), "damaged");
  index.setPackState(packId(2), "condemned");
  expect(order()).toEqual([packId(3), packId(2), packId(1)]);
  expect([index.find(1, chunkId(7))?.frame, index.has(1, chunkId(7)), usable()]).toEqual([2, true, packId(3)]);
  index.setPackState(packId(3), "damaged");
  expect([index.find(1, chunkId(7)), index.has(1, chunkId(7)), usable()]).toEqual([undefined, false, packId(2)]);
  expect(index.claim(1, chunkId(7), 0, 8)).toBe(true);
  expect(index.findUsable(1, chunkId(8))).toBeUndefined();
});

test("the same chunk may lie twice in one frame", () => {
  const index = new ChunkIndex();
  index.addPack(pack(1, [[4, 4]]));
  expect(index.locations(1, chunkId(4)).map((location) => location.offset)).toEqual([0, 5]);
});

describe("claims", () => {
  test("each chunk is claimed once, until its pack comes or the claim is given up", () => {
    const index = new ChunkIndex();
    const ids = Buffer.concat([chunkId(1), chunkId(2)]);
    expect(index.claim(1, ids, 0, 10)).toBe(true);
    expect(index.claim(1, ids, 0, 10)).toBe(false);
    expect(index.claim(1, ids, 16, 20)).toBe(true);
    expect(index.claim(2, ids, 0, 30)).toBe(true);
    expect([index.pendingCount, index.pendingBytes]).toEqual([3, 60]);
    expect([index.has(1, ids), index.isPending(1, ids)]).toEqual([false, true]);
    index.addPack(pack(1, [[1]]));
    expect([index.pendingCount, index.pendingBytes, index.isPending(1, ids), index.isPending(2, ids)]).toEqual([
      2,
      50,
      false,
      true,
    ]);
    expect(index.claim(1, ids, 0, 10)).toBe(false);
    expect([index.unclaim(1, ids, 16), index.unclaim(1, ids, 16), index.pendingCount]).toEqual([true, false, 1]);
    expect(index.claim(1, ids, 16, 20)).toBe(true);
  });

  test("they behave as a set does, through any mix of claiming and giving up", () => {
    const step = fc.record({ chunk: fc.nat(40), action: fc.constantFrom("claim", "unclaim", "pack") });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const index = new ChunkIndex();
        const claimed = new Set<number>();
        const stored = new Set<number>();
        for (const [i, { chunk, action }] of steps.entries()) {
          // Ids that collide in the table again and again.
          const id = Buffer.alloc(16, chunk).fill(chunk & 1, 0, 4);
          if (action === "claim")
            expect(index.claim(1, id, 0, chunk + 1)).toBe(!claimed.has(chunk) && !stored.has(chunk) && !!claimed.add(chunk));
          else if (action === "unclaim") expect(index.unclaim(1, id)).toBe(claimed.delete(chunk));
          else {
            const [frame] = pack(i, [[chunk]]).frames as [PackRecord["frames"][number]];
            index.addPack({ ...pack(i, []), frames: [{ ...frame, chunkIds: Uint8Array.from(id) }] });
            stored.add(chunk);
            claimed.delete(chunk);
          }
          expect(index.pendingCount).toBe(claimed.size);
        }
        for (let chunk = 0; chunk <= 40; chunk++) {
          const id = Buffer.alloc(16, chunk).fill(chunk & 1, 0, 4);
          expect([index.isPending(1, id), index.has(1, id)]).toEqual([claimed.has(chunk), stored.has(chunk)]);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("many claims at once", () => {
    const index = new ChunkIndex();
    const ids = expand("claims", 16 * 20_000);
    for (let i = 0; i < 20_000; i++) expect(index.claim(1, ids, i * 16, 1)).toBe(true);
    for (let i = 0; i < 20_000; i += 2) expect(index.unclaim(1, ids, i * 16)).toBe(true);
    for (let i = 0; i < 20_000; i++) if (index.isPending(1, ids, i * 16) !== (i % 2 === 1)) throw new Error(`claim ${i}`);
    expect(index.pendingCount).toBe(10_000);
  });
});

test("it answers as a map does", () => {
  const packs = fc.array(
    fc.record({
      kind: fc.constantFrom(1 as const, 2 as const),
      frames: fc.array(fc.array(fc.nat(60), { minLength: 1, maxLength: 8 }), { maxLength: 4 }),
    }),
    {
      maxLength: 12,
    },
  );
  fc.assert(
    fc.property(packs, (list) => {
      const index = new ChunkIndex();
      const expected = new Map<string, { pack: PackId; offset: number; length: number }[]>();
      for (const [number, { kind, frames }] of list.entries()) {
        const record = pack(number, frames, kind);
        index.addPack(record);
        for (const chunks of frames) {
          let offset = 0;
          for (const chunk of chunks) {
            const key = `${kind}/${chunk}`;
            expected.set(key, [...(expected.get(key) ?? []), { pack: record.id, offset, length: chunk + 1 }]);
            offset += chunk + 1;
          }
        }
      }
      for (const kind of [1, 2] as const)
        for (let chunk = 0; chunk <= 60; chunk++) {
          const found = index
            .locations(kind, chunkId(chunk))
            .map(({ frame, offset, length }) => ({ pack: index.packOfFrame(frame), offset, length }));
          expect(found).toEqual(expected.get(`${kind}/${chunk}`) ?? []);
        }
    }),
    { numRuns: 30 },
  );
});

test("a million chunks take 40 to 70 bytes each at the most, and all are found", () => {
  const index = new ChunkIndex();
  const chunksPerFrame = 8;
  const framesPerPack = 16;
  const perPack = chunksPerFrame * framesPerPack;
  const ids = expand("million", 16 * 1_000_000);
  const chunkLengths = new Uint32Array(chunksPerFrame).fill(1000);
  for (let first = 0; first < 1_000_000; first += perPack) {
    const frames = Array.from({ length: Math.min(framesPerPack, (1_000_000 - first) / chunksPerFrame) }, (_, i) => {
      const at = (first + i * chunksPerFrame) * 16;
      return {
        codec: 1,
        row: 0,
        storedLength: 4000,
        rawLength: 8000,
        chunkIds: ids.subarray(at, at + chunksPerFrame * 16),
        chunkLengths,
      };
    });
    index.addPack({ id: packId(first), kind: 1, sizeBytes: 65_536, rows: ROWS, frames });
  }
  expect(index.chunkCount).toBe(1_000_000);
  for (let i = 0; i < 1_000_000; i++) if (index.find(1, ids, i * 16)?.chunk !== i) throw new Error(`chunk ${i} is not found`);
  const absent = expand("absent", 16 * 10_000);
  for (let i = 0; i < 10_000; i++) expect(index.has(1, absent, i * 16)).toBe(false);
  // Every array counted; packs are few and small beside them.
  expect(index.bytes / index.chunkCount).toBeLessThan(50);
});
