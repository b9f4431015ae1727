import { it } from "vitest";
import { pruneRepository } from "../../../../src/formats/repository/prune/prune.ts";
import { noise, pruneOptions, World, type Files } from "./fixture.ts";
it("two", async () => {
  for (let round = 0; round < 4; round++) {
  const world = new World();
  const r = await world.create();
  await world.backup(r, new Map([["a", noise(1, 50000)]]));
  const both = [pruneRepository(await world.open(), pruneOptions()), pruneRepository(await world.open(), pruneOptions())];
  let settled = 0;
  for (const each of both) each.then(() => settled++, () => settled++).catch(() => undefined);
  while (settled < 2) await world.clock.advance(100);
  console.log((await Promise.allSettled(both)).map((x) => x.status === "rejected" ? x.reason.message : "ok"));
  }
});
it("users", async () => {
    const world = new World();
    const repository = await world.create();
    const uidOf = (path: string): number => (path.startsWith("alice") ? 1 : 2);
    let files: Files = new Map();
    for (let i = 0; i < 8; i++) {
      const path = `${i % 2 === 0 ? "alice" : "bob"}/f${i}`;
      files = new Map([...files, [path, noise(i, 3000)]]);
      await world.backup(repository, files, { uidOf });
    }
    console.log(await pruneRepository(repository, pruneOptions({ immediate: true })));
    const pruned = await world.open();
    for (const pack of pruned.index.packs()) {
      console.log(pack.kind, pack.state, pack.sizeBytes, [...pruned.index.framesOf(pack.id)].map((f) => [f.chunkCount, f.rawLength]));
    }
});
