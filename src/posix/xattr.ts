/** Extended attributes by raw name; a POSIX ACL is the attribute `system.posix_acl_access` or `_default`. */
import { constants } from "node:os";
import { cString, lastErrno, libc, posixSupport, systemError, throwErrno } from "./libc.ts";

/** One attribute: raw name bytes without NUL, and its value. */
export interface NamedValue {
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

/** A path (a symlink's own attributes, never its target's) or an open descriptor. */
export type XattrTarget = Uint8Array | number;

/** The kernel's limit for the list of names and for one value (XATTR_LIST_MAX, XATTR_SIZE_MAX): one buffer does for both. */
const LIMIT_BYTES = 65_536;
/** The kernel allocates what it is offered, so a list, which is short for almost every file, is asked for in this size first. */
const SHORT_LIST_BYTES = 512;
const buffer = Buffer.alloc(LIMIT_BYTES);
const NONE: readonly NamedValue[] = Object.freeze([]);

/**
 * Every attribute that this process may see, sorted by name; empty where the file system or the platform has none.
 * An attribute removed meanwhile is left out, one that may not be read throws. Costs one call for a file without any.
 */
export function readXattrs(target: XattrTarget): readonly NamedValue[] {
  if (!posixSupport().available) return NONE;
  const length = listRaw(target);
  if (length === 0) return NONE;
  const names = splitNames(buffer.subarray(0, length));
  const found: NamedValue[] = [];
  for (const name of names) {
    const value = getXattr(target, name);
    if (value !== undefined) found.push({ name, value });
  }
  return found;
}

function listRaw(target: XattrTarget): number {
  for (const room of [SHORT_LIST_BYTES, LIMIT_BYTES]) {
    const length =
      typeof target === "number" ? libc().flistxattr(target, buffer, room) : libc().llistxattr(cString(target), buffer, room);
    if (length >= 0) return length;
    const errno = lastErrno();
    if (errno === constants.errno.ENOTSUP) return 0;
    if (errno !== constants.errno.ERANGE) break;
  }
  return throwErrno("listxattr", pathOf(target));
}

function splitNames(list: Buffer): Buffer[] {
  const names: Buffer[] = [];
  for (let start = 0; start < list.length;) {
    const end = list.indexOf(0, start);
    const stop = end < 0 ? list.length : end;
    names.push(Buffer.from(list.subarray(start, stop)));
    start = stop + 1;
  }
  return names.sort((a, b) => Buffer.compare(a, b));
}

/** One value, or undefined when there is no such attribute. */
export function getXattr(target: XattrTarget, name: Uint8Array): Buffer | undefined {
  const cName = cString(name, 1);
  const length =
    typeof target === "number"
      ? libc().fgetxattr(target, cName, buffer, LIMIT_BYTES)
      : libc().lgetxattr(cString(target), cName, buffer, LIMIT_BYTES);
  if (length >= 0) return Buffer.from(buffer.subarray(0, length));
  const errno = lastErrno();
  if (errno === constants.errno.ENODATA || errno === constants.errno.ENOTSUP) return undefined;
  throw systemError(errno, "getxattr", pathOf(target));
}

/** Creates or replaces an attribute. Throws ENOTSUP where the file system keeps none, EPERM where this process may not. */
export function setXattr(target: XattrTarget, name: Uint8Array, value: Uint8Array): void {
  const cName = cString(name, 1);
  const result =
    typeof target === "number"
      ? libc().fsetxattr(target, cName, value, value.length, 0)
      : libc().lsetxattr(cString(target), cName, value, value.length, 0);
  if (result !== 0) throwErrno("setxattr", pathOf(target));
}

/** Removes an attribute; one that is not there is no error. */
export function removeXattr(target: XattrTarget, name: Uint8Array): void {
  const cName = cString(name, 1);
  const result = typeof target === "number" ? libc().fremovexattr(target, cName) : libc().lremovexattr(cString(target), cName);
  if (result !== 0 && lastErrno() !== constants.errno.ENODATA) throwErrno("removexattr", pathOf(target));
}

function pathOf(target: XattrTarget): Uint8Array | undefined {
  return typeof target === "number" ? undefined : target;
}
