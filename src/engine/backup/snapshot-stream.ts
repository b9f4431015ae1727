import type { SnapshotEntry, SnapshotInfo, Store } from "../../formats/format.ts";
import { HoldfastError } from "../../base/errors.ts";
import type { EntryStream, WalkEvent } from "../../sources/source.ts";

/** A snapshot read back as an entry stream: what `archive`, `convert` and `replicate` write from. */
export function snapshotStream(store: Store, snapshot: SnapshotInfo, signal: AbortSignal): EntryStream {
  const files = new Map<number, SnapshotEntry>();
  let next = 0;

  async function* walk(directory: SnapshotEntry): AsyncIterable<readonly WalkEvent[]> {
    yield [{ step: "enter", entry: directory.entry }];
    for await (const batch of store.list(directory, signal)) {
      const events: WalkEvent[] = [];
      for (const child of batch) {
        if (child.entry.type === "directory") {
          yield events.splice(0);
          yield* walk(child);
        } else if (child.entry.type === "file") {
          const once = next++;
          files.set(once, child);
          events.push({ step: "leaf", entry: { ...child.entry, content: { once } } });
        } else events.push({ step: "leaf", entry: child.entry });
      }
      if (events.length > 0) yield events;
    }
    yield [{ step: "leave" }];
  }

  async function* events(): AsyncIterable<readonly WalkEvent[]> {
    const root = await store.lookup(snapshot, Buffer.from("/"), signal);
    if (root === undefined) throw new HoldfastError("chunk_missing", `Snapshot ${snapshot.id.slice(0, 8)} has no root`);
    yield* walk(root);
  }

  return {
    kind: "events",
    events: events(),
    openOnce: (once) => {
      const file = files.get(once);
      files.delete(once);
      if (file === undefined) throw new HoldfastError("internal", `Stream ${once} was opened twice`);
      return store.read(file, { signal });
    },
  };
}
