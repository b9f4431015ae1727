import { describe, expect, it, vi } from "vitest";
import type { SnapshotId } from "../../../../src/base/ids.ts";
import { HoldfastError } from "../../../../src/base/errors.ts";
import type { VerifyReport } from "../../../../src/formats/format.ts";
import { putVerificationNote } from "../../../../src/formats/repository/snapshots/notes.ts";
import { HeldLease } from "../../../../src/formats/repository/leases/leases.ts";
import { encodeCondemned } from "../../../../src/formats/repository/objects/condemned-object.ts";
import { asPackId } from "../../../../src/base/ids.ts";
import { scrubTarget } from "../../../../src/formats/repository/verify/scrub.ts";
import { verifyRepository } from "../../../../src/formats/repository/verify/verify.ts";
import { names, noise, verifyOptions, World, type Files } from "../prune/fixture.ts";

const FILES: Files = new Map([
  ["a/one", noise(1, 40_000)],
  ["a/two", noise(2, 9000)],
  ["b/three", noise(3, 30_000)],
]);

/** Two snapshots; the second alone holds `b/late`. */
async function small(world: World): Promise<SnapshotId[]> {
  const repository = await world.create();
  const first = await world.backup(repository, FILES);
  await world.clock.advance(1000);
  const second = await world.backup(repository, new Map([...FILES, ["b/late", noise(9, 20_000)]]));
  return [first, second];
}

function kindsOf(report: VerifyReport): string[] {
  return report.damage.map(({ kind }) => kind);
}

