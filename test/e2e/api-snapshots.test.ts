/** Snapshots over the API: a daemon, its socket and a real repository. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { appendFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { fromBufferPromise } from "yauzl";
import { servedDaemon, type ServedDaemon } from "../support/served-daemon.ts";

const CONFIG = `encryption: { main: { keyFile: ./key, generate: true } }
sources:
  docs: { type: files, paths: [./data] }
targets:
  disk: { type: local, path: ./repository, encryption: main }
  copy: { type: local, path: ./copy, encryption: main }
jobs:
  docs: { sources: [docs], targets: [disk, copy] }
`;

const noise = (bytes: number, seed: string): Buffer => {
  const all: Buffer[] = [];
  for (let i = 0; i * 32 < bytes; i++) all.push(createHash("sha256").update(`${seed}${i}`).digest());
  return Buffer.concat(all).subarray(0, bytes);
};
const BIG = noise(12_000_000, "big");

/** The ids of the snapshots, the oldest first. */
async function backedUp(on: ServedDaemon): Promise<string[]> {
  const { body } = await on.ask("GET", "/snapshots?job=docs");
  return (body["snapshots"] as { id: string }[]).map(({ id }) => id).toReversed();
}

async function backUp(on: ServedDaemon): Promise<string> {
  const before = await backedUp(on);
  await on.ask("POST", "/jobs/docs/run");
  await on.until(
    "/status",
    (body) => body["running"].length === 0 && body["waiting"].length === 0 && body["jobs"][0].askedMs === undefined,
  );
  const [fresh] = (await backedUp(on)).filter((id) => !before.includes(id));
  if (fresh === undefined) throw new Error(`no new snapshot:\n${on.lines.join("\n")}`);
  return fresh;
}

