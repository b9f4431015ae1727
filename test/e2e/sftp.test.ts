/** A server as people meet it: on the command line, beside a local disk, and when it goes away. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { compareTrees } from "../support/compare-trees.ts";
import { keygen, SftpServer } from "../support/sftp-server.ts";
import { CONFIG, playground, type Playground } from "./cli-runner.ts";

const withServer = test.skipIf(!SftpServer.isInstalled);
let server: SftpServer;
beforeAll(async () => {
  if (!SftpServer.isInstalled) return;
  server = await SftpServer.start();
});
afterAll(() => server?.[Symbol.asyncDispose]());

interface Nas {
  readonly of?: SftpServer;
  readonly path: string;
  readonly hostKey?: string;
  readonly identityFile?: string;
  readonly more?: string;
}

function withNas({ of = server, path, hostKey, identityFile, more = "" }: Nas): string {
  const [key] = of.hostKeys;
  return CONFIG.replace(
    "  disk:",
    `  nas: { type: sftp, host: 127.0.0.1, port: ${of.port}, user: ${of.user}, path: ${join(of.folder, "data", path)}, ` +
      `identityFile: ${identityFile ?? of.keyFile}, ${hostKey ?? `hostKey: "${key?.type} ${key?.blob}"`}, encryption: main${more} }\n  disk:`,
  ).replace("targets: [disk]", "targets: { disk: {}, nas: { required: false } }");
}

const snapshots = async (place: Playground): Promise<{ id: string; targets: string[] }[]> =>
  ((await place.json("snapshots"))["snapshots"] as { id: string; copies?: { target: string }[]; targets?: string[] }[]).map(
    ({ id, targets, copies }) => ({ id, targets: (targets ?? copies?.map(({ target }) => target) ?? []).toSorted() }),
  );

withServer("a disk and a server hold one snapshot, and each gives it back", async () => {
  using place = playground({ config: withNas({ path: "both" }) });
  expect(await place.run("doctor")).toMatchObject({
    code: 0,
    out: expect.stringMatching(/ok {7}target nas: .* does not exist yet/),
  });
  expect(await place.run("apply", "-q")).toMatchObject({ code: 0 });
  expect(await place.run("doctor")).toMatchObject({
    code: 0,
    out: expect.stringContaining("target nas: wrote, read and deleted a probe"),
  });
  expect(await place.run("backup", "docs")).toMatchObject({ code: 0 });
  expect(await snapshots(place)).toEqual([{ id: expect.any(String), targets: ["disk", "nas"] }]);
  for (const target of ["disk", "nas"]) {
    expect(await place.run("verify", "--target", target, "--read-data")).toMatchObject({ code: 0 });
    expect((await place.run("restore", "latest", "--target", target, "--to", join(place.path, target))).code).toBe(0);
    expect(compareTrees(join(place.path, "data"), join(place.path, target, place.path, "data"))).toEqual([]);
  }
});

withServer("what is wrong with a server is said with its cause, and its hint says what to do", async () => {
  const stranger = join(server.folder, "stranger");
  keygen(stranger, "ed25519");
  const strange = readFileSync(`${stranger}.pub`, "utf8").split(" ").slice(0, 2).join(" ");
  const cases: [Partial<Nas>, string, string][] = [
    [{ hostKey: `hostKey: "${strange}"` }, "shows another key than the one it is known by", "Nothing was sent to it."],
    [{ hostKey: "knownHosts: ./nowhere" }, "nowhere", "give the key as `hostKey`"],
    [{ hostKey: "knownHosts: ./known" }, "known has no key of [127.0.0.1]", "ssh-keyscan -p"],
    [{ identityFile: stranger }, "does not let Holdfast in", "authorized_keys"],
    [{ identityFile: "./nothing" }, "cannot be read", "Create the file"],
    [{ path: "../authorized_keys" }, "is not a folder", "Give the path of a folder."],
  ];
  for (const [wrong, message, hint] of cases) {
    using place = playground({ config: withNas({ path: "wrong", ...wrong }).replace("disk: {}, nas", "nas") });
    place.write("known", `elsewhere ${strange}\n`);
    const { code, err } = await place.run("snapshots", "--target", "nas");
    expect({ code, err }).toEqual({ code: expect.any(Number), err: expect.stringContaining(message) });
    expect(code).toBeGreaterThan(0);
    expect(err).toContain(hint);
    expect(existsSync(join(server.folder, "data/wrong"))).toBe(false);
  }
});

interface Work extends AsyncDisposable {
  readonly own: SftpServer;
  readonly place: Playground;
  readonly packs: () => string[];
}

/** A disk and a server of its own, and 160 MB that do not compress. */
async function atWork(): Promise<Work> {
  const own = await SftpServer.start();
  const place = playground({ config: withNas({ of: own, path: "own" }) });
  const folder = join(own.folder, "data/own/packs");
  mkdirSync(join(place.path, "data/large"));
  for (let i = 0; i < 40; i++) writeFileSync(join(place.path, `data/large/${i}`), randomBytes(4_000_000));
  expect(await place.run("apply", "-q")).toMatchObject({ code: 0 });
  return {
    own,
    place,
    packs: () =>
      existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.length > 60) : [],
    [Symbol.asyncDispose]: async () => {
      place[Symbol.dispose]();
      await own[Symbol.asyncDispose]();
    },
  };
}

