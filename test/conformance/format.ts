// Long because it is one contract, proven whole for every format.

import { randomBytes, randomInt } from "node:crypto";
import { chmodSync, closeSync, existsSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HoldfastError } from "../../src/base/errors.ts";
import { asRunId } from "../../src/base/ids.ts";
import { snapshotStream } from "../../src/engine/backup/snapshot-stream.ts";
import type { Format, SnapshotEntry, SnapshotInfo, Store, VerifyReport, WriteRequest } from "../../src/formats/format.ts";
import { createFilesSource } from "../../src/sources/files/files-source.ts";
import type { Entry, EntryStream, WalkEvent } from "../../src/sources/source.ts";
import { writeOddities } from "../support/oddities.ts";
import { hardLink, symlink, temporaryTree, type TemporaryFolder } from "../support/tree-literal.ts";
import { bytesOf, everything, expectNothingWrong, expectTree, sha256 } from "./snapshot-judge.ts";

/** An empty store for one test, and a way behind its back. */
export interface FormatFixture {
  readonly format: Format;
  /** Opened anew; the caller disposes it. */
  open(): Promise<Store>;
  /** Every stored object by its name. */
  objects(): Map<string, Uint8Array>;
  /** Puts other bytes in an object's place. */
  replace(name: string, bytes: Uint8Array): void;
  release(): PromiseLike<void> | void;
}