test("listed, described, browsed, searched, compared, annotated, verified, deleted", async () => {
  const raw = Buffer.from("/data/raw\xff\\name", "latin1");
  await using on = await servedDaemon(CONFIG, {
    data: { "a.txt": "first\n", 'grün "x".txt': "quoted", sub: { "b.conf": "b", "c.conf": "c" } },
    prepare: (path) => writeFileSync(Buffer.concat([Buffer.from(path), raw]), "raw"),
  });
  const { path } = on;
  const first = await backUp(on);
  appendFileSync(join(path, "data/a.txt"), "more");
  writeFileSync(join(path, "data/new.conf"), "new");
  rmSync(join(path, "data/sub/c.conf"));
  const second = await backUp(on);

  const list = (await on.ask("GET", "/snapshots")).body;
  expect(list).toMatchObject({ snapshots: [{ id: second }, { id: first }], next: null, unavailable: [], damaged: [] });
  expect(list["snapshots"][1]).toMatchObject({ job: "docs", host: "tester", targets: ["disk", "copy"], files: 5, hold: false });
  // A page at a time, each once.
  const page = (await on.ask("GET", "/snapshots?limit=1")).body;
  expect(page["snapshots"]).toMatchObject([{ id: second }]);
  expect((await on.ask("GET", `/snapshots?limit=1&cursor=${page["next"]}`)).body).toMatchObject({
    snapshots: [{ id: first }],
    next: null,
  });
  const time = list["snapshots"][0].time as string;
  const ids = async (query: string): Promise<string[]> =>
    ((await on.ask("GET", `/snapshots?${query}`)).body["snapshots"] as { id: string }[]).map(({ id }) => id);
  expect(await ids(`since=${time}`)).toEqual([second]);
  expect(await ids(`until=${time}`)).toEqual([first]);
  expect(await ids(`at=${time}`)).toEqual([second, first]);
  expect(await ids("host=other")).toEqual([]);
  expect(await ids("tag=none")).toEqual([]);
  expect(await ids("target=copy")).toEqual([second, first]);

  expect((await on.ask("GET", `/snapshots/${first.slice(0, 8)}`)).body).toMatchObject({
    id: first,
    durationMs: expect.any(Number),
    unreadableEntries: [],
  });
  expect((await on.ask("GET", "/snapshots/latest?job=docs")).body).toMatchObject({ id: second });

  const folder = (query: string): string => `/snapshots/${first}/entries?path=${encodeURIComponent(`${path}/data`)}${query}`;
  const entries = (await on.ask("GET", folder(""))).body;
  expect(entries["entry"]).toMatchObject({ type: "directory" });
  expect(entries["entries"].map(({ name, type }: { name: string; type: string }) => `${type} ${name}`)).toEqual([
    "file a.txt",
    'file grün "x".txt',
    "file raw\\xff\\\\name",
    "directory sub",
  ]);
  const names: string[] = [];
  for (let next: string | null | undefined; next !== null;) {
    const { body } = await on.ask("GET", folder(`&limit=1${next === undefined ? "" : `&cursor=${next}`}`));
    names.push(...body["entries"].map(({ name }: { name: string }) => name));
    next = body["next"];
  }
  expect(names).toHaveLength(4);
  // A path as it is shown names the same bytes.
  const shown = entries["entries"][2].path as string;
  const content = `/snapshots/${first}/content?path=${encodeURIComponent(shown)}`;
  const file = await on.ask("GET", content);
  expect([file.status, file.bytes.toString(), file.headers["content-length"], file.headers["content-type"]]).toEqual([
    200,
    "raw",
    "3",
    "application/octet-stream",
  ]);
  expect(file.headers["content-disposition"]).toBe(`attachment; filename="raw_xff__name"; filename*=UTF-8''raw_xff__name`);

  const found = (await on.ask("GET", `/snapshots/search?pattern=*.conf&job=docs`)).body;
  expect(found).toMatchObject({ cut: null, searched: 2, snapshots: 2 });
  expect(
    found["found"].map(
      ({ snapshot, path: at }: { snapshot: string; path: string }) => `${snapshot === first ? 1 : 2} ${at.slice(path.length)}`,
    ),
  ).toEqual(["2 /data/new.conf", "2 /data/sub/b.conf", "1 /data/sub/b.conf", "1 /data/sub/c.conf"]);
  expect((await on.ask("GET", `/snapshots/search?pattern=*.CONF&ignoreCase=true&snapshot=${first}&limit=1`)).body).toMatchObject({
    found: [{ snapshot: first }],
    cut: "limit",
    snapshots: 1,
  });
  // What would hold the loop for years as a regular expression is an answer like any other.
  expect((await on.ask("GET", `/snapshots/search?pattern=${"*a".repeat(60)}*b`)).body).toMatchObject({ found: [], cut: null });

  const diff = (await on.ask("GET", `/snapshots/diff?before=${first}&after=${second}&path=${encodeURIComponent(`${path}/data`)}`))
    .body;
  expect(diff).toMatchObject({ totals: { added: 1, removed: 1, modified: 1, type: 0 }, cut: null });
  expect(diff["changes"].map(({ kind, path: at }: { kind: string; path: string }) => `${kind} ${at.slice(path.length)}`)).toEqual(
    expect.arrayContaining(["modified /data/a.txt", "added /data/new.conf", "removed /data/sub/c.conf"]),
  );
  expect((await on.ask("GET", `/snapshots/diff?before=${first}&after=${second}&limit=1`)).body).toMatchObject({
    cut: "limit",
    changes: [{}],
  });

  // Said of it on both targets; held, it stays.
  const until = "2999-01-01T00:00:00.000Z";
  expect(
    (await on.ask("PATCH", `/snapshots/${first.slice(0, 12)}`, { addTags: ["gold"], hold: until, description: "the first" }))
      .body,
  ).toMatchObject({
    tags: ["gold"],
    hold: until,
    description: "the first",
  });
  expect(await ids("tag=gold&target=copy")).toEqual([first]);
  const unsure = await on.ask("DELETE", `/snapshots/${first}`);
  expect([unsure.status, unsure.body]).toMatchObject([
    409,
    { code: "confirmation_required", data: { snapshot: first, targets: ["disk", "copy"] } },
  ]);
  expect((await on.ask("DELETE", `/snapshots/${first}?confirm=${second}`)).body).toMatchObject({ code: "confirmation_required" });
  expect(await on.ask("DELETE", `/snapshots/${first}?confirm=${first}`)).toMatchObject({
    status: 409,
    body: { code: "plan_held" },
  });
  expect((await on.ask("PATCH", `/snapshots/${first}`, { hold: false, removeTags: ["gold"] })).body).toMatchObject({
    hold: false,
    tags: [],
  });

  const verified = await on.ask("POST", `/snapshots/${first}/verify`, { readData: 1 });
  expect(verified.status).toBe(202);
  expect(verified.headers.location).toBe(`/api/v1/runs/${verified.body["run"]}`);
  const run = await on.until(`/runs/${verified.body["run"]}`, ({ status }) => status !== "running");
  expect(run).toMatchObject({ kind: "verify", status: "success", targets: ["disk", "copy"], reason: "asked for" });

  expect((await on.ask("DELETE", `/snapshots/${first}?confirm=${first}`)).body).toMatchObject({ deleted: { id: first } });
  expect(await ids("")).toEqual([second]);
  expect(await on.ask("GET", content)).toMatchObject({ status: 404, body: { code: "snapshot_missing" } });
  for (const [method, to, body] of [
    ["GET", `/snapshots/${first}`],
    ["GET", `/snapshots/${first}/entries`],
    ["PATCH", `/snapshots/${first}`, { hold: true }],
    ["DELETE", `/snapshots/${first}?confirm=${first}`],
    ["POST", `/snapshots/${first}/verify`, {}],
    ["GET", `/snapshots/diff?before=${first}&after=${second}`],
    ["GET", `/snapshots/search?pattern=x&snapshot=${first}`],
  ] as const)
    expect([to, await on.ask(method, to, body)]).toMatchObject([to, { status: 404, body: { code: "snapshot_missing" } }]);
});

