import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { HoldfastError } from "../../../src/base/errors.ts";
import { Secret } from "../../../src/base/secret.ts";
import { archiveFormat } from "../../../src/formats/archive/archive-format.ts";
import { encodeSealed } from "../../../src/formats/archive/sealed-json.ts";
import type { PruneOptions, SnapshotInfo, Store } from "../../../src/formats/format.ts";
import { accessByPort, accessBySpec } from "../../../src/targets/access.ts";
import { MemoryTarget } from "../../support/memory-target.ts";
import { temporaryTree } from "../../support/tree-literal.ts";
import { archive, memoryArchive, requestFor, storeOptions } from "./archive-fixture.ts";

const names = (target: MemoryTarget): string[] => [...target.objects.keys()].toSorted();
const inArchive = (target: MemoryTarget, { id }: SnapshotInfo): string[] =>
  names(target).filter((name) => name.startsWith(`archives/${id}/`));
const pruneOptions: PruneOptions = {
  dryRun: false,
  immediate: false,
  graceMs: 60_000,
  maxUnused: 0,
  compression: { type: "none", level: 0 },
  onProgress: () => undefined,
  signal: new AbortController().signal,
};
const verify = (store: Store, readData = 1): ReturnType<Store["verify"]> =>
  store.verify({ snapshots: [], readData, onProgress: () => undefined, signal: new AbortController().signal });

describe("an archive target", () => {
  it("is made once, and known by its own file", async () => {
    const target = new MemoryTarget();
    const options = storeOptions(accessByPort(target));
    expect(await archiveFormat.exists(options)).toBe(false);
    await expect(archiveFormat.open(options, [])).rejects.toMatchObject({ code: "repository_missing" });
    const store = await archiveFormat.create(options, undefined, undefined, []);
    expect(await archiveFormat.exists(options)).toBe(true);
    expect(names(target)).toEqual(["holdfast-archive.json"]);
    expect(JSON.parse(Buffer.from(target.objects.get("holdfast-archive.json")?.bytes ?? []).toString())).toMatchObject({
      format: "holdfast-archive",
      version: 1,
      id: store.identity?.repository,
      created: expect.stringMatching(/Z$/),
    });
    expect(store.identity).toMatchObject({ keyring: "", generation: 0 });
    expect(store.keySlots).toBeUndefined();
    await expect(archiveFormat.create(options, undefined, undefined, [])).rejects.toMatchObject({ code: "repository_exists" });
  });

  it("cannot be encrypted, mended, or what a repository is", async () => {
    const target = new MemoryTarget();
    const options = storeOptions(accessByPort(target));
    const unlocking = { kind: "password", secret: new Secret("x") } as const;
    await expect(archiveFormat.create(options, unlocking, undefined, [])).rejects.toMatchObject({
      code: "config_invalid",
      hint: expect.any(String),
    });
    await target.put("holdfast.json", [Buffer.from("{}")]);
    await expect(archiveFormat.exists(options)).rejects.toMatchObject({ code: "object_foreign" });
    const { store } = await memoryArchive();
    const { onProgress, signal } = pruneOptions;
    await expect(store.repair({ index: false, readData: false, onProgress, signal })).rejects.toMatchObject({
      code: "unsupported",
    });
  });

  it("of a later version is refused, and a damaged one named", async () => {
    const target = new MemoryTarget();
    const options = storeOptions(accessByPort(target));
    await target.put("holdfast-archive.json", [encodeSealed({ format: "holdfast-archive", version: 2, id: "ab".repeat(16) })]);
    await expect(archiveFormat.open(options, [])).rejects.toMatchObject({ code: "repository_feature" });
    target.corrupt("holdfast-archive.json", 12);
    await expect(archiveFormat.open(options, [])).rejects.toMatchObject({ code: "object_damaged" });
  });
});

