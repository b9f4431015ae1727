import { spawnSync } from "node:child_process";
import { appendFileSync, chmodSync, mkdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { diffSnapshots, type DiffSide } from "../../../src/engine/browse/diff.ts";
import { dumpEntry } from "../../../src/engine/browse/dump.ts";
import { compileGlob, findEntries } from "../../../src/engine/browse/find.ts";
import { listEntries } from "../../../src/engine/browse/list.ts";
import type { SnapshotEntry, SnapshotInfo, Store } from "../../../src/formats/format.ts";
import { backUp } from "../../formats/repository/read/backed-up.ts";
import { compareTrees } from "../../support/compare-trees.ts";
import { writeOddities } from "../../support/oddities.ts";
import { symlink, temporaryTree, writeTree } from "../../support/tree-literal.ts";
import { fixture, pathsOf } from "../restore/fixture.ts";

const signal = new AbortController().signal;

interface Literal {
  readonly [name: string]: string | Literal;
}

/** A store of literal trees that counts its listings. Equal subtrees have equal keys; in a repository a fresh file's flags may differ. */
class LiteralStore {
  listed = 0;
  readonly #trees: readonly Literal[];
  readonly snapshots: readonly SnapshotInfo[];
  readonly store: Store;

  constructor(...trees: readonly Literal[]) {
    this.#trees = trees;
    this.snapshots = trees.map((_, i) => ({ id: String(i) }) as unknown as SnapshotInfo);
    const reading: Pick<Store, "lookup" | "list"> = {
      lookup: async (snapshot) => this.#entry("", "", this.#trees[Number(snapshot.id)] as Literal),
      list: (directory) => this.#list(directory),
    };
    this.store = reading as Store;
  }

  async *#list(directory: SnapshotEntry): AsyncGenerator<readonly SnapshotEntry[]> {
    this.listed++;
    const parent = Buffer.from(directory.path).toString();
    const children = Object.entries(directory.ref as Literal).sort(([x], [y]) => (x < y ? -1 : 1));
    yield children.map(([name, node]) => this.#entry(parent, name, node));
  }

  #entry(parent: string, name: string, node: string | Literal): SnapshotEntry {
    const type = typeof node === "string" ? "file" : "directory";
    const meta = { mode: 0o644, uid: 0, gid: 0, mtimeNs: 0n, xattrs: [] };
    const path = Buffer.from(parent === "/" || parent === "" ? `/${name}` : `${parent}/${name}`);
    return {
      path,
      entry: { name: Buffer.from(name), type, meta, size: 0 },
      ref: node,
      contentKey: JSON.stringify(node),
    } as unknown as SnapshotEntry;
  }
}

async function paths(entries: AsyncIterable<readonly SnapshotEntry[]>, below: string): Promise<string[]> {
  const found: string[] = [];
  for await (const batch of entries)
    found.push(
      ...batch.map((entry) =>
        Buffer.from(entry.path)
          .toString()
          .slice(below.length + 1),
      ),
    );
  return found;
}

const TREE = { a: { "x.txt": "1", deep: { "y.log": "2" } }, b: { "z.txt": "3" }, link: symlink("a") };

describe("listEntries", () => {
  it("lists a folder, everything below it, or one entry", async () => {
    await using made = await fixture((source) => writeTree(source, TREE));
    const at = (path: string, recursive = false): Promise<string[]> =>
      paths(listEntries(made.store, made.snapshot, Buffer.from(made.source + path), { recursive, signal }), made.source);
    expect(await at("")).toEqual(["a", "b", "link"]);
    expect(await at("", true)).toEqual(["a", "a/deep", "a/deep/y.log", "a/x.txt", "b", "b/z.txt", "link"]);
    expect(await at("/a/x.txt")).toEqual(["a/x.txt"]);
    await expect(at("/nothing")).rejects.toMatchObject({ code: "path_missing" });
  });
});

