/** Names of users and groups, asked once each: through the C library, so that LDAP and the like answer too. */
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { addressOf, cString, libc, posixSupport } from "./libc.ts";

const TEXT_START_BYTES = 4096;
const TEXT_LIMIT_BYTES = 4 * 1024 * 1024;

const userNames = new Map<number, string>();
const groupNames = new Map<number, string>();
const userIds = new Map<string, number | undefined>();
const groupIds = new Map<string, number | undefined>();

/** Name of a user id, or empty when the system knows none. Cached for the life of the thread. */
export function userName(uid: number): string {
  let name = userNames.get(uid);
  if (name === undefined) userNames.set(uid, (name = find("passwd", uid)?.name ?? ""));
  return name;
}

/** Name of a group id, or empty when the system knows none. */
export function groupName(gid: number): string {
  let name = groupNames.get(gid);
  if (name === undefined) groupNames.set(gid, (name = find("group", gid)?.name ?? ""));
  return name;
}

/** Id of a user name, or undefined when the system knows none. */
export function userId(name: string): number | undefined {
  if (!userIds.has(name)) userIds.set(name, find("passwd", name)?.id);
  return userIds.get(name);
}

/** Id of a group name, or undefined when the system knows none. */
export function groupId(name: string): number | undefined {
  if (!groupIds.has(name)) groupIds.set(name, find("group", name)?.id);
  return groupIds.get(name);
}

interface Owner {
  readonly name: string;
  readonly id: number;
}

function find(kind: "passwd" | "group", key: number | string): Owner | undefined {
  if (typeof key === "string" && (key === "" || key.includes("\0"))) return undefined;
  return posixSupport().available ? ask(kind, key) : findInFile(kind, key);
}

function ask(kind: "passwd" | "group", key: number | string): Owner | undefined {
  const entry = Buffer.alloc(64);
  const result = Buffer.alloc(8);
  for (let size = TEXT_START_BYTES; size <= TEXT_LIMIT_BYTES; size *= 4) {
    const text = Buffer.alloc(size);
    const errno = askOnce(kind, key, entry, text, result);
    if (errno === constants.errno.ERANGE) continue;
    if (errno !== 0 || result.readBigUInt64LE(0) === 0n) return undefined;
    // Both structs begin with the name, a pointer into `text`, and have the id at byte 16.
    const start = Number(entry.readBigUInt64LE(0) - addressOf(text));
    return { name: text.toString("utf8", start, text.indexOf(0, start)), id: entry.readUInt32LE(16) };
  }
  return undefined;
}

function askOnce(kind: "passwd" | "group", key: number | string, entry: Buffer, text: Buffer, result: Buffer): number {
  const raw = libc();
  if (typeof key === "number")
    return kind === "passwd"
      ? raw.getpwuid_r(key, entry, text, text.length, result)
      : raw.getgrgid_r(key, entry, text, text.length, result);
  const name = cString(Buffer.from(key));
  return kind === "passwd"
    ? raw.getpwnam_r(name, entry, text, text.length, result)
    : raw.getgrnam_r(name, entry, text, text.length, result);
}

function findInFile(kind: "passwd" | "group", key: number | string): Owner | undefined {
  let text: string;
  try {
    text = readFileSync(`/etc/${kind}`, "utf8");
  } catch {
    return undefined;
  }
  return findOwner(text, key);
}

/** The line of `/etc/passwd` or `/etc/group` text for an id or a name. */
export function findOwner(text: string, key: number | string): Owner | undefined {
  for (const line of text.split("\n")) {
    const [name, , id] = line.split(":");
    if (name === undefined || name === "" || id === undefined || !/^\d+$/.test(id)) continue;
    if (typeof key === "number" ? Number(id) === key : name === key) return { name, id: Number(id) };
  }
  return undefined;
}
