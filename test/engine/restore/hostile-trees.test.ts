// Snapshots that no backup would write, made by somebody who has the key: nothing outside the destination is made, changed
// or followed; what is wrong has a name in the report, and the rest is restored.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HoldfastError } from "../../../src/base/errors.ts";
import { LONGEST_PATH_BYTES } from "../../../src/base/path-text.ts";
import { dumpEntry } from "../../../src/engine/browse/dump.ts";
import { performRestore } from "../../../src/engine/restore/perform.ts";
import type { RestoreReport, RestoreRequest } from "../../../src/engine/restore/restore.ts";
import { filePart, u8, varint, type EntryFields } from "../../recover/repository-writer.ts";
import {
  HOSTILE_PASSWORD,
  hostileSnapshot,
  HostileWriter,
  traces,
  writeCanary,
  type HostileSnapshot,
} from "../../support/hostile-repository.ts";
import { openDescriptorsBelow, temporaryTree } from "../../support/tree-literal.ts";
import { leftOvers, pathsOf } from "./fixture.ts";

const RECOVER = fileURLToPath(new URL("../../../recover.mjs", import.meta.url));
const signal = new AbortController().signal;

interface Place {
  readonly path: string;
  /** Where hostile snapshots are to lead. */
  readonly canary: string;
}

interface Hostile {
  /** What is odd about it. */
  readonly name: string;
  /** Returns the tree of the case's own folder. */
  readonly build: (writer: HostileWriter, place: Place) => Buffer;
  /** Codes of the engine's problems; none when it is odd and yet good. */
  readonly codes: readonly string[];
  /** Paths that are restored below the case's folder. */
  readonly paths: readonly string[];
  /** What `recover.mjs` restores, where it is not the same. */
  readonly recovered?: readonly string[];
}

const file = (name: string | Buffer, ids: readonly Buffer[], size: number, more: Partial<EntryFields> = {}): EntryFields => ({
  name,
  type: 1,
  part: filePart(size, ids),
  ...more,
});
const folder = (name: string | Buffer, tree: Buffer): EntryFields => ({ name, type: 2, part: tree, mode: 0o755 });
const symlink = (name: string, target: string, more: Partial<EntryFields> = {}): EntryFields => ({
  name,
  type: 3,
  part: Buffer.concat([varint(Buffer.byteLength(target)), Buffer.from(target)]),
  mode: 0o777,
  ...more,
});
const good = (writer: HostileWriter): Buffer[] => writer.frame(1, [Buffer.from("good")]);
const evil = (writer: HostileWriter): Buffer[] => writer.frame(1, [Buffer.from("evil")]);
const linked = { inode: 77n, device: 5n, links: 2 };

/** A good file beside a folder whose only leaf is `entries`, in this order. */
function inFolder(writer: HostileWriter, entries: readonly EntryFields[]): Buffer {
  return writer.rawLeaf([folder("d", writer.rawLeaf(entries)), file("good", good(writer), 4)]);
}

/** An inner node over leaves, each under the name its parent says. */
function inner(writer: HostileWriter, children: readonly (readonly [string, Buffer])[]): Buffer {
  const rows = children.map(([name, id]) => Buffer.concat([varint(name.length), Buffer.from(name), id]));
  return writer.frame(2, [Buffer.concat([u8(1), u8(1), varint(rows.length), ...rows])])[0] as Buffer;
}

const NAMES: readonly (readonly [string, string | Buffer])[] = [
  ["that is ..", ".."],
  ["that is .", "."],
  ["that is empty", ""],
  ["with a slash", "a/b"],
  ["that leads up", "../canary/file"],
  ["that leads up through a folder", "x/../../canary/file"],
  ["that is absolute", "/etc/holdfast-was-here"],
  ["with a NUL", Buffer.from("a\0b")],
  ["of 4,097 bytes", "n".repeat(4097)],
];

