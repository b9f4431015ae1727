import { LocalTarget } from "../../../src/targets/local/local-target.ts";
import { CRASH_OBJECTS, DELETED } from "./crash-objects.ts";

// Run by local-crash.test.ts: a fixed piece of work, which one of the fault points cuts short.

const [path, crashAt, failAt, stopAt] = process.argv.slice(2);
const target = new LocalTarget({
  path: path as string,
  create: true,
  crashAt: crashAt || undefined,
  failAt: failAt || undefined,
  stopAt: stopAt || undefined,
});
for (const { name, parts } of CRASH_OBJECTS) await target.put(name, parts);
// Once more: the same bytes under the same name count as stored.
await target.put("keys/slot", [new TextEncoder().encode("a key slot")]);
await target.delete(DELETED);
