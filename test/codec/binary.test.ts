import fc from "fast-check";
import { expect, test } from "vitest";
import { ByteReader, ByteWriter } from "../../src/codec/binary.ts";
import { HoldfastError } from "../../src/base/errors.ts";

const U64 = (1n << 64n) - 1n;

type Field =
  | { type: "u8" | "u16" | "u32" | "varint"; value: number }
  | { type: "u64" | "i64" | "varintBig"; value: bigint }
  | { type: "bytes" | "raw"; value: Uint8Array }
  | { type: "text"; value: string };

const field: fc.Arbitrary<Field> = fc.oneof(
  fc.record({ type: fc.constant("u8" as const), value: fc.integer({ min: 0, max: 0xff }) }),
  fc.record({ type: fc.constant("u16" as const), value: fc.integer({ min: 0, max: 0xffff }) }),
  fc.record({ type: fc.constant("u32" as const), value: fc.integer({ min: 0, max: 0xffff_ffff }) }),
  fc.record({ type: fc.constant("varint" as const), value: fc.maxSafeNat() }),
  fc.record({ type: fc.constant("u64" as const), value: fc.bigInt({ min: 0n, max: U64 }) }),
  fc.record({ type: fc.constant("i64" as const), value: fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }) }),
  fc.record({ type: fc.constant("varintBig" as const), value: fc.bigInt({ min: 0n, max: U64 }) }),
  fc.record({ type: fc.constant("bytes" as const), value: fc.uint8Array({ maxLength: 300 }) }),
  fc.record({ type: fc.constant("raw" as const), value: fc.uint8Array({ maxLength: 300 }) }),
  fc.record({ type: fc.constant("text" as const), value: fc.string({ unit: "grapheme", maxLength: 200 }) }),
);

function write(writer: ByteWriter, { type, value }: Field): void {
  switch (type) {
    case "varintBig":
      writer.varint(value);
      break;
    case "u64":
      writer.u64(value);
      break;
    case "i64":
      writer.i64(value);
      break;
    case "bytes":
    case "raw":
      writer[type](value);
      break;
    case "text":
      writer.text(value);
      break;
    default:
      writer[type](value);
  }
}

function read(reader: ByteReader, { type, value }: Field): unknown {
  switch (type) {
    case "bytes":
    case "text":
      return reader[type](10_000);
    case "raw":
      return reader.raw(value.length);
    default:
      return reader[type]();
  }
}

function code(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return error instanceof HoldfastError ? error.code : String(error);
  }
  return "no error";
}

test("fields read back as they were written, and a reader never reads past any cut", () => {
  fc.assert(
    fc.property(fc.array(field, { maxLength: 20 }), (fields) => {
      const writer = new ByteWriter();
      for (const each of fields) write(writer, each);
      const bytes = writer.finish();
      expect(bytes.length).toBe(writer.length);
      const reader = new ByteReader(bytes);
      for (const each of fields) {
        const value = read(reader, each);
        if (each.value instanceof Uint8Array) expect(Buffer.compare(value as Buffer, each.value)).toBe(0);
        else expect(value).toBe(each.value);
      }
      reader.done();
      for (let length = 0; length < bytes.length; length += 1 + (length >> 3)) {
        const cut = new ByteReader(bytes.subarray(0, length));
        expect(code(() => fields.forEach((each) => read(cut, each)))).toBe("object_malformed");
      }
    }),
  );
});

test.each<[string, number | bigint, string]>([
  ["zero", 0, "00"],
  ["one byte", 127, "7f"],
  ["two bytes", 128, "8001"],
  ["300", 300, "ac02"],
  ["above 31 bits", 2 ** 31, "8080808008"],
  ["above 32 bits", 2 ** 32 + 5, "8580808010"],
  ["largest number", Number.MAX_SAFE_INTEGER, "ffffffffffffff0f"],
  ["beyond it", 2n ** 53n, "8080808080808010"],
  ["largest of all", U64, "ffffffffffffffffff01"],
])("varint vector: %s", (_, value, hex) => {
  expect(new ByteWriter().varint(value).finish().toString("hex")).toBe(hex);
  expect(new ByteReader(Buffer.from(hex, "hex")).varintBig()).toBe(BigInt(value));
});

test("fixed fields are little-endian", () => {
  const bytes = new ByteWriter().u16(0x0102).u32(0x0304_0506).u64(0x0708_090a_0b0c_0d0en).i64(-2n).finish();
  expect(bytes.toString("hex")).toBe("0201060504030e0d0c0b0a090807feffffffffffffff");
});

test.each(["8000", "ff00", "80808000", "80", "ffffffffffffffffff02", "ffffffffffffffffffff01", "80808080808080808080"])(
  "a varint that is not in shortest form, too large or cut is refused: %s",
  (hex) => {
    expect(code(() => new ByteReader(Buffer.from(hex, "hex")).varintBig())).toBe("object_malformed");
    expect(code(() => new ByteReader(Buffer.from(hex, "hex")).varint())).toBe("object_malformed");
  },
);

test("a number beyond 2^53 - 1 is refused where a number is wanted, at any size", () => {
  for (const value of [2n ** 53n, 2n ** 53n + 1n, 2n ** 60n, U64])
    expect(code(() => new ByteReader(new ByteWriter().varint(value).finish()).varint())).toBe("object_malformed");
});

test("lengths and counts are bounded before anything is read", () => {
  const bytes = new ByteWriter().bytes(new Uint8Array(100)).finish();
  expect(code(() => new ByteReader(bytes).bytes(99))).toBe("object_malformed");
  expect(new ByteReader(bytes).bytes(100).length).toBe(100);
  const count = new ByteWriter().varint(10).raw(new Uint8Array(40)).finish();
  expect(new ByteReader(count).count(4, 10)).toBe(10);
  expect(code(() => new ByteReader(count).count(5, 10))).toBe("object_malformed");
  expect(code(() => new ByteReader(count).count(4, 9))).toBe("object_malformed");
});

test("trailing bytes are refused, with the subject and the place in the message", () => {
  const reader = new ByteReader(Buffer.of(1, 2), "The pack directory");
  reader.u8();
  expect(() => reader.done()).toThrow("The pack directory is malformed: 1 bytes follow its end (at byte 1)");
});

test("values out of range are programmer faults", () => {
  const writer = new ByteWriter();
  for (const run of [
    () => writer.u8(256),
    () => writer.u8(-1),
    () => writer.u16(1.5),
    () => writer.u32(2 ** 32),
    () => writer.u64(-1n),
    () => writer.u64(U64 + 1n),
    () => writer.i64(1n << 63n),
    () => writer.varint(2 ** 53),
    () => writer.varint(-1),
    () => writer.varint(U64 + 1n),
    () => writer.varint(Number.NaN),
  ])
    expect(run).toThrow(RangeError);
  expect(writer.length).toBe(0);
});

test("reset keeps the memory and finish copies out of it", () => {
  const writer = new ByteWriter(64);
  const first = writer.raw(Buffer.alloc(1000, 1)).finish();
  const view = writer.view();
  writer.reset().raw(Buffer.alloc(1000, 2));
  expect(first).toEqual(Buffer.alloc(1000, 1));
  expect(view).toEqual(Buffer.alloc(1000, 2));
});
