/** Restores over the API: previewed, started, followed, cancelled, rolled back, and never outside the declared folders. */
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { servedDaemon, type Body, type ServedDaemon } from "../support/served-daemon.ts";

const CONFIG = `encryption: { main: { keyFile: ./key, generate: true } }
sources:
  docs: { type: files, paths: [./data, ./elsewhere] }
targets:
  disk: { type: local, path: ./repository, encryption: main }
jobs:
  docs: { sources: [docs], targets: [disk] }
`;

/** With `data` and `restored` (a link to `real`) as roots, and one snapshot. */
async function prepared(): Promise<ServedDaemon & { readonly snapshot: string }> {
  const on = await servedDaemon(CONFIG, {
    data: { "a.txt": "first\n", sub: { b: "b" } },
    restoreRoots: (path) => [join(path, "data"), join(path, "restored"), join(path, "missing")],
    prepare: (path) => {
      for (const name of ["elsewhere", "real", "outside"]) mkdirSync(join(path, name));
      writeFileSync(join(path, "elsewhere/e"), "e");
      symlinkSync("real", join(path, "restored"));
      symlinkSync(join(path, "outside"), join(path, "real/out"));
      symlinkSync("nowhere", join(path, "real/dangling"));
      symlinkSync(join(path, "real"), join(path, "outside/back"));
    },
  });
  await on.ask("POST", "/jobs/docs/run");
  const { snapshots } = await on.until("/snapshots", (body) => body["snapshots"]?.length > 0);
  await on.until("/status", (body) => body["running"].length === 0);
  return Object.assign(on, { snapshot: snapshots[0].id as string });
}

async function finished(on: ServedDaemon, answer: { status: number; headers: Body; body: Body }): Promise<Body> {
  expect(answer.status).toBe(202);
  const { location } = answer.headers;
  expect(location).toBe(`/api/v1/restores/${answer.body["run"]}`);
  return await on.until((location as string).replace("/api/v1", ""), ({ status }) => status !== "running");
}

test("previewed with conflicts, started, followed, rolled back", async () => {
  await using on = await prepared();
  const { path, snapshot } = on;
  const data = join(path, "data");
  writeFileSync(join(data, "a.txt"), "changed\n");
  writeFileSync(join(data, "extra"), "extra");
  const inPlace = { snapshot, path: data, to: "in-place", delete: true };
  const preview = await on.ask("POST", "/restores/preview", inPlace);
  expect([preview.status, preview.body]).toMatchObject([
    200,
    { snapshot, target: "disk", counts: { create: 0, replace: 1, keep: 1, delete: 1, conflicts: 0 }, cut: null },
  ]);
  const at = data.slice(1);
  expect(preview.body["steps"]).toEqual([
    { action: "replace", path: `${at}/a.txt`, type: "file" },
    { action: "delete", path: `${at}/extra`, type: null },
  ]);
  expect((await on.ask("POST", "/restores/preview", { ...inPlace, limit: 1 })).body).toMatchObject({ steps: [{}], cut: "limit" });
  expect(readFileSync(join(data, "a.txt"), "utf8")).toBe("changed\n");

  expect(await on.ask("POST", "/restores", inPlace)).toMatchObject({ status: 409, body: { code: "confirmation_required" } });
  const restored = await finished(on, await on.ask("POST", "/restores", { ...inPlace, confirm: true }));
  expect(restored).toMatchObject({
    status: "success",
    canRollBack: true,
    statistics: { replaced: 1, deleted: 1, inPlace: true },
  });
  expect([readFileSync(join(data, "a.txt"), "utf8"), existsSync(join(data, "extra"))]).toEqual(["first\n", false]);

  expect(await on.ask("POST", `/restores/${restored["id"]}/rollback`, {})).toMatchObject({ status: 409 });
  const back = await finished(
    on,
    await on.ask("POST", `/restores/${restored["id"].slice(0, 10)}/rollback`, { confirm: true, verify: true }),
  );
  expect(back).toMatchObject({ status: "success" });
  expect([readFileSync(join(data, "a.txt"), "utf8"), existsSync(join(data, "extra"))]).toEqual(["changed\n", true]);
  expect((await on.ask("GET", "/restores")).body["restores"].map(({ id }: { id: string }) => id)).toEqual([
    back["id"],
    restored["id"],
  ]);
  const { operations } = (await on.ask("GET", "/operations")).body;
  expect(operations.map(({ kind, by, state }: Body) => `${kind} ${by} ${state}`)).toEqual([
    "rollback owner ended",
    "restore owner ended",
    "restore preview owner ended",
    "restore preview owner ended",
  ]);
  expect((await on.ask("GET", `/operations/${operations[1].operation}`)).body).toMatchObject({ result: { status: "success" } });

  // Into a folder: through the link that is a root, and where something is in the way.
  const folder = { snapshot, path: data, to: { folder: join(path, "restored/here") } };
  expect(await finished(on, await on.ask("POST", "/restores", { ...folder, verify: true }))).toMatchObject({
    status: "success",
    canRollBack: false,
  });
  expect(readFileSync(join(path, "real/here/a.txt"), "utf8")).toBe("first\n");
  writeFileSync(join(path, "real/sub"), "a file");
  const conflicts = (await on.ask("POST", "/restores/preview", { ...folder, to: { folder: join(path, "real") } })).body;
  expect(conflicts).toMatchObject({ counts: { conflicts: 1 }, conflicts: [{ path: "sub", code: "restore_conflict" }] });
});

