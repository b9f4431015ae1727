import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { Secret } from "../../../../src/base/secret.ts";
import { addSlot, listSlots, newEpoch, removeSlot, rotateSlot } from "../../../../src/formats/repository/keyslots/keyslots.ts";
import { recoveryKit } from "../../../../src/formats/repository/keyslots/recovery-kit.ts";
import { pruneRepository } from "../../../../src/formats/repository/prune/prune.ts";
import { deleteSnapshots } from "../../../../src/formats/repository/snapshots/delete-snapshots.ts";
import { Repository, type Unlocking } from "../../../../src/formats/repository/repository.ts";
import { FaultyTarget } from "../../../support/faulty-target.ts";
import { expectKept, names, noise, pruneOptions, UNLOCK, World } from "../prune/fixture.ts";

const CHEAP = { kdf: { function: "pbkdf2", hash: "sha512", iterations: 1000 }, label: "desk" } as const;
const password = (text: string): Unlocking => ({ kind: "password", secret: new Secret(text) });

describe("key slots", () => {
  it("are added, opened with, listed and removed", async () => {
    const world = new World();
    const repository = await world.create();
    const id = await addSlot(repository, password("one"), CHEAP);
    const slots = await listSlots(repository);
    expect(slots.map(({ label, inUse }) => [label, inUse])).toContainEqual(["desk", false]);
    expect(slots.length).toBe(2);
    expect((await Repository.open(world.options(), [password("one")])).openedBy).toBe(id);
    await removeSlot(repository, repository.openedBy, password("one"));
    await expect(Repository.open(world.options(), [UNLOCK])).rejects.toMatchObject({ code: "key_wrong" });
    await expect(removeSlot(repository, id, password("one"))).rejects.toMatchObject({ code: "key_last" });
    expect(names(world, "keys").length).toBe(1);
  });

  it("are removed only when the secret given opens another", async () => {
    const world = new World();
    const repository = await world.create();
    const id = await addSlot(repository, password("one"), CHEAP);
    await expect(removeSlot(repository, repository.openedBy, password("wrong"))).rejects.toMatchObject({ code: "key_wrong" });
    // The slot itself is no proof.
    await expect(removeSlot(repository, id, password("one"))).rejects.toMatchObject({ code: "key_wrong" });
    expect(names(world, "keys").length).toBe(2);
  });

  it("change their secret without ever leaving none", async () => {
    const world = new World();
    const repository = await world.create();
    const faulty = new FaultyTarget(world.memory);
    const opened = await world.open(faulty);
    faulty.queue({ verb: "delete", name: /^keys\//, kind: "error", error: new Error("killed") });
    await expect(rotateSlot(opened, repository.openedBy, password("new"), CHEAP)).rejects.toThrow("killed");
    for (const unlocking of [UNLOCK, password("new")]) await Repository.open(world.options(), [unlocking]);
    await rotateSlot(repository, repository.openedBy, password("newer"), CHEAP);
    await expect(Repository.open(world.options(), [UNLOCK])).rejects.toMatchObject({ code: "key_wrong" });
    await Repository.open(world.options(), [password("newer")]);
  });

  it("that the target did not keep as given are removed again", async () => {
    const world = new World();
    await world.create();
    const faulty = new FaultyTarget(world.memory);
    const repository = await world.open(faulty);
    faulty.queue({ verb: "put", name: /^keys\//, kind: "lie", keepBytes: 100 });
    await expect(addSlot(repository, password("one"), CHEAP)).rejects.toMatchObject({ code: "write_verification_failed" });
    expect(names(world, "keys").length).toBe(1);
  });

  it("that cannot be read are listed as such", async () => {
    const world = new World();
    const repository = await world.create();
    await addSlot(repository, password("one"), CHEAP);
    world.memory.corrupt(names(world, "keys")[1] as string, 0);
    expect((await listSlots(repository)).at(-1)).toMatchObject({
      kdf: undefined,
      problem: expect.stringContaining("malformed") as string,
    });
  });
});

describe("a new epoch", () => {
  it("seals what comes, and a prune keeps what is under the old one", async () => {
    const world = new World();
    const repository = await world.create();
    const all = new Map([
      ["a", noise(1, 300_000)],
      ["b", noise(2, 300_000)],
    ]);
    const first = await world.backup(repository, all);
    const { keyring } = await newEpoch(repository);
    expect(keyring.generation).toBe(2);
    const next = await world.open();
    expect(next.keys.current.epoch).toBe(2);
    const files = new Map([
      ["a", noise(1, 300_000)],
      ["c", noise(3, 100_000)],
    ]);
    const kept = new Map([[await world.backup(next, files), files]]);
    await deleteSnapshots(next, [first]);
    await pruneRepository(next, pruneOptions({ immediate: true }));
    await expectKept(world, kept);
    const epochs = new Set<number>();
    const pruned = await world.open();
    for (const pack of pruned.index.packs()) for (const frame of pruned.index.framesOf(pack.id)) epochs.add(frame.row.epoch);
    expect(epochs).toContain(2);
  });
});

describe("the recovery kit", () => {
  it("holds the slot to the letter, and no secret", async () => {
    const world = new World();
    const repository = await world.create();
    // A label whose spaces and wide characters would fall on the ends of lines.
    const id = await addSlot(repository, password("correct horse"), {
      ...CHEAP,
      label: "my desk \u{1f5dd}\u{1f5dd} ".repeat(15),
    });
    const kit = await recoveryKit(repository, { slot: id, where: "/mnt/nas" });
    expect(kit).toContain(repository.id);
    expect(kit).not.toContain("correct horse");
    const block = /then spaces\):\n\n([\s\S]*?)\n\n/.exec(kit)?.[1] ?? "";
    const bytes = Buffer.alloc(4096, " ");
    bytes.write(block.replaceAll("\n", ""));
    for (const line of block.split("\n")) expect(line).toBe(line.trim());
    expect(kit).toContain(createHash("sha256").update(bytes).digest("hex"));
    world.memory.objects.delete(`keys/${id}`);
    world.memory.objects.set(`keys/${id}`, { bytes, modifiedMs: 0, storedAt: 0 });
    expect((await Repository.open(world.options(), [password("correct horse")])).openedBy).toBe(id);
    expect(kit.split("\n").length).toBeLessThan(60);
  });
});