/** Registers the tests of the Format contract; `make` creates a store on an empty target and is called for every test. */
export function formatConformance(name: string, make: () => Promise<FormatFixture>): void {
  describe(`format contract: ${name}`, () => {
    let fixture: FormatFixture;
    let store: Store;
    let source: TemporaryFolder;

    beforeEach(async () => {
      fixture = await make();
      store = await fixture.open();
      source = temporaryTree();
    });
    afterEach(async () => {
      source[Symbol.dispose]();
      await store[Symbol.asyncDispose]();
      await fixture.release();
    });

    const write = async (
      options: Partial<WriteRequest> = {},
      paths: readonly string[] = [source.path],
    ): Promise<SnapshotInfo> => {
      const [result] = await fixture.format.write([store], await requestFor(paths, options));
      if (result === undefined || "error" in result) throw result?.error ?? new Error("no outcome");
      expect(result.store).toBe(store.name);
      return result.snapshot;
    };
    const verify = async (of: Store, readData: number): Promise<VerifyReport> =>
      await of.verify({ snapshots: [], readData, onProgress: () => undefined, signal: new AbortController().signal });
    const smallTree = (): void => {
      source[Symbol.dispose]();
      source = temporaryTree({
        "a.txt": "the first file",
        b: { "empty-folder": {}, "x.bin": randomBytes(200_000), again: hardLink("a.txt"), link: symlink("../a.txt") },
        "b.txt": "",
      });
    };

    describe("an empty store", () => {
      it("has no snapshots, no observations, and nothing damaged", async () => {
        expect(await store.snapshots()).toEqual([]);
        const observed = await store.observations();
        expect([observed.verifications.size, observed.policies.size, observed.lastPruneMs]).toEqual([0, 0, undefined]);
        expect(await verify(store, 1)).toMatchObject({ ok: true, damage: [], snapshots: 0 });
      });

      it("is known to exist, and is the same when it is opened again", async () => {
        await using again = await fixture.open();
        expect(again.identity).toEqual(store.identity);
        expect([again.format, again.capabilities]).toEqual([fixture.format.kind, store.capabilities]);
      });

      it("is disposed twice without harm", async () => {
        const other = await fixture.open();
        await other[Symbol.asyncDispose]();
        await other[Symbol.asyncDispose]();
      });
    });

    describe("a snapshot", () => {
      it("is listed with what was asked for and what was counted", async () => {
        smallTree();
        const progress: { readonly bytesDone: number; readonly bytesTotal: number | undefined }[] = [];
        const written = await write({
          description: "before the move",
          tags: ["one", "two"],
          finishSource: async () => ({ rows: 7 }),
          onProgress: (one) => progress.push(one),
        });
        const expected = {
          run: "01".repeat(16),
          host: "host",
          job: "job",
          source: "source",
          sourceType: "files",
          mode: "full",
          status: "success",
          description: "before the move",
          tags: ["one", "two"],
          toolVersion: "1.2.3",
          configDigest: "digest",
          gitCommit: undefined,
          files: 4,
          others: 1,
          unreadable: [],
          unreadableCount: 0,
          changedWhileRead: 0,
          hold: false,
          baseline: undefined,
          sourceBytes: 2 * "the first file".length + 200_000,
          // The root, the folders that lead to the source, the source, and two in it.
          directories: source.path.split("/").length + 2,
        };
        expect(written).toMatchObject(expected);
        expect(written.facts).toMatchObject({ rows: 7 });
        expect(written.id).toMatch(/^[0-9a-f]{32}$/);
        expect(written.endMs).toBeGreaterThanOrEqual(written.timeMs);
        expect(written.storedBytes).toBeGreaterThan(200_000);
        expect(progress.at(-1)?.bytesTotal).toBe(written.sourceBytes);
        await using again = await fixture.open();
        for (const one of [store, again]) {
          const listed = await one.snapshots();
          expect(listed).toHaveLength(1);
          // A store may add handles of its own.
          expect({ ...listed[0], objectTimeMs: undefined }).toMatchObject({ ...written, objectTimeMs: undefined });
        }
      });

      it("gives back every oddity, through the store and through threads", async () => {
        writeOddities(source.path);
        // A gibibyte of hole is read as zeros here, byte by byte; smaller holes prove the same.
        rmSync(join(source.path, "sparse/gibibyte"));
        const snapshot = await write();
        await expectTree(store, snapshot, source.path);
        await using again = await fixture.open();
        await expectTree(again, (await again.snapshots())[0] as SnapshotInfo, source.path);
      });

      it("gives back large files and many small ones", async () => {
        source[Symbol.dispose]();
        source = temporaryTree({
          large: randomBytes(13 * 2 ** 20 + 17),
          many: Object.fromEntries(Array.from({ length: 1200 }, (_, i) => [`f${i}`, `content ${i % 100}`])),
        });
        await expectTree(store, await write(), source.path);
      });

      it("finds entries by path, and nothing else", async () => {
        smallTree();
        const snapshot = await write();
        const at = async (path: string): Promise<SnapshotEntry | undefined> => await store.lookup(snapshot, Buffer.from(path));
        const found = await at(`${source.path}/b/x.bin`);
        expect(found?.entry).toMatchObject({ type: "file", size: 200_000 });
        expect(Buffer.from(found?.path ?? []).toString()).toBe(`${source.path}/b/x.bin`);
        expect(found?.entry.content).toBeUndefined();
        expect((await at("/"))?.entry.type).toBe("directory");
        expect(Buffer.from((await at("/"))?.path ?? []).toString()).toBe("/");
        expect((await at(`${source.path}/b/`))?.entry.type).toBe("directory");
        for (const missing of [
          "/nowhere",
          `${source.path}/b/x`,
          `${source.path}/b/x.bin/below`,
          `${source.path}/b/..`,
          `${source.path}/a.txt\0`,
        ])
          expect(await at(missing)).toBeUndefined();
      });

      it("lists a folder sorted by raw name", async () => {
        source[Symbol.dispose]();
        source = temporaryTree({ "b.c": "", b: { inside: "" }, "b-c": "", B: "", é: "", "b\x01": "", a: "" });
        const snapshot = await write();
        const folder = (await store.lookup(snapshot, Buffer.from(source.path))) as SnapshotEntry;
        const names = (await everything(store.list(folder))).map(({ entry }) => Buffer.from(entry.name).toString());
        expect(names).toEqual(["B", "a", "b", "b\x01", "b-c", "b.c", "é"]);
      });

      it("has equal content keys for equal content, and only for that", async () => {
        source[Symbol.dispose]();
        source = temporaryTree({ one: { same: "content", other: "Content" }, two: { same: "content", other: "another" } });
        const key = async (snapshot: SnapshotInfo, path: string): Promise<string | undefined> =>
          (await store.lookup(snapshot, Buffer.from(`${source.path}/${path}`)))?.contentKey;
        const first = await write();
        expect(await key(first, "one/same")).toBe(await key(first, "two/same"));
        expect(await key(first, "one/other")).not.toBe(await key(first, "two/other"));
        writeFileSync(join(source.path, "one/other"), "CONTENT");
        const second = await write();
        expect(await key(second, "two")).toBe(await key(first, "two"));
        expect(await key(second, "one")).not.toBe(await key(first, "one"));
        expect(await key(second, "one/same")).toBe(await key(first, "one/same"));
      });

      it("is written from streams whose length nobody knows", async () => {
        const contents = [randomBytes(9 * 2 ** 20 + 5), Buffer.alloc(0), Buffer.from("short")];
        const snapshot = await write({ stream: streamOf(contents), sourceType: "command" });
        expect(snapshot).toMatchObject({
          files: 3,
          directories: 1,
          others: 0,
          sourceBytes: contents.reduce((sum, { length }) => sum + length, 0),
        });
        for (const [i, content] of contents.entries()) {
          const entry = (await store.lookup(snapshot, Buffer.from(`/stream-${i}`))) as SnapshotEntry;
          expect(entry.entry.size).toBe(content.length);
          expect(sha256(await bytesOf(store.read(entry)))).toBe(sha256(content));
        }
      });

      it("is written from a snapshot that is read back", async () => {
        smallTree();
        const first = await write();
        const second = await write({ stream: snapshotStream(store, first, new AbortController().signal) });
        expect(second).toMatchObject({
          files: first.files,
          directories: first.directories,
          others: first.others,
          sourceBytes: first.sourceBytes,
        });
        await expectTree(store, second, source.path);
      });

      it("is partial when a file cannot be read, and says which", async () => {
        smallTree();
        const unreadable = unreadableFile(source.path);
        const snapshot = await write({}, [source.path, unreadable]);
        expect(snapshot).toMatchObject({ status: "partial", unreadableCount: 1, files: 4 });
        expect(snapshot.unreadable).toEqual([
          { path: unreadable, reason: expect.stringMatching(/^E[A-Z]+$/), message: expect.any(String) },
        ]);
        expect((await store.snapshots())[0]).toMatchObject({ status: "partial", unreadable: snapshot.unreadable });
        expect(await store.lookup(snapshot, Buffer.from(unreadable))).toBeUndefined();
      });
    });

    describe("several snapshots", () => {
      it("are listed oldest first; deleting one leaves the other whole", async () => {
        smallTree();
        const first = await write();
        writeFileSync(join(source.path, "later"), "only in the second");
        const second = await write({ previous: first.id });
        expect((await store.snapshots()).map(({ id }) => id)).toEqual([first.id, second.id]);
        expect(await store.lookup(first, Buffer.from(`${source.path}/later`))).toBeUndefined();
        await store.delete([first], { reason: "test" });
        for (const one of [store, await fixture.open()]) {
          expect((await one.snapshots()).map(({ id, previous }) => [id, previous])).toEqual([[second.id, first.id]]);
          await expectTree(one, second, source.path);
          if (one !== store) await one[Symbol.asyncDispose]();
        }
        await expect(
          store.delete([{ ...first, id: "ab".repeat(16) as SnapshotInfo["id"] }], { reason: "test" }),
        ).rejects.toMatchObject({ code: "snapshot_missing" });
        expect(await verify(store, 1)).toMatchObject({ ok: true, snapshots: 1 });
      });

      it("are annotated where the format can, and refused by code where it cannot", async () => {
        smallTree();
        const snapshot = await write({ tags: ["old"] });
        const annotation = { addTags: ["new"], removeTags: ["old"], hold: true, description: "said later" };
        if (!store.capabilities.annotate) {
          await expect(store.annotate(snapshot, annotation)).rejects.toMatchObject({
            code: "unsupported",
            hint: expect.any(String),
          });
          expect((await store.snapshots())[0]).toMatchObject({ tags: ["old"], hold: false, description: "" });
          return;
        }
        await store.annotate(snapshot, annotation);
        const [annotated] = await store.snapshots();
        expect(annotated).toMatchObject({ tags: ["new"], hold: true, description: "said later" });
        await expect(store.delete([annotated as SnapshotInfo], { reason: "test" })).rejects.toMatchObject({ code: "plan_held" });
        expect(await store.snapshots()).toHaveLength(1);
      });
    });

    describe("what is not committed", () => {
      const expectUsable = async (): Promise<void> => {
        expect(await store.snapshots()).toEqual([]);
        await expectTree(store, await write(), source.path);
        expect(await verify(store, 1)).toMatchObject({ ok: true, snapshots: 1 });
      };

      it("a source that finds at its end that it was not good", async () => {
        smallTree();
        const finishSource = async (): Promise<never> => {
          throw new HoldfastError("command_failed", "exit code 1");
        };
        await expect(write({ finishSource })).rejects.toMatchObject({ code: "command_failed" });
        await expectUsable();
      });

      it("a stream that fails in the middle", async () => {
        smallTree();
        const stream = streamOf([randomBytes(100_000)]);
        async function* failing(): AsyncGenerator<Uint8Array> {
          yield randomBytes(50_000);
          throw new HoldfastError("source_unreadable", "the pipe broke");
        }
        await expect(write({ stream: { ...stream, openOnce: failing } as EntryStream })).rejects.toMatchObject({
          code: "source_unreadable",
        });
        await expectUsable();
      });

      it("a cancelled run", async () => {
        smallTree();
        const abort = new AbortController();
        const stream = streamOf([randomBytes(100_000)]);
        async function* hanging(): AsyncGenerator<Uint8Array> {
          yield randomBytes(50_000);
          abort.abort(new HoldfastError("cancelled", "the test cancels"));
          await new Promise(() => undefined);
        }
        await expect(
          write({ stream: { ...stream, openOnce: hanging } as EntryStream, signal: abort.signal }),
        ).rejects.toMatchObject({ code: "cancelled" });
        await expectUsable();
      });

      it("a run that was cancelled before it began", async () => {
        smallTree();
        await expect(write({ signal: AbortSignal.abort(new HoldfastError("cancelled", "too late")) })).rejects.toMatchObject({
          code: "cancelled",
        });
        await expectUsable();
      });

      it("a dry run, which counts all the same", async () => {
        smallTree();
        const before = [...fixture.objects()];
        const planned = await write({ dryRun: true });
        expect(planned).toMatchObject({ files: 4, others: 1, sourceBytes: 200_028 });
        expect([...fixture.objects()]).toEqual(before);
        await expectUsable();
      });
    });

    describe("notes", () => {
      it("policies and verifications are observed, the newest of each", async () => {
        smallTree();
        const snapshot = await write();
        const report = await verify(store, 0);
        expect(report).toMatchObject({ ok: true, level: "structure", snapshots: 1 });
        await store.notePolicy("job", { keepLast: 3 });
        await store.notePolicy("other", { keepDaily: 1 });
        await store.noteVerification(["job"], [snapshot.id], report);
        await using again = await fixture.open();
        for (const one of [store, again]) {
          const { policies, verifications, lastPruneMs } = await one.observations();
          expect(new Map([...policies].map(([job, { policy }]) => [job, policy]))).toEqual(
            new Map([
              ["job", { keepLast: 3 }],
              ["other", { keepDaily: 1 }],
            ]),
          );
          expect([...verifications]).toEqual([["job", { timeMs: expect.any(Number), ok: true }]]);
          expect(lastPruneMs).toBeUndefined();
        }
      });
    });

    it("says how much it holds", async () => {
      smallTree();
      await write();
      const objects = [...fixture.objects().values()];
      const { storedBytes, objects: count } = await store.capacity();
      expect([storedBytes, count]).toEqual([objects.reduce((sum, { length }) => sum + length, 0), objects.length]);
    });

    it("finds a changed byte in any object, and never gives out other content than was stored", async () => {
      smallTree();
      const snapshot = await write();
      await store.notePolicy("job", { keepLast: 3 });
      await store.noteVerification(["job"], [snapshot.id], await verify(store, 0));
      await using calm = await fixture.open();
      expect(await verify(calm, 1)).toMatchObject({ ok: true, level: "data" });
      const unnoticed: string[] = [];
      for (const [object, bytes] of fixture.objects()) {
        const damaged = Uint8Array.from(bytes);
        // Anywhere: the failure names the place.
        const at = randomInt(damaged.length);
        damaged[at] = (damaged[at] as number) ^ 1;
        fixture.replace(object, damaged);
        try {
          await using opened = await fixture.open();
          if ((await verify(opened, 1)).ok) unnoticed.push(`${object} at byte ${at}`);
          await expectNothingWrong(opened, snapshot, source.path, `${object} changed at byte ${at}`);
        } catch (error) {
          if (!(error instanceof HoldfastError)) throw error;
        } finally {
          fixture.replace(object, bytes);
        }
      }
      expect(unnoticed).toEqual([]);
      expect(await verify(store, 1)).toMatchObject({ ok: true });
    });

    it("finds any object missing that holds a snapshot's content", async () => {
      smallTree();
      const snapshot = await write();
      const largest = [...fixture.objects()].toSorted(([, a], [, b]) => b.length - a.length)[0] as [string, Uint8Array];
      fixture.replace(largest[0], new Uint8Array());
      await using opened = await fixture.open();
      const report = await verify(opened, 0);
      expect(report.ok).toBe(false);
      expect(report.damage.flatMap(({ snapshots }) => snapshots)).toContain(snapshot.id);
      expect(report.damage.flatMap(({ paths }) => paths).some((path) => path.startsWith(source.path))).toBe(true);
    });
  });
}

