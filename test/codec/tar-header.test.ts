import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  END_OF_TAR,
  patchSize,
  sparseMap,
  TAR_BLOCK_BYTES,
  tarHeader,
  tarPadding,
  type TarMember,
  type TarMeta,
} from "../../src/codec/tar-header.ts";

const META: TarMeta = { mode: 0o644, uid: 1, gid: 2, user: "u", group: "g", mtimeNs: 1_600_000_000n * 10n ** 9n, xattrs: [] };
const member = (more: Partial<TarMember>, meta: Partial<TarMeta> = {}): TarMember => ({
  path: Buffer.from("f"),
  type: "file",
  size: 0,
  ...more,
  meta: { ...META, ...meta },
});
const blocksOf = (more: Partial<TarMember>, meta: Partial<TarMeta> = {}): number =>
  tarHeader(member(more, meta)).length / TAR_BLOCK_BYTES;

/** What GNU tar lists of members without content. */
function listed(...members: readonly TarMember[]): string {
  const input = Buffer.concat([...members.map(tarHeader), END_OF_TAR]);
  const args = ["--numeric-owner", "--full-time", "--quoting-style=escape", "--xattrs", "--xattrs-include=*", "-tvvf", "-"];
  const run = spawnSync("tar", args, { input, encoding: "utf8", env: { ...process.env, TZ: "UTC", LC_ALL: "C" } });
  expect([run.status, run.stderr]).toEqual([0, ""]);
  return run.stdout;
}

/** The extended records of a member, by keyword; the plain block after them. */
function recordsOf(header: Buffer): ReadonlyMap<string, Buffer> {
  const found = new Map<string, Buffer>();
  const end = TAR_BLOCK_BYTES + Number.parseInt(header.toString("latin1", 124, 135), 8);
  for (let at = TAR_BLOCK_BYTES; at < end;) {
    const length = Number.parseInt(header.toString("latin1", at, at + 8), 10);
    const body = header.subarray(header.indexOf(" ", at) + 1, at + length);
    expect(body.at(-1)).toBe(0x0a);
    found.set(body.toString("latin1", 0, body.indexOf("=")), body.subarray(body.indexOf("=") + 1, -1));
    at += length;
  }
  return found;
}

