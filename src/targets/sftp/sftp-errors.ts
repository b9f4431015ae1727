import { HoldfastError, type ErrorCode } from "../../base/errors.ts";

/** Status codes of SFTP version 3 (draft-ietf-secsh-filexfer-02, 7). */
export const STATUS = {
  eof: 1,
  missing: 2,
  denied: 3,
  failure: 4,
  badMessage: 5,
  noConnection: 6,
  lost: 7,
  unsupported: 8,
} as const;

const ANSWERS: Readonly<Record<number, { readonly code: ErrorCode; readonly what: string; readonly hint: string }>> = {
  [STATUS.missing]: {
    code: "target_unreachable",
    what: "its folder is gone",
    hint: "Check the path and, on the server, the mount.",
  },
  [STATUS.denied]: {
    code: "target_denied",
    what: "the server denies it",
    hint: "Give the account on the server read, write and search permission on the target's folder.",
  },
};

/** The status an answer of the server had; undefined for any other error. */
export function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || error instanceof HoldfastError) return undefined;
  const { code } = error as { code?: unknown };
  return typeof code === "number" ? code : undefined;
}

/** A refusal by the server as a HoldfastError. `doing` completes "Cannot …". What is none is returned as it is. */
export function answerError(error: unknown, doing: string): unknown {
  const status = statusOf(error);
  if (status === undefined) return error;
  if (status === STATUS.noConnection || status === STATUS.lost) return unreachable(doing, "the connection was lost", error);
  const meaning = ANSWERS[status];
  const said = (error as Error).message;
  return new HoldfastError(
    meaning?.code ?? "target_io",
    `Cannot ${doing}: ${meaning?.what ?? `the server says "${said}"`} (status ${status})`,
    {
      hint: meaning?.hint ?? "SFTP does not say more. Look into the server's log: its disk may be full, or a quota used up.",
      cause: error,
      data: { status },
    },
  );
}

/** Nothing is known about what the server did last; a later try may help. */
export function unreachable(doing: string, what: string, cause?: unknown): HoldfastError {
  return new HoldfastError("target_unreachable", `Cannot ${doing}: ${what}`, {
    hint: "Check the network and the server, then run again.",
    transient: true,
    cause,
  });
}
