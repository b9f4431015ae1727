import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { EntryStream, WalkEvent } from "../../../src/sources/source.ts";
import { compareTrees, type Aspect } from "../../support/compare-trees.ts";
import { writeOddities } from "../../support/oddities.ts";
import { temporaryTree } from "../../support/tree-literal.ts";
import { archive, joinedTar, memoryArchive } from "./archive-fixture.ts";

const isRoot = process.getuid?.() === 0;

describe("the tar of an archive", () => {
  it("is extracted by GNU tar to an equal tree, oddities and all", async () => {
    using source = temporaryTree();
    using copy = temporaryTree();
    writeOddities(source.path);
    // What GNU tar cannot: paths over 4,096 bytes, and sockets, which no tar holds.
    rmSync(join(source.path, "deep"), { recursive: true });
    rmSync(join(source.path, "special/socket"), { force: true });
    const { target, store } = await memoryArchive();
    await using _ = store;
    const snapshot = await archive(store, [source.path]);
    const tar = joinedTar(target, snapshot);
    expect(tar.length % 512).toBe(0);
    const run = spawnSync(
      "tar",
      [
        "--extract",
        "--preserve-permissions",
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "--warning=no-timestamp",
        "-f",
        "-",
        "-C",
        copy.path,
      ],
      {
        input: tar,
        maxBuffer: 2 ** 26,
      },
    );
    expect([run.status, run.stderr.toString()]).toEqual([0, ""]);
    const ignore: Aspect[] = isRoot ? [] : ["owner"];
    expect(compareTrees(source.path, join(copy.path, source.path), { ignore })).toEqual([]);
  });

  it("names sockets nowhere, and everything else once", async () => {
    using source = temporaryTree({ "a file": "one", folder: { inner: "two" } });
    const { target, store } = await memoryArchive();
    await using _ = store;
    const tar = joinedTar(target, await archive(store, [source.path]));
    const listed = execFileSync("tar", ["-tf", "-"], { input: tar }).toString().trim().split("\n");
    const base = source.path.slice(1);
    expect(listed).toEqual(["tmp/", `${base}/`, `${base}/a file`, `${base}/folder/`, `${base}/folder/inner`]);
  });

  it("holds sizes that need base 256, checked against GNU tar", async () => {
    using source = temporaryTree();
    mkdirSync(join(source.path, "big"));
    execFileSync("truncate", ["-s", "9G", join(source.path, "big/hole")]);
    const { target, store } = await memoryArchive();
    await using _ = store;
    const tar = joinedTar(target, await archive(store, [source.path]));
    const listed = execFileSync("tar", ["-tvf", "-"], { input: tar }).toString();
    expect(listed).toContain(String(9 * 2 ** 30));
    expect(tar.length).toBeLessThan(65_536);
  });

  it("has true sizes for streams whose length was unknown, over many parts", async () => {
    const contents = [randomBytes(500_000), Buffer.alloc(0), Buffer.from("short"), randomBytes(65_536)];
    const meta = {
      mode: 0o600,
      uid: 0,
      gid: 0,
      user: "",
      group: "",
      mtimeNs: 5n,
      ctimeNs: 5n,
      inode: 0n,
      links: 1,
      device: 0n,
      xattrs: [],
    };
    const events: WalkEvent[] = [
      { step: "enter", entry: { name: new Uint8Array(), type: "directory", meta, size: 0 } },
      ...contents.map((_, once): WalkEvent => ({
        step: "leaf",
        entry: { name: Buffer.from(`s${once}`), type: "file", meta, size: 0, content: { once } },
      })),
      { step: "leave" },
    ];
    const stream: EntryStream = {
      kind: "events",
      events: (async function* () {
        yield events;
      })(),
      openOnce: async function* (once) {
        yield contents[once] as Uint8Array;
      },
    };
    const { target, store } = await memoryArchive();
    await using _ = store;
    const tar = joinedTar(target, await archive(store, ["/"], { stream }));
    const listed = execFileSync("tar", ["-tvf", "-"], { input: tar }).toString().trim().split("\n");
    expect(listed.map((line) => Number(line.split(/ +/)[2]))).toEqual(contents.map(({ length }) => length));
    for (const [i, content] of contents.entries())
      expect(execFileSync("tar", ["-xOf", "-", `s${i}`], { input: tar, maxBuffer: 2 ** 24 }).equals(content)).toBe(true);
  });
});
