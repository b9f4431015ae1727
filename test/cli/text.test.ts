import { expect, test } from "vitest";
import { renderCsv } from "../../src/base/csv.ts";
import { modeText } from "../../src/cli/entry-text.ts";
import { progressLine, Rate } from "../../src/cli/progress-line.ts";
import { widthOf } from "../../src/cli/width.ts";

const progress = {
  phase: "reading",
  filesDone: 12,
  filesTotal: 48,
  bytesDone: 2_000_000,
  bytesTotal: 8_000_000,
  storedBytes: 0,
  current: "/srv/a\u001b[2Jb",
};

test("a progress line tells files, bytes, rate and time left, in one line of the terminal", () => {
  const rate = new Rate();
  rate.add(0, 0);
  rate.add(2000, 2_000_000);
  const line = progressLine("backup of docs", progress, rate, 120);
  expect(line).toBe("backup of docs  reading  12 of 48 files  2.00 MB of 8.00 MB  1.00 MB/s  6 s left  /srv/a\\x1b[2Jb");
  for (const width of [0, 1, 20, 60, 80])
    expect(widthOf(progressLine("backup of docs", progress, rate, width))).toBeLessThanOrEqual(Math.max(0, width - 1));
});

test("a new phase begins a new rate", () => {
  const rate = new Rate();
  rate.add(0, 0);
  rate.add(1000, 50_000_000);
  rate.add(1100, 0);
  expect(rate.bytesPerSecond).toBeUndefined();
  rate.add(2100, 1_000_000);
  expect(rate.bytesPerSecond).toBe(1_000_000);
  expect(rate.secondsLeft(1_000_000, 3_500_000)).toBe(3);
  expect(rate.secondsLeft(1_000_000, undefined)).toBeUndefined();
});

test("modes as ls writes them", () => {
  expect(modeText("directory", 0o1777)).toBe("drwxrwxrwt");
  expect(modeText("file", 0o4755)).toBe("-rwsr-xr-x");
  expect(modeText("file", 0o2640)).toBe("-rw-r-S---");
  expect(modeText("symlink", 0o777)).toBe("lrwxrwxrwx");
});

test("CSV quotes what needs it, and a formula is text", () => {
  expect(
    renderCsv(
      ["a", "b"],
      [
        ["x,y", 'say "hi"'],
        ["=1+1", null],
        [-5, "two\nlines"],
      ],
    ),
  ).toBe('a,b\r\n"x,y","say ""hi"""\r\n\'=1+1,\r\n-5,"two\nlines"\r\n');
});
