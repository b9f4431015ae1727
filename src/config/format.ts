import { DURATION_UNITS, parseDuration } from "../base/duration.ts";
import { EVENT_TYPES, fitsEvent } from "../base/events.ts";
import { SIZE_UNITS, parseSize } from "../base/size.ts";
import { explainCron } from "./cron.ts";
import { explainProbeAddress } from "./probe-address.ts";
import type { ProblemCode } from "./problem.ts";
import { didYouMean, listOf, nearest } from "./suggest.ts";
import { parseWindow } from "./window.ts";

/** Why a text is not of a format. `reason` completes "…: "; neither names the text itself, which may be secret. */
export interface FormatFault {
  readonly reason: string;
  readonly suggestion?: string | undefined;
}

export interface Format {
  readonly code: ProblemCode;
  /** What it should be, for messages. */
  readonly expected: string;
  /** Undefined when the text is right. */
  readonly explain: (text: string) => FormatFault | undefined;
}

export const NAME_PATTERN = /^[a-z0-9][a-z0-9_-]{0,62}$/;
const CRON: Pick<Format, "code" | "expected"> = {
  code: "bad_cron",
  expected: "cron fields such as `0 2 * * *`, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`",
};

/** True when a schedule's text is cron, and not a name. */
export const isCronText = (text: string): boolean => /[\s@]/.test(text);

const DURATION_WORDS: Readonly<Record<string, string>> = {
  sec: "s",
  secs: "s",
  second: "s",
  seconds: "s",
  min: "m",
  mins: "m",
  minute: "m",
  minutes: "m",
  hr: "h",
  hrs: "h",
  hour: "h",
  hours: "h",
  day: "d",
  days: "d",
  wk: "w",
  week: "w",
  weeks: "w",
};

function explainUnit(text: string, units: readonly string[], words: Readonly<Record<string, string>>): FormatFault {
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-zµ]*)$/.exec(text.trim());
  if (!match) return { reason: "it is not a number and a unit" };
  const [, amount, unit] = match as unknown as [string, string, string];
  if (unit === "") return { reason: "it has no unit" };
  if (units.includes(unit)) {
    if (!text.includes(" ")) return { reason: "it is too large" };
    return { reason: "there is a space in it", suggestion: `did you mean "${amount}${unit}"?` };
  }
  const word = Object.hasOwn(words, unit.toLowerCase()) ? words[unit.toLowerCase()] : nearest(unit, units);
  return {
    reason: `there is no unit "${unit}"`,
    suggestion: word === undefined ? undefined : `did you mean "${amount}${word}"?`,
  };
}

/** `50MB/s` → bytes a second; at least 1. */
export function parseRate(text: string): number | undefined {
  const match = /^(.*\S)\s*\/\s*s$/.exec(text.trim());
  const bytes = match === null ? undefined : parseSize(match[1] as string);
  return bytes === 0 ? undefined : bytes;
}

