/** Who is told of what, by the program itself: the command line alone, and the daemon. */
import { createHmac } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { httpReceiver, type HttpReceiver } from "../support/http-receiver.ts";
import { mailServer } from "../support/mail-server.ts";
import { CONFIG, playground, type Playground } from "./cli-runner.ts";

let receiver: HttpReceiver;
beforeEach(async () => (receiver = await httpReceiver()));
afterEach(async () => await receiver[Symbol.asyncDispose]());

interface Row {
  readonly event: string;
  readonly type: string;
  readonly receiver: string;
  readonly state: string;
  readonly attempts: number;
  readonly error: string | null;
}

const types = (): string[] => receiver.received.map(({ body }) => (JSON.parse(body) as { type: string }).type);
const rowsOf = async (place: Playground, ...flags: string[]): Promise<Row[]> =>
  (await place.json("notifications", ...flags))["notifications"] as Row[];
const hooked = (rest: string, path = ""): string =>
  `${CONFIG}webhooks:\n  hook: { url: "${receiver.origin}${path}", events: ["*"], allowPrivate: true, ${rest} }\n`;

test("a command delivers what it caused before it ends, signed, and says nothing of it", async () => {
  const key = Buffer.alloc(32, 5).toString("base64");
  using place = playground({ config: hooked("signingSecret: { file: ./whsec }") });
  place.write("whsec", `whsec_${key}\n`, 0o600);
  await place.run("apply");
  expect((await place.run("backup", "docs", "-q")).err).toBe("");
  expect(types()).toEqual(["backup_started", "backup_completed"]);
  for (const { headers, body } of receiver.received) {
    const content = `${String(headers["webhook-id"])}.${String(headers["webhook-timestamp"])}.${body}`;
    expect(headers["webhook-signature"]).toBe(
      `v1,${createHmac("sha256", Buffer.from(key, "base64")).update(content).digest("base64")}`,
    );
  }
  expect(JSON.parse(receiver.received[1]!.body)).toMatchObject({
    data: {
      host: "tester",
      jobs: ["docs"],
      targets: ["disk"],
      run: { status: "success", statistics: { sources: [{ source: "docs" }] } },
    },
  });
  await place.run("backup", "docs", "--dry-run");
  expect(receiver.received).toHaveLength(2);
  await place.run("verify");
  await place.run("prune", "--yes");
  await place.run("restore", "latest", "--to", "out");
  expect(types().slice(2)).toEqual(["verify_completed", "prune_completed", "restore_completed"]);
  place.remove("data");
  expect((await place.run("backup", "docs")).code).toBe(1);
  expect(types().slice(5)).toEqual(["backup_started", "backup_failed"]);
});

test("what cannot be delivered is a warning, stays, can be seen, and goes out later under its id", async () => {
  using place = playground({ config: hooked("") });
  receiver.answer = () => ({ status: 410 });
  await place.run("apply");
  const { code, err } = await place.run("backup", "docs");
  expect(code).toBe(0);
  expect(err).toContain(
    `webhooks.hook: backup_started given up after 1 attempt: webhooks.hook (${receiver.origin}) answered with 410`,
  );
  receiver.answer = () => ({ status: 500 });
  const { out, err: json } = await place.run("backup", "docs", "--json");
  // The result is the last line of standard output, whatever the receivers do.
  expect(JSON.parse(out.trim().split("\n").at(-1)!)).toMatchObject({ type: "summary", status: "success" });
  expect(JSON.parse(json.trim().split("\n")[0]!)).toMatchObject({ type: "error", level: "warning" });
  expect((await rowsOf(place)).map(({ type, state }) => `${type} ${state}`)).toEqual([
    "backup_completed pending",
    "backup_started pending",
    "backup_completed dead",
    "backup_started dead",
  ]);
  const failed = await rowsOf(place, "--failed");
  expect(failed).toMatchObject([
    { type: "backup_completed" },
    { type: "backup_started", attempts: 1, error: expect.stringContaining("410") as unknown },
  ]);
  const table = await place.run("notifications");
  expect(table.out).toMatch(/EVENT +TIME +TYPE +RECEIVER +STATE +TRIED +NEXT +WHY/);
  receiver.received.length = 0;
  receiver.answer = () => undefined;
  const [completed, started] = failed;
  expect(await rowsOf(place, "--resend", started!.event.slice(0, 14))).toMatchObject([
    { event: started!.event, state: "delivered" },
  ]);
  // Others whose time has come may go out with it.
  expect(receiver.received.map(({ headers }) => headers["webhook-id"])).toContain(started!.event);
  expect(await rowsOf(place, "--resend-all")).toMatchObject([{ event: completed!.event, state: "delivered" }]);
  expect((await place.run("notifications", "--resend", "evt_zz")).code).toBe(2);
  expect((await place.run("notifications", "--resend-all", "--test", "hook")).code).toBe(2);
});

