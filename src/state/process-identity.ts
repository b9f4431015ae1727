import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";

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
  return { ...identityOf(process.pid), processStart: startOf("self") };
}

/** The identity of a living child of this process. */
export function identityOf(pid: number): ProcessIdentity {
  return {
    bootId: read("/proc/sys/kernel/random/boot_id").trim(),
    pidNamespace: readLink("/proc/self/ns/pid"),
    pid,
    processStart: startOf(String(pid)),
  };
}

/**
 * Whether what a process has left in a state folder is left for good: it is provably dead, or of another boot, because state folders
 * are not shared between machines. For the sole daemon of a folder also when nothing can be proven about it, unless it is itself.
 */
export function isRegardedAsDead(identity: ProcessIdentity, soleOwner: boolean): boolean {
  const here = processIdentity();
  if (isProvablyDead(identity)) return true;
  if (here.bootId !== "" && identity.bootId !== "" && here.bootId !== identity.bootId) return true;
  const isVisible = identity.bootId !== "" && identity.pidNamespace === here.pidNamespace;
  return soleOwner && !isVisible && !isDeepStrictEqual(identity, here);
}

/** True only when this very process certainly runs here: the opposite of a proof is not a proof of the opposite. */
export function isProvablyAlive(identity: ProcessIdentity): boolean {
  if (!Number.isSafeInteger(identity.pid) || identity.pid <= 1 || identity.processStart === "") return false;
  const here = processIdentity();
  if (here.bootId === "" || here.bootId !== identity.bootId) return false;
  if (here.pidNamespace === "" || here.pidNamespace !== identity.pidNamespace) return false;
  return startOf(String(identity.pid)) === identity.processStart;
}

/**
 * True only when a process certainly no longer runs: same boot and pid namespace as here, and its pid is gone, belongs to a
 * process that started at another time, or is a zombie's, which nobody in a container may ever wait for. False when anything
 * is unknown.
 */
export function isProvablyDead(identity: ProcessIdentity): boolean {
  if (!Number.isSafeInteger(identity.pid) || identity.pid <= 0) return false;
  const here = processIdentity();
  if (here.bootId === "" || here.bootId !== identity.bootId) return false;
  if (here.pidNamespace === "" || here.pidNamespace !== identity.pidNamespace) return false;
  if (here.processStart === "" || identity.processStart === "") return false;
  const start = startOf(String(identity.pid));
  // `hidepid` hides living processes of others from /proc; a signal tells them apart.
  if (start === "") return !exists(identity.pid);
  return start !== identity.processStart || isZombie(identity.pid);
}

/** Fields of `stat` from the third on, counted after the command's closing parenthesis, because a command may contain anything. */
function statOf(process: string): string[] {
  const stat = read(`/proc/${process}/stat`);
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** Field 22 of proc(5). */
function startOf(process: string): string {
  return statOf(process)[19] ?? "";
}

/** A zombie that is its process's only thread: a leader may end before the others. */
function isZombie(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).length === 1 && statOf(String(pid))[0] === "Z";
  } catch {
    return false;
  }
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
