/** The examples of docs/api-routes.md, as they are written, against a daemon at work. */
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { temporaryTree } from "../support/tree-literal.ts";
import { servedDaemon } from "../support/served-daemon.ts";

const CONFIG = `encryption: { main: { keyFile: ./key, generate: true } }
sources:
  docs: { type: files, paths: [./data] }
targets:
  disk: { type: local, path: ./repository, encryption: main }
jobs:
  docs: { sources: [docs], targets: [disk] }
`;

test("every example works as it is written", async () => {
  await using on = await servedDaemon(CONFIG, { restoreRoots: (path) => [join(path, "data")] });
  const data = join(on.path, "data");
  for (const text of ["second\n", "third\n"]) {
    const before = (await on.ask("GET", "/snapshots")).body["snapshots"]?.length ?? 0;
    await on.ask("POST", "/jobs/docs/run");
    await on.until("/snapshots", (body) => body["snapshots"]?.length > before);
    await on.until("/status", (body) => body["running"].length === 0);
    writeFileSync(join(data, "a.txt"), text);
  }
  const examples = [...readFileSync("docs/api-routes.md", "utf8").matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, code]) => code);
  expect(examples).toHaveLength(3);
  // Every answer is to be one of success: a problem ends the script.
  const script = `set -eu
${examples.join("\n").replace("curl -sS", "curl --fail-with-body -sS")}`;
  using folder = temporaryTree({});
  const { stdout, stderr } = await promisify(execFile)("sh", ["-c", script], {
    cwd: folder.path,
    env: { PATH: process.env["PATH"], SOCKET: on.socket, DATA: data },
  });
  expect(stderr).toBe("");
  expect(readFileSync(join(folder.path, "a.txt"), "utf8")).toBe("second\n");
  expect(readFileSync(join(folder.path, "data.zip")).subarray(0, 2).toString()).toBe("PK");
  expect(stdout).toContain('"totals":{"added":0,"removed":0,"modified":1');
  expect(stdout).toContain('"tags":["gold"]');
  await on.until("/status", (body) => body["running"].length === 0);
  expect(readFileSync(join(data, "a.txt"), "utf8")).toBe("third\n");
  const runs = (await on.ask("GET", "/runs?kind=restore")).body["runs"].map(({ status }: { status: string }) => status);
  expect(runs).toEqual(["success", "success"]);
});
