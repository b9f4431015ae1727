import { performRestore } from "../../src/engine/restore/perform.ts";
import type { RestoreReport } from "../../src/engine/restore/restore.ts";
import type { SnapshotInfo, Store } from "../../src/formats/format.ts";

/** Restores a whole snapshot below an empty or missing folder, as `restore --to` does. */
export async function restoreInto(store: Store, snapshot: SnapshotInfo, destination: string): Promise<RestoreReport> {
  return await performRestore(
    {
      store,
      snapshot,
      path: Buffer.from("/"),
      destination: { kind: "folder", path: Buffer.from(destination) },
      include: [],
      exclude: [],
      overwrite: "always",
      delete: false,
      confirmedLive: false,
      roots: undefined,
      protect: [],
    },
    { verifyFirst: false, verify: false, onProgress: () => undefined, signal: new AbortController().signal },
  );
}
