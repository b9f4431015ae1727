import { readFileSync, readlinkSync } from "node:fs";

/** What names a process beyond its pid, which is reused and means nothing in another namespace. Empty where the system does not tell. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Start in clock ticks since boot (field 22 of /proc/PID/stat), as text. */
  readonly processStart: string;
  readonly bootId: string;
  readonly pidNamespace: string;
}

/** The identity of this process. */
export function processIdentity(): ProcessIdentity {
  return { pid: process.pid, processStart: startOf(process.pid) ?? "", bootId: bootId(), pidNamespace: pidNamespace() };
}

/**
 * True only when the process is provably gone: same boot and pid namespace as ours, and the pid is free or belongs to a
 * process that started at another time. A pid and a host name alone prove nothing.
 */
export function isProvablyDead(identity: ProcessIdentity): boolean {
  if (identity.bootId === "" || identity.pidNamespace === "" || identity.processStart === "") return false;
  if (identity.bootId !== bootId() || identity.pidNamespace !== pidNamespace()) return false;
  const start = startOf(identity.pid);
  return start === undefined || (start !== "" && start !== identity.processStart);
}

function bootId(): string {
  return readText("/proc/sys/kernel/random/boot_id");
}

function pidNamespace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return "";
  }
}

/** Undefined when no such process exists; empty when that cannot be told. */
function startOf(pid: number): string | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "utf8");
  } catch (error) {
    const gone = error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH");
    return gone && readText("/proc/self/stat") !== "" ? undefined : "";
  }
  // The second field is the program's name in parentheses and may hold anything; what follows the last one is regular.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return fields[19] ?? "";
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}
