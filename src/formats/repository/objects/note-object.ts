import { asObjectId, asSnapshotId } from "../../../base/ids.ts";
import type { ObjectId, SnapshotId } from "../../../base/ids.ts";
import { decodeJson, encodeJson } from "./json-object.ts";
import type { JsonMembers } from "./json-object.ts";

const MAX_TAGS = 1000;
const MAX_SNAPSHOTS = 1_000_000;

interface NoteBase {
  readonly time: string;
  readonly host: string;
}

/** What a deletion keeps of a snapshot. */
export interface DeletedSnapshot {
  readonly uid: SnapshotId;
  /** The snapshot's object. */
  readonly object: ObjectId;
  readonly time: string;
  readonly job: string;
  readonly source: string;
  readonly host: string;
}

export type TagsNote = NoteBase & {
  readonly type: "tags";
  readonly snapshot: SnapshotId;
  readonly add: readonly string[];
  readonly remove: readonly string[];
};
/** Held until a time, for ever (true), or released (false). */
export type HoldNote = NoteBase & { readonly type: "hold"; readonly snapshot: SnapshotId; readonly until: string | boolean };
export type DescriptionNote = NoteBase & { readonly type: "description"; readonly snapshot: SnapshotId; readonly text: string };
/** What a verification found; members beyond these are kept in `details`. */
export type VerificationNote = NoteBase & {
  readonly type: "verification";
  readonly snapshots: readonly SnapshotId[];
  readonly level: string;
  readonly result: string;
  readonly details: Readonly<Record<string, unknown>>;
};
export type DeletionNote = NoteBase & { readonly type: "deletion"; readonly snapshots: readonly DeletedSnapshot[] };
/** The retention policy last applied. */
export type PolicyNote = NoteBase & { readonly type: "policy"; readonly policy: Readonly<Record<string, unknown>> };

/** An immutable annotation. Notes of one snapshot apply in the order of `time`, then object id. */
export type NoteObject = TagsNote | HoldNote | DescriptionNote | VerificationNote | DeletionNote | PolicyNote;

const VERIFICATION_MEMBERS = ["type", "time", "host", "snapshots", "level", "result"];

export function encodeNote(note: NoteObject): Buffer {
  if (note.type !== "verification") return encodeJson(note);
  const { details, ...members } = note;
  return encodeJson({ ...details, ...members });
}

/**
 * Reads a note's content. Throws `object_malformed` naming the member that is missing or of another type; undefined for a
 * type of note that a later version added.
 */
export function decodeNote(content: Uint8Array): NoteObject | undefined {
  const members = decodeJson(content, "The note");
  const base = { time: members.time("time"), host: members.text("host") };
  const type = members.text("type");
  switch (type) {
    case "tags":
      return {
        ...base,
        type,
        snapshot: snapshotOf(members),
        add: members.texts("add", MAX_TAGS),
        remove: members.texts("remove", MAX_TAGS),
      };
    case "hold":
      return { ...base, type, snapshot: snapshotOf(members), until: untilOf(members) };
    case "description":
      return { ...base, type, snapshot: snapshotOf(members), text: members.text("text") };
    case "verification":
      return {
        ...base,
        type,
        snapshots: members.hexes("snapshots", 16, MAX_SNAPSHOTS).map(asSnapshotId),
        level: members.text("level"),
        result: members.text("result"),
        details: members.rest(VERIFICATION_MEMBERS),
      };
    case "deletion":
      return { ...base, type, snapshots: members.list("snapshots", MAX_SNAPSHOTS, (item) => deletedOf(item.object("item"))) };
    case "policy":
      return { ...base, type, policy: members.record("policy") };
    default:
      return undefined;
  }
}

function snapshotOf(members: JsonMembers): SnapshotId {
  return asSnapshotId(members.hex("snapshot", 16));
}

function untilOf(members: JsonMembers): string | boolean {
  return typeof members.unknown("until") === "string" ? members.time("until") : requiredFlag(members, "until");
}

function requiredFlag(members: JsonMembers, name: string): boolean {
  if (!members.has(name)) throw members.malformed(`\`${name}\` is missing`);
  return members.flag(name, false);
}

function deletedOf(members: JsonMembers): DeletedSnapshot {
  return {
    uid: asSnapshotId(members.hex("uid", 16)),
    object: asObjectId(members.hex("object", 32)),
    time: members.time("time"),
    job: members.text("job"),
    source: members.text("source"),
    host: members.text("host"),
  };
}
