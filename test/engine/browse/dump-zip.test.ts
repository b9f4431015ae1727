/** A folder of a snapshot as a zip archive, judged by other readers: yauzl, Info-ZIP's unzip where it is installed, Python. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { crc32 } from "node:zlib";
import { describe, expect, it } from "vitest";
import { fromBufferPromise } from "yauzl";
import { zipCentralRecord, zipDescriptor, zipEnd, zipLocalHeader, type ZipMember } from "../../../src/codec/zip-header.ts";
import { dumpEntry } from "../../../src/engine/browse/dump.ts";
import type { SnapshotEntry, SnapshotInfo, Store } from "../../../src/formats/format.ts";
import { HoldfastError } from "../../../src/base/errors.ts";
import { writeOddities } from "../../support/oddities.ts";
import { file, hardLink, symlink, temporaryTree, writeTree } from "../../support/tree-literal.ts";
import { fixture, type Fixture } from "../restore/fixture.ts";

const NS = 10n ** 9n;
const never = new AbortController().signal;

async function zipped(made: Fixture, path = "", onSkipped?: (entry: SnapshotEntry, why: string) => void): Promise<Buffer> {
  const parts: Buffer[] = [];
  const dump = dumpEntry(made.store, made.snapshot, Buffer.from(made.source + path), {
    as: "zip",
    signal: never,
    ...(onSkipped && { onSkipped }),
  });
  for await (const part of dump) parts.push(Buffer.from(part));
  return Buffer.concat(parts);
}

interface Read {
  readonly type: "file" | "directory" | "symlink";
  readonly mode: number;
  readonly content: string;
  readonly seconds: number;
}

const hash = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Every member by its raw name, latin1. */
async function read(zip: Buffer): Promise<{ members: Map<string, Read>; comment: string }> {
  const archive = await fromBufferPromise(zip, { decodeStrings: false, lazyEntries: true, autoClose: false });
  const members = new Map<string, Read>();
  for await (const entry of archive.eachEntry()) {
    const name = (entry.fileName as unknown as Buffer).toString("latin1");
    expect(members.has(name)).toBe(false);
    const bits = entry.externalFileAttributes >>> 16;
    const stream = await archive.openReadStreamPromise(entry);
    const bytes = await buffer(stream);
    expect(crc32(bytes)).toBe(entry.crc32);
    members.set(name, {
      type: (bits & 0o170000) === 0o120000 ? "symlink" : (bits & 0o170000) === 0o040000 ? "directory" : "file",
      mode: bits & 0o7777,
      content: hash(bytes),
      seconds: entry.getLastModDate().getTime() / 1000,
    });
  }
  return { members, comment: (archive.comment as unknown as Buffer).toString() };
}

/** The same of what is on disk; without what zip cannot hold. */
function onDisk(root: string): Map<string, Read> {
  const found = new Map<string, Read>();
  const visit = (folder: Buffer, below: string): void => {
    for (const name of readdirSync(folder, { encoding: "buffer" })) {
      const path = Buffer.concat([folder, Buffer.from("/"), name]);
      const stat = lstatSync(path, { bigint: true });
      const relative = below + name.toString("latin1");
      const rest = {
        mode: Number(stat.mode & 0o7777n),
        seconds: Number((stat.mtimeNs - (((stat.mtimeNs % NS) + NS) % NS)) / NS),
      };
      if (stat.isDirectory()) {
        found.set(`${relative}/`, { type: "directory", content: hash(Buffer.alloc(0)), ...rest });
        visit(path, `${relative}/`);
      } else if (stat.isSymbolicLink())
        found.set(relative, { type: "symlink", content: hash(readlinkSync(path, { encoding: "buffer" })), ...rest });
      else if (stat.isFile()) found.set(relative, { type: "file", content: hash(readFileSync(path)), ...rest });
    }
  };
  visit(Buffer.from(root), "");
  return found;
}

