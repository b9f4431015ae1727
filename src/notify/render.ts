/** Messages as receivers want them. Pure. What comes from names and errors cannot begin a line, a header or a mention. */
import type { WebhookKind } from "../config/config.ts";
import { escapeControl } from "../config/problem.ts";
import type { Payload } from "../plan/events.ts";
import { formatWall } from "../plan/zone.ts";

/** A request, but for its URL's host and the headers of the configuration. */
export interface Rendered {
  /** Appended to the URL's path, such as `/fail`. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

type Severity = "good" | "neutral" | "bad";

const COLORS: Readonly<Record<Severity, number>> = { good: 0x2e7d32, neutral: 0x607d8b, bad: 0xc62828 };
/** ntfy's: 3 is the default, 4 rings. */
const PRIORITIES: Readonly<Record<Severity, string>> = { good: "2", neutral: "3", bad: "4" };
const TAGS: Readonly<Record<Severity, string>> = {
  good: "white_check_mark",
  neutral: "information_source",
  bad: "rotating_light",
};

export function severityOf(type: string): Severity {
  if (/_(?:failed|partial|missed|overdue|rejected|unreachable|low)$/.test(type)) return "bad";
  return /_(?:completed|met|recovered)$/.test(type) ? "good" : "neutral";
}

/** The request body and what goes with it. `text` is the payload as it is stored. */
export function render(kind: WebhookKind, text: string, timezone: string): Rendered {
  const payload = JSON.parse(text) as Payload;
  const plain = { path: "", query: {}, headers: { "content-type": "application/json" } };
  switch (kind) {
    case "plain":
      return { ...plain, body: text };
    case "slack":
      return { ...plain, body: JSON.stringify({ text: slackText(payload, timezone) }) };
    case "discord":
      return { ...plain, body: JSON.stringify(discordMessage(payload, timezone)) };
    case "ntfy":
      return {
        ...plain,
        headers: {
          "content-type": "text/plain; charset=utf-8",
          title: headerText(titleOf(payload)),
          priority: PRIORITIES[severityOf(payload.type)],
          tags: TAGS[severityOf(payload.type)],
        },
        body: cut(linesOf(payload, timezone).join("\n"), 3500),
      };
    case "healthchecks":
      return {
        path: pingOf(payload.type),
        query: ridOf(payload),
        headers: { "content-type": "text/plain; charset=utf-8" },
        body: linesOf(payload, timezone).join("\n"),
      };
  }
}

/** What happened and how, a line each. */
export function linesOf(payload: Payload, timezone: string): string[] {
  const { data } = payload;
  const run = asRecord(data["run"]);
  const error = asRecord(run["error"]);
  const lines: [string, unknown][] = [
    ["time", `${formatWall(Date.parse(payload.timestamp), timezone)} ${timezone}`],
    ["host", data.host],
    ["job", data.jobs.join(", ")],
    ["targets", data.targets.join(", ")],
    ["why", run["reason"]],
    ["error", error["code"]],
    ["what to do", error["hint"]],
    ["run", run["id"]],
    ["event", `${payload.type} ${payload.id}`],
  ];
  return [
    flat(data.summary),
    ...problemsOf(data["problems"]),
    ...lines.flatMap(([name, value]) => (typeof value === "string" && value !== "" ? [`${name}: ${flat(value)}`] : [])),
  ];
}

/** One line on one event, for a digest. */
export function digestLine(payload: Payload, timezone: string): string {
  return `${formatWall(Date.parse(payload.timestamp), timezone)}  ${flat(payload.data.summary)}`;
}

export function titleOf({ type, data }: Payload): string {
  const about = data.jobs.length > 0 ? data.jobs : data.targets;
  return flat(`${type.replaceAll("_", " ")}${about.length === 0 ? "" : `: ${about.join(", ")}`} (${data.host})`);
}

function problemsOf(value: unknown): string[] {
  if (!Array.isArray(value)) return [];
  return value.slice(0, 10).map((one) => {
    const { place, message } = asRecord(one);
    return `- ${flat(String(place))}: ${flat(String(message))}`;
  });
}

function slackText(payload: Payload, timezone: string): string {
  const [summary = "", ...rest] = linesOf(payload, timezone);
  const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return cut(`*${escape(summary).replaceAll("*", "∗")}*\n${rest.map(escape).join("\n")}`, 3500);
}

function discordMessage(payload: Payload, timezone: string): unknown {
  const [summary = "", ...rest] = linesOf(payload, timezone);
  return {
    embeds: [
      {
        title: cut(summary, 250),
        description: cut(rest.join("\n"), 3500),
        color: COLORS[severityOf(payload.type)],
        timestamp: payload.timestamp,
      },
    ],
    // Nothing in a name or an error may call anybody.
    allowed_mentions: { parse: [] },
  };
}

/** Which ping an event is. A partial backup is no success: somebody has to look. */
function pingOf(type: string): string {
  if (type === "backup_started") return "/start";
  if (type === "backup_completed") return "";
  return severityOf(type) === "bad" ? "/fail" : "/log";
}

/** Start and end of a run belong together by its id, written as a UUID. */
function ridOf({ data }: Payload): Record<string, string> {
  const id = asRecord(data["run"])["id"];
  if (typeof id !== "string" || !/^[0-9a-f]{32}$/.test(id)) return {};
  return { rid: id.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5") };
}

/** Text on one line. */
export function flat(text: string): string {
  return escapeControl(text);
}

export function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1).toWellFormed()}…`;
}

/** Headers are ASCII; RFC 2047 is how ntfy takes the rest. */
function headerText(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return /^[\u0020-\u007e]*$/.test(text) ? text : `=?UTF-8?B?${Buffer.from(text).toString("base64")}?=`;
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
