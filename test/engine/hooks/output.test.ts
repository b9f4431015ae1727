import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BoundedLines, lineText } from "../../../src/engine/hooks/output.ts";

function linesOf(...chunks: readonly (string | Uint8Array)[]): string[] {
  const found: string[] = [];
  const lines = new BoundedLines((text) => found.push(text));
  for (const chunk of chunks) lines.add(Buffer.from(chunk as Uint8Array));
  lines.end();
  return found;
}

describe("the output of a hook", () => {
  test("is lines, however it comes in pieces; empty ones are left out", () => {
    expect(linesOf("one\ntw", "o\n\n\r\nthree\r\n", "", "fo", "u", "r")).toEqual(["one", "two", "three", "four"]);
    expect(linesOf()).toEqual([]);
  });

  test("comes line by line while it is printed", () => {
    const found: string[] = [];
    const lines = new BoundedLines((text) => found.push(text));
    lines.add(Buffer.from("one\ntw"));
    expect(found).toEqual(["one"]);
  });

  test("keeps its beginning and its end, and says how much is between", () => {
    const all = Array.from({ length: 100_000 }, (_, i) => `line ${i}`);
    const found = linesOf(...all.map((line) => `${line}\n`));
    expect(found.slice(0, 100)).toEqual(all.slice(0, 100));
    expect(found[100]).toMatch(/^… 1\.\d+ MB left out …$/);
    expect(found.slice(101)).toEqual(all.slice(-50));
  });

  test("wraps lines without end, between characters", () => {
    expect(linesOf("é".repeat(1200))).toEqual(["é".repeat(500), "é".repeat(500), "é".repeat(200)]);
    expect(linesOf(`x${"é".repeat(1200)}`)).toEqual([`x${"é".repeat(499)}`, "é".repeat(500), "é".repeat(201)]);
    const found = linesOf("z".repeat(50_000_000));
    expect(found.join("").length).toBeLessThan(30_000);
    expect(found.some((line) => /^… (?:49|50)\.\d MB left out …$/.test(line))).toBe(true);
  });

  test("is safe to print: no control character, no direction change, and every byte is told", () => {
    expect(lineText(Buffer.from("a\u001b[31mb\tc\u202ed\u0007"))).toBe("a\\x1b[31mb\\x09c\\u{202e}d\\x07");
    expect(lineText(Uint8Array.of(0x61, 0xff, 0xc3, 0x62, 0x0d))).toBe("a\\xff\\xc3b");
    expect(lineText(Buffer.from("größe"))).toBe("größe");
  });

  test("is bounded and printable for any bytes in any pieces", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 40 }), (chunks) => {
        const found = linesOf(...chunks);
        expect(found.length).toBeLessThanOrEqual(152);
        // oxlint-disable-next-line no-control-regex
        for (const line of found) expect(line).toMatch(/^[^\u0000-\u001f\u007f-\u009f]{1,4000}$/u);
        expect(found.join("").length).toBeLessThan(4 * 27_000);
      }),
      { numRuns: 200 },
    );
  });
});
