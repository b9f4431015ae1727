import assert from "node:assert/strict";

/** The folder at the root of a target where drivers keep unfinished puts. Never part of an object's name. */
export const TEMPORARY_FOLDER = "tmp";

const OBJECT_NAME = /^[a-z0-9._-]+(?:\/[a-z0-9._-]+)*$/;
const DOTS = /(?:^|\/)\.{1,2}(?:\/|$)/;

/** True when `name` may name an object on any target. What a driver finds under other names it does not list. */
export function isObjectName(name: string): boolean {
  return OBJECT_NAME.test(name) && !DOTS.test(name) && name !== TEMPORARY_FOLDER && !name.startsWith(`${TEMPORARY_FOLDER}/`);
}

/** Every driver calls this first: a bad name is a programmer fault, and never reaches a file system or a server. */
export function assertObjectName(name: string): void {
  assert(isObjectName(name), `Not an object name: ${JSON.stringify(name)}`);
}

/** A prefix to list is empty or a folder with its trailing slash. */
export function assertPrefix(prefix: string): void {
  assert(
    prefix === "" || (prefix.endsWith("/") && isObjectName(prefix.slice(0, -1))),
    `Not a folder of objects: ${JSON.stringify(prefix)}`,
  );
}

/** True when the last component is 64 hex digits: the name is the SHA-256 of the bytes, so two writers of it agree. */
export function isContentAddressed(name: string): boolean {
  return /(?:^|\/)[0-9a-f]{64}$/.test(name);
}
