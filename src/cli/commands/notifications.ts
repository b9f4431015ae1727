import { deliveryJson, HoldfastError, receiversOfConfig, type Config, type DeliveryRecord, type State } from "../../index.ts";
import type { Context } from "../context.ts";
import { plural, safe, wallSeconds } from "../format.ts";
import { renderTable } from "../width.ts";

export interface NotificationsFlags {
  readonly failed?: boolean;
  readonly resend?: string;
  readonly resendAll?: boolean;
  readonly test?: string;
}

const SHOWN = 100;
const ALL = 100_000;
/** How long a command waits for what it sends again. */
const RESEND_WAIT_MS = 15_000;
/** `evt_` and so many digits are shown, and typed. */
const SHORT_EVENT = 12;

export async function notifications(context: Context, flags: NotificationsFlags): Promise<void> {
  const asked = [flags.resend, flags.resendAll, flags.test].filter((flag) => flag !== undefined);
  if (asked.length > 1)
    throw new HoldfastError("usage", "--resend, --resend-all and --test exclude each other", { hint: "Give one of them." });
  await using opened = await context.open();
  const { state, loaded } = opened;
  if (flags.test !== undefined) return await test(context, opened, flags.test);
  const resend = flags.resend === undefined ? undefined : eventOf(state, flags.resend);
  if (resend !== undefined || flags.resendAll === true) {
    const again =
      resend === undefined ? state.outbox.deliveries({ state: "dead", limit: ALL }) : state.outbox.deliveries({ event: resend });
    const count = state.outbox.resend(resend === undefined ? "dead" : { event: resend }, context.clock.now());
    await using notifier = context.notifier(loaded, state);
    const { done } = await notifier.flush(RESEND_WAIT_MS, context.signal);
    await context.note(`${plural(count, "message")} queued again${done ? "" : "; what is not delivered yet stays queued"}`);
    const events = new Set(again.map(({ event }) => event));
    return await show(
      context,
      loaded.config,
      state.outbox.deliveries({ limit: ALL }).filter(({ event }) => events.has(event)),
    );
  }
  await show(
    context,
    loaded.config,
    state.outbox.deliveries({ limit: context.json ? ALL : SHOWN, ...(flags.failed === true && { state: "dead" }) }),
  );
}

async function test(context: Context, { loaded, state }: Awaited<ReturnType<Context["open"]>>, name: string): Promise<void> {
  const known = receiversOfConfig(loaded.config);
  const receiver = known.has(name) ? name : `webhooks.${name}`;
  await using notifier = context.notifier(loaded, state);
  await notifier.test(receiver);
  if (context.json) await context.printJson({ test: { receiver, status: "delivered" } });
  else await context.print(`${receiver}: the test message was accepted\n`);
}

/** The id of the one event that begins so. */
function eventOf(state: State, text: string): string {
  const prefix = text.startsWith("evt_") ? text : `evt_${text}`;
  const found = new Set(state.outbox.deliveries({ event: prefix, limit: ALL }).map(({ event }) => event));
  const [first] = found;
  if (first === undefined || found.size > 1)
    throw new HoldfastError("name_unknown", `There is no message ${text}, or it is not unique`, {
      hint: "`holdfast notifications` lists them.",
    });
  return first;
}

async function show(context: Context, config: Config, records: readonly DeliveryRecord[]): Promise<void> {
  if (context.json) {
    await context.printJson({ notifications: records.map(deliveryJson) });
    return;
  }
  if (records.length === 0) {
    await context.note("There are no messages.");
    return;
  }
  const { timezone } = config.daemon;
  const rows = records.map((record) => [
    record.event.slice(0, SHORT_EVENT),
    wallSeconds(record.timeMs, timezone),
    record.type,
    record.receiver,
    record.state,
    String(record.attempts),
    record.dueMs === undefined ? "" : wallSeconds(record.dueMs, timezone),
    safe(record.error ?? ""),
  ]);
  const columns = [
    { title: "EVENT" },
    { title: "TIME" },
    { title: "TYPE" },
    { title: "RECEIVER" },
    { title: "STATE" },
    { title: "TRIED", align: "right" as const },
    { title: "NEXT" },
    { title: "WHY" },
  ];
  await context.print(renderTable(columns, rows.toReversed(), { bold: context.colors("stdout") }));
}
