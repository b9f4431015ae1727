/** Writes an edit and is killed at a boundary: `node config-write-child.ts FILE BOUNDARY`. */
import { dirname } from "node:path";
import { ConfigFiles, type WriteBoundary } from "../../src/engine/config-write.ts";

const [, , path, boundary] = process.argv as [string, string, string, WriteBoundary];
const folder = dirname(path);
const surroundings = { env: {}, cwd: folder, hostName: "tester", home: folder, isRoot: false, timezone: "UTC" };
const files = new ConfigFiles(path, surroundings, (at) => {
  if (at === boundary) process.kill(process.pid, "SIGKILL");
});
files.write(files.prepare({ section: "schedules", name: "nightly", value: "0 4 * * *" }));