async function expectAllOnBoth(place: Playground): Promise<void> {
  expect(await place.run("verify", "--target", "nas", "--read-data")).toMatchObject({ code: 0 });
  expect((await snapshots(place)).at(-1)).toMatchObject({ targets: ["disk", "nas"] });
  expect((await place.run("restore", "latest", "--target", "nas", "--to", join(place.path, "back"))).code).toBe(0);
  expect(compareTrees(join(place.path, "data"), join(place.path, "back", place.path, "data"))).toEqual([]);
}

withServer("connections that are cut again and again cost time, and nothing else", async () => {
  await using work = await atWork();
  const { own, place, packs } = work;
  const backup = place.start("backup", "docs");
  for (const count of [1, 2, 3]) {
    while (packs().length < count) await sleep(5);
    own.cut();
  }
  expect(await backup.ended()).toMatchObject({ code: 0 });
  await expectAllOnBoth(place);
  expect(readdirSync(join(own.folder, "data/own/tmp")).length).toBeLessThan(10);
});

withServer("a server that is lost in the middle costs its own copy only, and what it had is used when it is back", async () => {
  await using work = await atWork();
  const { own, place, packs } = work;
  const backup = place.start("backup", "docs");
  while (packs().length === 0) await sleep(5);
  own.lock();
  const { code, err } = await backup.ended();
  expect(code).toBe(3);
  expect(err).toContain("does not let Holdfast in");
  expect((await snapshots(place)).map(({ targets }) => targets)).toEqual([["disk"]]);
  const stored = packs();
  expect(stored.length).toBeGreaterThan(0);
  own.allow(readFileSync(`${own.keyFile}.pub`, "utf8"));
  expect(await place.run("backup", "docs")).toMatchObject({ code: 0 });
  expect(packs()).toEqual(expect.arrayContaining(stored));
  await expectAllOnBoth(place);
});

withServer("a server that does not answer is tried again, which is said, and Ctrl-C ends it", async () => {
  await using own = await SftpServer.start();
  using place = playground({ config: withNas({ of: own, path: "away" }) });
  expect(await place.run("apply", "-q")).toMatchObject({ code: 0 });
  await own.end();
  const listing = place.start("snapshots", "--target", "nas");
  await listing.says("it is tried again");
  listing.child.kill("SIGINT");
  const { code, err } = await listing.ended();
  expect(code).toBe(130);
  expect(err).toContain("target nas: Cannot connect to");
});

withServer("password and passphrase are shown nowhere, whether they work or not", async () => {
  const canary = "c4n4ry-5ecret-9f8e7d";
  const file = join(server.folder, "with-passphrase");
  keygen(file, "ed25519", canary);
  server.allow(readFileSync(`${file}.pub`, "utf8"));
  const secrets = (passphrase: string): string =>
    withNas({
      path: "secret",
      identityFile: file,
      more: `, passphrase: { file: ./${passphrase} }, password: { file: ./password }`,
    })
      .replace("required: false", "required: true")
      .replace("log: { format: text }", "log: { format: json, level: debug }");
  using place = playground({ config: secrets("good") });
  place.write("good", `${canary}\n`, 0o600);
  place.write("wrong", `${canary}-wrong\n`, 0o600);
  place.write("password", `${canary}-password\n`, 0o600);
  const commands = [
    ["validate"],
    ["plan"],
    ["apply"],
    ["doctor"],
    ["backup", "docs", "--json", "-v"],
    ["status"],
    ["snapshots", "--json"],
    ["logs", "--json"],
  ];
  let said = "";
  const runAll = async (): Promise<(number | null)[]> => {
    const codes = [];
    for (const command of commands) {
      const { code, out, err } = await place.run(...command);
      said += out + err;
      codes.push(code);
    }
    return codes;
  };
  expect(await runAll()).toEqual(commands.map(() => 0));
  place.write("holdfast.yaml", secrets("wrong"));
  expect((await runAll()).slice(3, 5)).toEqual([1, expect.any(Number)]);
  expect(said).toContain("passphrase");
  expect(said).not.toContain("c4n4ry");
  for (const folder of ["state", "cache"])
    for (const entry of readdirSync(join(place.path, folder), { recursive: true, withFileTypes: true }))
      if (entry.isFile()) expect(readFileSync(join(entry.parentPath, entry.name)).includes("c4n4ry"), entry.name).toBe(false);
});
