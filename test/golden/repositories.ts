/**
 * The golden repositories of format 1 that the encoders write, by their folder below `repositories/v1/`. What they hold
 * comes from formulas in `fixed.ts`, so that they are small and their manifests can be made without reading them.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeDevice } from "../../src/posix/stat.ts";
import type { EntryMeta } from "../../src/sources/source.ts";
import { ODD_TIMES, SAMPLE_ACL } from "../support/oddities.ts";
import { counterStream, fixedKey, KEY_FILE, PASSWORD, repeated } from "./fixed.ts";
import { keyFile, Maker, password, type Spec } from "./maker.ts";
import type { Manifest } from "./manifest.ts";

/** Writes into an empty folder and says what must be found there. */
type Make = (folder: string) => Promise<Manifest>;

const text = (value: string): Buffer => Buffer.from(value);
const file = (name: string, data: string | Buffer, meta: Partial<EntryMeta> = {}): Spec => ({
  name,
  data: Buffer.from(data),
  meta,
});
const folder = (name: string, children: readonly Spec[], meta: Partial<EntryMeta> = {}): Spec => ({ name, children, meta });

const DEFAULTS = { format: "repository", removedSecrets: [], deleted: [], condemned: [], damage: [], unmarked: [] } as const;

/** Everything an entry can be, beside what no file system takes. */
function oddTree(): Spec[] {
  const names = [
    "caf\xe9",
    "\xff\xfe\x80",
    "line\nbreak",
    "tab\tand\x01control\x7f",
    "back\\slash",
    "-rf",
    " spaces ",
    "...",
    "\xf0\x9f\x92\xbe",
    "n".repeat(255),
    "\xe9".repeat(255),
    "\xc3\xa9",
    "e\xcc\x81",
    "Case",
    "case",
  ];
  const linked = { links: 3, inode: 77n } as const;
  const extents = (...list: readonly (readonly [number, number])[]): { offset: number; length: number }[] =>
    list.map(([offset, length]) => ({ offset, length }));
  const xattr = (name: string, value: Buffer | string): { name: Buffer; value: Buffer } => ({
    name: Buffer.from(name, "latin1"),
    value: Buffer.from(value),
  });
  return [
    folder(
      "names",
      names.map((name) => file(name, Buffer.from(`I am ${name}`, "latin1"))),
    ),
    folder("links", [
      folder("a", [file("one", "one file, three names", linked), file("twin", "one file, three names")]),
      folder("b", [
        file("two", "one file, three names", linked),
        { name: "link too", type: "symlink", target: "nowhere", meta: { links: 2, inode: 78n } },
      ]),
      file("three", "one file, three names", linked),
      // Its other name is not in the backup.
      file("half", "another name outside", { links: 2, inode: 79n }),
      { name: "dangling", type: "symlink", target: "nowhere", meta: { links: 2, inode: 78n, mode: 0o777 } },
      { name: "absolute", type: "symlink", target: "/etc/hostname", meta: { mode: 0o777 } },
      { name: "raw", type: "symlink", target: "caf\xe9\n", meta: { mode: 0o777, mtimeNs: -5n } },
      { name: "long", type: "symlink", target: "x/".repeat(2000), meta: { mode: 0o777 } },
    ]),
    folder("sparse", [
      {
        name: "gaps",
        data: text("firstmiddlelast"),
        size: 3 * 2 ** 20,
        extents: extents([0, 5], [2 ** 20 + 5, 6], [3 * 2 ** 20 - 4, 4]),
      },
      { name: "only-hole", size: 2 ** 20, extents: [] },
      { name: "starts-with-hole", data: text("half way"), size: 2 ** 20, extents: extents([2 ** 19, 8]) },
      { name: "ends-with-hole", data: text("only the start"), size: 2 ** 20, extents: extents([0, 14]) },
      file("zeros", Buffer.alloc(256 * 1024)),
      file("empty", ""),
    ]),
    folder("attributes", [
      file("file", "with attributes", {
        xattrs: [
          xattr("user.binary", Buffer.from([0, 1, 0, 255, 10, 0])),
          xattr("user.caf\xe9 \n", "raw name"),
          xattr("user.empty", ""),
          xattr("user.long", "v".repeat(2500)),
        ],
      }),
      file("acl", "with an ACL", { mode: 0o640, xattrs: [xattr("system.posix_acl_access", SAMPLE_ACL)] }),
      folder("folder", [], {
        mode: 0o750,
        xattrs: [xattr("system.posix_acl_default", SAMPLE_ACL), xattr("user.kind", "folder")],
      }),
    ]),
    folder("special", [
      { name: "fifo", type: "fifo", meta: { mode: 0o640 } },
      { name: "socket", type: "socket", meta: { mode: 0o755 } },
      {
        name: "null",
        type: "chardev",
        rdev: makeDevice(1, 3),
        meta: { uid: 0, gid: 0, user: "root", group: "root", mode: 0o666 },
      },
      { name: "disk", type: "blockdev", rdev: makeDevice(7, 200), meta: { mode: 0o660 } },
      { name: "big-numbers", type: "chardev", rdev: makeDevice(0xabc, 0x12345), meta: { mode: 0o600 } },
    ]),
    folder("modes", [
      ...[0o4755, 0o2755, 0o6711, 0, 0o200, 0o777].map((mode) =>
        file(`file-${mode.toString(8).padStart(4, "0")}`, "mode", { mode }),
      ),
      ...[0o1777, 0o2775, 0o700, 0o555].map((mode) =>
        folder(`folder-${mode.toString(8).padStart(4, "0")}`, [file("inside", "inside")], { mode }),
      ),
    ]),
    folder("owners", [
      file("nameless", "owned", { uid: 54_321, gid: 12_345, user: "", group: "" }),
      file("highest", "owned", { uid: 0xfffffffe, gid: 0xfffffffe, user: "größe", group: "" }),
    ]),
    folder(
      "times",
      ODD_TIMES.map(([name, mtimeNs]) => file(name, name, { mtimeNs })),
      { mtimeNs: 1_234_567_890_000_098_765n },
    ),
    folder("flags", [
      { name: "changed", data: text("a mixture"), changedWhileRead: true, racy: true },
      { name: "racy", data: text("read again next time"), racy: true },
      { name: "unreadable", children: [], unreadable: true, meta: { mode: 0o700 } },
    ]),
    folder("empty-folder", []),
  ];
}