describe("tarHeader", () => {
  it("is one block where plain fields do, and more where they do not", () => {
    expect(blocksOf({})).toBe(1);
    expect(blocksOf({ path: Buffer.alloc(100, "n") })).toBe(1);
    expect(blocksOf({ path: Buffer.alloc(101, "n") })).toBe(3);
    expect(blocksOf({ path: Buffer.from("é") })).toBe(3);
    expect(blocksOf({ type: "symlink", linkPath: Buffer.alloc(101, "t") })).toBe(3);
    expect(blocksOf({}, { mtimeNs: 1n })).toBe(3);
    expect(blocksOf({}, { mtimeNs: -(10n ** 9n) })).toBe(3);
    expect(blocksOf({}, { uid: 0o7777777 })).toBe(1);
    expect(blocksOf({}, { gid: 0o10000000 })).toBe(3);
    expect(blocksOf({}, { user: "u".repeat(31) })).toBe(1);
    expect(blocksOf({}, { group: "g".repeat(32) })).toBe(3);
    expect(blocksOf({}, { user: "né" })).toBe(3);
  });

  it("is read by GNU tar without a word: types, raw and long names, owners, times, devices, sizes", () => {
    const raw = Buffer.from("caf\xe9\n", "latin1");
    const lines = listed(
      member({ path: Buffer.from("d/"), type: "directory" }, { mode: 0o1755 }),
      member({ path: raw }, { uid: 0xfffffffe, gid: 3_000_000 }),
      member({ path: Buffer.from(`d/${"é".repeat(200)}`) }, { mtimeNs: 31_536_000n * 10n ** 9n + 123_456_789n }),
      member({ path: Buffer.from("l"), type: "symlink", linkPath: Buffer.from("x/".repeat(2000)) }),
      member({ path: Buffer.from("h"), type: "link", linkPath: raw }),
      member({ path: Buffer.from("c"), type: "chardev", device: { major: 0xabc, minor: 0x12345 } }),
      member({ path: Buffer.from("b"), type: "blockdev", device: { major: 7, minor: 200 } }),
      member({ path: Buffer.from("p"), type: "fifo" }),
    )
      .trim()
      .split("\n");
    expect(lines).toHaveLength(8);
    expect(lines[0]).toMatch(/^drwxr-xr-t +1\/2 +0 2020-09-13 12:26:40 d\/$/);
    expect(lines[1]).toMatch(/^-rw-r--r-- +4294967294\/3000000 .* caf\\351\\n$/);
    expect(lines[2]).toContain(`1971-01-01 00:00:00.123456789 d/${"\\303\\251".repeat(200)}`);
    expect(lines[3]).toContain(`l -> ${"x/".repeat(2000)}`);
    expect(lines[4]).toContain("h link to caf\\351\\n");
    expect(lines[5]).toMatch(/^crw-r--r-- +1\/2 +2748,74565 /);
    expect(lines[6]).toMatch(/^brw-r--r-- +1\/2 +7,200 /);
    expect(lines[7]).toMatch(/^prw/);
  });

  it("repeats a name in a record where readers could disagree on its characters, and raw bytes only where they must", () => {
    const keywords = (more: Partial<TarMember>): string[] => {
      const header = tarHeader(member(more));
      return header.length === TAR_BLOCK_BYTES ? [] : [...recordsOf(header).keys()];
    };
    expect(keywords({ path: Buffer.from("é") })).toEqual(["path"]);
    // A record is UTF-8 by definition, and GNU tar does not know the keyword that says otherwise.
    expect(keywords({ path: Buffer.from([0xe9]) })).toEqual([]);
    expect(keywords({ path: Buffer.alloc(101, 0xe9) })).toEqual(["path"]);
    expect(keywords({ linkPath: Buffer.from("é"), type: "symlink" })).toEqual(["linkpath"]);
  });

  it("writes times before 1970 as the negative numbers they are", () => {
    const timeOf = (mtimeNs: bigint): string | undefined =>
      recordsOf(tarHeader(member({}, { mtimeNs })))
        .get("mtime")
        ?.toString();
    expect(timeOf(-1n)).toBe("-0.000000001");
    expect(timeOf(-(10n ** 9n))).toBe("-1");
    expect(timeOf(-31_536_000n * 10n ** 9n + 123_456_789n)).toBe("-31535999.876543211");
    expect(timeOf(2n ** 33n * 10n ** 9n + 1n)).toBe("8589934592.000000001");
  });

  it("keeps any bytes in records, with GNU's escapes in the names of attributes", () => {
    const xattrs = [
      { name: Buffer.from("user.a=b%c"), value: Buffer.from([0, 10, 61, 255]) },
      { name: Buffer.from("user.empty"), value: Buffer.alloc(0) },
    ];
    const records = recordsOf(tarHeader(member({}, { xattrs })));
    expect(records.get("SCHILY.xattr.user.a%3Db%25c")).toEqual(Buffer.from([0, 10, 61, 255]));
    expect(records.get("SCHILY.xattr.user.empty")).toEqual(Buffer.alloc(0));
    expect(listed(member({}, { xattrs }))).toContain("x: 4 user.a=b%c");
  });

  it("counts the length of a record with its own digits, whatever it is", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 101, maxLength: 1200 }), (path) => {
        expect(recordsOf(tarHeader(member({ path }))).get("path")).toEqual(Buffer.from(path));
      }),
      { numRuns: 200 },
    );
  });

  it("holds true names and sizes of sparse files", () => {
    const map = sparseMap([{ offset: 4096, length: 4096 }], 10_000);
    expect(map.length).toBe(TAR_BLOCK_BYTES);
    expect(map.toString("latin1").replace(/\0+$/, "")).toBe("2\n4096\n4096\n10000\n0\n");
    const sparse = { path: Buffer.from("true name"), size: 10_000 };
    const header = tarHeader(member({ path: Buffer.from("GNUSparseFile.0/true name"), size: map.length + 4096, sparse }));
    const input = Buffer.concat([header, map, Buffer.alloc(4096, "d"), END_OF_TAR]);
    const run = spawnSync("tar", ["-xOf", "-"], { input });
    expect([run.status, run.stderr.toString()]).toEqual([0, ""]);
    const expected = Buffer.alloc(10_000);
    expected.fill("d", 4096, 8192);
    expect(run.stdout.equals(expected)).toBe(true);
    const listing = spawnSync("tar", ["-tvf", "-"], { input, encoding: "utf8" });
    expect(listing.stdout).toMatch(/ 10000 .* true name\n$/);
  });
});

describe("patchSize", () => {
  it("changes the size of a header, up to and beyond what octal digits hold", () => {
    for (const size of [0, 8 * 2 ** 30 - 1, 8 * 2 ** 30, 2 ** 50 + 3]) {
      const header = tarHeader(member({ path: Buffer.alloc(120, "n"), size: 7 }));
      patchSize(header.subarray(-TAR_BLOCK_BYTES), size);
      expect(header.equals(tarHeader(member({ path: Buffer.alloc(120, "n"), size })))).toBe(true);
      expect(spawnSync("tar", ["-tvf", "-"], { input: header, encoding: "utf8" }).stdout).toContain(` ${size} `);
    }
  });
});

describe("tarPadding", () => {
  it("fills the last block", () => {
    for (const [length, zeros] of [
      [0, 0],
      [1, 511],
      [511, 1],
      [512, 0],
      [2 ** 40 + 1, 511],
    ] as const)
      expect(tarPadding(length)).toEqual(Buffer.alloc(zeros));
  });
});