test("a receiver at a private address is refused unless that is allowed; doctor and validate say so and send nothing", async () => {
  using place = playground({ config: hooked("").replace("allowPrivate: true", "allowPrivate: false") });
  await place.run("apply");
  const ran = await place.run("backup", "docs");
  expect(ran.code).toBe(0);
  expect(ran.err).toContain("its address 127.0.0.1 is loopback");
  for (const command of [["doctor"], ["validate", "--online"]]) {
    const { code, out } = await place.run(...command);
    expect({ command, code }).toEqual({ command, code: 1 });
    expect(out).toMatch(/FAILED +receiver webhooks\.hook: .*is loopback\n.*allowPrivate: true/);
  }
  expect((await place.run("notifications", "--test", "hook")).code).toBe(1);
  expect(receiver.received).toEqual([]);
  place.write("holdfast.yaml", hooked(""));
  expect((await place.run("doctor")).out).toContain(`ok       receiver webhooks.hook: ${receiver.origin} may be sent to`);
  expect(receiver.received).toEqual([]);
  expect(await place.run("notifications", "--test", "hook")).toMatchObject({
    code: 0,
    out: "webhooks.hook: the test message was accepted\n",
  });
  expect(await place.json("notifications", "--test", "webhooks.hook")).toEqual({
    test: { receiver: "webhooks.hook", status: "delivered" },
  });
  expect(types()).toEqual(["test", "test"]);
  expect(await place.run("notifications", "--test", "nobody")).toMatchObject({ code: 2 });
});

test("a canary in every place of a receiver's secret is in no output, no log and no file of the state", async () => {
  const canary = "c4n4ry-5ecret-9f8e7d";
  const whsec = `whsec_${Buffer.from(`${canary}-${canary}`).toString("base64")}`;
  await using server = await mailServer({ password: canary, allowInsecureAuth: true, disabledCommands: ["STARTTLS"] });
  using place = playground({
    config:
      `${hooked(`signingSecret: { env: WHSEC }, headers: { Authorization: { prefix: "Bearer ", file: ./secret }, X-Key: { command: [cat, secret] } }`, `/${canary}?token=${canary}`)}  other: { kind: slack, url: { file: ./url }, events: ["*"], allowPrivate: true }
email:
  smtp: { host: 127.0.0.1, port: ${server.port}, from: a@example.com, user: me, password: { file: ./secret } }
  to: [ops@example.com]
  events: ["*"]
`.replace("{ env: WHSEC }", "{ file: ./whsec }"),
  });
  place.write("secret", `${canary}\n`, 0o600);
  place.write("whsec", `${whsec}\n`, 0o600);
  place.write("url", `${receiver.origin}/slack/${canary}\n`, 0o600);
  const said: string[] = [];
  const commands = [
    ["apply", "-v"],
    ["backup", "docs", "--json", "-v"],
    ["notifications", "--json"],
    ["doctor"],
    ["notifications", "--test", "hook", "-v"],
    ["notifications", "--test", "email", "-v"],
    ["plan", "-v"],
  ];
  const ways = [
    undefined,
    { status: 500, body: canary },
    "close",
    { status: 302, headers: { location: `http://${canary}/` } },
    { status: 410 },
  ] as const;
  receiver.answer = (n) => ways[n % ways.length];
  for (const command of commands) {
    const { out, err } = await place.run(...command);
    said.push(out, err);
  }
  // A server that offers no encryption is told no password, and the hook did get its secrets.
  expect(said.join("")).toContain("email (127.0.0.1:");
  expect(receiver.received.find(({ path }) => path.startsWith(`/${canary}`))!.headers).toMatchObject({
    authorization: `Bearer ${canary}`,
    "x-key": canary,
  });
  expect(receiver.received.some(({ path }) => path === `/slack/${canary}`)).toBe(true);
  for (const file of readdirSync(join(place.path, "state"))) said.push(readFileSync(join(place.path, "state", file), "latin1"));
  // What the file itself contains is kept with the accepted configuration.
  const kept = said.join("\n").replaceAll(`/${canary}?token=${canary}`, "");
  for (const shape of [canary, whsec, Buffer.from(canary).toString("hex")]) expect(kept.includes(shape)).toBe(false);
});

test("the daemon tells of what it does, of a configuration it refuses, and of one it takes over", async () => {
  using place = playground({ config: hooked("").replace("targets: [disk] }", "targets: [disk], schedule: { every: 1h } }") });
  const daemon = place.start("daemon");
  await receiver.arrived(2);
  expect(types()).toEqual(["backup_started", "backup_completed"]);
  const path = join(place.path, "holdfast.yaml");
  const good = readFileSync(path, "utf8");
  writeFileSync(path, `${good}nonsense: yes\n`);
  await receiver.arrived(3);
  expect(JSON.parse(receiver.received[2]!.body)).toMatchObject({
    type: "config_rejected",
    data: {
      jobs: [],
      problems: [{ message: 'unknown section "nonsense"', place: expect.stringMatching(/holdfast\.yaml:\d+:1$/) as unknown }],
    },
  });
  writeFileSync(path, good.replace("jobs:", "retention: { few: { keepLast: 3 } }\njobs:"));
  await receiver.arrived(4);
  expect(JSON.parse(receiver.received[3]!.body)).toMatchObject({
    type: "config_reloaded",
    data: { changes: ["retention.few added"] },
  });
  daemon.child.kill("SIGTERM");
  expect((await daemon.ended()).code).toBe(0);
  expect(receiver.received).toHaveLength(4);
  expect((await rowsOf(place)).every(({ state }) => state === "delivered")).toBe(true);
});
