/** Replays the traced calls of an operation up to every point, and what a power loss there may leave, and judges each. */
import { CampaignFailure, must } from "./campaign-lab.ts";
import { SeededNumbers } from "./changing-tree.ts";
import { CrashModel, stateKey, stateOf, type DiskState } from "./crash-model.ts";
import type { Expectation, Operation, SmallLab } from "./small-lab.ts";
import { traceNode, type TracedCall } from "./traced-calls.ts";

export interface ReplayOptions {
  readonly operation: Operation;
  /** `link` is refused, so that objects get their names by rename. */
  readonly withoutLinks?: boolean;
  readonly seed: string;
  /** Judge the state after every so many calls. The last is always judged. */
  readonly prefixEvery: number;
  /** Power losses, at calls and with survivors that follow from the seed. */
  readonly losses: number;
  /** Every so many states a backup and a prune follow, and every check of verify. */
  readonly thoroughEvery: number;
}

export interface Replayed {
  readonly calls: readonly TracedCall[];
  readonly prefixes: number;
  readonly losses: number;
  /** Different states among them, which were judged once each. */
  readonly states: number;
  readonly thorough: number;
}

/** Traces one operation on a prepared lab, and judges what its calls may leave. Rejects with a `CampaignFailure`. */
export async function replay(lab: SmallLab, options: ReplayOptions): Promise<Replayed> {
  const { operation, seed, prefixEvery, losses, thoroughEvery, withoutLinks = false } = options;
  lab.reset();
  const kill = withoutLinks ? ({ at: "target", name: "after claim", hit: 1_000_000, place: "main" } as const) : undefined;
  const { calls } = traceNode(lab.childArguments(operation, kill), lab.repository);
  lab.keepKey();
  const model = new CrashModel(lab.saved, lab.repository, calls);
  must(
    stateKey(model.prefix(calls.length)) === stateKey(stateOf(lab.repository)),
    "the traced calls do not lead to what is there: some call was missed",
  );
  const judged = new Set<string>();
  let thorough = 0;
  const judge = async (state: DiskState, done: readonly TracedCall[], name: string): Promise<void> => {
    const expected = expectationAfter(lab, operation, calls, done.length);
    const key = `${stateKey(state)} ${expected.added} ${expected.required.size}`;
    if (judged.has(key)) return;
    const isThorough = judged.size % thoroughEvery === 0;
    judged.add(key);
    if (isThorough) thorough++;
    // The cache that is there may know more than the target, or less.
    lab.reset(state, judged.size % 2 === 0);
    try {
      await lab.judge({ ...expected, thorough: isThorough });
    } catch (error) {
      const last = done.at(-1);
      throw new CampaignFailure(
        `${operation}, ${name}, seed ${seed}, last call ${last?.call ?? "none"} ${last?.path ?? ""}: ${error instanceof Error ? error.message : String(error)} (see ${lab.folder})`,
        { cause: error },
      );
    }
  };
  let prefixes = 0;
  for (let count = calls.length; count >= 0; count -= prefixEvery) {
    await judge(model.prefix(count), calls.slice(0, count), `killed after ${count} of ${calls.length} calls`);
    prefixes++;
  }
  for (let i = 0; i < losses; i++) {
    const numbers = new SeededNumbers(`${seed} ${operation} ${i}`);
    const count = numbers.below(calls.length + 1);
    const name = `power loss ${i} after ${count} of ${calls.length} calls`;
    await judge(model.powerLoss(count, numbers), calls.slice(0, count), name);
  }
  return { calls, prefixes, losses, states: judged.size, thorough };
}

/** What must hold after the first `count` calls, in whatever order they reached the disk. */
function expectationAfter(
  lab: SmallLab,
  operation: Operation,
  calls: readonly TracedCall[],
  count: number,
): Omit<Expectation, "thorough"> {
  const inFolder = (name: string) => (call: TracedCall) => call.path.startsWith(`${lab.repository}/${name}/`);
  if (operation === "prune") {
    // A retention says first in a note what it deletes.
    const begins = calls.findIndex(inFolder("notes"));
    const began = begins >= 0 && begins < count;
    return { required: began ? lab.kept : new Set(lab.known.keys()), added: "no", exists: true };
  }
  if (operation === "key" || operation === "repair") return { required: new Set(lab.known.keys()), added: "no", exists: true };
  const named = calls.findLastIndex((call) => (call.call === "link" || call.call === "rename") && inFolder("snapshots")(call));
  must(named >= 0, `the traced ${operation} committed nothing`);
  const durable = calls.findIndex(
    ({ call, path, began }) =>
      call === "fsync" && path === `${lab.repository}/snapshots` && began > (calls[named] as TracedCall).returned,
  );
  must(durable >= 0, `the traced ${operation} never synced its snapshot's folder`);
  const committed = durable < count;
  const possible = named < count;
  return {
    required: new Set(lab.known.keys()),
    added: committed ? "yes" : possible ? "maybe" : "no",
    exists: operation === "backup" || committed,
  };
}