const wrongNames: readonly Hostile[] = NAMES.flatMap(([what, name]) => [
  {
    name: `a file's name ${what}`,
    build: (writer) => inFolder(writer, [file(name, evil(writer), 4)]),
    codes: ["object_malformed"],
    paths: ["d", "good"],
  },
  {
    name: `a folder's name ${what}`,
    build: (writer) => inFolder(writer, [folder(name, writer.rawLeaf([file("file", evil(writer), 4)]))]),
    codes: ["object_malformed"],
    paths: ["d", "good"],
  },
  {
    name: `a symlink's name ${what}`,
    build: (writer, { canary }) => inFolder(writer, [symlink(name as string, canary)]),
    codes: ["object_malformed"],
    paths: ["d", "good"],
  },
]);

const wrongOrder: readonly Hostile[] = [
  {
    name: "a symlink and then a folder of the same name",
    build: (writer, { canary }) =>
      inFolder(writer, [symlink("x", canary), folder("x", writer.rawLeaf([file("file", evil(writer), 4)]))]),
    codes: ["object_malformed"],
    paths: ["d", "good"],
    recovered: ["d", "d/x", "good"],
  },
  {
    name: "a symlink and then a file of the same name",
    build: (writer, { canary }) => inFolder(writer, [symlink("x", `${canary}/file`), file("x", evil(writer), 4)]),
    codes: ["object_malformed"],
    paths: ["d", "good"],
    recovered: ["d", "d/x", "good"],
  },
  {
    name: "a symlink in one leaf and a folder of the same name in the next",
    build: (writer, { canary }) => {
      const leaves = [
        writer.rawLeaf([symlink("x", canary)]),
        writer.rawLeaf([folder("x", writer.rawLeaf([file("file", evil(writer), 4)]))]),
      ] as const;
      const odd = inner(writer, [
        ["x", leaves[0]],
        ["y", leaves[1]],
      ]);
      return writer.rawLeaf([folder("d", odd), file("good", good(writer), 4)]);
    },
    codes: ["object_malformed"],
    paths: ["d", "d/x", "good"],
  },
  {
    name: "names that are not in order",
    build: (writer) => inFolder(writer, [file("b", evil(writer), 4), file("a", evil(writer), 4)]),
    codes: ["object_malformed"],
    paths: ["d", "good"],
    recovered: ["d", "d/b", "good"],
  },
];

const wrongTrees: readonly Hostile[] = [
  {
    name: "a folder that is its own child",
    build: (writer) => {
      const id = Buffer.alloc(32, 7);
      writer.rawLeaf([folder("again", id)], id);
      return writer.rawLeaf([folder("d", id), file("good", good(writer), 4)]);
    },
    codes: ["object_damaged"],
    paths: ["d", "good"],
  },
  {
    name: "two folders that are each other's child",
    build: (writer) => {
      const [a, b] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)] as const;
      writer.rawLeaf([folder("b", b)], a);
      writer.rawLeaf([folder("a", a)], b);
      return writer.rawLeaf([folder("d", a), file("good", good(writer), 4)]);
    },
    codes: ["object_damaged"],
    paths: ["d", "good"],
  },
  {
    name: "an inner node that is its own child",
    build: (writer) => {
      const id = Buffer.alloc(32, 9);
      const node = Buffer.concat([u8(1), u8(1), varint(1), varint(1), Buffer.from("x"), id]);
      writer.frame(2, [node], 0, [id]);
      return writer.rawLeaf([folder("d", id), file("good", good(writer), 4)]);
    },
    codes: ["object_damaged"],
    paths: ["d", "good"],
  },
  {
    name: "inner nodes nested a thousand deep",
    build: (writer) => {
      let id = writer.rawLeaf([file("x", evil(writer), 4)]);
      for (let level = 0; level < 1000; level++) id = inner(writer, [["x", id]]);
      return writer.rawLeaf([folder("d", id), file("good", good(writer), 4)]);
    },
    codes: ["object_malformed"],
    paths: ["d", "good"],
  },
  {
    name: "a folder whose tree is a file's data, a chunk list, or nowhere",
    build: (writer) => {
      const list = writer.frame(2, [Buffer.concat([u8(1), u8(2), varint(1), Buffer.alloc(32, 3)])])[0] as Buffer;
      return writer.rawLeaf([
        folder("d", evil(writer)[0] as Buffer),
        folder("e", list),
        folder("f", Buffer.alloc(32, 4)),
        file("good", good(writer), 4),
      ]);
    },
    codes: ["chunk_missing", "chunk_missing", "object_malformed"],
    paths: ["d", "e", "f", "good"],
  },
];

