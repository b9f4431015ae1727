/** Faults of the line and of the server: 13, 14, 15, 17 and 21 of the design's list. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createSystemClock } from "../../../src/state/system-clock.ts";
import { SftpTarget } from "../../../src/targets/sftp/sftp-target.ts";
import { RetryTarget } from "../../../src/targets/wrap/retry.ts";
import { LyingSftpServer } from "../../support/lying-sftp-server.ts";
import { SftpServer } from "../../support/sftp-server.ts";
import { TcpProxy } from "../../support/tcp-proxy.ts";

const withServer = test.skipIf(!SftpServer.isInstalled);
let server: SftpServer;
let line: TcpProxy;
beforeAll(async () => {
  if (!SftpServer.isInstalled) return;
  server = await SftpServer.start();
  line = await TcpProxy.start(server.port);
});
afterAll(async () => {
  await line?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

const fresh = (): string => join("data", basename(mkdtempSync(join(server.folder, "data/"))));
const random = { bytes: (length: number) => randomBytes(length) };
const retried = (path: string): RetryTarget =>
  new RetryTarget(new SftpTarget(server.spec(path, { port: line.port })), { clock: createSystemClock(), random, baseDelayMs: 1 });
const objectsIn = (path: string, folder: string): string[] => {
  try {
    return readdirSync(join(server.folder, path, folder));
  } catch {
    return [];
  }
};

withServer(
  "a connection that is reset at every 64 KiB of an upload shows no partial object, and the upload is made anew",
  async () => {
    const content = randomBytes(1_000_000);
    const before = line.cuts;
    let partial = 0;
    for (let at = 4096; ; at += 65_536) {
      const path = fresh();
      await using target = retried(path);
      line.cutAfter("sent", at);
      const putting = target.put("packs/aa/object", [Buffer.from(content)]);
      const look = setInterval(() => {
        for (const name of objectsIn(path, "packs/aa"))
          if (statSync(join(server.folder, path, "packs/aa", name)).size !== content.length) partial++;
      }, 1);
      await putting.finally(() => clearInterval(look));
      expect(Buffer.compare(await target.get("packs/aa/object"), content)).toBe(0);
      expect(await target.list("")).toHaveLength(1);
      if (line.isArmed) break;
    }
    line.disarm();
    expect(partial).toBe(0);
    expect(line.cuts - before).toBeGreaterThan(14);
  },
);

withServer("a connection that is reset before any of the answers costs nothing but another try", async () => {
  const content = randomBytes(300_000);
  const before = line.cuts;
  for (let at = 3000; ; at += 61) {
    const path = fresh();
    await using target = retried(path);
    line.cutAfter("answered", at);
    await target.put("index/object", [Buffer.from(content)]);
    if (line.isArmed) break;
    expect(await target.list("")).toMatchObject([{ name: "index/object", sizeBytes: content.length }]);
    expect(Buffer.compare(await target.get("index/object"), content)).toBe(0);
  }
  line.disarm();
  expect(line.cuts - before).toBeGreaterThan(5);
});

withServer("a list that is cut is no list", async () => {
  const path = fresh();
  await using direct = new SftpTarget(server.spec(path));
  for (let i = 0; i < 40; i++) await direct.put(`packs/${(i + 16).toString(16)}/object-${"x".repeat(100)}`, [Buffer.from("x")]);
  const before = line.cuts;
  for (let at = 3500; ; at += 1500) {
    await using target = new SftpTarget(server.spec(path, { port: line.port }));
    line.cutAfter("answered", at);
    const found = await target.list("").catch((error: unknown) => error);
    if (line.isArmed) {
      expect(found).toHaveLength(40);
      break;
    }
    expect(found).toMatchObject({ code: "target_unreachable", transient: true });
  }
  line.disarm();
  expect(line.cuts - before).toBeGreaterThan(3);
});

withServer("a line that falls silent is given up, and the next call goes another way", async () => {
  const path = fresh();
  await using silent = await TcpProxy.start(server.port);
  await using target = new SftpTarget(server.spec(path, { port: silent.port, silenceMs: 700 }));
  await target.put("index/a", [Buffer.from("there")]);
  silent.fallSilent();
  const began = performance.now();
  expect(await target.get("index/a").catch((error: unknown) => error)).toMatchObject({
    code: "target_unreachable",
    transient: true,
    message: expect.stringContaining("has not answered"),
  });
  expect(performance.now() - began).toBeGreaterThan(600);
  silent.speak();
  expect(Buffer.from(await target.get("index/a")).toString()).toBe("there");
});

withServer("a call on a silent line ends with its signal", async () => {
  await using silent = await TcpProxy.start(server.port);
  const target = new SftpTarget(server.spec(fresh(), { port: silent.port }));
  await target.list("");
  silent.fallSilent();
  const stop = new AbortController();
  const listing = target.list("", { signal: stop.signal }).catch((error: unknown) => error);
  stop.abort(new Error("enough"));
  expect(await listing).toMatchObject({ message: "enough" });
  await target[Symbol.asyncDispose]();
});

withServer.each(["loses the end", "writes nothing"] as const)("a server that %s and says all is well is caught", async (lie) => {
  await using liar = await LyingSftpServer.start(lie);
  await using target = new SftpTarget(liar.spec());
  expect(await target.put("index/a", [randomBytes(600_000)]).catch((error: unknown) => error)).toMatchObject({
    code: "target_lied",
    transient: false,
  });
  expect(liar.named).toEqual([]);
});

withServer("an honest server of that kind is believed", async () => {
  await using honest = await LyingSftpServer.start("says the truth");
  await using target = new SftpTarget(honest.spec());
  await target.put("index/a", [randomBytes(600_000)]);
  expect(honest.named).toEqual(["/folder/index/a"]);
});
