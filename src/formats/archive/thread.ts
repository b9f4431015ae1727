import { workerModule, type WorkerKind } from "../../posix/workers.ts";

/** Writes an archive, or verifies some: a run of `ToArchive` and `FromArchive`. */
export const ARCHIVE_THREAD: WorkerKind = {
  name: "archive-thread",
  module: workerModule(import.meta.url, "archive-thread"),
  // It opens folders through the C library, unknown to Node.
  trackUnmanagedFds: false,
  stopMs: 10_000,
};