describe("writing archives", () => {
  it("stores parts, an index and, last, the manifest", async () => {
    using source = temporaryTree({ large: randomBytes(300_000) });
    const { target, store } = await memoryArchive();
    const snapshot = await archive(store, [source.path]);
    const files = inArchive(target, snapshot).map((name) => name.split("/")[2]);
    expect(files).toEqual([
      "000000.entries",
      "000000.tar",
      "000001.tar",
      "000002.tar",
      "000003.tar",
      "000004.tar",
      "manifest.json",
    ]);
    const order = [...target.objects].toSorted(([, a], [, b]) => a.storedAt - b.storedAt).map(([name]) => name);
    expect(order.at(-1)).toBe(`archives/${snapshot.id}/manifest.json`);
    expect(snapshot.storedBytes).toBe(
      inArchive(target, snapshot)
        .filter((name) => !name.endsWith(".json"))
        .reduce((sum, name) => sum + (target.objects.get(name)?.bytes.length ?? 0), 0),
    );
  });

  it("goes to several targets at once; one that is full drops out and keeps nothing", async () => {
    using source = temporaryTree({ large: randomBytes(300_000) });
    const good = await memoryArchive({ name: "good" });
    const full = new MemoryTarget({ capacityBytes: 200_000 });
    const fullStore = await archiveFormat.create(
      storeOptions(accessByPort(full), { name: "full", packBytes: 65_536 }),
      undefined,
      undefined,
      [],
    );
    using folder = temporaryTree();
    const local = await archiveFormat.create(
      storeOptions(await accessBySpec({ driver: "local", path: folder.path }), { name: "local", packBytes: 65_536 }),
      undefined,
      undefined,
      [],
    );
    await using _ = local;
    const results = await archiveFormat.write([good.store, fullStore, local], await requestFor([source.path]));
    expect(results.map((result) => [result.store, "error" in result ? result.error.code : "written"])).toEqual([
      ["good", "written"],
      ["full", "target_full"],
      ["local", "written"],
    ]);
    expect(names(full)).toEqual(["holdfast-archive.json"]);
    for (const store of [good.store, local]) expect(await verify(store)).toMatchObject({ ok: true, snapshots: 1 });
    const [snapshot] = await local.snapshots();
    expect(snapshot?.id).toBe((await good.store.snapshots())[0]?.id);
    expect(existsSync(join(folder.path, `archives/${snapshot?.id}/000004.tar`))).toBe(true);
  });

  it("rejects with the target's failure when the only one fails", async () => {
    using source = temporaryTree({ large: randomBytes(300_000) });
    const target = new MemoryTarget({ capacityBytes: 100_000 });
    const store = await archiveFormat.create(storeOptions(accessByPort(target), { packBytes: 65_536 }), undefined, undefined, []);
    await expect(archive(store, [source.path])).rejects.toMatchObject({ code: "target_full" });
    expect(names(target)).toEqual(["holdfast-archive.json"]);
  });

  it("removes what was put when the source turns out bad, unless the target is append-only", async () => {
    using source = temporaryTree({ large: randomBytes(300_000) });
    const finishSource = async (): Promise<never> => {
      throw new HoldfastError("command_failed", "exit code 1");
    };
    const tidy = await memoryArchive();
    await expect(archive(tidy.store, [source.path], { finishSource })).rejects.toMatchObject({ code: "command_failed" });
    expect(names(tidy.target)).toEqual(["holdfast-archive.json"]);
    const kept = await memoryArchive({ appendOnly: true });
    await expect(archive(kept.store, [source.path], { finishSource })).rejects.toMatchObject({ code: "command_failed" });
    expect(names(kept.target).length).toBeGreaterThan(1);
    expect(await kept.store.snapshots()).toEqual([]);
  });
});

