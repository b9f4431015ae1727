import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { endGroup } from "../../src/posix/process-group.ts";

/** A group whose first process says when it is ready. */
async function group(script: string): Promise<{ readonly pid: number; readonly ended: Promise<unknown[]> }> {
  const child = spawn("sh", ["-c", script], { detached: true, stdio: ["ignore", "pipe", "ignore"] });
  const ended = once(child, "exit");
  await once(child.stdout, "data");
  return { pid: child.pid as number, ended };
}

test("a group that was left behind is asked to end, and killed when it does not", async () => {
  const willing = await group("echo; exec sleep 600");
  await endGroup(willing.pid, 60_000);
  expect(await willing.ended).toEqual([null, "SIGTERM"]);
  const stubborn = await group("trap '' TERM; echo; while :; do sleep 0.05; done");
  await endGroup(stubborn.pid, 100);
  expect(await stubborn.ended).toEqual([null, "SIGKILL"]);
  await endGroup(stubborn.pid, 100);
});
