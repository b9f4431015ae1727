import assert from "node:assert/strict";

/**
 * The boundaries of a local target's system calls, for tests that kill, stop or fail at each of them. A point is hit
 * immediately before or after its call; what a hook throws at a `before` point counts as the failure of that call.
 */
export const FAULT_POINTS = {
  "before folder create": "mkdir of the root, of an object's folder or of the temporary folder",
  "after folder create": "the folder exists, its entry in the parent may not be durable",
  "before parent fsync": "fsync of the folder that holds an object's folder",
  "after parent fsync": "the object's folder survives a power loss",
  "before temporary open": "exclusive creation of the temporary file",
  "after temporary open": "an empty temporary file exists",
  "before temporary write": "one write of at most 8 MiB; hit again for every further write",
  "after temporary write": "part of the object is in the temporary file, perhaps all of it",
  "before fsync": "fsync of the temporary file",
  "after fsync": "the bytes are durable, under the temporary name",
  "before link": "link to the final name, or rename where there are no hard links",
  "after link": "the whole object is visible, its entry may not be durable",
  "before folder fsync": "fsync of the object's folder",
  "after folder fsync": "the object is durable, the temporary name may still exist",
  "before temporary unlink": "unlink of the temporary name",
  "after temporary unlink": "nothing is left to do",
  "before claim": "exclusive creation of a claim on a name (file systems without hard links only)",
  "after claim": "the claim exists, nothing is visible under the name",
  "before read": "open of an object for reading",
  "before readdir": "reading one folder of a listing",
  "before delete": "unlink of an object",
  "after delete": "the object is gone, the removal may not be durable",
  "before delete fsync": "fsync of the folder that held the object",
  "after delete fsync": "the removal is durable",
} as const;

export type FaultPoint = keyof typeof FAULT_POINTS;

/** Called at each boundary. May throw (an injected failure of the call) or end the process. */
export type FaultHook = (point: FaultPoint) => void;

/** Plain instructions for a hook, so that they reach a target in another thread or process. */
export interface FaultSpec {
  /** `after link:3`: the process kills itself with SIGKILL at the third hit. Without a number, at the first. */
  readonly crashAt?: string | undefined;
  /** The same with SIGSTOP; the process goes on after SIGCONT. */
  readonly stopAt?: string | undefined;
  /** `before fsync:2=EIO`: the second call fails with that errno. */
  readonly failAt?: string | undefined;
}

/** What the instructions ask for, or undefined when there are none. A point that does not exist is a programmer fault. */
export function faultHook(spec: FaultSpec): FaultHook | undefined {
  const actions: FaultHook[] = [];
  if (spec.crashAt !== undefined) actions.push(atHit(spec.crashAt, () => signalSelf("SIGKILL")));
  if (spec.stopAt !== undefined) actions.push(atHit(spec.stopAt, () => signalSelf("SIGSTOP")));
  if (spec.failAt !== undefined) {
    const [where, errno] = spec.failAt.split("=");
    assert(errno, `No errno in ${JSON.stringify(spec.failAt)}`);
    actions.push(
      atHit(where as string, (point) => {
        throw Object.assign(new Error(`${errno}: injected ${point}`), { code: errno });
      }),
    );
  }
  if (actions.length === 0) return undefined;
  return (point) => {
    for (const act of actions) act(point);
  };
}

function signalSelf(signal: NodeJS.Signals): void {
  process.kill(process.pid, signal);
}

function atHit(where: string, act: FaultHook): FaultHook {
  const [point, count = "1"] = where.split(":");
  assert(point !== undefined && Object.hasOwn(FAULT_POINTS, point), `No fault point ${JSON.stringify(point)}`);
  assert(/^[1-9]\d*$/.test(count), `Not a count of hits: ${JSON.stringify(where)}`);
  let left = Number(count);
  return (hit) => {
    if (hit === point && --left === 0) act(hit);
  };
}
