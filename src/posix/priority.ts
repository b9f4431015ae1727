/** The scheduling priority of the calling thread. */
import { getPriority, platform, setPriority } from "node:os";

/**
 * Lets the calling thread stand back for others, as nice(2) does; it cannot be taken back without privileges. Does nothing
 * where the thread stands back as far already, where the system refuses (a container may), or where it knows priorities
 * of whole processes only: it is a wish, and nothing fails for it.
 */
export function lowerPriority(nice: number): void {
  if (nice <= 0 || platform() !== "linux") return;
  try {
    if (getPriority() < nice) setPriority(nice);
  } catch {
    // As fast as everybody else, then.
  }
}
