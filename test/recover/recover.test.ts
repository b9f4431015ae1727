// Long because one tiny repository, made from the format page alone, is bent in every way the page forbids.

import { spawnSync } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import zlib from "node:zlib";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CODEC, type Codec, type EntryFields, filePart, type Kdf, RepositoryWriter, u8, varint } from "./repository-writer.ts";

const PROGRAM = fileURLToPath(new URL("../../recover.mjs", import.meta.url));
const PASSWORD = Buffer.from("pässword");
const SCRYPT: Kdf = { function: "scrypt", logN: 4, r: 8, p: 1 };
const UID = "0123456789abcdef0123456789abcdef";
const isRoot = process.getuid!() === 0;

let scratch: string;
let repository: string;
let output: string;

beforeEach(() => {
  scratch = fs.mkdtempSync(path.join(os.tmpdir(), "recover-"));
  repository = path.join(scratch, "repository");
  output = path.join(scratch, "output");
});
// Node's own rmSync fails on paths over 4,096 bytes.
afterEach(() => expect(spawnSync("rm", ["-rf", scratch]).status).toBe(0));

function run(args: readonly string[], env: Record<string, string> = {}): { status: number; out: string; err: string } {
  const all = { PATH: process.env.PATH, SECRET: PASSWORD.toString(), ...env };
  const result = spawnSync(process.execPath, [PROGRAM, repository, ...args], { encoding: "utf8", env: all, timeout: 60_000 });
  return { status: result.status ?? -1, out: result.stdout, err: result.stderr };
}
const recover = (...args: string[]) => run(["--password-env", "SECRET", ...args]);
const restore = (...args: string[]) => recover("restore", "latest", "--to", output, ...args);
const restored = (name: string): string => fs.readFileSync(path.join(output, name), "utf8");

function flipByte(name: string, at: number): void {
  const file = path.join(repository, name);
  const content = fs.readFileSync(file);
  content[at < 0 ? content.length + at : at] ^= 1;
  fs.writeFileSync(file, content);
}

const random = (seed: string, length: number): Buffer => {
  const cipher = crypto.createCipheriv("aes-128-ctr", crypto.createHash("md5").update(seed).digest(), Buffer.alloc(16));
  return cipher.update(Buffer.alloc(length));
};
const file = (name: string | Buffer, size: number, ids: readonly Buffer[], more: Partial<EntryFields> = {}): EntryFields => ({
  name,
  type: 1,
  part: filePart(size, ids),
  ...more,
});
const directory = (name: string, tree: Buffer, more: Partial<EntryFields> = {}): EntryFields => ({
  name,
  type: 2,
  part: tree,
  mode: 0o755,
  ...more,
});

/** A repository of one snapshot with two files, "a" and "b", each in a data pack of its own. */
function twoFiles(codec: Codec = CODEC.none): {
  writer: RepositoryWriter;
  packA: string;
  packB: string;
  treePack: string;
  index: string;
} {
  const writer = new RepositoryWriter(repository);
  writer.writeSlot(SCRYPT, PASSWORD);
  const a = writer.frame(1, [Buffer.from("content of a ".repeat(50))], codec);
  const packA = writer.endPack(1);
  const b = writer.frame(1, [Buffer.from("content of b")], codec);
  const packB = writer.endPack(1);
  const root = writer.leaf([file("a", 650, a), file("b", 12, b)], codec);
  const treePack = writer.endPack(2);
  writer.writeSnapshot(root, UID, "2026-02-01T00:00:00.000Z");
  return { writer, packA, packB, treePack, index: writer.writeIndex() };
}