describe("a folder as zip", () => {
  it.skipIf(process.getuid?.() !== 0)("holds every oddity that zip can hold, and says what it cannot", async () => {
    await using made = await fixture((source) => {
      writeOddities(source);
      rmSync(join(source, "deep"), { recursive: true });
      truncateSync(join(source, "sparse/gibibyte"), 2 ** 21);
    });
    const skipped: string[] = [];
    const { members, comment } = await read(
      await zipped(made, "", ({ entry }, why) => skipped.push(`${Buffer.from(entry.name).toString()}: ${why}`)),
    );
    const disk = onDisk(made.source);
    expect([...members.keys()].toSorted()).toEqual([...disk.keys()].toSorted());
    for (const [name, { seconds, ...wanted }] of disk) {
      const { seconds: told, ...found } = members.get(name) as Read;
      expect({ name, ...found }).toEqual({ name, ...wanted });
      // What 32 bits cannot say becomes the nearest that the older field can.
      if (Math.abs(seconds) < 2 ** 31) expect({ name, seconds: told }).toEqual({ name, seconds });
    }
    expect(members.size).toBeGreaterThan(60);
    expect(skipped.length).toBeGreaterThan(0);
    expect(skipped).toContain("socket: zip has no sockets");
    expect(comment.split("\n").slice(0, 1)).toEqual([`Left out: ${skipped.length}`]);
    expect(comment).toContain("special/socket: zip has no sockets");
  });

  it("comes back with Python's reader, and with unzip where there is one", async () => {
    const noise = Buffer.alloc(3_000_000, Array.from({ length: 997 }, (_, i) => (i * 7919) & 255) as never);
    await using made = await fixture((source) =>
      writeTree(source, {
        "small.txt": file("small", { mode: 0o640, mtimeMs: 1_600_000_000_000 }),
        "back\\slash": "1",
        back: { slash: "2" },
        "grün.txt": "3",
        big: noise,
        zero: "",
        sub: { other: "x", hard: "y", empty: {} },
        link: symlink("sub/other"),
        again: hardLink("sub/hard"),
      }),
    );
    const zip = await zipped(made);
    using out = temporaryTree();
    const path = join(out.path, "a.zip");
    writeFileSync(path, zip);
    const script = `import zipfile,sys,json
z=zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None
print(json.dumps({n: len(z.read(n)) for n in z.namelist()}))`;
    const python = spawnSync("python3", ["-c", script, path], { encoding: "utf8" });
    if (python.error === undefined) {
      expect(python.stderr).toBe("");
      expect(JSON.parse(python.stdout)).toMatchObject({
        "small.txt": 5,
        "back\\slash": 1,
        "back/slash": 1,
        "grün.txt": 1,
        big: 3e6,
      });
    }
    if (spawnSync("unzip", ["-v"]).error === undefined) {
      // Without a UTF-8 locale it writes names in its own way.
      const env = { ...process.env, LC_ALL: "C.UTF-8" };
      const unzip = spawnSync("unzip", ["-X", "-q", path, "-d", join(out.path, "x")], { encoding: "utf8", env });
      expect([unzip.status, unzip.stderr]).toEqual([0, ""]);
      // It leaves the times of symlinks alone.
      const withoutLinkTimes = (root: string): Map<string, Read> =>
        new Map([...onDisk(root)].map(([name, one]) => [name, one.type === "symlink" ? { ...one, seconds: 0 } : one]));
      expect(withoutLinkTimes(join(out.path, "x"))).toEqual(withoutLinkTimes(made.source));
    }
    expect((await read(zip)).members.size).toBe(13);
    // One file by itself, and nothing at all.
    expect([...(await read(await zipped(made, "/link"))).members]).toMatchObject([["link", { type: "symlink" }]]);
    expect((await read(await zipped(made, "/sub/empty"))).members.size).toBe(0);
  });

  it("has more members than 16 bits count, in order, without holding the loop", async () => {
    const count = 70_000;
    const meta = { mode: 0o644, uid: 0, gid: 0, mtimeNs: 0n };
    const entry = (path: string, type: string): SnapshotEntry =>
      ({ path: Buffer.from(path), entry: { name: Buffer.from(path.slice(1)), type, meta, size: 0 } }) as unknown as SnapshotEntry;
    const store = {
      lookup: async () => entry("/", "directory"),
      async *list() {
        yield Array.from({ length: count }, (_, i) => entry(`/${String(i).padStart(6, "0")}`, "file"));
      },
      async *read() {},
    } as unknown as Store;
    const parts: Uint8Array[] = [];
    for await (const part of dumpEntry(store, {} as SnapshotInfo, Buffer.from("/"), { as: "zip", signal: never }))
      parts.push(part);
    const archive = await fromBufferPromise(Buffer.concat(parts), { lazyEntries: true, autoClose: false });
    expect(archive.entryCount).toBe(count);
    let last = "";
    for await (const { fileName } of archive.eachEntry()) {
      expect(fileName > last).toBe(true);
      last = fileName;
    }
    expect(last).toBe("069999");
  });

  it("ends with the reason when content cannot be read, and stops reading when nobody wants more", async () => {
    await using made = await fixture((source) => writeTree(source, { big: Buffer.alloc(2_000_000, "b") }));
    let given = 0;
    let returned = false;
    const broken = (after: number): Store =>
      Object.assign(Object.create(made.store) as Store, {
        lookup: made.store.lookup.bind(made.store),
        list: made.store.list.bind(made.store),
        async *read() {
          try {
            for (;;) {
              if (given++ >= after) throw new HoldfastError("object_damaged", "It is damaged");
              yield Buffer.alloc(100_000, given);
            }
          } finally {
            returned = true;
          }
        },
      });
    const dump = (after: number): AsyncIterable<Uint8Array> =>
      dumpEntry(broken(after), made.snapshot, Buffer.from(made.source), { as: "zip", signal: never });
    const all = async (): Promise<void> => {
      for await (const _ of dump(3));
    };
    await expect(all()).rejects.toMatchObject({ code: "object_damaged" });
    [given, returned] = [0, false];
    for await (const _ of dump(100_000)) if (given > 4) break;
    await new Promise(setImmediate);
    expect(returned).toBe(true);
    expect(given).toBeLessThan(200);
  });
});

