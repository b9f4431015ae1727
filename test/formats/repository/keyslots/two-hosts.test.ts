import { setImmediate as turn } from "node:timers/promises";
import { expect, it } from "vitest";
import { Secret } from "../../../../src/base/secret.ts";
import { chooseKeyring } from "../../../../src/formats/repository/keys/keyring.ts";
import { addSlot, newEpoch, removeSlot } from "../../../../src/formats/repository/keyslots/keyslots.ts";
import { Repository, type Unlocking } from "../../../../src/formats/repository/repository.ts";
import { FaultyTarget } from "../../../support/faulty-target.ts";
import { expectKept, names, noise, UNLOCK, World } from "../prune/fixture.ts";

const CHEAP = { kdf: { function: "pbkdf2", hash: "sha512", iterations: 1000 }, label: "" } as const;
const password = (text: string): Unlocking => ({ kind: "password", secret: new Secret(text) });
const opens = async (world: World, unlocking: Unlocking): Promise<boolean> =>
  await Repository.open(world.options(), [unlocking]).then(
    () => true,
    () => false,
  );

/** What became of two operations whose waiting for each other takes no real time. */
async function both<Result>(world: World, operations: readonly Promise<Result>[]): Promise<PromiseSettledResult<Result>[]> {
  let done = false;
  const settled = Promise.allSettled(operations).finally(() => (done = true));
  while (!done) {
    await turn();
    await world.clock.advance(10);
  }
  return await settled;
}

it("two hosts that add a slot at once both get in", async () => {
  const world = new World();
  await world.create();
  const [one, two] = [await world.open(), await world.open(undefined, { host: "host-b" })];
  await Promise.all([addSlot(one, password("one"), CHEAP), addSlot(two, password("two"), CHEAP)]);
  for (const unlocking of [UNLOCK, password("one"), password("two")]) expect(await opens(world, unlocking)).toBe(true);
});

it("one host that removes the old slot while another adds leaves a way in for both", async () => {
  const world = new World();
  const made = await world.create();
  await addSlot(made, password("one"), CHEAP);
  const [one, two] = [await world.open(), await world.open(undefined, { host: "host-b" })];
  await both<unknown>(world, [removeSlot(one, made.openedBy, password("one")), addSlot(two, password("two"), CHEAP)]);
  expect(await Promise.all([UNLOCK, password("one"), password("two")].map((way) => opens(world, way)))).toEqual([
    false,
    true,
    true,
  ]);
});

it("two hosts that each remove the other's slot at once leave a way in", async () => {
  // Each proves that the slot opens which the other is about to remove.
  const world = new World();
  const made = await world.create();
  const id = await addSlot(made, password("one"), CHEAP);
  const [one, two] = [await world.open(), await world.open(undefined, { host: "host-b" })];
  const outcomes = await both(world, [removeSlot(one, made.openedBy, password("one")), removeSlot(two, id, UNLOCK)]);
  const left = [await opens(world, UNLOCK), await opens(world, password("one"))];
  expect(left.filter(Boolean).length, JSON.stringify(outcomes)).toBeGreaterThan(0);
});

it("of two hosts that begin an epoch at once one is refused or told so, and everyone agrees on the keyring", async () => {
  const world = new World();
  const made = await world.create();
  const files = new Map([["a", noise(1, 50_000)]]);
  const kept = new Map([[await world.backup(made, files), files]]);
  const [one, two] = [await world.open(), await world.open(undefined, { host: "host-b" })];
  const outcomes = await both(world, [newEpoch(one), newEpoch(two)]);
  for (const outcome of outcomes)
    if (outcome.status === "rejected")
      expect(outcome.reason).toMatchObject({ code: expect.stringMatching(/^repository_(locked|changed)$/) as string });
  expect(outcomes.some(({ status }) => status === "fulfilled")).toBe(true);
  const [a, b] = [await world.open(), await world.open()];
  expect(a.keyringId).toBe(b.keyringId);
  for (const outcome of outcomes)
    if (outcome.status === "fulfilled")
      expect(a.keyring.epochs.map(({ master }) => Buffer.from(master).toString("hex"))).toEqual(
        expect.arrayContaining(outcome.value.keyring.epochs.map(({ master }) => Buffer.from(master).toString("hex"))),
      );
  await expectKept(world, kept);
});

it("keyrings of one generation: the smaller id counts whoever looks, and nothing sealed under either is written meanwhile", async () => {
  const world = new World();
  await world.create();
  // Two maintainers that do not see each other's lease, as where listings are late.
  const blind = (): FaultyTarget =>
    new FaultyTarget(world.memory)
      .queue({ verb: "list", name: /^leases/, kind: "omit", omit: () => true })
      .queue({ verb: "list", name: /^leases/, kind: "omit", omit: () => true });
  const [one, two] = [await world.open(blind()), await world.open(blind(), { host: "host-b" })];
  const outcomes = await both(world, [newEpoch(one), newEpoch(two)]);
  const winners = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value.id] : []));
  const counted = await world.open();
  expect(winners).toContain(counted.keyringId);
  for (const outcome of outcomes)
    if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "repository_changed" });
  const all = await Promise.all(
    names(world, "keyring").map(async (name) => {
      const id = name.slice("keyring/".length) as typeof counted.keyringId;
      return { id, keyring: (await counted.readKeyring(id)) as NonNullable<Awaited<ReturnType<typeof counted.readKeyring>>> };
    }),
  );
  expect(all).toHaveLength(3);
  expect(chooseKeyring(all.toReversed())?.id).toBe(counted.keyringId);
});