async function requestFor(paths: readonly string[], options: Partial<WriteRequest>): Promise<WriteRequest> {
  const signal = options.signal ?? new AbortController().signal;
  const source = createFilesSource({ paths });
  const open = await source.open({ signal: new AbortController().signal });
  return {
    run: asRunId("01".repeat(16)),
    host: "host",
    job: "job",
    source: "source",
    sourceType: source.type,
    profile: source.profile,
    mode: "full",
    baseline: undefined,
    previous: undefined,
    stream: open.stream,
    finishSource: async () => open.facts(),
    compression: { type: "zstd", level: 3 },
    grouping: "frame",
    description: "",
    tags: [],
    configDigest: "digest",
    gitCommit: undefined,
    toolVersion: "1.2.3",
    dryRun: false,
    onProgress: () => undefined,
    signal,
    ...options,
  };
}

/** Files `/stream-0`, … each read once, and none of them with a size. */
function streamOf(contents: readonly Uint8Array[]): EntryStream {
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
  const root: Entry = { name: new Uint8Array(), type: "directory", meta, size: 0 };
  const leaves = contents.map((_, once): WalkEvent => {
    const name = Uint8Array.from(Buffer.from(`stream-${once}`));
    return { step: "leaf", entry: { name, type: "file", meta, size: 0, content: { once } } };
  });
  return {
    kind: "events",
    events: (async function* (): AsyncGenerator<readonly WalkEvent[]> {
      yield [{ step: "enter", entry: root }];
      yield [...leaves, { step: "leave" }];
    })(),
    openOnce: async function* (n) {
      const content = contents[n] as Uint8Array;
      for (let at = 0; at < content.length; at += 100_000) yield content.subarray(at, at + 100_000);
    },
  };
}

/** A file that even root may not read, or else one without permissions. */
function unreadableFile(folder: string): string {
  const writeOnly = ["/proc/sys/vm/compact_memory", "/proc/sys/net/ipv4/route/flush", "/sys/bus/pci/rescan"];
  if (process.getuid?.() === 0) {
    const found = writeOnly.find((path) => existsSync(path) && !canRead(path));
    if (found === undefined) throw new Error("This system has no file that root may not read");
    return found;
  }
  const path = join(folder, "unreadable");
  writeFileSync(path, "secret");
  chmodSync(path, 0);
  return path;
}

function canRead(path: string): boolean {
  try {
    closeSync(openSync(path, "r"));
    return true;
  } catch {
    return false;
  }
}
