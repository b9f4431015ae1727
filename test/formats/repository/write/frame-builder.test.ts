import { afterEach, expect, test, vi } from "vitest";
import { systemRandom } from "../../../../src/codec/system-random.ts";
import * as compress from "../../../../src/codec/compress.ts";
import { KeySet } from "../../../../src/formats/repository/keys/key-set.ts";
import { keyMaterial, newKeyring } from "../../../../src/formats/repository/keys/keyring.ts";
import { Sealer } from "../../../../src/formats/repository/keys/sealer.ts";
import { FrameBuilder } from "../../../../src/formats/repository/write/frame-builder.ts";
import type { SealedFrame, SealingSetup } from "../../../../src/formats/repository/write/messages.ts";
import { noise } from "./fixture.ts";

vi.mock("../../../../src/codec/compress.ts", async (original) => {
  const real = await original<typeof compress>();
  return { ...real, compressIfWorthwhile: vi.fn(real.compressIfWorthwhile) };
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.mocked(compress.compressIfWorthwhile).mockClear();
});

const lineage = systemRandom.bytes(32);
function material(): ReturnType<typeof keyMaterial> {
  const keyring = newKeyring({ master: systemRandom.bytes(32), lineageSecret: lineage, created: "2026-01-01T00:00:00.000Z" });
  return keyMaterial(systemRandom.bytes(16), systemRandom.bytes(32), keyring);
}
const keys = [material(), material()];
const setup = (more: Partial<SealingSetup> = {}): SealingSetup => ({
  repositories: keys,
  codec: "zstd",
  level: 1,
  frameBytes: 2 ** 20,
  grouping: "frame",
  ...more,
});

const first = new KeySet(keys[0] as (typeof keys)[0]);
function add(builder: FrameBuilder, bytes: Uint8Array, mask: number, owner: number): string {
  const id = first.chunkId(1, bytes);
  builder.add(bytes, id, mask, owner);
  return id.toString("hex");
}

function idsOf(frame: SealedFrame): string[] {
  return Array.from(frame.chunkLengths, (_, i) => Buffer.from(frame.chunkIds.subarray(i * 32, i * 32 + 32)).toString("hex"));
}

function finished(builder: FrameBuilder): SealedFrame[] {
  builder.flush();
  return builder.take();
}

test("chunks of different owners, and for different targets, never share a frame", () => {
  const builder = new FrameBuilder(1, setup(), systemRandom);
  const expected = new Map<string, string>();
  for (let i = 0; i < 400; i++) {
    const [owner, mask] = [i % 9, 1 + (i % 3)];
    expected.set(add(builder, Buffer.from(`chunk ${i} of ${owner}`), mask, owner), `${mask}:${owner}`);
  }
  const frames = finished(builder);
  expect(frames.flatMap(idsOf).sort()).toEqual([...expected.keys()].sort());
  for (const frame of frames) {
    const groups = new Set(idsOf(frame).map((id) => expected.get(id)));
    expect(groups.size).toBe(1);
    const mask = Number([...groups][0]?.split(":")[0]);
    expect(frame.sealed.map((bytes) => bytes !== undefined)).toEqual([(mask & 1) !== 0, (mask & 2) !== 0]);
  }
});

/** The real one, called with whatever `this` a mock got. */
function seal(sealer: Sealer, ...given: Parameters<Sealer["sealFrame"]>): Buffer {
  return realSealFrame.apply(sealer, given);
}
// oxlint-disable-next-line typescript/unbound-method -- applied with its own `this` above
const realSealFrame = Sealer.prototype.sealFrame;

test("each target's frame opens with its own keys, and gives the chunks in order", () => {
  const builder = new FrameBuilder(1, setup(), systemRandom);
  const chunks = [Buffer.from("one ".repeat(500)), noise(5000), Buffer.from("three")];
  for (const chunk of chunks) add(builder, chunk, 3, 0);
  const [frame] = finished(builder) as [SealedFrame];
  keys.forEach((one, i) => {
    const sealer = new Sealer(new KeySet(one), systemRandom);
    const opened = sealer.unsealFrame(
      { kind: 1, codec: frame.codec, rawLength: frame.rawLength, row: sealer.currentRow() },
      frame.sealed[i] as Uint8Array,
    );
    expect(compress.decompress(frame.codec, opened, frame.rawLength).equals(Buffer.concat(chunks))).toBe(true);
    // The other target's keys open nothing of it.
    const other = new Sealer(new KeySet(keys[1 - i] as (typeof keys)[0]), systemRandom);
    expect(() =>
      other.unsealFrame(
        { kind: 1, codec: frame.codec, rawLength: frame.rawLength, row: other.currentRow() },
        frame.sealed[i] as Uint8Array,
      ),
    ).toThrow();
  });
  expect(compress.compressIfWorthwhile).toHaveBeenCalledTimes(1);
});