describe("findEntries", () => {
  it("reads what snapshots have in common once", async () => {
    const common = { x: "1", deep: { x: "2" } };
    const literal = new LiteralStore({ common, other: { x: "3" } }, { common, other: { x: "4" } }, { common });
    const query = { pattern: "x", ignoreCase: false, type: undefined, path: Buffer.from("/") };
    const found: string[] = [];
    for await (const { snapshot, entry } of findEntries(literal.store, literal.snapshots, query, signal))
      found.push(`${snapshot.id}${Buffer.from(entry.path).toString()}`);
    expect(found).toEqual(
      ["0", "1", "2"].flatMap((id) => [`${id}/common/x`, `${id}/common/deep/x`, ...(id === "2" ? [] : [`${id}/other/x`])]),
    );
    // Three roots, the common folder and the one in it, and two others.
    expect(literal.listed).toBe(7);
  });

  it("finds by name or path in a repository", async () => {
    await using made = await fixture((source) => writeTree(source, TREE));
    appendFileSync(join(made.source, "b/z.txt"), "more");
    const second = await backUp(made.store, [made.source]);
    const find = async (pattern: string, store: Store = made.store, type?: "file"): Promise<string[]> => {
      const found: string[] = [];
      const query = { pattern, ignoreCase: false, type, path: Buffer.from(made.source) };
      for await (const { snapshot, entry } of findEntries(store, [made.snapshot, second], query, signal))
        found.push(
          `${snapshot === second ? 2 : 1}:${Buffer.from(entry.path)
            .toString()
            .slice(made.source.length + 1)}`,
        );
      return found;
    };
    expect(await find("*.txt")).toEqual(["1:a/x.txt", "1:b/z.txt", "2:a/x.txt", "2:b/z.txt"]);
    expect(await find("a/**")).toEqual(["1:a/deep", "1:a/x.txt", "1:a/deep/y.log", "2:a/deep", "2:a/x.txt", "2:a/deep/y.log"]);
    expect(await find("a", made.store, "file")).toEqual([]);
  });

  it.each([
    ["*.txt", "/d/a.txt", true],
    ["*.txt", "/d.txt/a", false],
    ["?.t[xy]t", "/a.tyt", true],
    ["[!a].txt", "/a.txt", false],
    ["[]x]", "/]", true],
    ["[z-a]", "/-", true],
    ["/etc/**/host?", "/etc/hosts", true],
    ["/etc/**/host?", "/etc/a/b/hosts", true],
    ["/etc/*", "/etc/a/b", false],
    ["b/c", "/a/b/c", true],
    ["b/c", "/ab/c", false],
    ["a+(b)", "/a+(b)", true],
    ["\\*", "/*", true],
    ["\\*", "/a", false],
    ["💾?", "/💾x", true],
    ["CASE", "/case", false],
  ])("matches %s with %s: %s", (pattern, path, expected) => {
    const name = Buffer.from(path.slice(path.lastIndexOf("/") + 1));
    const entry = { path: Buffer.from(path), entry: { name } } as unknown as SnapshotEntry;
    expect(compileGlob(pattern, false)(entry)).toBe(expected);
    if (pattern === "CASE") expect(compileGlob(pattern, true)(entry)).toBe(true);
  });
});

describe("diffSnapshots", () => {
  it("reads only what changed", async () => {
    const many = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`same${i}`, { f: `${i}` }]));
    const literal = new LiteralStore(
      { ...many, a: { b: { c: "1" }, d: {} }, gone: { g: "" } },
      { ...many, a: { b: { c: "2" }, d: {} } },
    );
    const [before, after] = literal.snapshots.map((snapshot) => ({ store: literal.store, snapshot, path: Buffer.from("/") }));
    const changes: string[] = [];
    for await (const batch of diffSnapshots(before as DiffSide, after as DiffSide, signal))
      changes.push(...batch.map(({ kind, path }) => `${kind} ${Buffer.from(path).toString()}`));
    expect(changes).toEqual(["modified /a/b/c", "removed /gone", "removed /gone/g"]);
    // Both roots, both a, both b, and what is gone.
    expect(literal.listed).toBe(7);
  });

  it("tells every kind of change in a repository", async () => {
    await using made = await fixture((source) => writeTree(source, { ...TREE, same: { f: "1" }, gone: { f: "" } }));
    appendFileSync(join(made.source, "a/deep/y.log"), "more");
    chmodSync(join(made.source, "b/z.txt"), 0o600);
    rmSync(join(made.source, "gone"), { recursive: true });
    writeTree(made.source, { new: { g: "" } });
    rmSync(join(made.source, "link"));
    mkdirSync(join(made.source, "link"));
    writeFileSync(join(made.source, "link/inside"), "");
    const second = await backUp(made.store, [made.source]);
    const diff = async (store: Store, reverse = false): Promise<string[]> => {
      const sides = [made.snapshot, second].map((snapshot) => ({ store, snapshot, path: Buffer.from(made.source) }));
      const [before, after] = reverse ? sides.toReversed() : sides;
      const changes: string[] = [];
      for await (const batch of diffSnapshots(before as (typeof sides)[0], after as (typeof sides)[0], signal))
        for (const { kind, path, before: from, after: to } of batch) {
          expect([from === undefined, to === undefined]).toEqual([kind === "added", kind === "removed"]);
          // A folder whose entries come and go gets another time.
          if (to?.entry.type !== "directory" || kind !== "metadata")
            changes.push(
              `${kind} ${Buffer.from(path)
                .toString()
                .slice(made.source.length + 1)}`,
            );
        }
      return changes;
    };
    expect(await diff(made.store)).toEqual([
      "modified a/deep/y.log",
      "metadata b/z.txt",
      "removed gone",
      "removed gone/f",
      "type link",
      "added link/inside",
      "added new",
      "added new/g",
    ]);
    expect(await diff(made.store, true)).toContain("added gone/f");
    const same = { store: made.store, snapshot: second, path: Buffer.from("/") };
    expect((await diffSnapshots(same, same, signal).next()).done).toBe(true);
  });
});

