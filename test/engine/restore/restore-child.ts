// Run by other tests in a process of its own: restores the snapshot of a repository and prints what became of it as JSON.
import { readFileSync } from "node:fs";
import { performRestore } from "../../../src/engine/restore/perform.ts";
import { HoldfastError } from "../../../src/base/errors.ts";
import type { SnapshotInfo } from "../../../src/formats/format.ts";
import { openRepository } from "../../formats/repository/read/backed-up.ts";

const [target, snapshotFile, path, out, uid] = process.argv.slice(2) as [string, string, string, string, string | undefined];
const snapshot = JSON.parse(readFileSync(snapshotFile, "utf8")) as SnapshotInfo;
const store = await openRepository(target);
if (uid !== undefined && uid !== "") {
  process.setgroups?.([]);
  process.setgid?.(Number(uid));
  process.setuid?.(Number(uid));
}
try {
  const report = await performRestore(
    {
      store,
      snapshot,
      path: Buffer.from(path),
      destination: { kind: "folder", path: Buffer.from(out) },
      include: [],
      exclude: [],
      overwrite: "if-changed",
      delete: false,
      confirmedLive: false,
      roots: undefined,
      protect: [],
    },
    {
      verifyFirst: false,
      verify: false,
      // Whoever wants to kill this process in the middle waits for this line.
      onProgress: ({ phase, bytesDone }) =>
        phase === "restoring" && bytesDone > 0 && process.stdout.write(`restored ${bytesDone}\n`),
      signal: new AbortController().signal,
    },
  );
  process.stdout.write(JSON.stringify(report));
} catch (error) {
  if (!(error instanceof HoldfastError)) throw error;
  process.stdout.write(JSON.stringify(error.toWire()));
}