describe("keys", () => {
  it.each<Kdf>([
    { function: "argon2id", memoryKiB: 64, passes: 1, parallelism: 2 },
    SCRYPT,
    { function: "scrypt", logN: 10, r: 8, p: 2 },
    { function: "pbkdf2", hash: "sha512", iterations: 10 },
  ])("opens a slot of $function with a password file", (kdf) => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(kdf, Buffer.from("another"));
    writer.writeSlot(kdf, PASSWORD);
    writer.writeSnapshot(Buffer.alloc(32), UID, "2026-02-01T00:00:00.000Z");
    const passwordFile = path.join(scratch, "password");
    for (const ending of ["", "\n", "\r\n"]) {
      fs.writeFileSync(passwordFile, PASSWORD.toString() + ending);
      const result = run(["--password-file", passwordFile, "list"]);
      expect(result).toMatchObject({ status: 0, err: "" });
      expect(result.out).toContain(UID);
    }
    fs.writeFileSync(passwordFile, `${PASSWORD.toString()}\n\n`); // only one newline is taken off
    expect(run(["--password-file", passwordFile, "list"]).status).toBe(12);
  });

  it("opens a slot with a key file", () => {
    const writer = new RepositoryWriter(repository);
    const key = crypto.randomBytes(32);
    writer.writeSlot({ function: "keyfile" }, key);
    const keyFile = path.join(scratch, "key");
    fs.writeFileSync(keyFile, `${key.toString("hex")}\n`);
    expect(run(["--key-file", keyFile, "list"]).status).toBe(0);
    fs.writeFileSync(keyFile, `${crypto.randomBytes(32).toString("hex")}\n`);
    expect(run(["--key-file", keyFile, "list"])).toMatchObject({
      status: 12,
      err: "The key file opens none of the key slots.\n",
    });
    expect(recover("list")).toMatchObject({ status: 12, err: "The repository has no key slot for a password.\n" });
  });

  it("ends with 12 for a wrong password, 10 without a repository, 2 for wrong usage or no terminal", () => {
    twoFiles();
    expect(run(["--password-env", "SECRET", "list"], { SECRET: "wrong" }).status).toBe(12);
    expect(run(["list"]).status).toBe(2);
    expect(recover("restore", "latest").status).toBe(2);
    repository = path.join(scratch, "nothing");
    expect(recover("list").status).toBe(10);
  });

  it("refuses a slot whose cost is out of bounds, or which is followed by more than spaces", () => {
    const writer = new RepositoryWriter(repository);
    const slot = path.join(repository, writer.writeSlot(SCRYPT, PASSWORD));
    const text = fs.readFileSync(slot, "utf8");
    fs.writeFileSync(slot, `${text.slice(0, -1)}\n`);
    expect(recover("list").status).toBe(12);
    fs.writeFileSync(slot, text.replace('"logN":4', '"logN":30').slice(0, 4096));
    expect(recover("list").status).toBe(12);
    fs.writeFileSync(slot, text);
    expect(recover("list").status).toBe(0);
  });

  it("takes the highest generation of the keyring and refuses unknown incompatible features", () => {
    const { writer } = twoFiles();
    writer.writeKeyring(7);
    writer.writeKeyring(6, { epochs: [] });
    expect(restore().status).toBe(0);
    writer.writeKeyring(8, { features: { incompatible: ["time travel"] } });
    expect(recover("list")).toMatchObject({ status: 1, err: expect.stringContaining("time travel") as string });
  });
});