const entries: Make = async (place) => {
  const maker = await Maker.create(place, "entries", password(PASSWORD), { function: "scrypt", logN: 4, r: 8, p: 2 });
  const plan = { codec: "gzip", packBytes: 32 * 1024, frameBytes: 16 * 1024 } as const;
  const first = await maker.snapshot(oddTree(), plan, {
    description: "größer",
    tags: ["first", "ü"],
    facts: { paths: ["/"], nested: { count: 1 } },
  });
  const unreadable = [{ path: "/special/secret\\xe9", reason: "EACCES", message: "permission denied" }];
  await maker.snapshot([...oddTree().filter(({ name }) => name !== "times"), file("new", "not there before")], plan, {
    mode: "incremental",
    baseline: first.uid,
    previous: first.uid,
    status: "partial",
    unreadable,
    unreadableCount: 1,
    configDigest: fixedKey("config").toString("hex"),
    gitCommit: fixedKey("commit", 20).toString("hex"),
  });
  const made = maker.noteBase.time;
  await maker.repository[Symbol.asyncDispose]();
  return {
    about: "Every kind of entry: odd names, links, holes, attributes, devices, modes, owners, times. gzip, scrypt.",
    ...DEFAULTS,
    made,
    secrets: [{ kind: "password", secret: PASSWORD }],
    snapshots: maker.snapshots,
  };
};

/** Text whose lines all differ and that still compresses well. */
function numberedLines(count: number): Buffer {
  return text(
    Array.from({ length: count }, (_, i) => `${String(i).padStart(7, "0")} the quick brown fox jumps over the lazy dog\n`).join(
      "",
    ),
  );
}

/** `count` pages in turn out of `distinct` ones. */
function pages(seed: string, size: number, distinct: number, count: number): Buffer {
  const few = Array.from({ length: distinct }, (_, i) => counterStream(`${seed}/${i}`, 64));
  return Buffer.concat(Array.from({ length: count }, (_, i) => repeated((few[i % distinct] as Buffer).toString("hex"), size)));
}

