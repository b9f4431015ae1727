/**
 * Every code a HoldfastError may carry, with the exit code the command line gives it.
 * `docs/errors.md` documents each; a test ties the two in both directions.
 */
export const ERROR_CODES = {
  // usage and configuration
  usage: 2,
  config_not_found: 2,
  config_unreadable: 2,
  config_invalid: 2,
  config_write_refused: 2,
  config_changed: 2,
  config_match_missing: 2,
  secret_unavailable: 2,
  name_unknown: 2,
  selector_ambiguous: 2,
  confirmation_required: 2,
  // target
  target_missing_object: 1,
  target_exists: 1,
  target_denied: 1,
  target_untrusted: 1,
  target_full: 1,
  target_read_only: 1,
  target_throttled: 1,
  target_unreachable: 1,
  target_not_mounted: 1,
  target_io: 1,
  target_lied: 1,
  // repository
  repository_missing: 10,
  repository_exists: 1,
  repository_changed: 1,
  repository_locked: 11,
  repository_feature: 1,
  key_wrong: 12,
  key_last: 1,
  object_malformed: 1,
  object_damaged: 1,
  object_foreign: 1,
  chunk_missing: 1,
  snapshot_missing: 1,
  snapshot_withdrawn: 1,
  listing_incomplete: 1,
  clock_unreliable: 1,
  unsupported: 1,
  verify_failed: 1,
  write_verification_failed: 1,
  // source
  source_unavailable: 1,
  source_too_small: 1,
  source_changed: 1,
  source_unreadable: 1,
  command_failed: 1,
  hook_failed: 1,
  // restore
  restore_refused: 1,
  restore_conflict: 1,
  restore_failed: 1,
  path_missing: 1,
  // plan
  plan_held: 1,
  // receivers of notifications
  receiver_refused: 1,
  receiver_failed: 1,
  // state and daemon
  state_unusable: 1,
  state_busy: 11,
  audit_broken: 1,
  daemon_missing: 1,
  daemon_unreachable: 1,
  daemon_differs: 2,
  // the API
  api_unavailable: 1,
  unauthenticated: 1,
  forbidden: 1,
  rate_limited: 1,
  key_mismatch: 2,
  key_in_use: 11,
  timeout: 1,
  cancelled: 130,
  internal: 1,
} as const;

/** Stable machine-readable name of a failure. */
export type ErrorCode = keyof typeof ERROR_CODES;

export interface ErrorDetails {
  /** What the user can do about it, one or two sentences. */
  readonly hint?: string;
  /** True when the same call may succeed later without anyone changing anything. Read only by the retry wrapper. */
  readonly transient?: boolean;
  readonly cause?: unknown;
  /** Facts for `--json`: ids, paths, numbers. Never a secret. */
  readonly data?: Readonly<Record<string, unknown>>;
}

/** The one error class: a stable code, what failed, what to do. */
export class HoldfastError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly transient: boolean;
  readonly data: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "HoldfastError";
    this.code = code;
    this.hint = details.hint;
    this.transient = details.transient ?? false;
    this.data = details.data;
  }

  /** Plain value that survives a thread boundary; `fromWire` makes the error again. */
  toWire(): ErrorWire {
    return {
      code: this.code,
      message: this.message,
      hint: this.hint,
      transient: this.transient,
      data: this.data,
      cause: this.cause instanceof Error ? this.cause.message : undefined,
    };
  }

  static fromWire(wire: ErrorWire): HoldfastError {
    return new HoldfastError(wire.code, wire.message, {
      hint: wire.hint,
      transient: wire.transient,
      data: wire.data,
      cause: wire.cause === undefined ? undefined : new Error(wire.cause),
    });
  }
}

export interface ErrorWire {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string | undefined;
  readonly transient: boolean;
  readonly data?: Readonly<Record<string, unknown>> | undefined;
  readonly cause?: string | undefined;
}

/** Any thrown value as a HoldfastError; what is not one already becomes `internal`, an abort `cancelled`. */
export function asHoldfastError(error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  if (error instanceof Error && error.name === "AbortError")
    return new HoldfastError("cancelled", "The operation was cancelled", { cause: error });
  const message = error instanceof Error ? error.message : String(error);
  return new HoldfastError("internal", message, { cause: error });
}

/** The errno name (`ENOENT`, …) of a Node system error, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (typeof error === "object" && error !== null && "code" in error && typeof error.code === "string") return error.code;
  return undefined;
}
