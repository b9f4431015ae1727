/**
 * The steps of a backup between which a crash must lose nothing, in order. `after pack put` comes once a pack, `after copy out`
 * only when a pack in use was condemned meanwhile. Tests end the process at each of them.
 */
export const COMMIT_BOUNDARIES = {
  "after lease": "the lease is on the target, nothing was read yet",
  "after resume": "packs that an interrupted backup left were taken over",
  "after pack put": "a pack is durable, no index object names it",
  "after flush": "every pack is durable",
  "after index": "index objects name every pack",
  "after lease confirm": "a lease was put and read back",
  "after copy out": "chunks of packs condemned meanwhile were stored once more, not yet indexed",
  "before snapshot put": "everything the snapshot needs is there and indexed",
  "after snapshot put": "the snapshot is committed",
  "after commit": "small index objects were merged; the lease is still there",
} as const;

export type CommitBoundary = keyof typeof COMMIT_BOUNDARIES;
