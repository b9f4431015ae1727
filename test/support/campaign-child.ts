/**
 * A process that works on a campaign's repository until it is killed: by its parent at any moment, or by itself at a named
 * boundary. Says on standard output `begin`, `run ID` for every run it records, `at BOUNDARY` before it kills itself, and `end`.
 */
import { writeSync } from "node:fs";
import { enableCompileCache } from "node:module";
import type { CommitBoundary } from "../../src/formats/repository/write/commit-boundaries.ts";
import type { PruneBoundary } from "../../src/formats/repository/prune/prune.ts";
import type { FaultPoint } from "../../src/targets/local/fault-points.ts";
import type { LocalTargetSpec } from "../../src/targets/local/local-target.ts";

/** Where a child kills itself: at the given hit of a boundary. */
export type KillPoint =
  | { readonly at: "commit"; readonly name: CommitBoundary; readonly hit: number }
  | { readonly at: "prune"; readonly name: PruneBoundary; readonly hit: number }
  /** `thread`: only the targets of I/O threads count their hits, which put packs; `main`: only the one that puts all else. */
  | { readonly at: "target"; readonly name: FaultPoint; readonly hit: number; readonly place: "main" | "thread" };

export interface ChildWork {
  readonly config: string;
  /**
   * `apply` makes the repository when there is none, and backs up; `prune` applies the retention first; `repair` makes the
   * index anew and reads every pack; `key` adds a slot, starts an epoch and removes the slot that the last such change added.
   */
  readonly operation: "backup" | "prune" | "apply" | "repair" | "key";
  readonly packBytes: number;
  readonly kill: KillPoint | undefined;
}

/** `link` is refused once, so that the target goes on with claims as on a file system without hard links. */
const NEEDS_CLAIMS: readonly FaultPoint[] = ["before claim", "after claim"];

const [argument] = process.argv.slice(2);
if (argument === undefined) throw new Error("campaign-child is run by a campaign");
enableCompileCache();
const work = JSON.parse(argument) as ChildWork;
await perform(work);

async function perform({ config: path, operation, packBytes, kill }: ChildWork): Promise<void> {
  const { accessBySpec } = await import("../../src/targets/access.ts");
  const { CampaignSession } = await import("./campaign-session.ts");
  const access = async (target: string): ReturnType<typeof accessBySpec> => {
    const spec: LocalTargetSpec = { driver: "local", path: target, create: true };
    if (kill?.at !== "target") return await accessBySpec(spec);
    const faulty = {
      ...spec,
      crashAt: `${kill.name}:${kill.hit}`,
      ...(NEEDS_CLAIMS.includes(kill.name) && { failAt: "before link:1=EPERM" }),
    };
    const inner = await accessBySpec(kill.place === "main" ? faulty : spec);
    return {
      target: inner.target,
      forThread: () => ({ spec: kill.place === "thread" ? faulty : spec, transfer: [] }),
      [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
    };
  };
  const { config } = CampaignSession.load(path);
  const target = config.targets.get("disk")?.path ?? "";
  const opened = await access(target);
  await using campaign = new CampaignSession(path, packBytes, {
    accessFor: () => opened,
    listener: (event) => {
      if (event.type === "started") say(`run ${event.run}`);
    },
  });
  // Modules that an operation imports late are not what is to be killed.
  await import("../../src/formats/repository/write/writer.ts");
  await import("../../src/formats/repository/prune/prune.ts");
  await import("../../src/formats/repository/repair/repair.ts");
  say("begin");
  if (operation === "apply") await campaign.apply();
  else if (operation === "backup")
    await campaign.backup(kill?.at === "commit" ? countdown(kill.name, kill.hit) : undefined, kill?.name === "after copy out");
  else if (operation === "repair") await campaign.repair();
  else if (operation === "key") await campaign.changeKeys();
  else await campaign.prune(kill?.at === "prune" ? countdown(kill.name, kill.hit) : undefined);
  say("end");
}

function say(text: string): void {
  writeSync(1, `${text}\n`);
}

/** A hook that ends this process, with nothing in between, at a hit of one boundary. */
function countdown(name: string, hit: number): (passed: string) => void {
  let left = hit;
  return (passed) => {
    if (passed === name && --left === 0) process.kill(process.pid, "SIGKILL");
  };
}