const large: Make = async (place) => {
  const maker = await Maker.create(place, "large", password(PASSWORD), { function: "pbkdf2", hash: "sha512", iterations: 1000 });
  const zstd = { codec: "zstd", packBytes: 48 * 1024, frameBytes: 128 * 1024 } as const;
  const stream: Spec[] = [
    { name: "dump.sql", profile: "stream", data: Buffer.concat(Array<Buffer>(140).fill(pages("golden dump", 700, 256, 256))) },
  ];
  await maker.snapshot(stream, zstd, { job: "dump", sourceType: "command", source: "command" });
  const database: Spec[] = [
    { name: "db.sqlite", profile: "pages16", data: pages("golden pages 16", 16_384, 3, 300) },
    { name: "image", profile: "pages64", data: Buffer.concat([pages("golden pages 64", 65_536, 1, 260), Buffer.alloc(5)]) },
  ];
  await maker.snapshot(database, { codec: "none", packBytes: 64 * 1024 }, { job: "database" });
  await maker.newEpoch();
  // Packs as a prune leaves them: frames of two epochs side by side, and one that nobody needs any more.
  const lines = numberedLines(50_000);
  await maker.storeChunks(1, maker.cut("files", lines), { codec: "zstd" }, 1);
  const [unneeded] = await maker.storeChunks(1, [counterStream("golden unneeded", 3000)], { codec: "none" });
  const before = await maker.index();
  const many = Array.from({ length: 2600 }, (_, i) => file(`file ${String(i).padStart(5, "0")}`, `${i % 7}`));
  await maker.snapshot([folder("many", many), file("lines", lines)], zstd, { job: "home", summed: ["/many"] });
  await maker.index([before.id], before.packs);
  if (unneeded === undefined) throw new Error("a pack of one chunk was written");
  await maker.condemn("prune", [unneeded]);
  const made = maker.noteBase.time;
  await maker.repository[Symbol.asyncDispose]();
  return {
    about:
      "Lists of chunks in the profiles stream, pages16 and pages64, a split directory, packs of two epochs, a superseded index object, a condemned pack. zstd and none, pbkdf2.",
    ...DEFAULTS,
    made,
    secrets: [{ kind: "password", secret: PASSWORD }],
    condemned: [unneeded],
    snapshots: maker.snapshots,
  };
};

const damaged: Make = async (place) => {
  const maker = await Maker.create(place, "damaged", keyFile(KEY_FILE), { function: "keyfile" });
  const none = { codec: "none", frameBytes: 1 } as const;
  const content = (name: string): Buffer => counterStream(`golden ${name}`, 2000);
  const [again, gone, lost] = ["stored again", "gone", "lost"].map(content);
  const [marked] = await maker.storeChunks(1, [again, gone], none);
  const [unmarked] = await maker.storeChunks(1, [lost], none);
  if (marked === undefined || unmarked === undefined) throw new Error("packs were written");
  const fine = file("fine", content("fine"));
  const first = await maker.snapshot([file("gone", gone), file("lost", lost), file("stored again", again), fine], none);
  damage(join(place, "packs", marked.slice(0, 2), marked), 2 * 2048);
  damage(join(place, "packs", unmarked.slice(0, 2), unmarked), 2048);
  await maker.condemn("damaged", [marked]);
  // The next backup stores again what it meets.
  maker.forget(1, [again]);
  const second = await maker.snapshot([file("stored again", again), fine], none, {
    previous: first.uid,
    baseline: first.uid,
    mode: "incremental",
  });
  const unreadable = (path: string): boolean => path === "/gone" || path === "/lost";
  const snapshots = maker.snapshots.map((one) => ({
    ...one,
    entries: one.entries.map((entry) => (unreadable(entry.path) ? { ...entry, sha256: "object_damaged" } : entry)),
  }));
  const made = maker.noteBase.time;
  await maker.repository[Symbol.asyncDispose]();
  return {
    about: `A damaged pack that is marked, with what of it was stored again (in ${second.uid}), and one that nobody has noticed yet. none, key file.`,
    ...DEFAULTS,
    made,
    secrets: [{ kind: "keyfile", secret: KEY_FILE }],
    damage: [
      { kind: "pack", id: marked, snapshots: [first.uid], paths: ["/gone"] },
      { kind: "pack", id: unmarked, snapshots: [first.uid], paths: ["/lost"] },
    ].toSorted((a, b) => (a.id < b.id ? -1 : 1)),
    unmarked: [unmarked],
    snapshots,
  };
};

/** Turns a bit in every frame, as a bad disk would; frames of 2,000 raw bytes take 2,048. */
function damage(path: string, framesBytes: number): void {
  const bytes = readFileSync(path);
  for (let at = 100; at < framesBytes; at += 2048) bytes[at] ^= 1;
  writeFileSync(path, bytes);
}

export const MADE_BY_ENCODERS: Readonly<Record<string, Make>> = { entries, large, damaged };
