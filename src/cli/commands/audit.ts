import {
  formatAuditHead,
  HoldfastError,
  openState,
  parseAuditHead,
  renderCsv,
  requireIntact,
  type AuditRecord,
} from "../../index.ts";
import type { Context } from "../context.ts";
import { plural, safe, wallSeconds } from "../format.ts";
import type { FormatFlags } from "../program.ts";
import { parseTime } from "../selectors.ts";
import { renderTable } from "../width.ts";

export interface AuditFlags extends FormatFlags {
  readonly limit?: string;
  readonly since?: string;
  readonly verify?: boolean;
  readonly sinceHash?: string;
  readonly head?: boolean;
}

const SHOWN = 100;
/** More than are kept. */
const ALL = 1_000_000;

/** Shows who changed what, or checks that the log is what was written. */
export async function audit(context: Context, flags: AuditFlags): Promise<void> {
  if (flags.limit !== undefined && !/^[1-9]\d{0,6}$/.test(flags.limit))
    throw new HoldfastError("usage", `--limit takes a number, not ${JSON.stringify(flags.limit)}`, { hint: "Write --limit 20." });
  const noted = flags.sinceHash === undefined ? undefined : parseAuditHead(flags.sinceHash);
  const { config } = await context.config();
  const { stateDir, timezone } = config.daemon;
  using state = openState(stateDir, { onWarning: (text) => void context.warn(text) });
  if (flags.head === true) {
    const head = formatAuditHead(state.audit.head());
    if (context.json) await context.printJson({ head });
    else await context.print(`${head}\n`);
    return;
  }
  if (flags.verify === true || noted !== undefined) {
    const verdict = state.audit.verify(noted);
    if (context.json) await context.printJson({ ...verdict, head: formatAuditHead(verdict.head) });
    else for (const problem of verdict.problems) await context.complain(problem);
    requireIntact(verdict);
    await context.note(`The audit log is intact: ${plural(verdict.records, "record")}, head ${formatAuditHead(verdict.head)}`);
    return;
  }
  const all = flags.format === "csv" || context.json;
  const records = state.audit
    .records({
      limit: flags.limit === undefined ? (all ? ALL : SHOWN) : Number(flags.limit),
      ...(flags.since !== undefined && { since: parseTime(flags.since, { nowMs: context.clock.now(), timezone }) }),
    })
    .toReversed();
  if (context.json) await context.printJson({ head: formatAuditHead(state.audit.head()), records: records.map(auditJson) });
  else if (flags.format === "csv")
    await context.print(
      renderCsv(
        COLUMNS,
        records.map(auditJson).map((record) => COLUMNS.map((column) => record[column])),
      ),
    );
  else if (records.length === 0) await context.note("Nothing is recorded.");
  else await context.print(table(records, timezone, context.colors("stdout")));
}

const COLUMNS = [
  "sequence",
  "time",
  "actor",
  "from",
  "action",
  "subject",
  "outcome",
  "code",
  "detail",
  "previous",
  "hash",
] as const;

function auditJson({ timeMs, code, ...record }: AuditRecord): Record<(typeof COLUMNS)[number], unknown> {
  return { ...record, time: new Date(timeMs).toISOString(), code: code ?? null };
}

function table(records: readonly AuditRecord[], timezone: string, bold: boolean): string {
  const columns = [
    { title: "NO", align: "right" as const },
    { title: "TIME" },
    { title: "WHO" },
    { title: "FROM" },
    { title: "DID" },
    { title: "TO" },
    { title: "OUTCOME" },
  ];
  const rows = records.map(({ sequence, timeMs, actor, from, action, subject, outcome, code }) => [
    String(sequence),
    wallSeconds(timeMs, timezone),
    safe(actor),
    safe(from),
    safe(action),
    safe(subject),
    code === undefined ? outcome : `${outcome}: ${safe(code)}`,
  ]);
  return renderTable(columns, rows, { bold });
}
