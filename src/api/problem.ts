/** Failures as RFC 9457 problem details: the code, message and hint of a HoldfastError. */
import { asHoldfastError, type ErrorCode, type HoldfastError } from "../index.ts";

export const PROBLEM_TYPE = "application/problem+json; charset=utf-8";

/** What a client did wrong has 4xx, what is in the way 409, and everything else 500. */
const STATUS: Partial<Readonly<Record<ErrorCode, number>>> = {
  usage: 400,
  name_unknown: 404,
  snapshot_missing: 404,
  path_missing: 404,
  selector_ambiguous: 409,
  confirmation_required: 409,
  plan_held: 409,
  state_busy: 409,
  repository_locked: 409,
  daemon_differs: 409,
  config_invalid: 422,
  config_write_refused: 409,
  config_changed: 412,
  config_match_missing: 428,
  unsupported: 422,
  key_wrong: 422,
  key_last: 409,
  repository_missing: 409,
  restore_conflict: 409,
  restore_refused: 403,
  target_unreachable: 503,
  target_not_mounted: 503,
  cancelled: 409,
  unauthenticated: 401,
  forbidden: 403,
  rate_limited: 429,
  key_mismatch: 422,
  key_in_use: 409,
};

export interface ProblemDetails {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: ErrorCode;
  readonly hint?: string | undefined;
  readonly data?: Readonly<Record<string, unknown>> | undefined;
  /** Which member is wrong, of a body or query that was refused. */
  readonly errors?: readonly { readonly pointer: string; readonly detail: string }[];
}

export function problemOf(thrown: unknown, status?: number): ProblemDetails {
  const error: HoldfastError = asHoldfastError(thrown);
  return {
    type: `urn:holdfast:error:${error.code}`,
    title: error.code.replaceAll("_", " "),
    status: status ?? STATUS[error.code] ?? 500,
    detail: error.message,
    code: error.code,
    hint: error.hint,
    data: error.data,
  };
}
