import fc from "fast-check";
import { expect, test } from "vitest";
import { pathBytes, pathText } from "../../src/base/path-text.ts";

test("any bytes survive being shown and typed again", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 40 }),
        fc.string({ unit: "grapheme" }).map((text) => Buffer.from(text)),
      ),
      (bytes) => {
        expect(Buffer.from(pathBytes(pathText(bytes)))).toEqual(Buffer.from(bytes));
      },
    ),
  );
});

test("nothing shown can steer a terminal or look like another name", () => {
  expect(pathText(Buffer.from("a\nb\u001b[2J"))).toBe("a\\x0ab\\x1b[2J");
  expect(pathText(Buffer.from("gpj.\u202etxt"))).toBe("gpj.\\xe2\\x80\\xaetxt");
  expect(pathText(Buffer.from([0x61, 0xff]))).toBe("a\\xff");
  expect(pathText(Buffer.from("\\x41"))).toBe("\\\\x41");
  expect(pathText(Buffer.from("grün"))).toBe("grün");
});
