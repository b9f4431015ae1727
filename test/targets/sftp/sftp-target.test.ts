import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseHostKey } from "../../../src/targets/sftp/host-key.ts";
import { SftpTarget } from "../../../src/targets/sftp/sftp-target.ts";
import { keygen, SftpServer } from "../../support/sftp-server.ts";

const withServer = test.skipIf(!SftpServer.isInstalled);
let server: SftpServer;
beforeAll(async () => {
  if (!SftpServer.isInstalled) return;
  server = await SftpServer.start();
});
afterAll(() => server?.[Symbol.asyncDispose]());

const fresh = (): string => join("data", basename(mkdtempSync(join(server.folder, "data/"))));
const failure = async (act: () => Promise<unknown>): Promise<unknown> =>
  await act().then(
    () => "nothing failed",
    (error: unknown) => error,
  );

withServer("a server with another key than the one it is known by is told nothing", async () => {
  keygen(join(server.folder, "stranger"), "ed25519");
  const stranger = parseHostKey(readFileSync(join(server.folder, "stranger.pub"), "utf8"))!;
  await using target = new SftpTarget(server.spec(fresh(), { hostKeys: [stranger] }));
  const error = await failure(() => target.list(""));
  expect(error).toMatchObject({ code: "target_untrusted", transient: false });
  const [shown] = server.hostKeys;
  expect(error).toMatchObject({ data: { key: `${shown?.type} ${shown?.blob}` } });
});

withServer("of a server's several keys the one that is pinned is asked for", async () => {
  for (const key of server.hostKeys) {
    await using target = new SftpTarget(server.spec(fresh(), { hostKeys: [key] }));
    expect(await target.list("")).toEqual([]);
  }
});

withServer("a server without a key of the pinned type is not trusted", async () => {
  keygen(join(server.folder, "ecdsa"), "ecdsa");
  const hostKeys = [parseHostKey(readFileSync(join(server.folder, "ecdsa.pub"), "utf8"))!];
  await using target = new SftpTarget(server.spec(fresh(), { hostKeys }));
  expect(await failure(() => target.list(""))).toMatchObject({ code: "target_untrusted" });
});

withServer("a key that the account does not accept is denied, once and for all", async () => {
  keygen(join(server.folder, "unknown"), "ed25519");
  await using target = new SftpTarget(server.spec(fresh(), { privateKey: readFileSync(join(server.folder, "unknown"), "utf8") }));
  expect(await failure(() => target.list(""))).toMatchObject({ code: "target_denied", transient: false });
});

withServer("an encrypted key needs its passphrase", async () => {
  const file = join(server.folder, "encrypted");
  keygen(file, "ed25519", "open sesame");
  server.allow(readFileSync(`${file}.pub`, "utf8"));
  const privateKey = readFileSync(file, "utf8");
  for (const [passphrase, code] of [
    [undefined, "secret_unavailable"],
    ["wrong", "secret_unavailable"],
  ] as const) {
    await using target = new SftpTarget(server.spec(fresh(), { privateKey, passphrase }));
    expect(await failure(() => target.list(""))).toMatchObject({ code });
  }
  await using target = new SftpTarget(server.spec(fresh(), { privateKey, passphrase: "open sesame" }));
  expect(await target.list("")).toEqual([]);
});

withServer("an agent lets it in", async () => {
  const agent = join(server.folder, "agent");
  const child = spawn("ssh-agent", ["-D", "-a", agent], { stdio: "ignore" });
  try {
    while (!existsSync(agent)) await sleep(20);
    execFileSync("ssh-add", ["-q", server.keyFile], { env: { ...process.env, SSH_AUTH_SOCK: agent }, stdio: "ignore" });
    await using target = new SftpTarget(server.spec(fresh(), { privateKey: undefined, agent }));
    await target.put("index/a", [Buffer.from("by an agent")]);
    expect(Buffer.from(await target.get("index/a")).toString()).toBe("by an agent");
  } finally {
    child.kill();
    await once(child, "exit");
  }
});

withServer("nobody answers: unreachable, and worth another try", async () => {
  const closed = createServer().listen(0, "127.0.0.1");
  await once(closed, "listening");
  const { port } = closed.address() as AddressInfo;
  closed.close();
  await once(closed, "close");
  await using target = new SftpTarget(server.spec(fresh(), { port }));
  expect(await failure(() => target.list(""))).toMatchObject({ code: "target_unreachable", transient: true });
});

withServer("what is no SSH server is unreachable", async () => {
  const other = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.end("HTTP/1.1 400 Bad Request\r\n\r\n");
  }).listen(0, "127.0.0.1");
  await once(other, "listening");
  await using target = new SftpTarget(server.spec(fresh(), { port: (other.address() as AddressInfo).port }));
  expect(await failure(() => target.list(""))).toMatchObject({ code: "target_unreachable" });
  other.close();
});

