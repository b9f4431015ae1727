import fc from "fast-check";
import { expect, test } from "vitest";
import { fitEnd, fitMiddle, renderTable, widthOf } from "../../src/cli/width.ts";

test("width counts columns: wide characters two, combining marks and colours none", () => {
  expect(widthOf("abc")).toBe(3);
  expect(widthOf("日本")).toBe(4);
  expect(widthOf("e\u0301")).toBe(1);
  expect(widthOf("\u001b[31mred\u001b[0m")).toBe(3);
});

test("a path that is too long keeps both ends", () => {
  expect(fitMiddle("/srv/documents/letters/2026/tax.pdf", 20)).toMatch(/^\/srv\/.*….*tax\.pdf$/);
  expect(fitMiddle("short", 20)).toBe("short");
});

test("whatever the text, it fits", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 60 }), fc.nat(40), (text, width) => {
      expect(widthOf(fitMiddle(text, width))).toBeLessThanOrEqual(Math.max(width, 0));
      expect(widthOf(fitEnd(text, width))).toBeLessThanOrEqual(Math.max(width, 0));
    }),
  );
});

test("tables align and have no trailing spaces", () => {
  const table = renderTable(
    [{ title: "ID" }, { title: "SIZE", align: "right" }, { title: "" }],
    [
      ["a", "10 B", ""],
      ["long", "1 B", "x"],
    ],
    { bold: false },
  );
  expect(table).toBe("ID    SIZE\na     10 B\nlong   1 B  x\n");
});
