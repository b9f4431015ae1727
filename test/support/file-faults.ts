/**
 * Loaded with `--import` before a program and before each of its threads: counts the file calls at or below a folder, in all
 * threads together, and makes one of them go wrong. What to do lies in the file that `HOLDFAST_FILE_FAULT` names, which may change.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";

export const FILE_CALLS = [
  "open",
  "read",
  "write",
  "fsync of a file",
  "fsync of a folder",
  "close",
  "link",
  "unlink",
  "mkdir",
  "readdir",
  "rename",
] as const;
export type FileCall = (typeof FILE_CALLS)[number];

export interface FileFault {
  /** Calls at this folder and below count. */
  readonly folder: string;
  /** An empty folder, where calls are noted. */
  readonly notes: string;
  readonly call: FileCall;
  /** The fault meets the nth of these calls, from 1. */
  readonly nth: number;
  /** And all later ones, too. */
  readonly onwards: boolean;
  readonly how:
    | { readonly errno: string }
    /** Moves fewer bytes than asked. */
    | { readonly short: true }
    | { readonly kill: "before" | "after" };
}

/** In the folder of notes: one line for each call, in the order in which they began; `FIRED` follows the call that it met. */
export const NOTES = "calls";
export const FIRED = "^ fired";

const real = { ...fs };
const place = process.env["HOLDFAST_FILE_FAULT"];
const open = new Map<number, { readonly path: string; readonly isFolder: boolean }>();

function current(path: unknown): FileFault | undefined {
  if (place === undefined || typeof path !== "string" || !real.existsSync(place)) return undefined;
  const text = real.readFileSync(place, "utf8");
  const fault = text === "" ? undefined : (JSON.parse(text) as FileFault);
  return fault !== undefined && (path === fault.folder || path.startsWith(`${fault.folder}/`)) ? fault : undefined;
}

/** The number of this call among those of its kind, in all threads: whoever makes the file first has it. */
function numberOf(fault: FileFault, call: FileCall): number {
  for (let n = 1; ; n++) {
    try {
      real.closeSync(real.openSync(join(fault.notes, `${call} ${n}`), "wx"));
      return n;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
}

/** Performs a call as the fault wants it. `lose` does what a failing device does beside failing. */
function meet<Result>(
  call: FileCall,
  path: unknown,
  perform: () => Result,
  special: { readonly short?: () => Result; readonly lose?: () => void } = {},
): Result {
  const fault = current(path);
  if (fault === undefined) return perform();
  const note = (line: string): void => real.appendFileSync(join(fault.notes, NOTES), `${line}\n`);
  note(`${call} ${String(path)}`);
  if (call !== fault.call) return perform();
  const n = numberOf(fault, call);
  if (fault.onwards ? n < fault.nth : n !== fault.nth) return perform();
  note(FIRED);
  if ("short" in fault.how) return (special.short ?? perform)();
  if ("kill" in fault.how) {
    try {
      if (fault.how.kill === "after") perform();
    } finally {
      // Also when the call itself failed, as making a folder does that is there.
      process.kill(process.pid, "SIGKILL");
    }
    throw new Error("a killed process went on");
  }
  special.lose?.();
  throw Object.assign(new Error(`${fault.how.errno}: injected ${call}`), { code: fault.how.errno, syscall: call });
}

const pathOf = (fd: number): string | undefined => open.get(fd)?.path;

Object.assign(fs, {
  openSync(path: string, flags: string | number, mode?: number) {
    const fd = meet("open", path, () => real.openSync(path, flags, mode));
    const isFolder = typeof flags === "number" && (flags & real.constants.O_DIRECTORY) !== 0;
    open.set(fd, { path: String(path), isFolder });
    return fd;
  },
  readSync(fd: number, into: Uint8Array, offset: number, length: number, position: number | null) {
    const read = (bytes: number): number => real.readSync(fd, into, offset, bytes, position);
    return meet("read", pathOf(fd), () => read(length), { short: () => read(Math.ceil(length / 3)) });
  },
  writevSync(fd: number, parts: readonly Uint8Array[]) {
    const some = (): number => real.writeSync(fd, parts[0] as Uint8Array, 0, Math.ceil((parts[0] as Uint8Array).length / 3));
    // A medium that fills up takes the beginning first.
    return meet("write", pathOf(fd), () => real.writevSync(fd, parts), { short: some, lose: some });
  },
  fsyncSync(fd: number) {
    const { path, isFolder = false } = open.get(fd) ?? {};
    // After a failed fsync the kernel forgets that the pages were dirty: the bytes are gone, and the next fsync says all is well.
    const lose = (): void => {
      if (!isFolder && path?.includes("/tmp/put-") === true) real.ftruncateSync(fd, 0);
    };
    meet(isFolder ? "fsync of a folder" : "fsync of a file", path, () => real.fsyncSync(fd), { lose });
  },
  closeSync(fd: number) {
    const path = pathOf(fd);
    open.delete(fd);
    meet("close", path, () => real.closeSync(fd), { lose: () => real.closeSync(fd) });
  },
  linkSync: (from: string, to: string) => meet("link", to, () => real.linkSync(from, to)),
  renameSync: (from: string, to: string) => meet("rename", to, () => real.renameSync(from, to)),
  unlinkSync: (path: string) => meet("unlink", path, () => real.unlinkSync(path)),
  mkdirSync: (path: string, options?: fs.MakeDirectoryOptions) => meet("mkdir", path, () => real.mkdirSync(path, options)),
  readdirSync: (path: string, options?: never) => meet("readdir", path, () => real.readdirSync(path, options)),
});
syncBuiltinESMExports();