test("what is asked wrongly is told, and nothing is guessed", async () => {
  await using on = await servedDaemon(CONFIG);
  const ids: string[] = [];
  // Until two begin with the same digit.
  while (new Set(ids.map((id) => id[0])).size === ids.length) ids.push(await backUp(on));
  const twice = ids.map((id) => id[0]).find((digit, i, all) => all.indexOf(digit) !== i) as string;
  const one = ids[0] as string;
  const at = (path: string): string => `/snapshots/${one}/entries?path=${path}`;
  for (const [method, to, status, code, body] of [
    ["GET", `/snapshots/${twice}`, 409, "selector_ambiguous"],
    ["DELETE", `/snapshots/${twice}?confirm=${one}`, 409, "selector_ambiguous"],
    ["PATCH", `/snapshots/${twice}`, 409, "selector_ambiguous", { hold: true }],
    ["GET", `/snapshots/search?pattern=x&snapshot=${twice}`, 409, "selector_ambiguous"],
    ["GET", "/snapshots/nothex", 400, "usage"],
    ["GET", "/snapshots/..%2f..%2fetc", 400, "usage"],
    ["DELETE", "/snapshots/latest", 400, "usage"],
    ["GET", at("/../etc"), 400, "usage"],
    ["GET", at("/%00"), 400, "usage"],
    ["GET", at(`/${"x".repeat(5000)}`), 404, "path_missing"],
    ["GET", at(`/${"x/".repeat(2500)}`), 404, "path_missing"],
    ["GET", at("/%5Cxff%5Cxfe"), 404, "path_missing"],
    ["GET", at("/nothing"), 404, "path_missing"],
    ["GET", `${at("/")}&cursor=***`, 400, "usage"],
    ["GET", "/snapshots?cursor=AAAA", 400, "usage"],
    ["GET", "/snapshots?limit=1001", 400, "usage"],
    ["GET", "/snapshots?limit=0", 400, "usage"],
    ["GET", "/snapshots?since=yesterday", 400, "usage"],
    ["GET", "/snapshots?colour=red", 400, "usage"],
    ["GET", "/snapshots?target=other", 404, "name_unknown"],
    ["GET", "/snapshots/search?pattern=", 400, "usage"],
    ["GET", `/snapshots/search?pattern=${"x".repeat(1025)}`, 400, "usage"],
    ["GET", `/snapshots/${one}/content?path=${encodeURIComponent(`${on.path}/data`)}`, 400, "usage"],
    ["GET", `/snapshots/${one}/content`, 400, "usage"],
    ["GET", `/snapshots/${one}/content?path=/x&as=rar`, 400, "usage"],
    ["PATCH", `/snapshots/${one}`, 400, "usage", {}],
    ["PATCH", `/snapshots/${one}`, 400, "usage", { hold: "1999-01-01T00:00:00Z" }],
    ["PATCH", `/snapshots/${one}`, 400, "usage", { hold: "soon" }],
    ["PATCH", `/snapshots/${one}`, 400, "usage", { addTags: ["a"], removeTags: ["a"] }],
    ["PATCH", `/snapshots/${one}`, 400, "usage", { tags: ["a"] }],
    ["POST", `/snapshots/${one}/verify`, 400, "usage", { readData: 2 }],
    ["POST", `/snapshots/${one}/verify`, 404, "name_unknown", { target: "other" }],
  ] as const) {
    const answer = await on.ask(method, to, body);
    expect({ method, to: to.slice(0, 80), status: answer.status, code: answer.body["code"] }).toEqual({
      method,
      to: to.slice(0, 80),
      status,
      code,
    });
    expect(answer.headers["content-type"]).toMatch(/^application\/problem\+json/);
  }
  expect(new Set(await backedUp(on))).toEqual(new Set(ids));
});

