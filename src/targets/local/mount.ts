import fs from "node:fs";
import path from "node:path";
import { HoldfastError, errnoOf } from "../../base/errors.ts";
import { localError } from "./local-errors.ts";

/**
 * Rejects with `target_not_mounted` unless something is mounted at `mountPath`, so that nothing is ever written to, or
 * believed missing from, the bare folder underneath. Synchronous; two stat calls in the usual case.
 */
export function requireMounted(mountPath: string): void {
  let mounted: boolean;
  try {
    mounted = isMountPoint(mountPath);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno !== "ENOENT" && errno !== "ENOTDIR") throw localError(error, `examine the mount point ${mountPath}`);
    mounted = false;
  }
  if (mounted) return;
  throw new HoldfastError("target_not_mounted", `Nothing is mounted at ${mountPath}`, {
    hint: "Mount it, then run again. Nothing was written to the folder underneath.",
    data: { path: mountPath },
  });
}

function isMountPoint(mountPath: string): boolean {
  const own = fs.statSync(mountPath);
  const parent = fs.statSync(path.join(fs.realpathSync(mountPath), ".."));
  if (own.dev !== parent.dev || own.ino === parent.ino) return true;
  // A bind mount from the same file system has its parent's device; only the kernel's table shows it.
  return mountTable().has(fs.realpathSync(mountPath));
}

function mountTable(): Set<string> {
  let text: string;
  try {
    text = fs.readFileSync("/proc/self/mountinfo", "utf8");
  } catch {
    return new Set();
  }
  const points = text.split("\n").map((line) => line.split(" ")[4] ?? "");
  return new Set(
    points.map((point) => point.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)))),
  );
}
