import { join } from "node:path";
import { expect, test } from "vitest";
import { ServiceManager } from "../../src/daemon/service-manager.ts";
import { FakeClock } from "../support/fake-clock.ts";
import { notifyReceiver } from "../support/notify-receiver.ts";
import { temporaryTree } from "../support/tree-literal.ts";

test.each(["a path", "an abstract name"])(
  "at %s it tells what it is asked to, each status once and as one line",
  async (kind) => {
    using folder = temporaryTree({});
    const path = kind === "a path" ? join(folder.path, "notify") : `@holdfast-test-${process.pid}`;
    using receiver = notifyReceiver(path);
    using manager = new ServiceManager({ env: { NOTIFY_SOCKET: path }, clock: new FakeClock() });
    manager.ready();
    manager.status("Idle");
    manager.status("Idle");
    manager.status("two\nREADY=1");
    manager.reloading();
    manager.stopping();
    expect(receiver.messages.map((message) => message.replace(/\d{6,}/, "N"))).toEqual([
      "READY=1",
      "STATUS=Idle",
      "STATUS=two READY=1",
      "RELOADING=1\nMONOTONIC_USEC=N",
      "STOPPING=1\nSTATUS=Stopping",
    ]);
  },
);

test("it is alive twice as often as asked, until it is disposed, and only when it was asked itself", async () => {
  using folder = temporaryTree({});
  const path = join(folder.path, "notify");
  using receiver = notifyReceiver(path);
  const clock = new FakeClock();
  const env = { NOTIFY_SOCKET: path, WATCHDOG_USEC: "2000000" };
  const manager = new ServiceManager({ env: { ...env, WATCHDOG_PID: String(process.pid) }, clock });
  using _other = new ServiceManager({ env: { ...env, WATCHDOG_PID: "1" }, clock });
  await clock.advance(3000);
  expect(receiver.messages).toEqual(Array(4).fill("WATCHDOG=1"));
  manager[Symbol.dispose]();
  await clock.advance(3000);
  expect(receiver.messages).toHaveLength(4);
});

test("a socket that nobody listens at, or none, is no reason to fail", () => {
  const clock = new FakeClock();
  for (const NOTIFY_SOCKET of [undefined, "", "/nowhere/notify", `/${"x".repeat(200)}`, "@"]) {
    using manager = new ServiceManager({ env: { NOTIFY_SOCKET }, clock });
    manager.ready();
    manager.status("Idle");
  }
});
