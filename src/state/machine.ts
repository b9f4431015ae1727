import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { loadavg } from "node:os";
import { join } from "node:path";

/** What a job may wait for before it is started by itself. */
export interface MachineState {
  /** Processes that want a processor, averaged over the last minute (getloadavg(3)). */
  readonly load: number;
  readonly onBattery: boolean;
  /** The default network costs by volume. False where nobody knows. */
  readonly metered: boolean;
}

const POWER_SUPPLIES = "/sys/class/power_supply";
/** NMMetered: yes, and yes by a guess. */
const METERED = [1, 3];
const ASK_AGAIN_MS = 60_000;

/**
 * On battery when no mains adapter is plugged in, or, on a machine that shows none, when a battery discharges.
 * (sysfs-class-power; a machine without either is on mains.) `folder` is the kernel's list of power supplies.
 */
export function isOnBattery(folder = POWER_SUPPLIES): boolean {
  const read = (supply: string, name: string): string => {
    try {
      return readFileSync(join(folder, supply, name), "utf8").trim();
    } catch {
      return "";
    }
  };
  let supplies: string[];
  try {
    supplies = readdirSync(folder);
  } catch {
    return false;
  }
  // A mouse has a battery too.
  const own = supplies.filter((supply) => read(supply, "scope") !== "Device");
  const adapters = own.filter((supply) => ["Mains", "USB"].includes(read(supply, "type")));
  const mains = adapters.filter((supply) => read(supply, "type") === "Mains");
  if (adapters.some((supply) => read(supply, "online") === "1")) return false;
  const batteries = own.filter((supply) => read(supply, "type") === "Battery");
  if (batteries.length === 0) return false;
  return mains.length > 0 || batteries.some((supply) => read(supply, "status") === "Discharging");
}

/** Looks at the machine. Whether the network is metered is asked of NetworkManager in the background, once a minute at most. */
export class Machine {
  #metered = false;
  #askedAt = Number.NEGATIVE_INFINITY;

  state(): MachineState {
    return { load: loadavg()[0] ?? 0, onBattery: isOnBattery(), metered: this.#isMetered() };
  }

  #isMetered(): boolean {
    if (performance.now() - this.#askedAt >= ASK_AGAIN_MS) {
      this.#askedAt = performance.now();
      const manager = ["org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager"];
      execFile("busctl", ["get-property", ...manager, "Metered"], { timeout: 5000 }, (error, output) => {
        this.#metered = error === null && METERED.includes(Number(output.trim().split(" ")[1]));
      }).on("error", () => undefined);
    }
    return this.#metered;
  }
}
