import { readFileSync, readlinkSync } from "node:fs";

/**
 * Which process this is, so that another can prove that it is gone. A pid and a host name alone prove nothing: pids are
 * reused, and two containers may share both.
 */
export interface ProcessIdentity {
  /** Random id of this boot of the kernel; empty where the system tells none. */
  readonly bootId: string;
  /** The namespace that the pid counts in, `pid:[4026531836]`; empty where the system tells none. */
  readonly pidNamespace: string;
  readonly pid: number;
  /** Start of the process in clock ticks since boot; empty where the system tells none. */
  readonly processStart: string;
}

/** The identity of the running process. Reads `/proc`; elsewhere its parts are empty, and nobody can prove this process dead. */
export function processIdentity(): ProcessIdentity {
  return {
    bootId: read("/proc/sys/kernel/random/boot_id").trim(),
    pidNamespace: readLink("/proc/self/ns/pid"),
    pid: process.pid,
    processStart: startOf("self"),
  };
}

/**
 * True only when a process certainly no longer runs: same boot and pid namespace as here, and its pid is gone or belongs to
 * a process that started at another time. False when anything is unknown.
 */
export function isProvablyDead(identity: ProcessIdentity): boolean {
  if (!Number.isSafeInteger(identity.pid) || identity.pid <= 0) return false;
  const here = processIdentity();
  if (here.bootId === "" || here.bootId !== identity.bootId) return false;
  if (here.pidNamespace === "" || here.pidNamespace !== identity.pidNamespace) return false;
  if (here.processStart === "" || identity.processStart === "") return false;
  const start = startOf(String(identity.pid));
  // `hidepid` hides living processes of others from /proc; a signal tells them apart.
  return start === "" ? !exists(identity.pid) : start !== identity.processStart;
}

/** Field 22 of `stat`, counted after the command's closing parenthesis, because a command may contain anything. */
function startOf(process: string): string {
  const stat = read(`/proc/${process}/stat`);
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "ESRCH");
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
