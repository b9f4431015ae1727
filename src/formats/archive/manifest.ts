import { asRunId, asSnapshotId, type SnapshotId } from "../../base/ids.ts";
import type { SnapshotInfo } from "../format.ts";
import { MAX_PARTS } from "./object-names.ts";
import { decodeSealed, encodeSealed, type Members } from "./sealed-json.ts";

/** One stored part of a stream: its length and the SHA-256 of its bytes, hex. */
export interface PartRecord {
  readonly bytes: number;
  readonly sha256: string;
}

/** A run of the entry index that is read and checked as one. */
export interface NodeRef {
  readonly offset: number;
  readonly length: number;
  /** 32 bytes. */
  readonly sha256: Uint8Array;
}

/** The commit of an archive: what it holds, and the hash of everything it consists of. */
export interface Manifest {
  /** Id of the archive store it was written to. */
  readonly store: string;
  readonly info: SnapshotInfo;
  readonly tar: readonly PartRecord[];
  readonly entries: readonly PartRecord[];
  /** Where the record of `/` is, and so everything. */
  readonly root: NodeRef;
}

const MAX_TAGS = 1000;
const MAX_UNREADABLE = 1000;

export function encodeManifest({ store, info, tar, entries, root }: Manifest): Buffer {
  const { objectTimeMs: _, hold: __, root: ___, id, ...said } = info;
  return encodeSealed({
    format: "holdfast-archive-manifest",
    version: 1,
    store,
    uid: id,
    ...said,
    time: new Date(info.timeMs).toISOString(),
    tar: tar.map(({ bytes, sha256 }) => ({ bytes, sha256 })),
    entries: entries.map(({ bytes, sha256 }) => ({ bytes, sha256 })),
    root: { offset: root.offset, length: root.length, sha256: Buffer.from(root.sha256).toString("hex") },
  });
}

/** Reads the manifest of archive `uid`. Throws `object_malformed` or `object_damaged` naming it. */
export function decodeManifest(bytes: Uint8Array, uid: SnapshotId, objectTimeMs: number | undefined): Manifest {
  const members = decodeSealed(bytes, `The manifest of archive ${uid}`);
  members.oneOf("format", ["holdfast-archive-manifest"]);
  members.integer("version", 1, 1);
  if (members.hex("uid", 16) !== uid) throw members.wrong("uid", "that of its folder");
  const root = members.object("root");
  const manifest = {
    store: members.hex("store", 16),
    info: infoOf(members, uid, objectTimeMs),
    tar: members.list("tar", MAX_PARTS, partOf),
    entries: members.list("entries", MAX_PARTS, partOf),
    root: {
      offset: root.integer("offset", 0),
      length: root.integer("length", 1),
      sha256: Buffer.from(root.hex("sha256", 32), "hex"),
    },
  };
  if (manifest.root.offset + manifest.root.length > totalBytes(manifest.entries))
    throw members.wrong("root", "inside the entry index");
  return manifest;
}

/** Bytes of a stream, its parts joined. */
export function totalBytes(parts: readonly PartRecord[]): number {
  return parts.reduce((sum, { bytes }) => sum + bytes, 0);
}

function partOf(item: Members): PartRecord {
  return { bytes: item.integer("bytes", 1, 2 ** 31), sha256: item.hex("sha256", 32) };
}

function infoOf(members: Members, uid: SnapshotId, objectTimeMs: number | undefined): SnapshotInfo {
  const snapshotId = (name: string): SnapshotId | undefined =>
    members.has(name) ? asSnapshotId(members.hex(name, 16)) : undefined;
  const optionalText = (name: string): string | undefined => (members.has(name) ? members.text(name) : undefined);
  const count = (name: string): number => members.integer(name, 0);
  return {
    id: uid,
    run: asRunId(members.hex("run", 16)),
    host: members.text("host"),
    job: members.text("job"),
    source: members.text("source"),
    sourceType: members.text("sourceType"),
    timeMs: members.integer("timeMs", -8.64e15, 8.64e15),
    endMs: members.integer("endMs", -8.64e15, 8.64e15),
    mode: members.oneOf("mode", ["full", "incremental", "differential"]),
    baseline: snapshotId("baseline"),
    previous: snapshotId("previous"),
    status: members.oneOf("status", ["success", "partial"]),
    sourceBytes: count("sourceBytes"),
    newBytes: count("newBytes"),
    storedBytes: count("storedBytes"),
    files: count("files"),
    directories: count("directories"),
    others: count("others"),
    unreadable: members.list("unreadable", MAX_UNREADABLE, (item) => ({
      path: item.text("path"),
      reason: item.text("reason"),
      message: item.text("message"),
    })),
    unreadableCount: count("unreadableCount"),
    changedWhileRead: count("changedWhileRead"),
    toolVersion: members.text("toolVersion"),
    configDigest: optionalText("configDigest"),
    gitCommit: optionalText("gitCommit"),
    description: members.text("description"),
    tags: members.texts("tags", MAX_TAGS),
    hold: false,
    facts: members.record("facts"),
    objectTimeMs,
    root: "",
  };
}
