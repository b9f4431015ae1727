/** The control socket as a file: who may connect, what it replaces, what it leaves. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, lstatSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { serveControl } from "../../src/api/server.ts";
import { bindSocket } from "../../src/api/socket.ts";
import { DaemonClient } from "../../src/cli/daemon-client.ts";
import { temporaryTree } from "../support/tree-literal.ts";
import { fakeControl } from "./fake-control.ts";

const mode = (path: string): string => (lstatSync(path).mode & 0o777).toString(8);

test("at no moment may others connect, whatever the umask", async () => {
  using folder = temporaryTree({ state: {} });
  const state = join(folder.path, "state");
  const server: Server = createServer();
  const before = process.umask(0);
  try {
    let whileBinding: string[] = [];
    await using bound = await bindSocket(state, async (path) => {
      server.listen(path);
      await once(server, "listening");
      whileBinding = readdirSync(state).map((name) => `${name.slice(0, 9)} ${mode(join(state, name))}`);
    });
    expect(whileBinding).toEqual([".control- 700"]);
    expect(readdirSync(state)).toEqual(["control.sock"]);
    expect(mode(join(state, "control.sock"))).toBe("600");
    expect(lstatSync(join(state, "control.sock")).isSocket()).toBe(true);
    void bound;
  } finally {
    process.umask(before);
    server.close();
  }
  expect(readdirSync(state)).toEqual([]);
});

test("what a killed daemon left is replaced, and a later daemon's socket is not removed", async () => {
  using folder = temporaryTree({ state: {} });
  const state = join(folder.path, "state");
  const path = join(state, "control.sock");
  const program = `require("net").createServer().listen(${JSON.stringify(path)}, () => console.log("up"))`;
  const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await once(child, "close");
  expect(existsSync(path)).toBe(true);
  const client = new DaemonClient(state);
  await expect(client.ask("GET", "/daemon")).rejects.toMatchObject({
    code: "daemon_unreachable",
    data: { errno: "ECONNREFUSED" },
  });
  const first = await serveControl(fakeControl(), state);
  expect(await client.ask("GET", "/daemon")).toMatchObject({ pid: 1 });
  const second = await serveControl(fakeControl(), state);
  await first[Symbol.asyncDispose]();
  expect(await client.ask("GET", "/daemon")).toMatchObject({ pid: 1 });
  await second[Symbol.asyncDispose]();
  expect(existsSync(path)).toBe(false);
});

test("a state folder deeper than the path of a socket may be", async () => {
  using folder = temporaryTree({});
  const state = join(folder.path, ...Array.from({ length: 6 }, () => "d".repeat(100)));
  mkdirSync(state, { recursive: true });
  await using served = await serveControl(fakeControl(), state);
  expect(await new DaemonClient(state).ask("GET", "/daemon")).toMatchObject({ version: "1.2.3" });
  expect(mode(join(state, "control.sock"))).toBe("600");
  void served;
});

test("what cannot be bound is an error that names it, and leaves nothing", async () => {
  using folder = temporaryTree({ state: { "control.sock": { full: "x" } } });
  const state = join(folder.path, "state");
  await expect(serveControl(fakeControl(), state)).rejects.toMatchObject({ code: "state_unusable" });
  expect(readdirSync(state)).toEqual(["control.sock"]);
  expect(statSync(join(state, "control.sock")).isDirectory()).toBe(true);
  rmSync(state, { recursive: true });
  writeFileSync(state, "a file");
  await expect(serveControl(fakeControl(), state)).rejects.toMatchObject({ code: "state_unusable" });
  expect(readdirSync(dirname(state))).toEqual(["state"]);
});