describe("deleting and pruning archives", () => {
  it("is refused on an append-only target", async () => {
    using source = temporaryTree({ file: "text" });
    const { target, store } = await memoryArchive({ appendOnly: true });
    const snapshot = await archive(store, [source.path]);
    const before = names(target);
    await expect(store.delete([snapshot], { reason: "test" })).rejects.toMatchObject({ code: "unsupported" });
    expect(names(target)).toEqual(before);
  });

  it("removes all of a deleted archive", async () => {
    using source = temporaryTree({ file: "text" });
    const { target, store } = await memoryArchive();
    await store.delete([await archive(store, [source.path])], { reason: "test" });
    expect(names(target)).toEqual(["holdfast-archive.json"]);
  });

  it("prunes unfinished archives when they are old by the target's clock, and never others", async () => {
    using source = temporaryTree({ large: randomBytes(100_000) });
    const { target, store } = await memoryArchive();
    const [whole, stale, fresh] = [
      await archive(store, [source.path]),
      await archive(store, [source.path]),
      await archive(store, [source.path]),
    ];
    for (const { id } of [stale, fresh]) target.objects.delete(`archives/${id}/manifest.json`);
    for (const { id } of [whole, stale])
      for (const [name, object] of target.objects) if (name.includes(id)) object.modifiedMs -= 120_000;
    const staleBytes = inArchive(target, stale).reduce((sum, name) => sum + (target.objects.get(name)?.bytes.length ?? 0), 0);
    const before = names(target);
    const planned = await store.prune({ ...pruneOptions, dryRun: true });
    expect(planned).toMatchObject({ packsDeleted: 3, bytesDeleted: staleBytes });
    expect(names(target)).toEqual(before);
    const report = await store.prune(pruneOptions);
    expect(report).toMatchObject({ packsDeleted: 3, bytesDeleted: staleBytes, notes: [expect.stringContaining("1 unfinished")] });
    expect(inArchive(target, stale)).toEqual([]);
    expect([inArchive(target, whole).length, inArchive(target, fresh).length]).toEqual([4, 3]);
    expect((await store.observations()).lastPruneMs).toEqual(expect.any(Number));
    expect(await verify(store)).toMatchObject({ ok: true });
  });

  it("prunes nothing where the target tells no times", async () => {
    using source = temporaryTree({ file: "text" });
    const target = new MemoryTarget({ now: null });
    const store = await archiveFormat.create(storeOptions(accessByPort(target)), undefined, undefined, []);
    const { id } = await archive(store, [source.path]);
    target.objects.delete(`archives/${id}/manifest.json`);
    expect(await store.prune({ ...pruneOptions, graceMs: 0 })).toMatchObject({ packsDeleted: 0 });
  });
});

describe("verifying archives", () => {
  it("names the files that a damaged part touches, and only those", async () => {
    using source = temporaryTree({ a: randomBytes(65_536), b: randomBytes(65_536), c: randomBytes(65_536) });
    const { target, store } = await memoryArchive();
    const snapshot = await archive(store, [source.path]);
    const damaged = `archives/${snapshot.id}/000002.tar`;
    target.corrupt(damaged, 60_000);
    expect(await verify(store, 0)).toMatchObject({ ok: true, level: "structure", bytesRead: 0 });
    const report = await verify(store);
    expect(report.damage).toEqual([
      {
        kind: "part",
        id: damaged,
        message: expect.any(String),
        snapshots: [snapshot.id],
        paths: [`${source.path}/b`, `${source.path}/c`],
      },
    ]);
    expect(report.bytesRead).toBe(snapshot.storedBytes);
    expect(report.checks.find(({ name }) => name === "data")).toMatchObject({ checked: 5, failed: 1 });
  });

  it("finds parts that are missing, too short, or of another store", async () => {
    using source = temporaryTree({ a: randomBytes(200_000) });
    const { target, store } = await memoryArchive();
    const other = await memoryArchive();
    const [first, second, third] = [
      await archive(store, [source.path]),
      await archive(store, [source.path]),
      await archive(other.store, [source.path]),
    ];
    target.objects.delete(`archives/${first.id}/000001.tar`);
    const short = target.objects.get(`archives/${second.id}/000000.entries`);
    if (short !== undefined) short.bytes = short.bytes.subarray(0, -1);
    for (const [name, object] of other.target.objects) if (name.includes(third.id)) target.objects.set(name, object);
    const report = await verify(store, 0);
    expect(new Map(report.damage.map(({ id, snapshots }) => [id, snapshots]))).toEqual(
      new Map<string, readonly string[]>([
        [`archives/${first.id}/000001.tar`, [first.id]],
        [`archives/${second.id}/000000.entries`, [second.id]],
        [second.id, [second.id]],
        [third.id, [third.id]],
      ]),
    );
  });

  it("looks only at the archives it was asked for", async () => {
    using source = temporaryTree({ a: "text" });
    const { target, store } = await memoryArchive();
    const [first, second] = [await archive(store, [source.path]), await archive(store, [source.path])];
    target.corrupt(`archives/${first.id}/000000.tar`, 600);
    const of = async (snapshots: readonly SnapshotInfo["id"][]): Promise<boolean> => {
      const { onProgress, signal } = pruneOptions;
      return (await store.verify({ snapshots, readData: 1, onProgress, signal })).ok;
    };
    expect([await of([first.id]), await of([second.id]), await of(["00".repeat(16) as SnapshotInfo["id"]])]).toEqual([
      false,
      true,
      false,
    ]);
  });
});
