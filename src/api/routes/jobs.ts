import type { FastifyInstance } from "fastify";
import { HoldfastError, type DaemonControl, type JobMode } from "../../index.ts";
import type { Attachments } from "../attach.ts";
import { answer, closed, JOB_REPORT, LINES, list, MODE, NAME, NO_BODY, NOTHING } from "../schemas.ts";

const JOB = closed({ job: NAME }, ["job"]);
const PAUSED = answer("`changed` is false when it was so already.", {
  job: NAME,
  paused: { type: "boolean" },
  changed: { type: "boolean" },
});

interface RunBody {
  readonly mode?: JobMode;
  readonly wait?: boolean;
}

export function jobRoutes(app: FastifyInstance, control: DaemonControl, attachments: Attachments): void {
  app.get(
    "/jobs",
    {
      config: { role: "viewer" },
      schema: {
        summary: "All jobs",
        tags: ["jobs"],
        operationId: "listJobs",
        querystring: NOTHING,
        response: { 200: answer("In the order of the file.", { jobs: list(JOB_REPORT) }) },
      },
    },
    async () => ({ jobs: control.status().jobs }),
  );
  app.get<{ Params: { job: string } }>(
    "/jobs/:job",
    {
      config: { role: "viewer" },
      schema: {
        summary: "One job",
        tags: ["jobs"],
        operationId: "getJob",
        params: JOB,
        querystring: NOTHING,
        response: { 200: JOB_REPORT },
      },
    },
    async ({ params }) => {
      const job = control.status().jobs.find((one) => one.job === params.job);
      if (job === undefined) throw new HoldfastError("name_unknown", `There is no job ${params.job}`);
      return job;
    },
  );
  app.post<{ Params: { job: string }; Body: RunBody | null }>(
    "/jobs/:job/run",
    {
      config: { role: "operator" },
      schema: {
        summary: "Run a job ahead of its schedule",
        description:
          "It is remembered until it begins, also over a restart. With `wait` the answer follows the run to its end; going away leaves it running.",
        tags: ["jobs"],
        operationId: "runJob",
        params: JOB,
        querystring: NOTHING,
        body: { ...closed({ mode: MODE, wait: { type: "boolean" } }), type: ["object", "null"] },
        response: {
          200: LINES,
          202: answer("It was asked for.", { job: NAME, requested: { const: true } }),
        },
      },
    },
    async ({ params: { job }, body }, reply) => {
      const { mode, wait } = body ?? {};
      if (wait !== true) {
        control.requestRun(job, mode);
        return await reply.code(202).send({ job, requested: true });
      }
      return await attachments.attach(reply, (hooks) => control.followRun(job, mode, hooks));
    },
  );
  app.post<{ Params: { job: string } }>(
    "/jobs/:job/pause",
    {
      config: { role: "operator" },
      schema: {
        summary: "Start nothing of a job by itself, until it is resumed",
        tags: ["jobs"],
        operationId: "pauseJob",
        params: JOB,
        querystring: NOTHING,
        body: NO_BODY,
        response: { 200: PAUSED },
      },
    },
    async ({ params: { job } }) => ({ job, paused: true, changed: control.pause(job) }),
  );
  app.post<{ Params: { job: string } }>(
    "/jobs/:job/resume",
    {
      config: { role: "operator" },
      schema: {
        summary: "Go on with a paused job",
        tags: ["jobs"],
        operationId: "resumeJob",
        params: JOB,
        querystring: NOTHING,
        body: NO_BODY,
        response: { 200: PAUSED },
      },
    },
    async ({ params: { job } }) => ({ job, paused: false, changed: control.resume(job) }),
  );
}
