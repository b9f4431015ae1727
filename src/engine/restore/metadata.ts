import { chmodSync, constants, fchmodSync, fchownSync } from "node:fs";
import { errnoOf } from "../../base/errors.ts";
import { pathText } from "../../base/path-text.ts";
import type { EntryMeta, Xattr } from "../../sources/source.ts";
import { AT_EMPTY_PATH, pathBelow, setTimesAt, setTimesFd } from "../../posix/at.ts";
import { cString, libc, throwErrno } from "../../posix/libc.ts";
import { readXattrs, removeXattr, setXattr } from "../../posix/xattr.ts";
import { xattrChanges } from "./verdict.ts";

/** Called with what could not be set and the errno name. */
export type Lose = (what: string, reason: string) => void;

/** What a restored entry gets; the rest of its metadata the system keeps itself. */
export type RestoredMeta = Pick<EntryMeta, "mode" | "uid" | "gid" | "mtimeNs" | "xattrs">;

/** How an entry has what it has now, so that nothing is set twice. */
export interface CurrentMeta {
  readonly uid: number;
  readonly gid: number;
  /** Permission bits. */
  readonly mode: number;
  /** Attributes that may have to go; undefined: it is new and has none. */
  readonly xattrs: readonly Xattr[] | undefined;
}

/** Ways to one entry that nobody can redirect. */
interface Handle {
  chown(uid: number, gid: number): void;
  chmod(mode: number): void;
  setTimes(mtimeNs: bigint): void;
  readonly xattrTarget: Uint8Array | number;
}

const EMPTY = new Uint8Array();
const ELEVATING = 0o6000;
const ACCESS_ACL = Buffer.from("system.posix_acl_access");

/** Sets the metadata of a regular file that is open for writing. */
export function setFileMetadata(fd: number, meta: RestoredMeta, current: CurrentMeta, lose: Lose): void {
  apply(
    {
      chown: (uid, gid) => fchownSync(fd, uid, gid),
      chmod: (mode) => fchmodSync(fd, mode),
      setTimes: (mtimeNs) => setTimesFd(fd, undefined, mtimeNs),
      xattrTarget: fd,
    },
    meta,
    current,
    false,
    lose,
  );
}

/**
 * Sets the metadata of any entry through its O_PATH descriptor; `dirFd` and `name` name the same entry (`.` for a folder
 * by itself) for the calls that have no form for such a descriptor.
 */
export function setEntryMetadata(
  entry: { readonly fd: number; readonly dirFd: number; readonly name: Uint8Array; readonly format: number },
  meta: RestoredMeta,
  current: CurrentMeta,
  lose: Lose,
): void {
  const { fd, dirFd, name, format } = entry;
  apply(
    {
      chown: (uid, gid) => {
        if (libc().fchownat(fd, cString(EMPTY), uid, gid, AT_EMPTY_PATH) !== 0) throwErrno("fchownat", name);
      },
      chmod: (mode) => chmodSync(pathBelow(fd), mode),
      setTimes: (mtimeNs) => setTimesAt(dirFd, name, undefined, mtimeNs),
      xattrTarget: pathBelow(dirFd, name),
    },
    meta,
    current,
    format === constants.S_IFLNK,
    lose,
  );
}

/** Attributes of an entry as `CurrentMeta` wants them; none where they cannot be read. */
export function currentXattrs(target: Uint8Array | number): readonly Xattr[] {
  try {
    return readXattrs(target);
  } catch {
    return [];
  }
}

/**
 * Owner first, because it clears setuid and capabilities. What may take away the right to enter a folder, its ACL and its
 * mode, comes last: the rest of a folder is set through its own `.`.
 */
function apply(handle: Handle, meta: RestoredMeta, current: CurrentMeta, isLink: boolean, lose: Lose): void {
  let { mode } = meta;
  let chowned = false;
  if (meta.uid !== current.uid || meta.gid !== current.gid) {
    chowned = attempt("owner", lose, () => handle.chown(meta.uid, meta.gid));
    if (!chowned && (mode & ELEVATING) !== 0) {
      // Power that was meant for another owner is not given to this one.
      mode &= ~ELEVATING;
      lose("mode", "owner");
    }
  }
  const changes = current.xattrs === undefined ? meta.xattrs : xattrChanges(current.xattrs, meta.xattrs);
  const change = ({ name, value }: (typeof changes)[number]): void =>
    void attempt(pathText(name), lose, () =>
      value === undefined ? removeXattr(handle.xattrTarget, name) : setXattr(handle.xattrTarget, name, value),
    );
  let accessAcl: (typeof changes)[number] | undefined;
  for (const each of changes)
    if (ACCESS_ACL.equals(each.name)) accessAcl = each;
    else change(each);
  attempt("times", lose, () => handle.setTimes(meta.mtimeNs));
  if (accessAcl !== undefined) change(accessAcl);
  // An ACL changes permission bits, and a change of owner may.
  if (!isLink && (mode !== current.mode || chowned || changes.length > 0)) attempt("mode", lose, () => handle.chmod(mode));
}

function attempt(what: string, lose: Lose, act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    const reason = errnoOf(error);
    if (reason === undefined) throw error;
    lose(what, reason);
    return false;
  }
}