const wrongFiles: readonly Hostile[] = [
  ...(
    [
      [
        "that overlap",
        10,
        [
          [0, 4],
          [2, 4],
        ],
      ],
      [
        "that touch",
        10,
        [
          [0, 2],
          [2, 2],
        ],
      ],
      [
        "that run backwards",
        10,
        [
          [6, 2],
          [0, 2],
        ],
      ],
      ["past the end", 10, [[8, 4]]],
      [
        "of which one is empty",
        10,
        [
          [0, 4],
          [6, 0],
        ],
      ],
      ["whose end is no number any more", 10, [[2 ** 53 - 1, 4]]],
    ] as const
  ).map(([what, size, extents]): Hostile => ({
    name: `extents ${what}`,
    build: (writer) => inFolder(writer, [{ name: "x", type: 1, flags: 8, part: filePart(size, evil(writer), 0, extents) }]),
    codes: ["object_malformed"],
    paths: ["d", "good"],
  })),
  {
    name: "more extents than the format has",
    build: (writer) => {
      const extents = Array.from({ length: 65_537 }, (_, i) => [i * 2, 1] as const);
      return inFolder(writer, [{ name: "x", type: 1, flags: 8, part: filePart(2 ** 20, evil(writer), 0, extents) }]);
    },
    codes: ["object_malformed"],
    paths: ["d", "good"],
  },
  {
    name: "a hole of 8 PiB",
    build: (writer) => inFolder(writer, [{ name: "x", type: 1, flags: 8, part: filePart(2 ** 53 - 1, [], 0, []) }]),
    codes: ["restore_failed"],
    paths: ["d", "good"],
  },
  {
    name: "a size of 8 PiB with four bytes of data",
    build: (writer) => inFolder(writer, [file("x", evil(writer), 2 ** 53 - 1)]),
    // The second for its missing when what was restored is verified.
    codes: ["object_malformed", "restore_failed"],
    paths: ["d", "good"],
  },
  {
    name: "chunk lists that name 4096 × 4096 × 4096 chunks for ten bytes",
    build: (writer) => {
      let ids = Array.from({ length: 4096 }, () => evil(writer)[0] as Buffer);
      ids = ids.fill(ids[0] as Buffer);
      for (let depth = 0; depth < 3; depth++) {
        const list = writer.frame(2, [Buffer.concat([u8(1), u8(2), varint(ids.length), ...ids])])[0] as Buffer;
        ids = ids.fill(list);
      }
      return inFolder(writer, [{ name: "x", type: 1, part: filePart(10, ids.slice(0, 10), 3) }]);
    },
    // The second for its missing when what was restored is verified.
    codes: ["object_malformed", "restore_failed"],
    paths: ["d", "good"],
  },
];