describe("verify", () => {
  it("finds nothing wrong with a good repository, and changes nothing in it", async () => {
    const world = new World({ packBytes: 16 * 1024 });
    await small(world);
    const repository = await world.open();
    const report = await verifyRepository(repository, verifyOptions());
    expect(report).toMatchObject({ ok: true, damage: [], snapshots: 2, level: "data" });
    expect(report.bytesRead).toBeGreaterThan(80_000);
    expect(report.checks.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["keyring/", "snapshots", "index", "packs", "pack directories", "trees", "files", "pack content"]),
    );
    expect(names(world, "notes")).toEqual([]);
    const structure = await verifyRepository(repository, verifyOptions({ readData: 0 }));
    expect(structure).toMatchObject({ ok: true, level: "structure" });
    expect(structure.checks.find(({ name }) => name === "pack content")).toMatchObject({ checked: 0, note: "not asked for" });
    const part = await verifyRepository(repository, verifyOptions({ readData: 0.5 }));
    const content = part.checks.find(({ name }) => name === "pack content");
    expect(content?.checked).toBe(Math.ceil(names(world, "packs").length / 2));
  });

  it("finds a flipped byte anywhere in every class of object", async () => {
    const world = new World({ packBytes: 1024 * 1024 });
    const [first] = await small(world);
    const opened = await world.open();
    await putVerificationNote(opened, { snapshots: [first as SnapshotId], level: "data", result: "ok", details: {} });
    await opened.putObject(
      "condemned",
      encodeCondemned({
        reason: "prune",
        time: "2026-03-01T00:00:00.000Z",
        packs: [asPackId("ab".repeat(32))],
        owner: "cd".repeat(16),
      }),
    );
    await using _lease = await HeldLease.acquire(opened, "write");
    // Opened before the damage, as a daemon is: everything is read anew.
    const folders = ["keyring", "index", "snapshots", "notes", "condemned", "leases", "packs"];
    for (const folder of folders) {
      const name = names(world, folder)[0] as string;
      const object = world.memory.objects.get(name) as { bytes: Uint8Array };
      const good = object.bytes;
      const places = [0, 4, 7, 41, 100, good.length >> 1, good.length - 17, good.length - 12, good.length - 1];
      for (const place of places) {
        world.memory.corrupt(name, place);
        const report = await verifyRepository(opened, verifyOptions());
        expect(report.ok, `${folder} byte ${place}`).toBe(false);
        expect(
          report.damage.map(({ id }) => name.endsWith(id)),
          `${folder} byte ${place}`,
        ).toContain(true);
        const scrub = await scrubTarget(world.memory);
        expect(scrub.damaged.map((each) => each.name)).toEqual([name]);
        object.bytes = good;
      }
    }
    const config = world.memory.objects.get("holdfast.json") as { bytes: Uint8Array };
    for (const place of [2, 15, 40, 60]) {
      world.memory.corrupt("holdfast.json", place);
      expect(kindsOf(await verifyRepository(opened, verifyOptions({ readData: 0 })))).toContain("repository");
      config.bytes = Uint8Array.from(config.bytes, (byte, i) => (i === place ? byte ^ 1 : byte));
    }
    expect((await verifyRepository(opened, verifyOptions())).ok).toBe(true);
  }, 900_000);

  it("names the packs, files and snapshots that damage touches", async () => {
    const world = new World({ packBytes: 8 * 1024 });
    const [, second] = await small(world);
    const repository = await world.open();
    const late = noise(9, 20_000).subarray(0, 8192);
    const found = repository.index.find(1, repository.keys.chunkId(1, late));
    const frame = repository.index.frame(found?.frame ?? -1);
    const name = `packs/${frame.packId.slice(0, 2)}/${frame.packId}`;
    const intact = world.memory.objects.get(name) as { bytes: Uint8Array };
    const bytes = intact.bytes;
    for (const spoil of ["flip", "delete", "truncate"] as const) {
      if (spoil === "flip") world.memory.corrupt(name, frame.offset + 60);
      if (spoil === "delete") world.memory.objects.delete(name);
      if (spoil === "truncate") (world.memory.objects.get(name) as { bytes: Uint8Array }).bytes = bytes.subarray(0, 27);
      const report = await verifyRepository(await world.open(), verifyOptions());
      const damage = report.damage.find(({ id }) => id === frame.packId);
      expect(damage, spoil).toMatchObject({ kind: "pack", snapshots: [second], paths: ["/b/late"] });
      if (spoil === "flip") expect((await verifyRepository(await world.open(), verifyOptions({ readData: 0 }))).ok).toBe(true);
      else expect((await verifyRepository(await world.open(), verifyOptions({ readData: 0 }))).ok).toBe(false);
      world.memory.objects.set(name, { bytes, modifiedMs: world.clock.now(), storedAt: 0 });
    }
  });

  it("names a folder whose tree cannot be read", async () => {
    const world = new World({ packBytes: 1024 * 1024 });
    const ids = await small(world);
    const repository = await world.open();
    for (const pack of [...repository.index.packs()].filter(({ kind }) => kind === 2))
      world.memory.corrupt(`packs/${pack.id.slice(0, 2)}/${pack.id}`, 60);
    const report = await verifyRepository(await world.open(), verifyOptions({ readData: 0 }));
    expect(new Set(report.damage.flatMap(({ snapshots }) => snapshots))).toEqual(new Set(ids));
    expect(report.damage.flatMap(({ paths }) => paths)).toContain("/");
  });

  it("says which chunks are in no pack", async () => {
    const world = new World({ packBytes: 1024 * 1024 });
    const [first, second] = await small(world);
    const opened = await world.open();
    // Without its index object the packs of the first backup are unknown, as after an index that was lost.
    const index = opened
      .activeIndexObjects()
      .find(({ packs }) =>
        packs.some((pack) => opened.index.pack(pack)?.kind === 1 && opened.index.pack(pack)?.firstFrame === 0),
      );
    world.memory.objects.delete(`index/${index?.id}`);
    const report = await verifyRepository(await world.open(), verifyOptions());
    expect(report.ok).toBe(false);
    expect(kindsOf(report)).toContain("chunk");
    const touched = new Set(report.damage.flatMap(({ snapshots }) => snapshots));
    expect([first, second].some((id) => touched.has(id as SnapshotId))).toBe(true);
  });

  it("verifies one snapshot by itself", async () => {
    const world = new World({ packBytes: 8 * 1024 });
    const [first, second] = (await small(world)) as [SnapshotId, SnapshotId];
    const repository = await world.open();
    const late = repository.index.find(1, repository.keys.chunkId(1, noise(9, 20_000).subarray(0, 8192)));
    const pack = repository.index.packOfFrame(late?.frame ?? -1);
    world.memory.corrupt(`packs/${pack.slice(0, 2)}/${pack}`, 60);
    expect((await verifyRepository(repository, verifyOptions({ snapshots: [first] }))).ok).toBe(true);
    expect((await verifyRepository(repository, verifyOptions({ snapshots: [second] }))).ok).toBe(false);
    await expect(verifyRepository(repository, verifyOptions({ snapshots: ["00".repeat(16) as SnapshotId] }))).rejects.toThrow(
      HoldfastError,
    );
  });

  it("opens frames of a good repository in threads alone", async () => {
    const world = new World({ packBytes: 4 * 2 ** 20 });
    const repository = await world.create();
    await world.backup(repository, new Map([["big", noise(1, 8 * 2 ** 20)]]));
    const opened = await world.open();
    const here = [vi.spyOn(opened.sealer, "openFrame"), vi.spyOn(opened.sealer, "unsealFrame")];
    const report = await verifyRepository(opened, verifyOptions());
    expect(report.ok).toBe(true);
    expect(report.bytesRead).toBeGreaterThan(8 * 2 ** 20);
    for (const spy of here) expect(spy).not.toHaveBeenCalled();
  });
});