describe("restoring", () => {
  it("restores every type of entry with its metadata", () => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    const text = writer.frame(1, [Buffer.from("hello\n"), Buffer.from("second\n")], CODEC.gzip);
    const parts = Array.from({ length: 7 }, (_, number) => random(`part ${number}`, 300_000 + number));
    const firstIds = parts.slice(0, 4).flatMap((part) => writer.frame(1, [part], CODEC.zstd));
    writer.endPack(1);
    const ids = [...firstIds, ...writer.frame(1, parts.slice(4), CODEC.none)];
    const extent = random("sparse", 10_000);
    const sparse = writer.frame(1, [extent.subarray(0, 7000), extent.subarray(7000)]);
    writer.endPack(1);

    const list = (children: readonly Buffer[]) =>
      writer.frame(2, [Buffer.concat([u8(1), u8(2), varint(children.length), ...children])], CODEC.zstd)[0];
    const depthOne = [list(ids.slice(0, 3)), list(ids.slice(3, 6)), list(ids.slice(6))];
    const depthTwo = [list(depthOne.slice(0, 2)), list(depthOne.slice(2))];
    const large = Buffer.concat(parts);
    const rawName = Buffer.from([0x6e, 0xff, 0xfe, 0x0a]);
    const xattrs = [["user.note", Buffer.from([0, 1, 255])]] as const;
    const linked = { inode: 2n ** 63n + 5n, device: 2n ** 40n, links: 2 };
    const before1970 = -1_500_000_000n;
    const leafA = writer.leaf(
      [
        file("empty", 0, []),
        file("hello", 6, [text[0]], { mode: 0o4750, xattrs, ...linked }),
        file("large-1", large.length, [], { part: filePart(large.length, depthOne, 1) }),
        file("large-2", large.length, [], { part: filePart(large.length, depthTwo, 2) }),
      ],
      CODEC.zstd,
    );
    const leafB = writer.leaf(
      [
        file(rawName, 7, [text[1]], { mtime: before1970, mode: 0o400 }),
        file("link", 6, [text[0]], linked),
        { name: "pipe", type: 6, mode: 0o600 },
        { name: "socket", type: 7 },
        {
          name: "sparse",
          type: 1,
          flags: 8,
          part: filePart(9_000_000, sparse, 0, [
            [4096, 4096],
            [5_000_000, 5904],
          ]),
        },
        { name: "lonely-hole", type: 1, flags: 8, part: filePart(1_000_000, [], 0, []) },
        { name: "symlink", type: 3, part: Buffer.concat([varint(11), Buffer.from("/etc/passwd")]), mode: 0o777 },
        ...(isRoot ? [{ name: "null", type: 4, part: varint(0x103), uid: 7, gid: 8, mode: 0o666 }] : []),
      ],
      CODEC.gzip,
    );
    const row = (name: string, id: Buffer) => Buffer.concat([varint(name.length), Buffer.from(name), id]);
    const inner = writer.frame(2, [Buffer.concat([u8(1), u8(1), varint(2), row("empty", leafA), row("link", leafB)])])[0];
    writer.endPack(2);
    const home = writer.leaf([directory("data", inner, { mode: 0o555, mtime: 1_234_567_890_987_654_321n })]);
    const root = writer.leaf([directory("empty", writer.leaf([]), { mode: 0o700 }), directory("home", home)]);
    writer.endPack(2);
    writer.writeSnapshot(root, UID, "2026-02-01T00:00:00.000Z");
    writer.writeIndex();

    expect(restore()).toMatchObject({ status: 0, out: "" });
    const at = (name: string | Buffer) => Buffer.concat([Buffer.from(`${output}/home/data/`), Buffer.from(name as string)]);
    const stat = (name: string | Buffer) => fs.lstatSync(at(name), { bigint: true });
    expect(fs.readdirSync(path.join(output, "empty"))).toEqual([]);
    expect(stat("empty").size).toBe(0n);
    expect(fs.readFileSync(at("hello"), "utf8")).toBe("hello\n");
    expect(stat("hello").mode & 0o7777n).toBe(0o4750n);
    expect(stat("hello").mtimeNs).toBe(1_600_000_000_123_456_789n);
    expect(stat("hello").ino).toBe(stat("link").ino);
    const asHex = spawnSync("getfattr", ["-n", "user.note", "-e", "hex", "--only-values", at("hello").toString()]);
    expect(asHex.stdout).toEqual(Buffer.from([0, 1, 255]));
    expect(fs.readFileSync(at("large-1")).equals(large)).toBe(true);
    expect(fs.readFileSync(at("large-2")).equals(large)).toBe(true);
    expect(fs.readFileSync(at(rawName), "utf8")).toBe("second\n");
    expect(stat(rawName).mtimeNs).toBe(before1970);
    expect(stat(rawName).mode & 0o7777n).toBe(0o400n);
    expect(stat("pipe").isFIFO()).toBe(true);
    expect(fs.readlinkSync(at("symlink"))).toBe("/etc/passwd");
    expect(stat("symlink").mtimeNs).toBe(1_600_000_000_123_456_789n);
    const expected = Buffer.alloc(9_000_000);
    extent.copy(expected, 4096, 0, 4096);
    extent.copy(expected, 5_000_000, 4096);
    expect(fs.readFileSync(at("sparse")).equals(expected)).toBe(true);
    expect(Number(stat("sparse").blocks) * 512).toBeLessThan(1_000_000);
    expect(stat("lonely-hole")).toMatchObject({ size: 1_000_000n, blocks: 0n });
    if (isRoot) {
      expect(stat("null")).toMatchObject({ rdev: 0x103n, uid: 7n, gid: 8n });
      expect(stat("null").isCharacterDevice()).toBe(true);
    }
    const data = fs.lstatSync(path.join(output, "home/data"), { bigint: true });
    expect(data.mtimeNs).toBe(1_234_567_890_987_654_321n);
    expect(data.mode & 0o7777n).toBe(0o555n);
  });

  it("restores without python3 and perl, to about a microsecond, and says what was lost", () => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    const xattrs = [["user.note", Buffer.from("x")]] as const;
    const root = writer.leaf([file("new", 0, [], { xattrs, mode: 0o640 }), file("old", 0, [], { mtime: -1_500_000_000n })]);
    writer.endPack(2);
    writer.writeSnapshot(root, UID, "2026-02-01T00:00:00.000Z");
    const result = run(["--password-env", "SECRET", "restore", "latest", "--to", output], { PATH: "/nonexistent" });
    expect(result.status).toBe(0);
    expect(result.err).toContain("1 extended attributes were not set: that needs python3 or perl.");
    expect(result.err).toContain("2 times were set to about a microsecond");
    const stat = fs.statSync(path.join(output, "new"), { bigint: true });
    expect(stat.mode & 0o7777n).toBe(0o640n);
    const difference = stat.mtimeNs - 1_600_000_000_123_456_789n;
    expect(difference > -2000n && difference < 2000n).toBe(true);
    expect(fs.statSync(path.join(output, "old"), { bigint: true }).mtimeNs).toBe(-1_500_000_000n);
  });

  it.each([CODEC.none, CODEC.zstd, CODEC.gzip])("reads codec %i in data and trees, and without any index", (codec) => {
    const { index } = twoFiles(codec);
    fs.rmSync(path.join(repository, "index", index));
    const result = restore();
    expect(result).toMatchObject({ status: 0, err: expect.stringContaining("because index/ holds nothing") as string });
    expect([restored("a"), restored("b")]).toEqual(["content of a ".repeat(50), "content of b"]);
  });

  it("restores one path, and fails if there is no such path", () => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    const content = writer.frame(1, [Buffer.from("1"), Buffer.from("2")]);
    writer.endPack(1);
    const etc = writer.leaf([file("hosts", 1, [content[0]]), file("other", 1, [content[1]])]);
    writer.writeSnapshot(writer.leaf([directory("etc", etc), directory("srv", etc)]), UID, "2026-02-01T00:00:00.000Z");
    writer.endPack(2);
    expect(restore("/etc/hosts").status).toBe(0);
    expect(fs.readdirSync(output, { recursive: true })).toEqual(["etc", "etc/hosts"]);
    const missing = recover("restore", UID.slice(0, 8), "--to", path.join(scratch, "other"), "etc/hosts/x");
    expect(missing).toMatchObject({ status: 1, err: expect.stringContaining("does not hold etc/hosts/x") as string });
  });

  it("offers neither damaged snapshots nor those a note deletes, and picks the latest of the rest", () => {
    const { writer } = twoFiles();
    const empty = writer.leaf([]);
    writer.endPack(2);
    const latest = writer.writeSnapshot(empty, "f".repeat(32), "2026-03-01T00:00:00.000Z");
    writer.writeIndex();
    expect(recover("list").out.trimEnd().split("\n")).toHaveLength(3);
    expect(restore().err).toContain(`Restoring snapshot ${"f".repeat(32)}`);
    writer.writeObject("notes", 9, {
      type: "deletion",
      time: "2026-03-02T00:00:00.000Z",
      snapshots: [{ object: latest, uid: "f".repeat(32) }],
    });
    expect(recover("list").out).not.toContain("ffff");
    expect(recover("list", "--deleted").out).toContain("ffff");
    expect(restore().err).toContain(`Restoring snapshot ${UID}`);
    const broken = `snapshots/${writer.writeSnapshot(empty, "e".repeat(32), "2026-04-01T00:00:00.000Z")}`;
    flipByte(broken, 2000);
    expect(recover("list")).toMatchObject({ status: 3, err: expect.stringContaining(broken) as string });
  });
});

