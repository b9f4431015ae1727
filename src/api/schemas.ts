/** JSON Schemas (2020-12) that several routes share. Answers may have more members than these name; requests may not. */

export type JsonSchema = Readonly<Record<string, unknown>>;

export const TIME_MS: JsonSchema = { type: "number", description: "Milliseconds since 1970-01-01 UTC." };
export const ISO_TIME: JsonSchema = { type: "string", format: "date-time" };
export const NAME: JsonSchema = { type: "string", minLength: 1, maxLength: 63 };
export const RUN_ID: JsonSchema = {
  type: "string",
  pattern: "^[0-9a-f]{1,32}$",
  description: "The id of a run, or a unique prefix of it.",
};
export const MODE: JsonSchema = { enum: ["full", "incremental", "differential"] };
export const RUN_STATUSES = ["success", "partial", "failed", "cancelled", "skipped", "interrupted"] as const;
export const RUN_KINDS = ["backup", "restore", "verify", "prune", "repair", "apply"] as const;

/** A closed object: whatever is not named is refused. */
export const closed = (properties: Readonly<Record<string, JsonSchema>>, required: readonly string[] = []): JsonSchema => ({
  type: "object",
  additionalProperties: false,
  properties,
  required,
});

/** For a query or body in which nothing may stand. */
export const NOTHING: JsonSchema = { type: "object", additionalProperties: false, properties: {} };
/** A body that may be missing. */
export const NO_BODY: JsonSchema = { type: ["object", "null"], additionalProperties: false, properties: {} };

/** An answer: these members, and more that later versions may add. */
export const answer = (
  description: string,
  properties: Readonly<Record<string, JsonSchema>>,
  optional: readonly string[] = [],
): JsonSchema => ({
  description,
  type: "object",
  properties,
  required: Object.keys(properties).filter((name) => !optional.includes(name)),
});

export const list = (items: JsonSchema): JsonSchema => ({ type: "array", items });
export const orNull = (schema: JsonSchema & { readonly type: string }): JsonSchema => ({
  ...schema,
  type: [schema.type, "null"],
});

const ERROR = answer("A failure, as it was recorded.", { code: { type: "string" }, message: { type: "string" } });

export const PROGRESS = answer("Where a run is.", {
  phase: { type: "string" },
  filesDone: { type: "number" },
  bytesDone: { type: "number" },
  storedBytes: { type: "number" },
});

export const JOB_REPORT = answer(
  "One job, as things stand.",
  {
    job: { type: "string" },
    enabled: { type: "boolean" },
    paused: { type: "boolean" },
    askedMs: { ...TIME_MS, description: "When a run was asked for that has not begun." },
    last: answer(
      "The newest backup that ended.",
      { run: { type: "string" }, status: { enum: RUN_STATUSES }, startedMs: TIME_MS, endedMs: TIME_MS, error: ERROR },
      ["error"],
    ),
    lastSuccessMs: TIME_MS,
    nextMs: TIME_MS,
    overdueSinceMs: { ...TIME_MS, description: "The slot that passed without a backup." },
    objectives: list(
      answer("A promise, and whether it is kept.", { objective: { type: "string" }, met: { type: "boolean" } }, ["met"]),
    ),
  },
  ["askedMs", "last", "lastSuccessMs", "nextMs", "overdueSinceMs", "objectives"],
);

export const PROBLEM_RECORD = answer("What is wrong with a configuration, and where.", {
  severity: { enum: ["error", "warning"] },
  code: { type: "string" },
  file: { type: "string" },
  line: { type: "integer" },
  column: { type: "integer" },
  message: { type: "string" },
});

export const RELOAD = answer(
  "What came of a reading of the configuration.",
  {
    timeMs: TIME_MS,
    result: { enum: ["reloaded", "unchanged", "invalid", "unreadable"] },
    changes: list({ type: "string" }),
    problems: list(PROBLEM_RECORD),
    error: ERROR,
  },
  ["error"],
);

export const DAEMON = answer(
  "The running daemon.",
  {
    pid: { type: "integer" },
    version: { type: "string" },
    startedMs: TIME_MS,
    stopping: { type: "boolean" },
    config: { type: "string" },
    digest: { type: "string" },
    reload: RELOAD,
    api: answer(
      "The API beside the control socket.",
      { listen: { type: "string" }, tls: { type: "boolean" }, open: { type: "boolean" }, error: ERROR },
      ["error"],
    ),
  },
  ["reload", "api"],
);

export const STATUS = answer(
  "How things stand.",
  {
    timeMs: TIME_MS,
    timezone: { type: "string" },
    host: { type: "string" },
    config: { type: "string" },
    digest: { type: "string" },
    jobs: list(JOB_REPORT),
    targets: list(
      answer(
        "A target, as it was when it was looked at last.",
        {
          target: { type: "string" },
          status: { enum: ["ok", "empty", "changed", "unreadable", "unreachable", "unknown"] },
          error: { type: "string" },
          snapshots: { type: "integer" },
        },
        ["error", "snapshots"],
      ),
    ),
    observedMs: TIME_MS,
    pending: list(
      answer("A change that waits for an approval.", { plan: { type: "string" }, sinceMs: TIME_MS, text: { type: "string" } }),
    ),
    running: list(
      answer(
        "A run without an end.",
        {
          run: { type: "string" },
          kind: { enum: RUN_KINDS },
          subject: { type: "string" },
          startedMs: TIME_MS,
          progress: PROGRESS,
        },
        ["progress"],
      ),
    ),
    waiting: list(
      answer("What waits for its turn.", { kind: { type: "string" }, subject: { type: "string" }, why: { type: "string" } }),
    ),
    daemon: DAEMON,
  },
  ["observedMs"],
);

export const RUN = answer("A run. `status` is `running` until it has ended.", {
  id: { type: "string" },
  kind: { enum: RUN_KINDS },
  subject: { type: "string", description: "The job, or the target of a prune." },
  status: { enum: [...RUN_STATUSES, "running"] },
  startTime: ISO_TIME,
  endTime: orNull({ type: "string", format: "date-time" }),
  durationMs: orNull({ type: "number" }),
  reason: orNull({ type: "string" }),
  targets: { type: ["array", "null"], items: { type: "string" } },
  error: orNull({ type: "object" }),
  statistics: orNull({ type: "object" }),
});

/** The answer to an operation that one stays attached to. */
export const LINES: JsonSchema = {
  description:
    "NDJSON, one object a line, as things happen: `attached` with an id by which it can be cancelled, `event`, `warning`, `notice`, `part`, `alive`, and at the end `result` or `problem`.",
  content: { "application/x-ndjson": { schema: { type: "string" } } },
};
