/** How work is answered that nobody stays for. */
import type { FastifyReply, FastifyRequest } from "fastify";
import type { AttachedHooks, DaemonControl, TaskPatience, TaskReport } from "../index.ts";
import { plain } from "./attach.ts";

/** Started work is told of when its first run has begun, or after this. */
export const UNTIL_BEGUN: TaskPatience = { until: "begun", waitMs: 2000 };
/** An answer that takes longer than this is looked up later. */
export const UNTIL_ENDED: TaskPatience = { until: "ended", waitMs: 10_000 };

export function taskBody(task: TaskReport): Record<string, unknown> {
  const { id, kind, subject, by, state, startedMs, endedMs, runs, notices, parts, result, error } = task;
  return {
    operation: id,
    kind,
    subject,
    by,
    state,
    startTime: new Date(startedMs).toISOString(),
    endTime: endedMs === undefined ? null : new Date(endedMs).toISOString(),
    run: runs[0] ?? null,
    runs,
    notices,
    parts: parts.map(plain),
    result: plain(result) ?? null,
    error: error ?? null,
  };
}

/** Starts work and answers 202 with where to look, or 200 with the task when it has ended by then. */
export async function answerTask(
  control: DaemonControl,
  request: FastifyRequest,
  reply: FastifyReply,
  what: { readonly kind: string; readonly subject: string; readonly runs?: string },
  act: (hooks: AttachedHooks) => Promise<unknown>,
  patience: TaskPatience = UNTIL_BEGUN,
): Promise<FastifyReply> {
  const { kind, subject, runs = "runs" } = what;
  const task = await control.tasks.start({ kind, subject, by: request.caller.name }, act, patience);
  const [run] = task.runs;
  const prefix = request.routeOptions.url?.startsWith("/api/v1") === true ? "/api/v1" : "";
  const location = run === undefined ? `${prefix}/operations/${task.id}` : `${prefix}/${runs}/${run}`;
  const isOver = task.state === "ended" && run === undefined;
  return await reply
    .code(isOver ? 200 : 202)
    .headers(isOver ? {} : { location })
    .send(taskBody(task));
}

/** Asks something that may take long: 200 with the document, or 202 with the task that has it when it is ready. */
export async function answerLongQuery(
  control: DaemonControl,
  request: FastifyRequest,
  reply: FastifyReply,
  what: { readonly kind: string; readonly subject: string },
  act: (hooks: AttachedHooks) => Promise<Record<string, unknown>>,
): Promise<FastifyReply> {
  const task = await control.tasks.start({ ...what, by: request.caller.name }, act, UNTIL_ENDED);
  if (task.state === "ended" && task.error === undefined) return await reply.send(task.result);
  return await reply.code(202).header("location", `/api/v1/operations/${task.id}`).send(taskBody(task));
}

/** Fires when whoever asked goes away before the answer is complete. */
export function whileConnected(reply: FastifyReply, reason: () => Error): AbortSignal {
  const abort = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) abort.abort(reason());
  });
  return abort.signal;
}