describe("damage", () => {
  it("names the file of a damaged chunk, restores the rest and ends with 3", () => {
    const { packA } = twoFiles();
    flipByte(packA, 40);
    const result = restore();
    expect(result.status).toBe(3);
    expect(result.err).toContain(`Not restored: ${output}/a: chunk `);
    expect(result.err).toContain(path.basename(packA));
    expect(fs.readdirSync(output)).toEqual(["b"]);
    expect(restored("b")).toBe("content of b");
  });

  it("refuses bytes that do not fit their chunk id, though they were sealed properly", () => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    const right = Buffer.from("right");
    writer.frame(1, [Buffer.from("wrong")], CODEC.none, [writer.chunkId(1, right)]);
    writer.endPack(1);
    writer.writeSnapshot(writer.leaf([file("f", 5, [writer.chunkId(1, right)])]), UID, "2026-02-01T00:00:00.000Z");
    writer.endPack(2);
    expect(restore()).toMatchObject({ status: 3, err: expect.stringContaining("do not fit its id") as string });
    expect(fs.readdirSync(output)).toEqual([]);
    writer.frame(1, [right]);
    writer.endPack(1);
    expect(restore().status).toBe(0);
    expect(restored("f")).toBe("right");
  });

  it("refuses objects under a wrong name, with wrong padding, or with bytes after the compressed data", () => {
    const { writer } = twoFiles();
    const name = writer.writeSnapshot(writer.chunkId(2, Buffer.alloc(0)), "e".repeat(32), "2026-04-01T00:00:00.000Z");
    expect(recover("list").status).toBe(0);
    fs.renameSync(path.join(repository, "snapshots", name), path.join(repository, "snapshots", "0".repeat(64)));
    expect(recover("list").err).toContain("the SHA-256 of its bytes is not its name");
    fs.rmSync(path.join(repository, "snapshots", "0".repeat(64)));
    writer.paddingByte = 1;
    writer.writeSnapshot(Buffer.alloc(32), "d".repeat(32), "2026-04-01T00:00:00.000Z");
    expect(recover("list")).toMatchObject({ status: 3, err: expect.stringContaining("has wrong padding") as string });
    expect(recover("list").out).not.toContain("dddd");
  });

  it.each([CODEC.none, CODEC.zstd, CODEC.gzip])("refuses a frame of codec %i with bytes after its data", (codec) => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    writer.trailing = Buffer.alloc(2);
    const ids = writer.frame(1, [Buffer.from("12345".repeat(20))], codec);
    writer.trailing = Buffer.alloc(0);
    writer.endPack(1);
    writer.writeSnapshot(writer.leaf([file("f", 100, ids)]), UID, "2026-02-01T00:00:00.000Z");
    writer.endPack(2);
    expect(restore().status).toBe(3);
    expect(fs.readdirSync(output)).toEqual([]);
  });

  it.each([
    ["without a chunk", []],
    ["with an empty chunk", [Buffer.from("x"), Buffer.alloc(0)]],
  ])("refuses the directory of a pack that has a frame %s", (_what, chunks) => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    const good = writer.frame(1, [Buffer.from("1")]);
    const pack = writer.endPack(1);
    const beside = writer.frame(1, [Buffer.from("2")]);
    writer.frame(1, chunks);
    const bad = writer.endPack(1);
    writer.writeSnapshot(writer.leaf([file("a", 1, good), file("b", 1, beside)]), UID, "2026-02-01T00:00:00.000Z");
    writer.endPack(2);
    const { status, err } = restore();
    expect(status).toBe(3);
    expect(err).toContain(`The directory of pack ${path.basename(bad)} cannot be read`);
    expect(err).not.toContain(path.basename(pack));
    expect(fs.readdirSync(output)).toEqual(["a"]);
  });

  it("finds each of many chunks", () => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    const whole = random("many", 9000 * 4);
    const ids = writer.frame(
      1,
      Array.from({ length: 9000 }, (_, number) => whole.subarray(number * 4, number * 4 + 4)),
    );
    writer.endPack(1);
    const list = (some: readonly Buffer[]) => writer.frame(2, [Buffer.concat([u8(1), u8(2), varint(some.length), ...some])])[0];
    const lists = [list(ids.slice(0, 4096)), list(ids.slice(4096, 8192)), list(ids.slice(8192))];
    const root = writer.leaf([{ name: "f", type: 1, part: filePart(whole.length, lists, 1) }]);
    writer.endPack(2);
    writer.writeSnapshot(root, UID, "2026-02-01T00:00:00.000Z");
    writer.writeIndex();
    expect(restore().status).toBe(0);
    expect(fs.readFileSync(path.join(output, "f")).equals(whole)).toBe(true);
  });

  it("keeps both contents of two entries that claim to be one file", () => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    const ids = writer.frame(1, [Buffer.from("1"), Buffer.from("2")]);
    writer.endPack(1);
    const linked = { inode: 5n, device: 6n, links: 2 };
    const root = writer.leaf([file("a", 1, [ids[0]], linked), file("b", 1, [ids[1]], linked), file("c", 1, [ids[0]], linked)]);
    writer.endPack(2);
    writer.writeSnapshot(root, UID, "2026-02-01T00:00:00.000Z");
    expect(restore().status).toBe(0);
    expect([restored("a"), restored("b"), restored("c")]).toEqual(["1", "2", "1"]);
    expect(fs.statSync(path.join(output, "c")).ino).toBe(fs.statSync(path.join(output, "a")).ino);
  });

  it("takes another copy of a damaged chunk", () => {
    const { writer, packA } = twoFiles();
    flipByte(packA, 40);
    writer.frame(1, [Buffer.from("something else"), Buffer.from("content of a ".repeat(50))], CODEC.zstd);
    writer.endPack(1); // no index object names this pack: it is found only by its directory
    expect(restore().status).toBe(0);
    expect(restored("a")).toBe("content of a ".repeat(50));
  });

  it("reads the packs themselves when an index object is damaged, or when it is told to", () => {
    const { writer, index } = twoFiles();
    expect(restore("--rebuild").err).toContain("Reading the directories of 3 packs");
    flipByte(`index/${index}`, 1000);
    expect(restore("--force")).toMatchObject({ status: 0, err: expect.stringContaining("because index/ is damaged") as string });
    writer.writeIndex([index]); // replaces the damaged one: nothing is missing
    expect(restore("--force").err).not.toContain("Reading the directories");
  });

  it("follows an index object that replaces one which leads astray", () => {
    const { writer, index } = twoFiles();
    fs.rmSync(path.join(repository, "index", index));
    const wrong = writer.writeIndex([], []);
    writer.writeIndex([wrong]);
    expect(restore()).toMatchObject({ status: 0, err: expect.not.stringContaining("Reading the directories") as string });
  });

  it("restores the other parts of a directory that lost one", () => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    const lost = writer.leaf([file("a", 0, [])]);
    const lostPack = writer.endPack(2);
    const kept = writer.leaf([file("b", 0, [])]);
    const rows = [Buffer.from("\u0001a"), lost, Buffer.from("\u0001b"), kept];
    const root = writer.frame(2, [Buffer.concat([u8(1), u8(1), varint(2), ...rows])])[0];
    writer.endPack(2);
    writer.writeSnapshot(root, UID, "2026-02-01T00:00:00.000Z");
    writer.writeIndex();
    fs.rmSync(path.join(repository, lostPack));
    expect(restore().status).toBe(3);
    expect(fs.readdirSync(output)).toEqual(["b"]);
  });

  it.each(["..", ".", "", "x/y", "x\0y"])("refuses the name %j", (name) => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    writer.writeSnapshot(writer.leaf([file(name, 0, [])]), UID, "2026-02-01T00:00:00.000Z");
    writer.endPack(2);
    const result = restore();
    expect(result).toMatchObject({ status: 3, err: expect.stringContaining("a name is forbidden") as string });
    expect(fs.readdirSync(output)).toEqual([]);
  });

  it("refuses content that does not fill its size", () => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    const ids = writer.frame(1, [Buffer.from("12345")]);
    writer.endPack(1);
    writer.writeSnapshot(
      writer.leaf([file("long", 4, ids), file("short", 6, ids), file("right", 5, ids)]),
      UID,
      "2026-02-01T00:00:00.000Z",
    );
    writer.endPack(2);
    expect(restore().status).toBe(3);
    expect(fs.readdirSync(output)).toEqual(["right"]);
  });
});