describe("dumpEntry", () => {
  async function bytes(parts: AsyncIterable<Uint8Array>): Promise<Buffer> {
    const all: Buffer[] = [];
    for await (const part of parts) all.push(Buffer.from(part));
    return Buffer.concat(all);
  }

  it("writes a file as it is, and refuses what has no content", async () => {
    await using made = await fixture((source) => writeTree(source, TREE));
    const dump = (path: string): AsyncIterable<Uint8Array> =>
      dumpEntry(made.store, made.snapshot, Buffer.from(made.source + path), { as: "auto", signal });
    expect((await bytes(dump("/a/x.txt"))).toString()).toBe("1");
    await expect(bytes(dump("/link"))).rejects.toMatchObject({ code: "unsupported" });
    await expect(bytes(dump("/none"))).rejects.toMatchObject({ code: "path_missing" });
  });

  it.skipIf(process.getuid?.() !== 0)(
    "writes a folder as a tar file that GNU tar brings back with all its oddities",
    async () => {
      await using made = await fixture((source) => {
        writeOddities(source);
        // Longer paths than GNU tar itself can make.
        rmSync(join(source, "deep"), { recursive: true });
        truncateSync(join(source, "sparse/gibibyte"), 2 ** 21);
      });
      using out = temporaryTree();
      const skipped: string[] = [];
      const tar = await bytes(
        dumpEntry(made.store, made.snapshot, Buffer.from(made.source), {
          as: "auto",
          signal,
          onSkipped: (entry) => skipped.push(Buffer.from(entry.entry.name).toString()),
        }),
      );
      expect(tar.length % 512).toBe(0);
      const args = ["-xf", "-", "-C", out.path, "--xattrs", "--xattrs-include=*", "--same-owner", "-p"];
      const child = spawnSync("tar", args, { input: tar, encoding: "latin1" });
      // It wonders about old and future times, and ignores what tells readers with locales that a name is raw bytes.
      expect(
        child.stderr.split("\n").filter((line) => line !== "" && !/ time stamp |implausibl|'hdrcharset'$/.test(line)),
      ).toEqual([]);
      expect(skipped).toEqual(["socket"]);
      // GNU tar keeps neither attributes of symlinks nor, being C, those with odd names; a dump has no holes.
      const differences = compareTrees(made.source, out.path, { ignore: ["sparse"] });
      expect(
        differences.filter(
          (line) => !line.startsWith("/special/socket is missing") && !/attributes\/link lacks|user\.caf/.test(line),
        ),
      ).toEqual([]);
      expect(pathsOf(out.path).length).toBeGreaterThan(60);
    },
  );

  it("writes one entry as tar when told so", async () => {
    await using made = await fixture((source) => writeTree(source, TREE));
    const tar = await bytes(dumpEntry(made.store, made.snapshot, Buffer.from(`${made.source}/link`), { as: "tar", signal }));
    expect(spawnSync("tar", ["-tvf", "-"], { input: tar, encoding: "utf8" }).stdout).toMatch(/link -> a\n$/);
  });
});