/** Odd, and restored: inside the destination alone. */
const allowed: readonly Hostile[] = [
  {
    name: "a symlink and a file that claim to be one file",
    build: (writer, { canary }) => writer.rawLeaf([symlink("a", `${canary}/file`, linked), file("b", good(writer), 4, linked)]),
    codes: [],
    paths: ["a", "b"],
  },
  {
    name: "a symlink to a folder, its second name, and a folder of files that claim to be it too",
    build: (writer, { canary }) =>
      writer.rawLeaf([
        symlink("a", `${canary}/folder`, linked),
        symlink("b", `${canary}/folder`, linked),
        folder("c", writer.rawLeaf([file("file", good(writer), 4, { ...linked, links: 4 })])),
      ]),
    codes: [],
    paths: ["a", "b", "c", "c/file"],
  },
  {
    name: "files of different content that claim to be one file",
    build: (writer) =>
      writer.rawLeaf([file("a", good(writer), 4, linked), file("b", evil(writer), 4, linked), file("c", [], 0, linked)]),
    codes: [],
    paths: ["a", "b", "c"],
  },
  {
    name: "symlinks that lead outside beside folders and files",
    build: (writer, { canary }) =>
      writer.rawLeaf([
        symlink("a", canary),
        folder("b", writer.rawLeaf([symlink("up", "../../canary"), file("x", good(writer), 4)])),
        symlink("c", "/"),
      ]),
    codes: [],
    paths: ["a", "b", "b/up", "b/x", "c"],
  },
];

async function tryRestore(
  { store, snapshot }: HostileSnapshot,
  out: string,
  changes: Partial<RestoreRequest>,
): Promise<RestoreReport> {
  return await performRestore(
    {
      store,
      snapshot,
      path: Buffer.from("/"),
      destination: { kind: "folder", path: Buffer.from(out) },
      include: [],
      exclude: [],
      overwrite: "if-changed",
      delete: false,
      confirmedLive: false,
      roots: [],
      protect: [],
      ...changes,
    },
    { verifyFirst: false, verify: true, onProgress: () => undefined, signal },
  );
}

/** More than anything good here has; a hole of 8 PiB would be written as such. */
const DUMP_BYTES = 2 ** 24;

/** Names of a dump of everything, as GNU tar reads them; or the code it ended with. Undefined for one without end. */
async function dumpedNames({ store, snapshot }: HostileSnapshot, path: string): Promise<readonly string[] | string | undefined> {
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const bytes of dumpEntry(store, snapshot, Buffer.from(`/${path}`), { as: "tar", signal })) {
      parts.push(bytes);
      size += bytes.length;
      if (size > DUMP_BYTES) return undefined;
    }
  } catch (error) {
    if (error instanceof HoldfastError) return error.code;
    throw error;
  }
  const { status, stdout, stderr } = spawnSync("tar", ["-tf", "-"], { input: Buffer.concat(parts), encoding: "utf8" });
  expect(status, stderr).toBe(0);
  return stdout.trimEnd().split("\n");
}

const cases = [...wrongNames, ...wrongOrder, ...wrongTrees, ...wrongFiles, ...allowed].map((hostile, i) => ({
  ...hostile,
  key: `case-${String(i).padStart(2, "0")}`,
}));

const RUNS = [
  ["out", {}],
  ["out", { overwrite: "always", delete: true }],
  ["fresh", { exclude: ["nothing-of-this"] }],
] as const;

function recover(repository: string, at: string): { readonly status: number | null; readonly stderr: string } {
  return spawnSync(process.execPath, [RECOVER, repository, "--password-env", "SECRET", "restore", "latest", "--to", at], {
    encoding: "utf8",
    env: { PATH: process.env["PATH"], SECRET: HOSTILE_PASSWORD },
    maxBuffer: 2 ** 26,
  });
}