test("what follows well compressed bytes is not sampled first, and what follows others is", () => {
  const builder = new FrameBuilder(1, setup(), systemRandom);
  const text = (seed: number): Buffer => Buffer.alloc(2 ** 20, `line ${seed} of a text\n`);
  for (const bytes of [text(1), text(2), noise(2 ** 20, 3), noise(2 ** 20, 4), text(5), text(6)]) add(builder, bytes, 1, 0);
  expect(vi.mocked(compress.compressIfWorthwhile).mock.calls.map((call) => call[3])).toEqual([
    true,
    false,
    false,
    true,
    true,
    false,
  ]);
  expect(finished(builder).map((frame) => frame.codec)).toEqual([1, 1, 0, 0, 1, 1]);
});

test("grouping by file closes frames between files; by frame it does not", () => {
  for (const [grouping, frames] of [
    ["file", 3],
    ["frame", 1],
  ] as const) {
    const builder = new FrameBuilder(1, setup({ grouping }), systemRandom);
    for (const name of ["a", "b", "c"]) {
      add(builder, Buffer.from(`${name} 1`), 1, 0);
      add(builder, Buffer.from(`${name} 2`), 1, 0);
      builder.endFile();
    }
    expect(finished(builder)).toHaveLength(frames);
  }
});

test("however small they are, a frame holds a bounded number of chunks", () => {
  const builder = new FrameBuilder(1, setup(), systemRandom);
  for (let i = 0; i < 20_000; i++) add(builder, Buffer.from(i.toString(36)), 1, 0);
  const counts = finished(builder).map((frame) => frame.chunkLengths.length);
  expect(counts).toEqual([8192, 8192, 3616]);
});

test("a chunk as large as a frame is one of its own, and what waits keeps its order", () => {
  const builder = new FrameBuilder(1, setup({ frameBytes: 1000 }), systemRandom);
  add(builder, noise(400, 1), 1, 0);
  add(builder, noise(1000, 2), 1, 0);
  add(builder, noise(400, 3), 1, 0);
  expect(finished(builder).map((frame) => frame.rawLength)).toEqual([1000, 800]);
});

test("a bit that flips in the cipher's output is caught before the frame is handed out", () => {
  vi.spyOn(Sealer.prototype, "sealFrame").mockImplementation(function (this: Sealer, ...given) {
    const sealed = seal(this, ...given);
    sealed[sealed.length >> 1] = (sealed[sealed.length >> 1] as number) ^ 4;
    return sealed;
  });
  const builder = new FrameBuilder(1, setup(), systemRandom);
  add(builder, noise(5000), 1, 0);
  expect(() => builder.flush()).toThrow();
  expect(builder.take()).toEqual([]);
});

test("a cipher that encrypts other bytes than it was given is caught", () => {
  vi.spyOn(Sealer.prototype, "sealFrame").mockImplementation(function (this: Sealer, kind, codec, rawLength, bytes) {
    const other = Buffer.from(bytes);
    other[10] = (other[10] as number) ^ 1;
    return seal(this, kind, codec, rawLength, other);
  });
  const builder = new FrameBuilder(1, setup(), systemRandom);
  add(builder, noise(5000), 1, 0);
  expect(() => builder.flush()).toThrow(expect.objectContaining({ code: "write_verification_failed" }));
  expect(builder.take()).toEqual([]);
});

test("a compressor that gives other content is caught, whichever target comes first", () => {
  for (const mask of [1, 2, 3]) {
    const builder = new FrameBuilder(1, setup(), systemRandom);
    add(builder, Buffer.from("compressible ".repeat(500)), mask, 0);
    vi.mocked(compress.compressIfWorthwhile).mockImplementationOnce((codec, level, raw) => {
      const other = Buffer.from(raw);
      other[100] = (other[100] as number) ^ 1;
      return compress.compressIfWorthwhile(codec, level, other);
    });
    expect(() => builder.flush()).toThrow(expect.objectContaining({ code: "write_verification_failed" }));
    expect(builder.take()).toEqual([]);
  }
});
