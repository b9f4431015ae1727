/** The API of a daemon as a process, over TCP: turned on by an edit, used, and kept from who may not. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CONFIG, playground, type Playground } from "./cli-runner.ts";
import { freePort } from "../support/free-port.ts";

const OPERATOR = "operator-canary-0123456789abcdef0123456789";
const VIEWER = "viewer-canary-0123456789abcdef0123456789ab";

const control = (port: number): string => `control:
  listen: 127.0.0.1:${port}
  tokens:
    - { name: ops, role: operator, token: { file: ops.token } }
    - { name: grafana, role: viewer, token: { file: viewer.token } }
`;

function onPlayground(): Playground {
  const on = playground({ config: CONFIG });
  on.write("ops.token", `${OPERATOR}\n`, 0o600);
  on.write("viewer.token", `${VIEWER}\n`, 0o600);
  return on;
}

/** The messages of a stream until one is of this type. */
async function follow(answer: Response, last: string): Promise<{ type: string; id: string | undefined; data: string }[]> {
  const messages: { type: string; id: string | undefined; data: string }[] = [];
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of answer.body!) {
    text += decoder.decode(chunk, { stream: true });
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const lines = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      const field = (name: string): string | undefined =>
        lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const type = field("event");
      if (type === undefined) continue;
      messages.push({ type, id: field("id"), data: field("data") ?? "" });
      if (type === last) return messages;
    }
  }
  throw new Error(`the stream ended before ${last}: ${messages.map(({ type }) => type).join()}`);
}

test("an edit opens it; a run is asked for and followed, over a restart too; another edit closes it", async () => {
  using on = onPlayground();
  const port = await freePort();
  const base = `http://127.0.0.1:${port}/api/v1`;
  const as = (token: string): { headers: Record<string, string> } => ({ headers: { authorization: `Bearer ${token}` } });
  const daemon = on.start("daemon");
  await daemon.says("started");
  await expect(fetch(`${base}/status`, as(VIEWER))).rejects.toThrow("fetch failed");
  on.write("holdfast.yaml", CONFIG + control(port));
  await daemon.says(`the API is served at http://127.0.0.1:${port}`);
  expect((await on.run("status")).out).toContain(`API     http://127.0.0.1:${port}`);
  expect((await fetch(`${base}/status`)).status).toBe(401);
  expect(await (await fetch(`${base}/status`, as(VIEWER))).json()).toMatchObject({
    host: "tester",
    daemon: { api: { open: true, tls: false } },
  });
  expect((await fetch(`${base}/jobs/docs/run`, { method: "POST", ...as(VIEWER) })).status).toBe(403);
  const stream = await fetch(`${base}/events?job=docs`, as(VIEWER));
  const asked = { method: "POST", headers: { ...as(OPERATOR).headers, "idempotency-key": "once" } };
  expect((await fetch(`${base}/jobs/docs/run`, asked)).status).toBe(202);
  const messages = await follow(stream, "run_ended");
  const types = messages.map(({ type }) => type).filter((type) => type !== "run_progress");
  expect(types).toEqual(["backup_started", "run_started", "backup_completed", "run_ended"]);
  expect((await fetch(`${base}/jobs/docs/run`, asked)).headers.get("idempotency-replayed")).toBe("true");
  const { runs } = (await (await fetch(`${base}/runs`, as(VIEWER))).json()) as { runs: { kind: string; status: string }[] };
  expect(runs.filter(({ kind }) => kind === "backup")).toMatchObject([{ status: "success" }]);
  daemon.child.kill("SIGTERM");
  const first = await daemon.ended();
  expect(first.code).toBe(0);
  // What happened while nobody listened: by the command line alone, and by the next daemon.
  expect((await on.run("backup", "docs")).code).toBe(0);
  const next = on.start("daemon");
  await next.says("the API is served at");
  const last = messages.find(({ type }) => type === "backup_started")!.id!;
  const again = await fetch(`${base}/events?types=backup_*`, { headers: { ...as(VIEWER).headers, "last-event-id": last } });
  expect((await follow(again, "backup_started")).map(({ type }) => type)).toEqual(["backup_completed", "backup_started"]);
  on.write("holdfast.yaml", CONFIG);
  await next.says("the API is no longer served at");
  await expect(fetch(`${base}/status`, as(VIEWER))).rejects.toThrow("fetch failed");
  next.child.kill("SIGTERM");
  const second = await next.ended();
  const said = first.out + first.err + second.out + second.err + readFileSync(join(on.path, "state/state.db"), "latin1");
  expect(said).not.toContain("canary");
});

test("a port that is taken is an error in the log, and backups go on", async () => {
  using on = onPlayground();
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  on.write("holdfast.yaml", CONFIG + control(port));
  const daemon = on.start("daemon");
  await daemon.says("(EADDRINUSE)");
  expect((await on.run("run", "docs", "--wait")).code).toBe(0);
  expect((await on.run("status")).out).toContain(
    `API     NOT OPEN: The API cannot be served at http://127.0.0.1:${port} (EADDRINUSE)`,
  );
  daemon.child.kill("SIGTERM");
  expect((await daemon.ended()).code).toBe(0);
  taken.close();
});