withServer("an account without SFTP is said to have none", async () => {
  await using shellOnly = await SftpServer.start(["Subsystem nothing /bin/true"]);
  await using target = new SftpTarget(shellOnly.spec("data"));
  expect(await failure(() => target.list(""))).toMatchObject({
    code: "target_denied",
    message: expect.stringContaining("does not offer SFTP"),
  });
});

withServer("a folder that is not there, and a path that is a file", async () => {
  const path = fresh();
  await using missing = new SftpTarget(server.spec(join(path, "not/yet")));
  expect(await failure(() => missing.put("index/a", [Buffer.from("x")]))).toMatchObject({
    code: "target_unreachable",
    transient: false,
    data: { path: join(server.folder, path, "not/yet") },
  });
  writeFileSync(join(server.folder, path, "file"), "");
  await using file = new SftpTarget(server.spec(join(path, "file"), { create: true }));
  expect(await failure(() => file.list(""))).toMatchObject({
    code: "target_io",
    message: expect.stringContaining("is not a folder"),
  });
});

test.runIf(process.getuid?.() === 0 && SftpServer.isInstalled)(
  "a folder that may not be written is denied, and what is full is said to be full",
  async () => {
    const mount = join(server.folder, fresh());
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", mount]);
    try {
      await using target = new SftpTarget(server.spec(join("data", basename(mount))));
      await target.put("index/small", [Buffer.alloc(1000)]);
      expect(await failure(() => target.put("index/large", [randomBytes(3_000_000)]))).toMatchObject({
        code: "target_full",
        transient: false,
      });
      expect((await target.list("")).map(({ name }) => name)).toEqual(["index/small"]);
      expect(readdirSync(join(mount, "tmp"))).toEqual([]);
      expect(await target.capacity()).toMatchObject({ totalBytes: 2 ** 20 });
      execFileSync("mount", ["-o", "remount,ro", mount]);
      expect(await failure(() => target.put("index/other", [Buffer.alloc(10)]))).toMatchObject({ transient: false });
      expect(await target.get("index/small")).toHaveLength(1000);
    } finally {
      execFileSync("umount", [mount]);
    }
  },
);

withServer("files and folders are for the account alone", async () => {
  const path = fresh();
  await using target = new SftpTarget(server.spec(path));
  await target.put("packs/aa/bb", [Buffer.from("x")]);
  expect(statSync(join(server.folder, path, "packs/aa/bb")).mode & 0o777).toBe(0o600);
  expect(statSync(join(server.folder, path, "packs/aa")).mode & 0o777).toBe(0o700);
});

withServer("links on the server are followed, and what has no object's name is not listed", async () => {
  const path = fresh();
  const folder = join(server.folder, path);
  await using target = new SftpTarget(server.spec(path));
  await target.put("index/a", [Buffer.from("there")]);
  mkdirSync(join(folder, "elsewhere"));
  symlinkSync(join(folder, "index/a"), join(folder, "elsewhere/link"));
  symlinkSync(join(folder, "nowhere"), join(folder, "elsewhere/dangling"));
  writeFileSync(join(folder, "Thumbs.db"), "");
  writeFileSync(join(folder, ".DS_Store"), "");
  expect((await target.list("")).map(({ name }) => name).toSorted()).toEqual(["elsewhere/link", "index/a"]);
  expect(Buffer.from(await target.get("elsewhere/link")).toString()).toBe("there");
});

withServer("what an unfinished put left is removed when it is old by the server's clock, and nothing else", async () => {
  const path = fresh();
  const temporary = join(server.folder, path, "tmp");
  await using target = new SftpTarget(server.spec(path));
  await target.put("index/a", [Buffer.from("x")]);
  writeFileSync(join(temporary, "put-old"), "x");
  writeFileSync(join(temporary, "put-new"), "x");
  utimesSync(join(temporary, "put-old"), new Date(Date.now() - 7_200_000), new Date(Date.now() - 7_200_000));
  expect(await target.cleanUp(3_600_000)).toBe(1);
  expect(readdirSync(temporary)).toEqual(["put-new"]);
  expect(await target.list("")).toHaveLength(1);
});

