import type { FastifyInstance } from "fastify";
import { EVENT_TYPES, fitsEvent, HoldfastError } from "../../index.ts";
import type { EventStreams } from "../event-streams.ts";
import { closed, NAME } from "../schemas.ts";

/** What is told beside the events that webhooks get. */
export const STREAM_TYPES = [...EVENT_TYPES, "run_started", "run_progress", "run_ended"] as const;
const PATTERN = "[a-z_]{0,40}\\*?[a-z_]{0,40}";

export function eventRoutes(app: FastifyInstance, streams: EventStreams): void {
  app.get<{ Querystring: { job?: string; types?: string } }>(
    "/events",
    {
      // It never ends: there is no head of it to ask for.
      exposeHeadRoute: false,
      config: { role: "viewer" },
      schema: {
        summary: "What happens, as Server-Sent Events",
        description:
          "Events by their names, and `run_started`, `run_progress` and `run_ended` of every run. Who comes back with `Last-Event-ID` gets the events since then; `reset` says that some of them are forgotten.",
        tags: ["events"],
        operationId: "followEvents",
        querystring: closed({
          job: { ...NAME, description: "Only what is about this job." },
          types: {
            type: "string",
            maxLength: 1000,
            pattern: `^${PATTERN}(?:,${PATTERN})*$`,
            description: "Only these types, separated by commas; `*` stands for any text.",
            examples: ["backup_*,run_progress"],
          },
        }),
        headers: { type: "object", properties: { "last-event-id": { type: "string", maxLength: 200 } } },
        response: {
          200: { description: "A stream without end.", content: { "text/event-stream": { schema: { type: "string" } } } },
        },
      },
    },
    async (request, reply) => {
      const { job, types } = request.query;
      const patterns = types?.split(",");
      const unknown = patterns?.find((pattern) => !STREAM_TYPES.some((type) => fitsEvent(pattern, type)));
      if (unknown !== undefined)
        throw new HoldfastError("usage", `There is no type of event that fits ${JSON.stringify(unknown)}`, {
          hint: `There are: ${STREAM_TYPES.join(", ")}.`,
        });
      const after = request.headers["last-event-id"];
      streams.open(reply, request.caller, { after: after === undefined ? undefined : String(after), job, types: patterns });
      return reply;
    },
  );
}
