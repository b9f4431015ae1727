import { mkdirSync, realpathSync, renameSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { confine } from "../../../src/engine/restore/confine.ts";
import { performRestore } from "../../../src/engine/restore/perform.ts";
import { summarisePlan } from "../../../src/engine/restore/plan.ts";
import { temporaryTree, writeTree } from "../../support/tree-literal.ts";
import { fixture, pathsOf, requestOf } from "./fixture.ts";

it("resolves what exists, and keeps the rest as it is", () => {
  using folder = temporaryTree({ real: { sub: {} }, outside: {} });
  const path = realpathSync(folder.path);
  symlinkSync("real", join(path, "root"));
  const place = confine([join(path, "root")], { folder: `${path}/root/./sub//new/er/` }, "/");
  expect(place).toEqual({ to: { folder: join(path, "real/sub/new/er") }, within: [Buffer.from(join(path, "real"))] });
  expect(confine([join(path, "root")], { folder: join(path, "root") }, "/").to).toEqual({ folder: join(path, "real") });
  expect(confine(["/"], { folder: "/" }, "/").to).toEqual({ folder: "/" });
  expect(confine(["/"], "in-place", "/etc").to).toBe("in-place");
});

it.each(["before it is looked at", "before it is written"])(
  "a folder that is replaced by a link %s gets nothing",
  async (when) => {
    await using made = await fixture((source) => writeTree(source, { a: "1", b: "2" }));
    using folder = temporaryTree({ root: { here: {} }, outside: {} });
    const path = realpathSync(folder.path);
    const { to, within } = confine([join(path, "root")], { folder: join(path, "root/here") }, "/");
    if (to === "in-place") throw new Error("a folder");
    const request = requestOf(made, { destination: { kind: "folder", path: Buffer.from(to.folder) }, within });
    const signal = new AbortController().signal;
    expect(await summarisePlan(request, signal)).toMatchObject({ create: 2 });
    const swap = (): void => {
      renameSync(join(path, "root/here"), join(path, "root/moved"));
      symlinkSync(join(path, "outside"), join(path, "root/here"));
    };
    if (when === "before it is looked at") {
      swap();
      await expect(summarisePlan(request, signal)).rejects.toMatchObject({ code: "restore_refused" });
    } else swap();
    const perform = performRestore(request, { verifyFirst: false, verify: false, onProgress: () => undefined, signal });
    await expect(perform).rejects.toMatchObject({ code: "restore_refused" });
    expect(pathsOf(join(path, "outside"))).toEqual([]);
  },
);

it("makes nothing below a link that came into the way of a new folder", async () => {
  await using made = await fixture((source) => writeTree(source, { a: "1" }));
  using folder = temporaryTree({ root: {}, outside: {} });
  const path = realpathSync(folder.path);
  const { to, within } = confine([join(path, "root")], { folder: join(path, "root/new") }, "/");
  if (to === "in-place") throw new Error("a folder");
  mkdirSync(join(path, "outside/real"));
  symlinkSync(join(path, "outside/real"), join(path, "root/new"));
  const request = requestOf(made, { destination: { kind: "folder", path: Buffer.from(to.folder) }, within });
  const perform = performRestore(request, {
    verifyFirst: false,
    verify: false,
    onProgress: () => undefined,
    signal: new AbortController().signal,
  });
  await expect(perform).rejects.toMatchObject({ code: "restore_refused" });
  expect(pathsOf(join(path, "outside"))).toEqual(["real"]);
});