withServer("a connection that is lost fails what was asked, and the next call makes another one", async () => {
  const path = fresh();
  await using target = new SftpTarget(server.spec(path));
  const content = randomBytes(8_000_000);
  await target.put("index/a", [Buffer.from(content)]);
  const putting = failure(() =>
    target.put(
      "index/b",
      Array.from({ length: 40 }, () => randomBytes(2_000_000)),
    ),
  );
  while (readdirSync(join(server.folder, path, "tmp")).length === 0) await sleep(1);
  server.cut();
  expect(await putting).toMatchObject({ code: "target_unreachable", transient: true });
  expect(Buffer.compare(await target.get("index/a"), content)).toBe(0);
  expect((await target.list("")).map(({ name }) => name)).toEqual(["index/a"]);
});

withServer("a server that was away for a while is found again", async () => {
  await using away = await SftpServer.start();
  await using target = new SftpTarget(away.spec("data"));
  await target.put("index/a", [Buffer.from("x")]);
  await away.end();
  expect(await failure(() => target.list(""))).toMatchObject({ code: "target_unreachable", transient: true });
  expect(await failure(() => target.list(""))).toMatchObject({ code: "target_unreachable", transient: true });
  await away.begin();
  expect(await target.list("")).toHaveLength(1);
});

withServer("many calls at once share one connection", async () => {
  await using own = await SftpServer.start();
  await using target = new SftpTarget(own.spec("data"));
  await Promise.all(Array.from({ length: 50 }, (_, i) => target.put(`index/${i}`, [Buffer.from(`${i}`)])));
  const got = await Promise.all(Array.from({ length: 50 }, (_, i) => target.get(`index/${i}`)));
  expect(got.map((bytes) => Buffer.from(bytes).toString())).toEqual(Array.from({ length: 50 }, (_, i) => `${i}`));
  expect(readFileSync(join(own.folder, "log"), "utf8").split("Accepted publickey").length - 1).toBe(1);
});

withServer("a put that is cancelled in the middle rejects at once and leaves nothing", async () => {
  const path = fresh();
  await using target = new SftpTarget(server.spec(path));
  const stop = new AbortController();
  const putting = failure(() =>
    target.put(
      "index/a",
      Array.from({ length: 60 }, () => randomBytes(1_000_000)),
      { signal: stop.signal },
    ),
  );
  const temporary = join(server.folder, path, "tmp");
  while (!existsSync(temporary) || readdirSync(temporary).length === 0) await sleep(1);
  stop.abort(new Error("enough"));
  expect(await putting).toMatchObject({ message: "enough" });
  for (let waited = 0; readdirSync(temporary).length > 0 && waited < 5000; waited += 10) await sleep(10);
  expect(readdirSync(temporary)).toEqual([]);
  expect(await target.list("")).toEqual([]);
});

withServer("an account that may only read is denied what writes, and reads", async () => {
  await using readOnly = await SftpServer.start(["Subsystem sftp internal-sftp -R"]);
  mkdirSync(join(readOnly.folder, "data/index"));
  writeFileSync(join(readOnly.folder, "data/index/a"), "there");
  await using target = new SftpTarget(readOnly.spec("data"));
  const denied = { code: "target_denied", transient: false };
  expect(await failure(() => target.put("index/b", [Buffer.from("x")]))).toMatchObject(denied);
  expect(await failure(() => target.delete("index/a"))).toMatchObject(denied);
  expect(Buffer.from(await target.get("index/a")).toString()).toBe("there");
  expect(await target.list("")).toHaveLength(1);
});

withServer("a channel that ends alone is a lost connection too", async () => {
  await using own = await SftpServer.start(["Subsystem sftp /usr/lib/openssh/sftp-server"]);
  await using target = new SftpTarget(own.spec("data"));
  await target.put("index/a", [randomBytes(3_000_000)]);
  const served = (): number[] =>
    own.sessions().filter((pid) => readFileSync(`/proc/${pid}/comm`, "utf8").trim() === "sftp-server");
  const [before] = served();
  const getting = failure(() => Promise.all(Array.from({ length: 40 }, () => target.get("index/a"))));
  process.kill(before as number, "SIGKILL");
  expect(await getting).toMatchObject({ code: "target_unreachable", transient: true });
  expect(await target.get("index/a")).toHaveLength(3_000_000);
  expect(served()).not.toEqual([before]);
});

withServer("calls that wait for one login fail with it, and do not each try their own", async () => {
  await using own = await SftpServer.start(["LogLevel VERBOSE"]);
  own.lock();
  const logins = (): number => readFileSync(join(own.folder, "log"), "utf8").split("Connection from ").length - 1;
  // The first is the look whether the server is there, which is logged when it has been.
  while (logins() < 1) await sleep(10);
  await using target = new SftpTarget(own.spec("data"));
  const results = await Promise.all(Array.from({ length: 30 }, (_, i) => failure(() => target.get(`index/${i}`))));
  for (const result of results) expect(result).toMatchObject({ code: "target_denied" });
  expect(logins()).toBe(2);
});
