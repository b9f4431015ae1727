/** The scheduling priority of the calling thread. */
import { getPriority, platform, setPriority } from "node:os";

/**
 * Lets the calling thread stand back for others, as nice(2) does; it cannot be taken back without privileges. Does nothing
 * where the thread stands back as far already, or where the system knows priorities of whole processes only.
 */
export function lowerPriority(nice: number): void {
  if (nice > 0 && platform() === "linux" && getPriority() < nice) setPriority(nice);
}
