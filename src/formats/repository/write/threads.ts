/** The kinds of threads of a backup. */
import { workerModule, type WorkerKind } from "../../../posix/workers.ts";

function kind(name: string, options: Pick<WorkerKind, "trackUnmanagedFds" | "stopMs">): WorkerKind {
  return { name, module: workerModule(import.meta.url, name), youngGenerationMb: 16, ...options };
}

// The tree thread opens folders through the C library, unknown to Node.
export const TREE_THREAD = kind("tree-thread", { trackUnmanagedFds: false, stopMs: 60_000 });

export const CPU_THREAD = kind("cpu-thread", { trackUnmanagedFds: true, stopMs: 60_000 });

// It may wait for long, for its target, and then it does nothing else.
export const PACK_THREAD = kind("pack-thread", { trackUnmanagedFds: true, stopMs: 1000 });