test("nothing goes outside the declared folders", async () => {
  await using on = await prepared();
  const { path, snapshot } = on;
  const to = (folder: string): Body => ({ snapshot, to: { folder } });
  const refused: [string, Body, number, string][] = [
    ["a folder elsewhere", to(join(path, "outside/x")), 403, "restore_refused"],
    ["the root", to("/"), 403, "restore_refused"],
    ["a folder beside a root", to(join(path, "data2")), 403, "restore_refused"],
    ["the folder above", to(path), 403, "restore_refused"],
    ["a link out of a root", to(join(path, "restored/out/x")), 403, "restore_refused"],
    ["a link that leads nowhere", to(join(path, "restored/dangling/x")), 403, "restore_refused"],
    ["a root that is not there", to(join(path, "missing/x")), 403, "restore_refused"],
    ["a way up", to(join(path, "restored") + "/../outside"), 400, "usage"],
    ["a way up at the end", to(join(path, "restored") + "/.."), 400, "usage"],
    ["a relative folder", to("restored"), 400, "usage"],
    ["a zero byte", to(`${join(path, "restored")}/\0`), 400, "usage"],
    ["a very long folder", to(`/${"x".repeat(5000)}`), 403, "restore_refused"],
    ["in place, all of it", { snapshot, to: "in-place", confirm: true }, 403, "restore_refused"],
    ["in place, elsewhere", { snapshot, path: join(path, "elsewhere"), to: "in-place", confirm: true }, 403, "restore_refused"],
    [
      "in place, through a root and out",
      { snapshot, path: `${path}/data/../elsewhere`, to: "in-place", confirm: true },
      400,
      "usage",
    ],
    [
      "in place, through a root that is a link",
      { snapshot, path: `${path}/restored/x`, to: "in-place", confirm: true },
      403,
      "restore_refused",
    ],
    ["no such place", { snapshot, to: "somewhere" }, 400, "usage"],
    ["an unknown member", { ...to(join(path, "restored")), force: true }, 400, "usage"],
    ["a snapshot that is none", { ...to(join(path, "restored")), snapshot: "xyz" }, 400, "usage"],
    ["no such snapshot", { ...to(join(path, "restored")), snapshot: "ffff" }, 404, "snapshot_missing"],
  ];
  for (const [name, body, status, code] of refused) {
    const { confirm: _, ...plainly } = body;
    for (const [route, asked] of [
      ["/restores", body],
      ["/restores/preview", plainly],
    ] as const) {
      const answer = await on.ask("POST", route, asked);
      expect({ name, route, status: answer.status, code: answer.body["code"], hint: typeof answer.body["hint"] }).toMatchObject({
        name,
        route,
        status,
        code,
        hint: code === "restore_refused" ? "string" : expect.any(String),
      });
    }
  }
  expect((await on.ask("GET", "/restores")).body).toEqual({ restores: [] });
  // What the owner restored elsewhere is not undone by others.
  expect(await on.ask("GET", "/restores/ffff")).toMatchObject({ status: 404 });
  const [run] = (await on.ask("GET", "/runs?kind=backup")).body["runs"];
  expect(await on.ask("GET", `/restores/${run.id}`)).toMatchObject({
    status: 404,
    body: { detail: expect.stringMatching(/is a backup/) },
  });
  expect(await on.ask("POST", `/restores/${run.id}/cancel`)).toMatchObject({ status: 404 });
  expect(await on.ask("POST", `/restores/${run.id}/rollback`, { confirm: true })).toMatchObject({ status: 404 });
});

test("without declared folders there are no restores", async () => {
  await using on = await servedDaemon(CONFIG, { prepare: (path) => mkdirSync(join(path, "elsewhere")) });
  for (const to of ["in-place", { folder: "/tmp/x" }])
    expect(await on.ask("POST", "/restores", { snapshot: "latest", to, confirm: true })).toMatchObject({
      status: 403,
      body: { code: "restore_refused", hint: expect.stringMatching(/control.restoreRoots/) },
    });
});
