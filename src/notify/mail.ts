import { createHash } from "node:crypto";
import type { Transporter } from "nodemailer";
import type { SentMessageInfo } from "nodemailer/lib/smtp-transport/index.js";
import { errnoOf, HoldfastError } from "../base/errors.ts";
import type { EmailConfig } from "../config/config.ts";
import { resolveSecret } from "../engine/secrets.ts";
import type { Payload } from "../plan/events.ts";
import { cut, digestLine, flat, linesOf, severityOf, titleOf } from "./render.ts";
import { receiverFailed, within, type SendContext } from "./sending.ts";

/** A mail takes several round trips, and some servers make a stranger wait on purpose. */
const TIMEOUT_MS = 60_000;
const SUBJECT_LENGTH = 150;
/** Lines of a digest; the counts at its top tell of all. */
const DIGEST_LINES = 200;

interface Mail {
  readonly subject: string;
  readonly text: string;
  /** Of the message: the same for the same events, so that a mail sent twice can be told. */
  readonly id: string;
}

interface MailedEvent {
  readonly event: string;
  readonly payload: string;
}

export interface SentMail {
  /** Addresses that the server did not take while it took others. */
  readonly rejected: readonly string[];
}

/** Mails one event. Rejects with `receiver_failed` when no recipient was accepted, or with `secret_unavailable`. */
export async function sendMail(
  email: EmailConfig,
  { event, payload: text }: MailedEvent,
  context: SendContext,
): Promise<SentMail> {
  const payload = JSON.parse(text) as Payload;
  const { host } = payload.data;
  return await send(
    email,
    {
      subject: `[holdfast] ${titleOf(payload)}`,
      text: `${linesOf(payload, context.timezone).join("\n")}\n`,
      id: `${event}@${host}`,
    },
    context,
  );
}

/** Mails a summary of events, which are in the order of their time. */
export async function sendDigest(email: EmailConfig, events: readonly MailedEvent[], context: SendContext): Promise<SentMail> {
  const payloads = events.map(({ payload }) => JSON.parse(payload) as Payload);
  const host = payloads[0]?.data.host ?? "";
  const counts = new Map<string, number>();
  for (const { type } of payloads) counts.set(type, (counts.get(type) ?? 0) + 1);
  const bad = payloads.filter(({ type }) => severityOf(type) === "bad");
  const rest = payloads.filter(({ type }) => severityOf(type) !== "bad");
  const lines = [
    ...[...counts].map(([type, count]) => `${String(count).padStart(6)}  ${flat(type)}`),
    ...section("What needs a look", bad, context.timezone),
    ...section("What went well", rest, context.timezone),
  ];
  const id = createHash("sha256")
    .update(events.map(({ event }) => event).join(" "))
    .digest("hex");
  const said = bad.length === 0 ? "all well" : `${bad.length} to look at`;
  return await send(
    email,
    {
      subject: `[holdfast] daily summary: ${said}, ${payloads.length} events (${flat(host)})`,
      text: `${lines.join("\n")}\n`,
      id: `digest_${id.slice(0, 32)}@${host}`,
    },
    context,
  );
}

function section(title: string, payloads: readonly Payload[], timezone: string): string[] {
  if (payloads.length === 0) return [];
  const more = payloads.length - DIGEST_LINES;
  return [
    "",
    `${title}:`,
    ...payloads.slice(0, DIGEST_LINES).map((payload) => `  ${cut(digestLine(payload, timezone), 500)}`),
    ...(more > 0 ? [`  … and ${more} more`] : []),
  ];
}

/** Whether the server takes a login; sends no mail. */
export async function checkMail(email: EmailConfig, context: SendContext): Promise<string> {
  const label = labelOf(email);
  await transported(email, label, context, (transport) => transport.verify());
  return label;
}

async function send(email: EmailConfig, mail: Mail, context: SendContext): Promise<SentMail> {
  const label = labelOf(email);
  const sent = await transported(email, label, context, (transport) =>
    transport.sendMail({
      from: email.smtp.from,
      to: [...email.to],
      subject: cut(mail.subject, SUBJECT_LENGTH),
      text: mail.text,
      messageId: `<${mail.id.replace(/[^A-Za-z0-9._@-]/g, "-")}>`,
      date: new Date(context.clock.now()),
      // No answer of an absent colleague, please.
      headers: { "Auto-Submitted": "auto-generated" },
      disableFileAccess: true,
      disableUrlAccess: true,
    }),
  );
  return { rejected: sent.rejected.map(flat) };
}

type Transport = Transporter<SentMessageInfo>;

async function transported<T>(
  email: EmailConfig,
  label: string,
  context: SendContext,
  use: (transport: Transport) => Promise<T>,
): Promise<T> {
  const { host, port, security, login } = email.smtp;
  return await within(label, TIMEOUT_MS, context, async (signal) => {
    const auth =
      login === undefined
        ? undefined
        : {
            user: login.user,
            pass: (await resolveSecret(login.password, { ...context.secrets, signal })).reveal().toString(),
          };
    // Loaded when it is needed: most commands send nothing.
    const { createTransport } = await import("nodemailer");
    const transport = createTransport({
      host,
      port,
      secure: security === "tls",
      requireTLS: security === "starttls",
      ignoreTLS: security === "none",
      ...(auth && { auth }),
      ...(context.trust !== undefined && { tls: { ca: context.trust } }),
      connectionTimeout: TIMEOUT_MS,
      greetingTimeout: TIMEOUT_MS,
      socketTimeout: TIMEOUT_MS,
      logger: false,
      disableFileAccess: true,
      disableUrlAccess: true,
    });
    const close = (): void => transport.close();
    signal.addEventListener("abort", close, { once: true });
    try {
      return await use(transport);
    } catch (error) {
      if (error instanceof HoldfastError) throw error;
      signal.throwIfAborted();
      throw explained(label, error);
    } finally {
      signal.removeEventListener("abort", close);
      transport.close();
    }
  });
}

const labelOf = ({ smtp }: EmailConfig): string => `email (${smtp.host}:${smtp.port})`;

/** Says the server's code and not its words, which may repeat what it was told. */
function explained(label: string, error: unknown): HoldfastError {
  const status = typeof error === "object" && error !== null && "responseCode" in error ? Number(error.responseCode) : undefined;
  const code = errnoOf(error) ?? "unknown error";
  if (code === "EAUTH")
    return receiverFailed(
      label,
      `does not accept the login${status === undefined ? "" : ` (${status})`}`,
      "Check `user` and `password` in `email.smtp`.",
    );
  if (code === "ETLS")
    return receiverFailed(
      label,
      "offers no encryption that can be trusted (ETLS)",
      "Check `security` and `port`, and the server's certificate. Nothing was sent.",
    );
  if (status !== undefined && status > 0)
    return receiverFailed(label, `answered with ${status}`, "Check `from` and `to`, and the log of the mail server.");
  return receiverFailed(
    label,
    `cannot be reached (${code})`,
    "Check `host` and `port`, the network, and the server's certificate.",
  );
}