describe("what the format forbids", () => {
  /** Restores one snapshot whose root holds a good file and what `build` adds; gives what was said. */
  function restoreBeside(build: (writer: RepositoryWriter, ids: readonly Buffer[]) => EntryFields): string {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    const ids = writer.frame(1, [Buffer.from("1"), Buffer.from("2")]);
    writer.endPack(1);
    const bad = writer.leaf([build(writer, ids)]);
    writer.writeSnapshot(writer.leaf([directory("bad", bad), file("good", 1, [ids[0]])]), UID, "2026-02-01T00:00:00.000Z");
    writer.endPack(2);
    const result = restore();
    expect(result.status).toBe(3);
    expect(new Set(fs.readdirSync(output, { encoding: "utf8", recursive: true }))).toEqual(new Set(["bad", "good"]));
    return result.err;
  }
  const part = (profile: number, depth: number, ids: readonly Buffer[], size = 1): Buffer =>
    Buffer.concat([varint(size), u8(profile), u8(depth), varint(ids.length), ...ids]);
  const xattr = (name: string): readonly [string, Buffer] => [name, Buffer.from("v")];

  it.each<[string, (ids: readonly Buffer[]) => EntryFields]>([
    ["unknown flags", (ids) => file("f", 1, [ids[0]], { flags: 32 })],
    ["a file that is an unreadable directory", (ids) => file("f", 1, [ids[0]], { flags: 16 })],
    ["a pipe that is sparse", () => ({ name: "f", type: 6, flags: 8 })],
    ["type 8", () => ({ name: "f", type: 8 })],
    ["a mode beyond the permissions", (ids) => file("f", 1, [ids[0]], { mode: 0o10000 })],
    ["a uid of 33 bits", (ids) => file("f", 1, [ids[0]], { uid: 2 ** 32 })],
    ["profile 0 with chunks", (ids) => file("f", 1, [], { part: part(0, 0, [ids[0]]) })],
    ["profile 5", (ids) => file("f", 1, [], { part: part(5, 0, [ids[0]]) })],
    ["a profile without chunks", () => file("f", 0, [], { part: part(1, 0, [], 0) })],
    ["data without chunks", () => file("f", 1, [], { part: part(0, 0, []) })],
    ["more chunks than bytes", (ids) => file("f", 1, [], { part: part(1, 0, ids) })],
    ["depth 5", (ids) => file("f", 1, [], { part: part(1, 5, [ids[0]]) })],
    ["an empty target", () => ({ name: "f", type: 3, part: varint(0) })],
    ["a target with NUL", () => ({ name: "f", type: 3, part: Buffer.from("\x03a\0b") })],
    [
      "a target beyond the bound",
      () => ({ name: "f", type: 3, part: Buffer.concat([varint(65_537), Buffer.alloc(65_537, "t")]) }),
    ],
    ["xattrs out of order", (ids) => file("f", 1, [ids[0]], { xattrs: [xattr("user.b"), xattr("user.a")] })],
    ["an xattr without a name", (ids) => file("f", 1, [ids[0]], { xattrs: [xattr("")] })],
    ["a name of an xattr beyond the bound", (ids) => file("f", 1, [ids[0]], { xattrs: [xattr("x".repeat(1025))] })],
    ["flag 4 without xattrs", () => ({ name: "f", type: 6, flags: 4, part: varint(0) })],
    ["a user beyond the bound", () => ({ name: "f", type: 6, user: "u".repeat(1025) })],
    ["a directory with a device", (ids) => ({ name: "f", type: 2, part: ids[0], device: 1n })],
  ])("%s", (_what, build) => {
    expect(restoreBeside((_writer, ids) => build(ids))).toMatch(/Not restored: .*an unknown part of this directory/);
  });

  it("a list of chunks without any", () => {
    const said = restoreBeside((writer) => {
      const empty = writer.frame(2, [Buffer.from([1, 2, 0])])[0];
      return file("f", 1, [], { part: part(1, 1, [empty]) });
    });
    expect(said).toContain("a chunk list is malformed");
  });

  it("leaves that overlap, and a part that begins with another name than its parent says", () => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    const leaf = (...names: readonly string[]): Buffer => writer.leaf(names.map((name) => file(name, 0, [])));
    const row = (name: string, id: Buffer): Buffer => Buffer.concat([u8(name.length), Buffer.from(name), id]);
    const inner = (...rows: readonly Buffer[]): Buffer =>
      writer.frame(2, [Buffer.concat([u8(1), u8(1), u8(rows.length), ...rows])])[0];
    const overlapping = inner(row("a", leaf("a", "d")), row("c", leaf("c")), row("e", leaf("e")));
    const renamed = inner(row("a", leaf("a")), row("b", leaf("c")), row("e", leaf("e", "f")));
    const root = writer.leaf([directory("overlapping", overlapping), directory("renamed", renamed)]);
    writer.endPack(2);
    writer.writeSnapshot(root, UID, "2026-02-01T00:00:00.000Z");
    expect(restore().status).toBe(3);
    expect(fs.readdirSync(path.join(output, "overlapping"))).toEqual(["a", "d", "e"]);
    expect(fs.readdirSync(path.join(output, "renamed"))).toEqual(["a", "e", "f"]);
  });

  it.each([CODEC.zstd, CODEC.gzip])("a second frame or member of codec %i", (codec) => {
    const empty = codec === CODEC.zstd ? zlib.zstdCompressSync("") : zlib.gzipSync("");
    for (const [members, trailing, status] of [
      [1, Buffer.alloc(0), 0],
      [2, Buffer.alloc(0), 3],
      [1, empty, 3],
    ] as const) {
      fs.rmSync(repository, { recursive: true, force: true });
      const writer = new RepositoryWriter(repository);
      writer.writeSlot(SCRYPT, PASSWORD);
      Object.assign(writer, { members, trailing });
      const ids = writer.frame(1, [Buffer.alloc(900, "1")], codec);
      Object.assign(writer, { members: 1, trailing: Buffer.alloc(0) });
      writer.endPack(1);
      writer.writeSnapshot(writer.leaf([file("f", 900, ids)]), UID, "2026-02-01T00:00:00.000Z");
      writer.endPack(2);
      expect(restore("--force").status).toBe(status);
    }
  });

  it("a slot of argon2id with less than 8 KiB a lane, and an empty password", () => {
    const writer = new RepositoryWriter(repository);
    const slot = path.join(
      repository,
      writer.writeSlot({ function: "argon2id", memoryKiB: 32, passes: 1, parallelism: 4 }, PASSWORD),
    );
    expect(recover("list").status).toBe(0);
    fs.writeFileSync(slot, fs.readFileSync(slot, "utf8").replace('"memoryKiB":32', '"memoryKiB":31'));
    expect(recover("list")).toMatchObject({ status: 12, err: expect.stringContaining("a cost is out of bounds") as string });
    expect(run(["--password-env", "SECRET", "list"], { SECRET: "" })).toMatchObject({
      status: 12,
      err: "The password is empty.\n",
    });
  });
});