function explainRate(text: string): FormatFault | undefined {
  const match = /^(.*\S)\s*\/\s*s$/.exec(text.trim());
  if (match === null) {
    const isSize = parseSize(text) !== undefined && /[A-Za-z]$/.test(text);
    return { reason: "it does not say how much a second", suggestion: isSize ? `did you mean "${text}/s"?` : undefined };
  }
  const fault = FORMATS["size"]?.explain(match[1] as string);
  if (fault !== undefined) return { reason: fault.reason, suggestion: fault.suggestion?.replace(/"\?$/, '/s"?') };
  return parseRate(text) === undefined ? { reason: "nothing would ever be read" } : undefined;
}

export function parsePercent(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*%$/.exec(text.trim());
  return match && Number(match[1]) <= 100 ? Number(match[1]) / 100 : undefined;
}

/** `1m..30m`, or `1m` for both ends; milliseconds. */
export function parseBackoff(text: string): { minMs: number; maxMs: number } | undefined {
  const [first = "", last = first, ...more] = text.split("..");
  const minMs = parseDuration(first);
  const maxMs = parseDuration(last);
  return more.length > 0 || minMs === undefined || maxMs === undefined || minMs > maxMs ? undefined : { minMs, maxMs };
}

export function isTimezone(text: string): boolean {
  if (!/^[A-Za-z]/.test(text)) return false;
  try {
    return new Intl.DateTimeFormat("en", { timeZone: text }).resolvedOptions().timeZone !== "";
  } catch {
    return false;
  }
}

function explainTimezone(text: string): FormatFault {
  const zones = ["UTC", ...Intl.supportedValuesOf("timeZone")];
  const city = zones.find((zone) => zone.toLowerCase().endsWith(`/${text.toLowerCase().replaceAll(" ", "_")}`));
  return {
    reason: "there is no such time zone",
    suggestion: city === undefined ? didYouMean(text, zones) : `did you mean "${city}"?`,
  };
}

function explainUrl(text: string): FormatFault | undefined {
  if (/[\s\p{Cc}]/u.test(text)) return { reason: "it has spaces or control characters" };
  const url = URL.parse(text);
  if (url === null)
    return { reason: "it is not a URL", suggestion: /^[\w.-]+\.\w+\//.test(text) ? "begin it with https://" : undefined };
  if (url.protocol !== "https:" && url.protocol !== "http:") return { reason: "it begins with neither https:// nor http://" };
  if (url.username !== "" || url.password !== "")
    return { reason: "a user and password do not belong in a URL", suggestion: "send them in `headers`" };
  return undefined;
}

/** Where a server listens. `host` is without brackets. */
export type Listen =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

const isHostName = (text: string): boolean =>
  text.length <= 253 && text.split(".").every((label) => /^[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(label));
const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$/;

/** `127.0.0.1:9480`, `[::1]:9480`, `name:9480` or `unix:/path`. */
export function parseListen(text: string): Listen | undefined {
  if (text.startsWith("unix:"))
    return text.length > 5 && !text.includes("\0") ? { kind: "unix", path: text.slice(5) } : undefined;
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65535) return undefined;
  const [, six, name] = match;
  if (six !== undefined) return URL.canParse(`http://[${six}]/`) ? { kind: "tcp", host: six, port } : undefined;
  const host = name ?? "";
  return (/^[\d.]+$/.test(host) ? IPV4.test(host) : isHostName(host)) ? { kind: "tcp", host, port } : undefined;
}

/** True when only this machine can connect there, whatever name servers say. */
export function isLoopback(listen: Listen): boolean {
  if (listen.kind === "unix") return true;
  const host = listen.host.toLowerCase();
  return host === "localhost" || (IPV4.test(host) && host.startsWith("127.")) || /^(?:0*:)*:?0*1$/.test(host);
}

function explainListen(text: string): FormatFault {
  if (/^:?\d{1,5}$/.test(text))
    return { reason: "it does not say on which address", suggestion: `did you mean "127.0.0.1:${text.replace(":", "")}"?` };
  if (text.startsWith("/"))
    return { reason: "it is neither HOST:PORT nor unix:PATH", suggestion: `did you mean "unix:${text}"?` };
  if (/^https?:/.test(text))
    return { reason: "it is a URL, not HOST:PORT", suggestion: "leave out the scheme; `tls` makes it https" };
  return { reason: "it is neither HOST:PORT nor unix:PATH" };
}

/** An origin as browsers send it: lower case, without the port that its scheme has anyway. */
export function isOrigin(text: string): boolean {
  return /^https?:\/\//.test(text) && URL.parse(text)?.origin === text;
}

/** One plain address: what could begin another header or recipient is refused. */
const MAIL_ADDRESS = /^[^\s\p{Cc}<>()[\],;:\\"@]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?$/u;

/** Every `format:` of the schema. */
export const FORMATS: Readonly<Record<string, Format>> = {
  size: {
    code: "bad_size",
    expected: `a number and a unit such as \`64MiB\` (${SIZE_UNITS.join(", ")})`,
    explain: (text) => (parseSize(text) === undefined || /^[\d.\s]*$/.test(text) ? explainUnit(text, SIZE_UNITS, {}) : undefined),
  },
  duration: {
    code: "bad_duration",
    expected: `a number and a unit such as \`30s\` (${DURATION_UNITS.join(", ")})`,
    explain: (text) => {
      const durationMs = parseDuration(text);
      if (durationMs === undefined) return explainUnit(text, DURATION_UNITS, DURATION_WORDS);
      return durationMs <= Number.MAX_SAFE_INTEGER ? undefined : { reason: "it is too long" };
    },
  },
  rate: {
    code: "bad_size",
    expected: "a size a second such as `50MB/s`",
    explain: explainRate,
  },
  percent: {
    code: "bad_percent",
    expected: "a percentage such as `85%`",
    explain: (text) => (parsePercent(text) === undefined ? { reason: "it is not a percentage from 0% to 100%" } : undefined),
  },
  cron: {
    ...CRON,
    explain: (text) => {
      const reason = explainCron(text);
      return reason === undefined ? undefined : { reason };
    },
  },
  schedule: {
    ...CRON,
    expected: `the name of a schedule, or ${CRON.expected}`,
    explain: (text) => {
      if (!isCronText(text))
        return NAME_PATTERN.test(text) ? undefined : { reason: "it is neither a name nor a cron expression" };
      const reason = explainCron(text);
      return reason === undefined ? undefined : { reason };
    },
  },
  "time-of-day": {
    code: "bad_time",
    expected: "a time of day such as `03:00`",
    explain: (text) =>
      /^(?:[01]\d|2[0-3]):[0-5]\d$/.test(text) ? undefined : { reason: "it is not a time from 00:00 to 23:59" },
  },
  timezone: {
    code: "bad_timezone",
    expected: "an IANA time zone such as `Europe/Berlin`",
    explain: (text) => (isTimezone(text) ? undefined : explainTimezone(text)),
  },
  window: {
    code: "bad_window",
    expected: "days and times such as `Mon-Fri 08:00-18:00`, or times alone",
    explain: (text) => (parseWindow(text) === undefined ? { reason: "it is not days and a time range" } : undefined),
  },
  "event-pattern": {
    code: "unknown_name",
    expected: "the name of an event, or a pattern with `*` that fits one",
    explain: (text) =>
      EVENT_TYPES.some((type) => fitsEvent(text, type))
        ? undefined
        : { reason: "there is no such event", suggestion: didYouMean(text, EVENT_TYPES) },
  },
  "http-url": {
    code: "wrong_value",
    expected: "a URL such as `https://chat.example.com/hook`",
    explain: explainUrl,
  },
  "header-text": {
    code: "wrong_value",
    expected: "printable text on one line",
    // oxlint-disable-next-line no-control-regex
    explain: (text) => (/^[\t\u0020-\u007e\u0080-\u00ff]*$/.test(text) ? undefined : { reason: "a header cannot hold it" }),
  },
  listen: {
    code: "wrong_value",
    expected: "an address and a port such as `127.0.0.1:9480`, or `unix:/run/holdfast/api.sock`",
    explain: (text) => (parseListen(text) === undefined ? explainListen(text) : undefined),
  },
  "host-name": {
    code: "wrong_value",
    expected: "a host name such as `backup.example.com`, without a port",
    explain: (text) => (isHostName(text) ? undefined : { reason: "it is not a host name" }),
  },
  origin: {
    code: "wrong_value",
    expected: "an origin such as `https://grafana.example.com`",
    explain: (text) => (isOrigin(text) ? undefined : { reason: "it is not a scheme, a host and at most a port" }),
  },
  "mail-address": {
    code: "wrong_value",
    expected: "an address such as `ops@example.com`, without a name",
    explain: (text) => (MAIL_ADDRESS.test(text) ? undefined : { reason: "it is not a mail address" }),
  },
  "probe-address": {
    code: "wrong_value",
    expected: "an address and a port such as `0.0.0.0:9481`, or `unix:/path/of/a/socket`",
    explain: explainProbeAddress,
  },
  backoff: {
    code: "bad_duration",
    expected: "a duration such as `1m`, or a range such as `1m..30m`",
    explain: (text) => {
      if (parseBackoff(text) !== undefined) return undefined;
      const bad = text.split("..").find((part) => parseDuration(part) === undefined);
      return bad === undefined
        ? { reason: "it is not a range from short to long" }
        : explainUnit(bad, DURATION_UNITS, DURATION_WORDS);
    },
  },
};

/** `a`, `b` or `c` in code marks, for messages. */
export const choices = (values: readonly unknown[]): string =>
  listOf(
    values.map((value) => `\`${String(value)}\``),
    "or",
  );