describe("a snapshot that somebody with the key made", () => {
  const stack = new AsyncDisposableStack();
  let top = "";
  let hostile: HostileSnapshot;
  const reports: RestoreReport[] = [];

  // One repository with a folder a case: what is wrong in one must not keep the others from being restored.
  beforeAll(async () => {
    top = stack.use(temporaryTree({ canary: {} })).path;
    const canary = join(top, "canary");
    writeCanary(canary);
    hostile = await hostileSnapshot(join(top, "repository"), (writer) =>
      writer.rawLeaf(cases.map(({ key, build }) => folder(key, build(writer, { path: top, canary })))),
    );
    stack.use(hostile.store);
    const before = traces(canary);
    for (const [out, changes] of RUNS) {
      reports.push(await tryRestore(hostile, join(top, out), changes));
      expect(traces(canary), out).toEqual(before);
    }
    const recovered = recover(join(top, "repository"), join(top, "recovered"));
    expect(recovered.status, recovered.stderr).toBe(3);
    expect(traces(canary), "recovered").toEqual(before);
  });
  afterAll(() => stack.disposeAsync());

  it("leads nowhere but into the destination, and leaves nothing unfinished", () => {
    expect(readdirSync(top).sort()).toEqual(["canary", "fresh", "out", "recovered", "repository"]);
    for (const out of ["out", "fresh", "recovered"]) {
      expect(readdirSync(join(top, out)).sort()).toEqual(cases.map(({ key }) => key));
      expect(leftOvers(join(top, out))).toEqual([]);
      expect(openDescriptorsBelow(join(top, out))).toBe(0);
    }
  });

  it.each(cases)("with $name: it is named, and the rest restored", async ({ key, codes, paths, recovered }) => {
    for (const [i, report] of reports.entries()) {
      const [out] = RUNS[i] as (typeof RUNS)[number];
      const mine = join(top, out, key);
      const found = report.problems.filter(({ path }) => path === mine || path.startsWith(`${mine}/`));
      expect(new Set(found.map(({ code }) => code))).toEqual(new Set(codes));
      expect(pathsOf(mine)).toEqual(paths);
      if (paths.includes("good")) expect(readFileSync(join(mine, "good"), "utf8")).toBe("good");
    }
    expect(pathsOf(join(top, "recovered", key))).toEqual(recovered ?? paths);
    const dumped = await dumpedNames(hostile, key);
    if (typeof dumped === "string") expect(codes).toContain(dumped);
    else for (const name of dumped ?? []) expect(`/${name}/`).not.toMatch(/^\/\/|\/\.\.\//);
  });

  it("with one inode for different contents: each name has its own", () => {
    const mine = cases.find(({ name }) => name.startsWith("files of different content"))?.key as string;
    for (const out of ["out", "fresh", "recovered"])
      expect(["a", "b", "c"].map((name) => readFileSync(join(top, out, mine, name), "utf8"))).toEqual(["good", "evil", ""]);
  });
});

describe("folders nested 100,000 deep", () => {
  it("are restored to the depth that a backup reaches, with memory and time to match", async () => {
    using top = temporaryTree();
    const repository = join(top.path, "repository");
    const hostile = await hostileSnapshot(repository, (writer) => {
      const chunks = [HostileWriter.leafBytes([])];
      let id = writer.chunkId(2, chunks[0] as Buffer);
      for (let level = 0; level < 100_000; level++) {
        const leaf = HostileWriter.leafBytes([folder("l".repeat(63), id)]);
        chunks.push(leaf);
        id = writer.chunkId(2, leaf);
      }
      for (let at = 0; at < chunks.length; at += 50_000) writer.frame(2, chunks.slice(at, at + 50_000));
      return id;
    });
    await using _store = hostile.store;
    try {
      const out = join(top.path, "out");
      const report = await tryRestore(hostile, out, {});
      // The folder at the bound is made, and nothing in it.
      expect(report).toMatchObject({ status: "partial", directories: LONGEST_PATH_BYTES / 64 + 1 });
      expect(report.problems[0]).toMatchObject({ code: "object_malformed", message: expect.stringContaining("16384 bytes") });
      expect(await dumpedNames(hostile, "")).toBe("object_malformed");
      const recovered = recover(repository, join(top.path, "recovered"));
      expect(recovered.status).toBe(3);
      expect(recovered.stderr).toContain("its path has more than 16384 bytes");
    } finally {
      // Node's own removal ends at 4,096 bytes.
      for (const name of ["out", "recovered"]) spawnSync("rm", ["-rf", join(top.path, name)]);
    }
  });
});
