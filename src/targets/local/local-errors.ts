import { HoldfastError, errnoOf, type ErrorCode } from "../../base/errors.ts";

interface Meaning {
  readonly code: ErrorCode;
  readonly what: string;
  readonly hint: string;
  readonly transient?: boolean;
}

const FULL: Meaning = {
  code: "target_full",
  what: "no space is left",
  hint: "Free space on the medium or run a prune; what is already stored stays readable.",
};
const DENIED: Meaning = {
  code: "target_denied",
  what: "permission is denied",
  hint: "Give the user Holdfast runs as read, write and search permission on the target's folder.",
};
const UNREACHABLE: Meaning = {
  code: "target_unreachable",
  what: "the file server does not answer",
  hint: "Check the network and the mount, then run again.",
  transient: true,
};
const TOO_MANY_FILES: Meaning = {
  code: "target_io",
  what: "too many files are open",
  hint: "Raise the limit of open files (LimitNOFILE= in the service, ulimit -n in a shell).",
  transient: true,
};
const BUSY: Meaning = { code: "target_io", what: "the file system is busy", hint: "Run again.", transient: true };

const MEANINGS: Readonly<Record<string, Meaning>> = {
  ENOSPC: FULL,
  EDQUOT: {
    ...FULL,
    what: "the quota is used up",
    hint: "Raise the quota or run a prune; what is already stored stays readable.",
  },
  EFBIG: {
    ...FULL,
    what: "the file is too large for the file system",
    hint: "Raise the file size limit, or configure smaller packs.",
  },
  EROFS: {
    code: "target_read_only",
    what: "the file system is read-only",
    hint: "Mount it writable; after an I/O error the kernel may have remounted it, so check the system log. Restores still work.",
  },
  EACCES: DENIED,
  EPERM: DENIED,
  ETIMEDOUT: UNREACHABLE,
  EHOSTDOWN: UNREACHABLE,
  EHOSTUNREACH: UNREACHABLE,
  ENETUNREACH: UNREACHABLE,
  ENOTCONN: UNREACHABLE,
  ECONNRESET: UNREACHABLE,
  ENODEV: { ...UNREACHABLE, what: "the device is gone", hint: "Attach and mount it, then run again.", transient: false },
  ENXIO: { ...UNREACHABLE, what: "the device is gone", hint: "Attach and mount it, then run again.", transient: false },
  // Folders are made where they may be: one that is missing in the middle of a call was taken away.
  ENOENT: { ...UNREACHABLE, what: "its folder is gone", hint: "Check the mount, then run again.", transient: false },
  EMFILE: TOO_MANY_FILES,
  ENFILE: TOO_MANY_FILES,
  EAGAIN: BUSY,
  EINTR: BUSY,
  EBUSY: BUSY,
  ENOMEM: { ...BUSY, what: "the system is out of memory" },
  // A handle of a network file system went stale; a retry opens the path anew.
  ESTALE: { ...BUSY, what: "the file server replaced the file under its handle" },
};

const OTHER: Meaning = {
  code: "target_io",
  what: "the file system reported an error",
  hint: "Check the medium and the system log (dmesg) before trusting it again.",
};

/**
 * The failure of a file call as a HoldfastError, by its errno alone. `doing` completes "Cannot …". What is a
 * HoldfastError or no system error already (an abort, an assertion) is returned as it is.
 */
export function localError(error: unknown, doing: string): unknown {
  const errno = errnoOf(error);
  if (error instanceof HoldfastError || errno === undefined || !/^E[A-Z0-9]+$/.test(errno)) return error;
  const meaning = MEANINGS[errno] ?? OTHER;
  return new HoldfastError(meaning.code, `Cannot ${doing}: ${meaning.what} (${errno})`, {
    hint: meaning.hint,
    transient: meaning.transient ?? false,
    cause: error,
    data: { errno },
  });
}

/**
 * The failure of an fsync: never transient, whatever the errno, because a second fsync may report success for pages
 * that the first one lost.
 */
export function fsyncError(error: unknown, doing: string): unknown {
  const mapped = localError(error, doing);
  if (!(mapped instanceof HoldfastError)) return mapped;
  return new HoldfastError(mapped.code, mapped.message, {
    hint: mapped.hint ?? OTHER.hint,
    transient: false,
    cause: mapped.cause,
    data: mapped.data,
  });
}
