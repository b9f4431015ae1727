/** Every file-system call that a process and its threads make below a folder, as the kernel saw them: by `strace`. */
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";

/** False where `strace` is missing or may not trace. */
export const canTrace = process.platform === "linux" && spawnSync("strace", ["-o", "/dev/null", "true"]).status === 0;

interface Span {
  /** The thread that made the call. */
  readonly thread: number;
  /** Lines of the log on which it began and returned: a call began after all that had returned before. */
  readonly began: number;
  readonly returned: number;
}

/** A call that succeeded, in the order in which they returned. */
export type TracedCall = Span &
  (
    | { readonly call: "create" | "mkdir" | "unlink" | "rmdir"; readonly path: string }
    | { readonly call: "fsync"; readonly path: string }
    | { readonly call: "link" | "rename"; readonly from: string; readonly path: string }
    | { readonly call: "write"; readonly path: string; readonly bytes: Buffer }
  );

/** Calls that change files, and those that make changes durable. One of them that `TracedCall` cannot say is an error. */
const TRACED = [
  "open|openat|openat2|creat|write|writev|pwrite64|pwritev|pwritev2|fsync|fdatasync|sync_file_range|link|linkat|symlink|symlinkat",
  "unlink|unlinkat|rmdir|mkdir|mkdirat|mknod|mknodat|rename|renameat|renameat2|truncate|ftruncate|fallocate|sendfile|splice|copy_file_range",
].join("|");

export interface Traced {
  /** What the process wrote on standard output. */
  readonly stdout: string;
  readonly calls: readonly TracedCall[];
}

/** Runs Node with these arguments to its successful end, and returns its calls at `folder` and below, and each fsync of its parent. */
export function traceNode(args: readonly string[], folder: string): Traced {
  const log = join(dirname(folder), `calls-${process.pid}.log`);
  const { status, stdout, stderr } = spawnSync(
    "strace",
    ["-f", "--seccomp-bpf", "-y", "-xx", "-s", "100000000", "-o", log, "-e", `trace=/^(${TRACED})$`, process.execPath, ...args],
    { encoding: "utf8", maxBuffer: 1 << 26 },
  );
  try {
    if (status !== 0) throw new Error(`The traced process ended with ${status}: ${stderr}`);
    return { stdout, calls: parseLog(readFileSync(log, "latin1"), folder) };
  } finally {
    rmSync(log, { force: true });
  }
}

const FINISHED = /^(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(?:<([^>]*)>)?/s;
const UNFINISHED = /^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$/s;
const RESUMED = /^(\d+) +<\.\.\. (\w+) resumed>(.*)$/s;

function parseLog(log: string, folder: string): TracedCall[] {
  const calls: TracedCall[] = [];
  const begun = new Map<string, { readonly args: string; readonly line: number }>();
  for (const [line, text] of log.split("\n").entries()) {
    const unfinished = UNFINISHED.exec(text);
    if (unfinished !== null) {
      begun.set(unfinished[1] as string, { args: unfinished[3] as string, line });
      continue;
    }
    const resumed = RESUMED.exec(text);
    const first = resumed === null ? undefined : begun.get(resumed[1] as string);
    const whole = resumed === null ? text : `${resumed[1]} ${resumed[2]}(${first?.args ?? ""}${resumed[3]}`;
    const finished = FINISHED.exec(whole);
    if (finished === null) continue;
    const [, thread, name, args, result] = finished as unknown as [string, string, string, string, string];
    if (!(Number(result) >= 0)) continue;
    const span = { thread: Number(thread), began: first?.line ?? line, returned: line };
    const call = read(name, args, Number(result), span, folder);
    if (call !== undefined) calls.push(call);
  }
  return calls;
}

/** Undefined for calls elsewhere, and for opens that make nothing. */
function read(name: string, args: string, result: number, span: Span, folder: string): TracedCall | undefined {
  const at = (path: string | undefined): path is string =>
    path !== undefined && (path === folder || path.startsWith(`${folder}/`) || (name === "fsync" && path === dirname(folder)));
  const paths = pathsOf(args);
  const [path, second] = paths;
  if (!paths.some(at)) return undefined;
  if (!at(path)) throw new Error(`${name} from outside ${folder}: ${args.slice(0, 500)}`);
  switch (name) {
    case "openat":
    case "open":
      if (/O_CREAT\|O_EXCL/.test(args)) return { call: "create", path, ...span };
      if (/O_CREAT|O_TRUNC|O_TMPFILE/.test(args)) break;
      return undefined;
    case "mkdir":
      return { call: "mkdir", path, ...span };
    case "rmdir":
      return { call: "rmdir", path, ...span };
    case "unlink":
      return { call: "unlink", path, ...span };
    case "link":
    case "rename":
      if (!at(second)) break;
      return { call: name, from: path, path: second, ...span };
    case "fsync":
      return { call: "fsync", path, ...span };
    case "write":
    case "writev": {
      const bytes = Buffer.concat(name === "write" ? stringsOf(args).slice(0, 1) : stringsOf(args)).subarray(0, result);
      if (bytes.length !== result) throw new Error(`A ${name} of ${result} bytes shows ${bytes.length}`);
      return { call: "write", path, bytes, ...span };
    }
  }
  throw new Error(`${name} below ${folder} is not known to the model: ${args.slice(0, 500)}`);
}

/** The paths of a call in its order: those of descriptors, as `-y` shows them, else those given as text. */
function pathsOf(args: string): string[] {
  const descriptor = /^\d+<([^>]*)>/.exec(args);
  if (descriptor !== null) return [unescape(descriptor[1] as string)];
  return stringsOf(args).map((bytes) => bytes.toString("latin1"));
}

function stringsOf(args: string): Buffer[] {
  return [...args.matchAll(/"([^"]*)"/g)].map(([, text]) => Buffer.from(unescape(text as string), "latin1"));
}

function unescape(text: string): string {
  return Buffer.from(text.replaceAll("\\x", ""), "hex").toString("latin1");
}