test("downloads are whole, or cut; and who goes away ends the work", async () => {
  await using on = await servedDaemon(CONFIG, { data: { big: BIG, sub: { x: "x" } } });
  const id = await backUp(on);
  const at = (name: string, as = ""): string =>
    `/snapshots/${id}/content?path=${encodeURIComponent(`${on.path}/data${name}`)}${as}`;
  const whole = await on.ask("GET", at("/big"));
  expect([whole.headers["content-length"], whole.bytes.equals(BIG)]).toEqual([String(BIG.length), true]);
  const zip = await on.ask("GET", at("", "&as=zip"));
  expect([zip.headers["content-type"], zip.headers["content-disposition"], zip.trailers["holdfast-left-out"]]).toEqual([
    "application/zip",
    `attachment; filename="data.zip"; filename*=UTF-8''data.zip`,
    "0",
  ]);
  expect((await fromBufferPromise(zip.bytes)).entryCount).toBe(3);
  const tar = await on.ask("GET", at("", "&as=tar"));
  expect([tar.headers["content-type"], tar.bytes.length % 512]).toEqual(["application/x-tar", 0]);

  // A reader that goes away in the middle.
  const before = on.lines.length;
  const leaving = await on.open(at("/big"));
  await once(leaving, "readable");
  leaving.destroy();
  await on.says("Who asked for it has gone");
  expect(on.lines.slice(before).filter((line) => line.includes("a download of"))).toHaveLength(1);
  // More than may go on at a time, of readers that take nothing.
  const slow = await Promise.all(Array.from({ length: 8 }, () => on.open(at("/big"))));
  expect(await on.ask("GET", at("/big"))).toMatchObject({ status: 409, body: { code: "state_busy" } });
  for (const one of slow) one.destroy();
  await on.until("/status", () => on.lines.filter((line) => line.includes("a download of")).length === 9);
  expect((await on.ask("GET", at("/sub/x"))).bytes.toString()).toBe("x");

  // What cannot be read to its end has no end here either, whatever is asked for.
  const { readdirSync, statSync, truncateSync, chmodSync } = await import("node:fs");
  for (const target of ["repository", "copy"])
    for (const name of readdirSync(join(on.path, target), { recursive: true, encoding: "utf8" })) {
      const file = join(on.path, target, name);
      if (!statSync(file).isFile() || statSync(file).size < 1_000_000) continue;
      chmodSync(file, 0o600);
      truncateSync(file, Math.floor(statSync(file).size / 2));
    }
  for (const as of ["", "&as=zip", "&as=tar"]) {
    const name = as === "" ? "/big" : "";
    const answer = await on.ask("GET", at(name, as)).catch((error: NodeJS.ErrnoException) => error.code);
    // Before the first byte it is a problem; after it, a cut.
    if (typeof answer === "object") expect(answer.status).toBeGreaterThanOrEqual(500);
    else expect(answer).toBe("ECONNRESET");
  }
});
