import { pino, type Logger } from "pino";

export interface LogOptions {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly format: "json" | "text";
  /** Where lines go: standard error of the daemon. */
  readonly write: (line: string) => void;
}

/** A log line's extra members. */
export type LogFields = Readonly<Record<string, unknown>>;

/** The log of a daemon: one line an event, as JSON or as text for people. */
export interface Log {
  debug(text: string, fields?: LogFields): void;
  info(text: string, fields?: LogFields): void;
  warn(text: string, fields?: LogFields): void;
  error(text: string, fields?: LogFields): void;
}

export function createLog(options: LogOptions): Log {
  const destination = { write: options.format === "json" ? options.write : (line: string) => options.write(textLine(line)) };
  const logger: Logger = pino(
    { level: options.level, base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (level) => ({ level }) } },
    destination,
  );
  const at =
    (level: "debug" | "info" | "warn" | "error") =>
    (text: string, fields: LogFields = {}): void =>
      logger[level]({ ...fields }, text);
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

/** `2026-11-20 11:12:03 INFO  message key=value`; control characters are escaped, so that no name can forge a line. */
function textLine(json: string): string {
  const { level, time, msg, ...fields } = JSON.parse(json) as Record<string, unknown>;
  const moment = String(time).replace("T", " ").slice(0, 19);
  const extras = Object.entries(fields).map(
    ([key, value]) => ` ${key}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  const text = `${String(msg)}${extras.join("")}`.replace(
    // oxlint-disable-next-line no-control-regex
    /[\u0000-\u001f\u007f-\u009f]/g,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
  return `${moment}Z ${String(level).toUpperCase().padEnd(5)} ${text}\n`;
}
