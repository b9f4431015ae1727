/** What may start next, given what runs. Pure. */
import type { Due } from "./due.ts";

export interface Waiting {
  readonly due: Due;
  readonly priority: number;
  /** Counts up; equal priorities go in the order they came. */
  readonly order: number;
  /** The targets it uses; a prune has its target to itself, everything else shares. */
  readonly targets: readonly string[];
}

export interface QueueState {
  readonly waiting: readonly Waiting[];
  readonly running: readonly Waiting[];
  readonly maxConcurrent: number;
}

/**
 * The ones to start now, in order: people first, then by priority, then as they came. A waiting item that cannot have its target keeps those behind it
 * from that target, so that a prune is not postponed for ever by ever new backups.
 */
export function selectStartable({ waiting, running, maxConcurrent }: QueueState): Waiting[] {
  const started: Waiting[] = [];
  const shared = new Set<string>();
  const taken = new Set<string>();
  const occupy = (item: Waiting): void => {
    for (const target of item.targets) (item.due.kind === "prune" ? taken : shared).add(target);
  };
  running.forEach(occupy);
  for (const item of waiting.toSorted(inOrder)) {
    if (running.length + started.length >= maxConcurrent) break;
    const exclusive = item.due.kind === "prune";
    const isFree = item.targets.every((target) => !taken.has(target) && !(exclusive && shared.has(target)));
    if (isFree) started.push(item);
    occupy(item);
  }
  return started;
}

function inOrder(a: Waiting, b: Waiting): number {
  return Number(b.due.reason === "asked") - Number(a.due.reason === "asked") || b.priority - a.priority || a.order - b.order;
}
