import { HoldfastError } from "../base/errors.ts";
import { iso, ratioOf } from "./documents.ts";
import type { TargetStats } from "./holdfast.ts";
import type { Session } from "./session.ts";
import { reportStatus } from "./status.ts";

const NOTE = "sizes";

/** What each target holds: objects, bytes, snapshots, free space. Counts object by object; noted for `reportTargets`. */
export async function measureTargets(session: Session, signal?: AbortSignal): Promise<TargetStats[]> {
  const { open, closed } = await session.stores();
  const all: TargetStats[] = [];
  for (const store of open) {
    const [capacity, snapshots] = [await store.capacity(signal), await store.snapshots({ signal })];
    const newest = new Map(snapshots.map((one) => [`${one.host}/${one.job}/${one.source}`, one]));
    all.push({
      target: store.name,
      error: undefined,
      snapshots: snapshots.length,
      ...capacity,
      sourceBytes: [...newest.values()].reduce((sum, { sourceBytes }) => sum + sourceBytes, 0),
      totalSourceBytes: snapshots.reduce((sum, { sourceBytes }) => sum + sourceBytes, 0),
    });
  }
  for (const { target, error } of closed)
    all.push({
      target: target.name,
      error,
      snapshots: 0,
      storedBytes: 0,
      objects: 0,
      freeBytes: undefined,
      sourceBytes: 0,
      totalSourceBytes: 0,
    });
  note(session, all);
  return all;
}

/** Targets as they are declared and as they were seen last, from the state alone. */
export function reportTargets({ config, state }: Pick<Session, "config" | "state">, nowMs: number): Record<string, unknown>[] {
  const { targets, observedMs } = reportStatus(config, state, nowMs);
  const noted = (state.note(NOTE)?.value ?? {}) as Record<string, (Measured & { readonly timeMs: number }) | undefined>;
  return [...config.targets.values()].map((target) => {
    const seen = targets.find((one) => one.target === target.name);
    const { timeMs, ...sizes } = noted[target.name] ?? { timeMs: undefined };
    const isMeasured = timeMs !== undefined;
    const used = "storedBytes" in sizes ? sizes.storedBytes : undefined;
    return {
      target: target.name,
      type: target.type,
      path: target.path,
      format: target.format.kind,
      encryption: target.encryption?.name ?? null,
      appendOnly: target.appendOnly,
      offsite: target.offsite,
      maxSizeBytes: target.maxSizeBytes ?? null,
      jobs: [...config.jobs.values()].filter((job) => job.targets.some((one) => one.target === target)).map(({ name }) => name),
      status: seen?.status ?? "unknown",
      error: seen?.error ?? null,
      snapshots: seen?.snapshots ?? null,
      seenTime: observedMs === undefined ? null : iso(observedMs),
      sizes: isMeasured
        ? {
            time: iso(timeMs),
            ...sizes,
            usedShare:
              target.maxSizeBytes === undefined || used === undefined
                ? null
                : Math.round((used / target.maxSizeBytes) * 1000) / 1000,
          }
        : null,
    };
  });
}

type Measured = Omit<TargetStats, "target" | "error" | "freeBytes"> & {
  readonly freeBytes: number | null;
  readonly ratio: number | null;
};

/** A state that is busy or full is left alone, and a target that could not be asked keeps what was noted: nothing depends on it. */
function note({ config, state, surroundings }: Session, all: readonly TargetStats[]): void {
  const timeMs = surroundings.clock.now();
  const before = (state.note(NOTE)?.value ?? {}) as Record<string, unknown>;
  const kept = Object.entries(before).filter(([name]) => config.targets.has(name));
  const measured = all
    .filter(({ error }) => error === undefined)
    .map((one): [string, Measured & { timeMs: number }] => {
      const { target, error: _, ...sizes } = one;
      return [target, { timeMs, ...sizes, freeBytes: sizes.freeBytes ?? null, ratio: ratioOf(one) }];
    });
  try {
    state.setNote(NOTE, Object.fromEntries([...kept, ...measured]), timeMs);
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
  }
}