describe("the destination", () => {
  it("must be empty, unless forced; then files are replaced and symlinks never followed", () => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    const content = writer.frame(1, [Buffer.from("new")]);
    writer.endPack(1);
    const leaf = writer.leaf([file("f", 3, content)]);
    const root = writer.leaf([directory("d1", leaf), directory("d2", leaf), file("f1", 3, content), file("f2", 3, content)]);
    writer.endPack(2);
    writer.writeSnapshot(root, UID, "2026-02-01T00:00:00.000Z");
    const outside = path.join(scratch, "outside");
    fs.mkdirSync(path.join(outside, "dir"), { recursive: true });
    fs.writeFileSync(path.join(outside, "file"), "untouched");
    fs.mkdirSync(output);
    fs.symlinkSync(path.join(outside, "dir"), path.join(output, "d1"));
    fs.mkdirSync(path.join(output, "d2"));
    fs.symlinkSync(path.join(outside, "file"), path.join(output, "f1"));
    fs.writeFileSync(path.join(output, "f2"), "old");

    expect(restore()).toMatchObject({ status: 1, err: expect.stringContaining("is not empty") as string });
    expect(restore("--force")).toMatchObject({
      status: 3,
      err: expect.stringContaining(`Not restored: ${output}/d1: `) as string,
    });
    expect(fs.readdirSync(path.join(outside, "dir"))).toEqual([]);
    expect(fs.readFileSync(path.join(outside, "file"), "utf8")).toBe("untouched");
    expect([restored("d2/f"), restored("f1"), restored("f2")]).toEqual(["new", "new", "new"]);
  });

  it("has paths longer than the system takes; symlinks there are not followed either", () => {
    const writer = new RepositoryWriter(repository);
    writer.writeSlot(SCRYPT, PASSWORD);
    const content = writer.frame(1, [Buffer.from("deep")]);
    writer.endPack(1);
    const linked = { inode: 5n, device: 6n, links: 2 };
    const mtime = 1_500_000_000_000_000_007n;
    let tree = writer.leaf([file("one", 4, content, linked), file("two", 4, content, linked), { name: "pipe", type: 6, mtime }]);
    const name = "d".repeat(200);
    for (let level = 0; level < 30; level++) tree = writer.leaf([directory(name, tree, { mtime })]);
    writer.endPack(2);
    writer.writeSnapshot(tree, UID, "2026-02-01T00:00:00.000Z");
    expect(restore()).toMatchObject({ status: 0, err: expect.not.stringContaining("not set") as string });
    const find = (...args: readonly string[]) => spawnSync("find", [output, ...args], { encoding: "utf8" }).stdout;
    const [one, two] = ["one", "two"].map((each) =>
      find("-name", each, "-type", "f", "-links", "2", "-size", "4c", "-printf", "%i"),
    );
    expect(one).toMatch(/^\d+$/);
    expect(two).toBe(one);
    expect(find("-name", "pipe", "-type", "p", "-printf", "%T@ %m")).toBe("1500000000.0000000070 644");
    expect(find("-name", name, "-not", "-newermt", "@1500000000.000000008", "-printf", "x")).toHaveLength(30);

    const outside = path.join(scratch, "outside");
    fs.mkdirSync(outside);
    const bend = path.join(output, ...Array.from({ length: 10 }, () => name));
    expect(spawnSync("rm", ["-r", bend]).status).toBe(0);
    fs.symlinkSync(outside, bend);
    expect(restore("--force")).toMatchObject({ status: 3, err: expect.stringContaining("is in the way") as string });
    expect(fs.readdirSync(outside)).toEqual([]);
    fs.rmSync(bend);
    expect(restore("--force").status).toBe(0);
  });
});
