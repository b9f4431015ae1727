import type { RunId, SnapshotId } from "../../../base/ids.ts";
import { asRunId, asSnapshotId } from "../../../base/ids.ts";
import type { SnapshotMode, UnreadableEntry } from "../../format.ts";
import { decodeJson, encodeJson } from "./json-object.ts";
import type { JsonMembers } from "./json-object.ts";

/** Entries named in a snapshot at most; `unreadableCount` counts all. */
export const MAX_UNREADABLE = 1000;
const MAX_TAGS = 1000;

/** One snapshot, with the member names of `docs/format.md`. Times are ISO 8601 texts. */
export interface SnapshotObject {
  readonly uid: SnapshotId;
  readonly run: RunId;
  readonly host: string;
  readonly job: string;
  readonly source: string;
  readonly sourceType: string;
  /** Start of the reading. */
  readonly time: string;
  readonly end: string;
  readonly mode: SnapshotMode;
  readonly baseline?: SnapshotId | undefined;
  readonly previous?: SnapshotId | undefined;
  /** 64 hex digits: tree chunk of `/`. */
  readonly root: string;
  readonly status: "success" | "partial";
  readonly counts: { readonly files: number; readonly directories: number; readonly others: number };
  readonly bytes: { readonly source: number; readonly new: number; readonly stored: number };
  readonly unreadable: readonly UnreadableEntry[];
  readonly unreadableCount: number;
  readonly changedWhileRead: number;
  /** Version of the tool that wrote it. */
  readonly tool: string;
  readonly configDigest?: string | undefined;
  readonly gitCommit?: string | undefined;
  readonly description: string;
  readonly tags: readonly string[];
  readonly facts: Readonly<Record<string, unknown>>;
}

export function encodeSnapshot(snapshot: SnapshotObject): Buffer {
  return encodeJson(snapshot);
}

/** Reads a snapshot's content. Throws `object_malformed` naming the member that is missing or of another type. */
export function decodeSnapshot(content: Uint8Array): SnapshotObject {
  const members = decodeJson(content, "The snapshot object");
  const counts = members.object("counts");
  const bytes = members.object("bytes");
  return {
    uid: asSnapshotId(members.hex("uid", 16)),
    run: asRunId(members.hex("run", 16)),
    host: members.text("host"),
    job: members.text("job"),
    source: members.text("source"),
    sourceType: members.text("sourceType"),
    time: members.time("time"),
    end: members.time("end"),
    mode: members.oneOf("mode", ["full", "incremental", "differential"]),
    baseline: snapshotId(members, "baseline"),
    previous: snapshotId(members, "previous"),
    root: members.hex("root", 32),
    status: members.oneOf("status", ["success", "partial"]),
    counts: {
      files: counts.integer("files", 0),
      directories: counts.integer("directories", 0),
      others: counts.integer("others", 0),
    },
    bytes: { source: bytes.integer("source", 0), new: bytes.integer("new", 0), stored: bytes.integer("stored", 0) },
    unreadable: members.list("unreadable", MAX_UNREADABLE, (item) => {
      const entry = item.object("item");
      return { path: entry.text("path"), reason: entry.text("reason"), message: entry.text("message") };
    }),
    unreadableCount: members.integer("unreadableCount", 0),
    changedWhileRead: members.integer("changedWhileRead", 0),
    tool: members.text("tool"),
    configDigest: members.optionalText("configDigest"),
    gitCommit: members.optionalText("gitCommit"),
    description: members.text("description"),
    tags: members.texts("tags", MAX_TAGS),
    facts: members.record("facts"),
  };
}

function snapshotId(members: JsonMembers, name: string): SnapshotId | undefined {
  const id = members.optionalHex(name, 16);
  return id === undefined ? undefined : asSnapshotId(id);
}
