import * as zlib from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { CODEC_NUMBER, codecName, compress, compressIfWorthwhile, decompress } from "../../src/codec/compress.ts";

const TEXT = Buffer.from("the quick brown fox jumps over the lazy dog, again and again; ".repeat(4000));

/** Incompressible, the same every time. */
function noise(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

function code(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof HoldfastError ? error.code : String(error);
  }
  return "no error";
}

describe.each(["none", "zstd", "gzip"] as const)("%s", (codec) => {
  const number = CODEC_NUMBER[codec];

  test("gives back what went in, of the exact length only", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 5000 }), fc.integer({ min: 1, max: 9 }), (raw, level) => {
        const stored = compress(codec, level, raw);
        expect(Buffer.compare(decompress(number, stored, raw.length), raw)).toBe(0);
        expect(code(() => decompress(number, stored, raw.length + 1))).toBe("object_damaged");
        if (raw.length > 0) expect(code(() => decompress(number, stored, raw.length - 1))).toBe("object_damaged");
      }),
    );
  });

  test("is refused when anything follows or is missing", () => {
    const raw = TEXT.subarray(0, 3000);
    const stored = compress(codec, 3, raw);
    const twice = Buffer.concat([stored, stored]);
    for (const extra of [Buffer.of(0), Buffer.alloc(8), stored, compress(codec, 3, new Uint8Array())])
      if (extra.length > 0)
        expect(code(() => decompress(number, Buffer.concat([stored, extra]), raw.length))).toBe("object_damaged");
    expect(code(() => decompress(number, twice, raw.length * 2))).toBe(codec === "none" ? "no error" : "object_damaged");
    for (let length = 0; length < stored.length; length++)
      expect(code(() => decompress(number, stored.subarray(0, length), raw.length))).toBe("object_damaged");
  });
});

test("the best zstd level keeps to the window that readers allow", () => {
  const raw = Buffer.concat([noise(9 * 2 ** 20), noise(9 * 2 ** 20)]);
  const stored = compress("zstd", 20, raw.subarray(0, 2 ** 24));
  expect(Buffer.compare(decompress(1, stored, 2 ** 24), raw.subarray(0, 2 ** 24))).toBe(0);
});

test("a zstd window beyond 16 MiB, a dictionary and a skippable frame are refused", () => {
  const raw = Buffer.alloc(40 * 2 ** 20, "abc");
  const { constants } = zlib;
  const wide = zlib.zstdCompressSync(raw, {
    params: { [constants.ZSTD_c_windowLog]: 25, [constants.ZSTD_c_compressionLevel]: 1 },
  });
  expect(() => decompress(1, wide, raw.length)).toThrow("window");
  const dictionary = Buffer.from(compress("zstd", 3, TEXT));
  dictionary[4] = (dictionary[4] as number) | 1;
  expect(() => decompress(1, dictionary, TEXT.length)).toThrow("dictionary");
  const skippable = Buffer.concat([Buffer.from("502a4d180400000000000000", "hex"), compress("zstd", 3, TEXT)]);
  expect(() => decompress(1, skippable, TEXT.length)).toThrow("begin");
});

test("a zstd frame with a checksum, as other writers make them, is read", () => {
  const stored = zlib.zstdCompressSync(TEXT, { params: { [zlib.constants.ZSTD_c_checksumFlag]: 1 } });
  expect(decompress(1, stored, TEXT.length).equals(TEXT)).toBe(true);
});

test("a gzip checksum or length that does not fit is refused", () => {
  const stored = compress("gzip", 6, TEXT);
  for (let back = 1; back <= 8; back++) {
    const bad = Buffer.from(stored);
    bad[bad.length - back] = (bad[bad.length - back] as number) ^ 1;
    expect(code(() => decompress(2, bad, TEXT.length))).toBe("object_damaged");
  }
});

test("a bomb is stopped at the length it claims", () => {
  const large = Buffer.alloc(64 * 2 ** 20);
  for (const [number, codec] of [
    [1, "zstd"],
    [2, "gzip"],
  ] as const) {
    const bomb = compress(codec, 9, large);
    expect(bomb.length).toBeLessThan(large.length / 500);
    expect(code(() => decompress(number, bomb, 1000))).toBe("object_damaged");
  }
  // One that does not state its length, and so cannot be judged before it is decoded.
  const { constants } = zlib;
  const silent = zlib.zstdCompressSync(large, { params: { [constants.ZSTD_c_contentSizeFlag]: 0 } });
  expect(code(() => decompress(1, silent, 1000))).toBe("object_damaged");
});

test("codec numbers", () => {
  expect([0, 1, 2].map(codecName)).toEqual(["none", "zstd", "gzip"]);
  expect(code(() => codecName(3))).toBe("object_malformed");
  expect(code(() => decompress(3, TEXT, TEXT.length))).toBe("object_malformed");
});

test("zstd states the content size and writes no checksum", () => {
  const descriptor = compress("zstd", 3, TEXT)[4] as number;
  expect(descriptor & 0x04).toBe(0);
  expect((descriptor >>> 6) + (descriptor & 0x20)).toBeGreaterThan(0);
});

describe("compressIfWorthwhile", () => {
  test.each(["zstd", "gzip"] as const)("%s keeps what shrinks and leaves what does not", (codec) => {
    for (const raw of [TEXT, TEXT.subarray(0, 2000)]) {
      const kept = compressIfWorthwhile(codec, 3, raw);
      expect(kept.codec).toBe(codec);
      expect(decompress(CODEC_NUMBER[codec], kept.bytes, raw.length).equals(raw)).toBe(true);
    }
    for (const length of [0, 1, 1000, 128 * 1024, 2 ** 20]) {
      const raw = noise(length);
      const left = compressIfWorthwhile(codec, 3, raw);
      expect(left.codec).toBe("none");
      expect(left.bytes).toBe(raw);
    }
  });

  test("needs 3 %", () => {
    // 2 % and 6 % of zeros in noise, in one place, so that they compress to nearly nothing.
    const mixed = (share: number): Buffer => Buffer.concat([noise(100_000 * (1 - share)), Buffer.alloc(100_000 * share)]);
    expect(compressIfWorthwhile("zstd", 3, mixed(0.02)).codec).toBe("none");
    expect(compressIfWorthwhile("zstd", 3, mixed(0.06)).codec).toBe("zstd");
  });

  test("a large input that is compressible in one half is compressed", () => {
    const half = Buffer.concat([noise(2 ** 20), Buffer.alloc(2 ** 20, TEXT)]);
    expect(compressIfWorthwhile("zstd", 3, half).codec).toBe("zstd");
    expect(compressIfWorthwhile("zstd", 3, Buffer.concat([half.subarray(2 ** 20), half.subarray(0, 2 ** 20)])).codec).toBe(
      "zstd",
    );
  });

  test("none is none", () => {
    expect(compressIfWorthwhile("none", 3, TEXT)).toEqual({ codec: "none", bytes: TEXT });
  });
});
