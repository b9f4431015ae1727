import type { FastifyInstance } from "fastify";
import { HoldfastError, type DaemonControl, type JobMode } from "../../index.ts";
import type { Attachments } from "../attach.ts";

const JOB = { type: "object", properties: { job: { type: "string", minLength: 1, maxLength: 63 } }, required: ["job"] };

interface RunBody {
  readonly mode?: JobMode;
  readonly wait?: boolean;
}

export function jobRoutes(app: FastifyInstance, control: DaemonControl, attachments: Attachments): void {
  app.get("/jobs", async () => ({ jobs: control.status().jobs }));
  app.get<{ Params: { job: string } }>("/jobs/:job", { schema: { params: JOB } }, async ({ params }) => {
    const job = control.status().jobs.find((one) => one.job === params.job);
    if (job === undefined) throw new HoldfastError("name_unknown", `There is no job ${params.job}`);
    return job;
  });
  app.post<{ Params: { job: string }; Body: RunBody | null }>(
    "/jobs/:job/run",
    {
      schema: {
        params: JOB,
        body: {
          type: "object",
          nullable: true,
          additionalProperties: false,
          properties: { mode: { enum: ["full", "incremental", "differential"] }, wait: { type: "boolean" } },
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
  app.post<{ Params: { job: string } }>("/jobs/:job/pause", { schema: { params: JOB } }, async ({ params: { job } }) => ({
    job,
    paused: true,
    changed: control.pause(job),
  }));
  app.post<{ Params: { job: string } }>("/jobs/:job/resume", { schema: { params: JOB } }, async ({ params: { job } }) => ({
    job,
    paused: false,
    changed: control.resume(job),
  }));
}