it("says what is beyond 4 GiB as zip64 does", () => {
  using out = temporaryTree();
  const path = join(out.path, "far.zip");
  const content = Buffer.from("far away");
  const facts = { crc32: crc32(content), size: content.length, storedSize: content.length };
  const base = { type: "file", mode: 0o644, uid: 2 ** 32 - 1, gid: 0, mtimeNs: -1n, deflated: false } as const;
  const plain: ZipMember = { ...base, path: Buffer.from("plain"), streamed: false, large: false };
  const large: ZipMember = { ...base, path: Buffer.from("large"), streamed: true, large: true };
  const offset = 2 ** 32 + 10;
  const first = Buffer.concat([zipLocalHeader(plain, facts), content]);
  const second = Buffer.concat([zipLocalHeader(large, undefined), content, zipDescriptor(large, facts)]);
  const directory = Buffer.concat([
    zipCentralRecord(plain, facts, offset),
    zipCentralRecord(large, facts, offset + first.length),
  ]);
  const begin = offset + first.length + second.length;
  const fd = openSync(path, "w");
  const end = zipEnd(2, directory.length, begin, Buffer.from("note"));
  writeSync(fd, Buffer.concat([first, second, directory, end]), 0, undefined, offset);
  closeSync(fd);
  const script = `import zipfile,sys
z=zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; assert z.comment == b"note"
print([(i.filename, i.header_offset, z.read(i).decode(), i.date_time[:1]) for i in z.infolist()])`;
  const python = spawnSync("python3", ["-c", script, path], { encoding: "utf8" });
  if (python.error !== undefined) return;
  expect([python.stderr, python.stdout]).toEqual([
    "",
    `[('plain', ${offset}, 'far away', (1980,)), ('large', ${offset + first.length}, 'far away', (1980,))]\n`,
  ]);
});
