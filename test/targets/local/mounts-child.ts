import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { HoldfastError } from "../../../src/base/errors.ts";
import { LocalTarget } from "../../../src/targets/local/local-target.ts";

// Run by local-mounts.test.ts in a mount namespace of its own; prints what it saw as JSON.

const [scenario, folder] = process.argv.slice(2) as [string, string];
const MIB = 2 ** 20;

async function outcome(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return "ok";
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return error.hint === undefined && error.code !== "target_missing_object" ? `${error.code} without a hint` : error.code;
  }
}

const mount = (...args: string[]): void => {
  execFileSync("mount", args);
};
const block = (n: number): Uint8Array[] => [Buffer.alloc(MIB, n)];
const temporaries = (): string[] => fs.readdirSync(path.join(folder, "tmp"));

const SCENARIOS: Readonly<Record<string, () => Promise<unknown>>> = {
  async full() {
    mount("-t", "tmpfs", "-o", "size=6m", "tmpfs", folder);
    const target = new LocalTarget({ path: folder });
    const puts: string[] = [];
    for (let n = 0; n < 8; n++) puts.push(await outcome(target.put(`packs/${n}`, block(n))));
    const whole = await Promise.all((await target.list("")).map(async ({ name }) => (await target.get(name)).length === MIB));
    const left = temporaries();
    await target.delete("packs/0");
    const afterDelete = await outcome(target.put("packs/after", block(9)));
    const capacity = await target.capacity();
    return { puts, whole, left, afterDelete, capacity };
  },

  async readOnly() {
    mount("-t", "tmpfs", "tmpfs", folder);
    const target = new LocalTarget({ path: folder });
    await target.put("packs/a", block(1));
    mount("-o", "remount,ro", folder);
    return {
      put: await outcome(target.put("packs/b", block(2))),
      same: await outcome(target.put("packs/a", block(1))),
      get: (await target.get("packs/a")).length,
      list: (await target.list("")).length,
      delete: await outcome(target.delete("packs/a")),
    };
  },

  async mounts() {
    const root = path.join(folder, "mnt/objects");
    const point = path.join(folder, "mnt");
    fs.mkdirSync(point);
    fs.mkdirSync(path.join(folder, "other"));
    const open = (): LocalTarget => new LocalTarget({ path: root, requireMount: point, create: true });
    const bare = await outcome(open().put("keys/a", block(1)));
    const bareList = await outcome(open().list(""));
    const bareEntries = fs.readdirSync(point);
    mount("-t", "tmpfs", "tmpfs", point);
    const target = open();
    const mounted = await outcome(target.put("keys/a", block(1)));
    execFileSync("umount", [point]);
    const lost = await outcome(target.put("keys/b", block(1)));
    const lostEntries = fs.readdirSync(point);
    mount("--bind", path.join(folder, "other"), point);
    const bind = await outcome(open().put("keys/a", block(1)));
    const absent = await outcome(new LocalTarget({ path: root, requireMount: path.join(folder, "absent") }).list(""));
    return { bare, bareList, bareEntries, mounted, lost, lostEntries, bind, absent };
  },

  async replaced() {
    const target = new LocalTarget({ path: folder });
    const before = await outcome(target.put("keys/a", block(1)));
    mount("-t", "tmpfs", "tmpfs", folder);
    const after = await outcome(target.put("keys/b", block(1)));
    return { before, after, entries: fs.readdirSync(folder) };
  },

  async denied() {
    fs.mkdirSync(path.join(folder, "root/keys"), { recursive: true });
    fs.writeFileSync(path.join(folder, "root/keys/a"), "secret", { mode: 0o600 });
    fs.chmodSync(folder, 0o755);
    if (process.getuid?.() === 0) process.setuid?.(65_534);
    else fs.chmodSync(path.join(folder, "root/keys/a"), 0);
    if (process.getuid?.() !== 65_534) fs.chmodSync(path.join(folder, "root"), 0o555);
    const target = new LocalTarget({ path: path.join(folder, "root") });
    const result = {
      put: await outcome(target.put("keys/b", block(1))),
      get: await outcome(target.get("keys/a")),
      absent: await outcome(target.get("keys/b")),
    };
    if (process.getuid?.() !== 65_534) fs.chmodSync(path.join(folder, "root"), 0o755);
    return result;
  },
};

process.stdout.write(JSON.stringify(await SCENARIOS[scenario]?.()));
