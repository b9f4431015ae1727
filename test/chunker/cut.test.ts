import * as crypto from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { nextCut } from "../../src/chunker/cut.ts";
import { isProfileNumber, maxChunk, profileByNumber, profileName, profileNumber, PROFILES } from "../../src/chunker/profile.ts";
import type { ProfileName, ProfileParameters } from "../../src/chunker/profile.ts";

function expand(seed: string, length: number): Buffer {
  return crypto
    .createCipheriv("aes-256-ctr", crypto.createHash("sha256").update(seed).digest(), Buffer.alloc(16))
    .update(Buffer.alloc(length));
}

const GEAR = Uint32Array.from({ length: 256 }, (_, i) => expand("gear", 1024).readUInt32LE(i * 4));

/** The format's text read literally, with 64-bit integers: slow and obvious. */
function slowCut(bytes: Uint8Array, { min, target, max }: ProfileParameters): number {
  const n = bytes.length;
  if (n <= min) return n;
  const bits = Math.log2(target);
  const mid = Math.min(n, target);
  const end = Math.min(n, max);
  let h = 0n;
  for (let i = min; i < end; i++) {
    h = (h * 2n + BigInt(GEAR[bytes[i] as number] as number)) % 2n ** 32n;
    const top = i < mid ? bits + 2 : bits - 2;
    if (h < 2n ** BigInt(32 - top)) return i + 1;
  }
  return end;
}

function cuts(bytes: Uint8Array, profile: ProfileParameters): number[] {
  const ends: number[] = [];
  for (let at = 0; at < bytes.length;) {
    at += nextCut(GEAR, profile, bytes, at, Math.min(bytes.length, at + profile.max));
    ends.push(at);
  }
  return ends;
}

/** Small enough to cut often in a test. */
const SMALL: ProfileParameters = {
  number: 9,
  name: "stream",
  min: 64,
  target: 256,
  max: 1024,
  shiftBefore: 32 - 10,
  shiftAfter: 32 - 6,
};

test("cuts are those of a slow reading of the format", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000, size: "max" }), fc.nat(20), (bytes, shift) => {
      const start = Math.min(shift, bytes.length);
      expect(nextCut(GEAR, SMALL, bytes, start, bytes.length)).toBe(slowCut(bytes.subarray(start), SMALL));
    }),
    { numRuns: 500 },
  );
});

test.each<ProfileName>(["files", "stream", "pages64", "pages16"])("%s: cuts of noise are those of the slow reading", (name) => {
  const profile = PROFILES[name];
  const bytes = expand(name, 6 * 2 ** 20 + 123);
  let at = 0;
  for (const end of cuts(bytes, profile)) {
    expect(end - at).toBe(slowCut(bytes.subarray(at, at + profile.max), profile));
    at = end;
  }
  expect(at).toBe(bytes.length);
});

test("fixed vector of cuts", () => {
  expect(cuts(expand("vector", 1_000_000), PROFILES.stream)).toEqual([
    73_122, 203_256, 282_946, 354_251, 481_775, 553_600, 605_698, 653_842, 726_345, 792_308, 890_775, 972_316, 1_000_000,
  ]);
  expect(cuts(expand("vector", 200_000), PROFILES.pages64)).toEqual([65_536, 131_072, 196_608, 200_000]);
});

test("chunks lie between minimum and maximum and average near the target", () => {
  const bytes = expand("average", 16 * 2 ** 20);
  const ends = cuts(bytes, PROFILES.stream);
  const lengths = ends.map((end, i) => end - (ends[i - 1] ?? 0));
  for (const length of lengths.slice(0, -1)) {
    expect(length).toBeGreaterThan(PROFILES.stream.min);
    expect(length).toBeLessThanOrEqual(PROFILES.stream.max);
  }
  const average = bytes.length / ends.length;
  expect(average).toBeGreaterThan(PROFILES.stream.target * 0.9);
  expect(average).toBeLessThan(PROFILES.stream.target * 1.5);
});

test("bytes without any cut end at the maximum", () => {
  const gear = new Uint32Array(256).fill(0x8000_0000);
  const flat = new Uint8Array(5000);
  expect(nextCut(gear, SMALL, flat, 0, flat.length)).toBe(SMALL.max);
});

test("after an insertion the cuts come together again", () => {
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 0, max: 400_000 }), fc.integer({ min: 1, max: 5000 }), (seed, place, length) => {
      const before = expand(seed, 800_000);
      const after = Buffer.concat([before.subarray(0, place), expand(`${seed}+`, length), before.subarray(place)]);
      const profile: ProfileParameters = { ...SMALL, min: 1024, target: 4096, max: 16_384, shiftBefore: 18, shiftAfter: 22 };
      const old = new Set(cuts(before, profile).map((end) => end + length));
      const fresh = cuts(after, profile);
      // Everything from the first common cut behind the insertion on is the same, and that cut comes soon.
      const first = fresh.findIndex((end) => end > place + length && old.has(end));
      expect(first).toBeGreaterThanOrEqual(0);
      expect(fresh[first] as number).toBeLessThan(place + length + 40 * profile.target);
      for (const end of fresh.slice(first)) expect(old.has(end)).toBe(true);
    }),
    { numRuns: 20 },
  );
});

test("a cut depends on nothing before its start and nothing beyond the maximum", () => {
  const bytes = expand("independent", 500_000);
  const at = cuts(bytes, PROFILES.stream)[1] as number;
  const length = nextCut(GEAR, PROFILES.stream, bytes, at, bytes.length);
  const moved = Buffer.concat([expand("x", 77), bytes.subarray(at, at + PROFILES.stream.max)]);
  expect(nextCut(GEAR, PROFILES.stream, moved, 77, moved.length)).toBe(length);
});

test("nothing left is no chunk", () => {
  expect(nextCut(GEAR, PROFILES.files, new Uint8Array(10), 10, 10)).toBe(0);
  expect(nextCut(GEAR, PROFILES.pages16, new Uint8Array(10), 10, 10)).toBe(0);
});

test("profiles by name and number", () => {
  expect((["files", "stream", "pages64", "pages16"] as const).map(profileNumber)).toEqual([1, 2, 3, 4]);
  expect([0, 1, 2, 3, 4].map(profileName)).toEqual([undefined, "files", "stream", "pages64", "pages16"]);
  expect([1, 2, 3, 4].map(maxChunk)).toEqual([4_194_304, 262_144, 65_536, 16_384]);
  expect([0, 1, 4, 5, 255].map(isProfileNumber)).toEqual([true, true, true, false, false]);
  expect(profileByNumber(2)).toBe(PROFILES.stream);
  for (const unknown of [0, 5]) expect(() => profileByNumber(unknown)).toThrow(HoldfastError);
  expect(() => profileName(5)).toThrow(HoldfastError);
});
