import type { KnownCondition } from "../plan/conditions.ts";
import type { State } from "../state/state.ts";

/** The note that the daemon keeps of what held and what did not when it looked last. */
export const CONDITIONS_NOTE = "conditions";

/** What was found last, by the key of its condition; empty when nothing was, or it cannot be read. */
export function knownConditions(state: State): Readonly<Record<string, KnownCondition>> {
  return (state.note(CONDITIONS_NOTE)?.value ?? {}) as Readonly<Record<string, KnownCondition>>;
}
