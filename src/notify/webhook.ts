import { createHmac } from "node:crypto";
import type { LookupFunction } from "node:net";
import { errnoOf, HoldfastError } from "../base/errors.ts";
import type { Secret } from "../base/secret.ts";
import type { HeaderConfig, WebhookConfig } from "../config/config.ts";
import { resolveSecret } from "../engine/secrets.ts";
import { checkedAddresses, type Address } from "./guard.ts";
import { render } from "./render.ts";
import { retryAfterMs } from "./retry.ts";
import { receiverFailed, within, type SendContext } from "./sending.ts";

/** Of an answer nothing is used but its status. */
const ANSWER_BYTES = 16 * 1024;
const SIGNING_SECRET = /^whsec_[A-Za-z0-9+/]+={0,2}$/;

/**
 * Sends one event to a webhook, once. Rejects with `receiver_refused` before anything is sent when it may not be sent there,
 * with `receiver_failed` for any answer but 2xx, with `secret_unavailable`, or with the signal's reason. Redirects are not
 * followed. No error names more of the URL than its scheme and host.
 */
export async function sendWebhook(
  webhook: WebhookConfig,
  event: { readonly event: string; readonly payload: string },
  context: SendContext,
): Promise<void> {
  const name = `webhooks.${webhook.name}`;
  await within(name, webhook.timeoutMs, context, async (signal) => {
    const url = await urlOf(webhook, name, context, signal);
    const label = `${name} (${url.protocol}//${url.host})`;
    const rendered = render(webhook.kind, event.payload, context.timezone);
    url.pathname = url.pathname.replace(rendered.path === "" ? /(?!)/ : /\/$/, "") + rendered.path;
    for (const [key, value] of Object.entries(rendered.query)) url.searchParams.set(key, value);
    const body = webhook.method === "GET" ? "" : rendered.body;
    const headers: Record<string, string> = { "user-agent": `holdfast/${context.toolVersion}`, ...rendered.headers };
    if (webhook.kind === "plain") Object.assign(headers, await signature(webhook, event.event, body, context, signal));
    for (const header of webhook.headers) headers[header.name.toLowerCase()] = await headerValue(header, label, context, signal);
    const addresses = await checkedAddresses(url, { label, allowPrivate: webhook.allowPrivate, lookup: context.lookup });
    await post(label, { url, method: webhook.method, headers, body }, addresses, context, signal);
  });
}

/** Where a webhook leads: resolved and judged, nothing sent. Rejects as sending does. */
export async function checkWebhook(webhook: WebhookConfig, context: SendContext): Promise<string> {
  const name = `webhooks.${webhook.name}`;
  return await within(name, webhook.timeoutMs, context, async (signal) => {
    const url = await urlOf(webhook, name, context, signal);
    const label = `${name} (${url.protocol}//${url.host})`;
    if (webhook.kind === "plain") await signature(webhook, "evt_0", "", context, signal);
    for (const header of webhook.headers) await headerValue(header, label, context, signal);
    await checkedAddresses(url, { label, allowPrivate: webhook.allowPrivate, lookup: context.lookup });
    return `${url.protocol}//${url.host}`;
  });
}

async function urlOf(webhook: WebhookConfig, name: string, context: SendContext, signal: AbortSignal): Promise<URL> {
  const text = (await resolveSecret(webhook.url, { ...context.secrets, signal })).reveal().toString();
  const url = URL.parse(text.trim());
  if (url === null)
    throw new HoldfastError("receiver_refused", `${name} is not sent to: its \`url\` is not a URL`, {
      hint: "Put a whole URL there, with https://.",
    });
  return url;
}

async function headerValue(header: HeaderConfig, label: string, context: SendContext, signal: AbortSignal): Promise<string> {
  const secret = await resolveSecret(header.value, { ...context.secrets, signal });
  const value = `${header.prefix}${secret.reveal().toString()}`;
  // oxlint-disable-next-line no-control-regex
  if (/[^\t\u0020-\u007e\u0080-\u00ff]/.test(value))
    throw new HoldfastError("receiver_refused", `${label} is not sent to: its header ${header.name} cannot hold its secret`, {
      hint: "A header is one line of text. Look at what the secret's file or command holds.",
    });
  return value;
}

/** Headers of Standard Webhooks; the id is that of the event, the time that of this attempt. */
async function signature(
  webhook: WebhookConfig,
  id: string,
  body: string,
  context: SendContext,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  const timestamp = String(Math.floor(context.clock.now() / 1000));
  const headers = { "webhook-id": id, "webhook-timestamp": timestamp };
  if (webhook.signingSecret === undefined) return headers;
  const secret = await resolveSecret(webhook.signingSecret, { ...context.secrets, signal });
  return { ...headers, "webhook-signature": sign(webhook.name, secret, `${id}.${timestamp}.${body}`) };
}

function sign(name: string, secret: Secret, content: string): string {
  const text = secret.reveal().toString().trim();
  const key = Buffer.from(text.slice("whsec_".length), "base64");
  if (!SIGNING_SECRET.test(text) || key.length < 24 || key.length > 64)
    throw new HoldfastError("secret_unavailable", `The signing secret of webhooks.${name} is not one`, {
      hint: "It is `whsec_` and 24 to 64 bytes in base64: `echo whsec_$(openssl rand -base64 32)`.",
    });
  return `v1,${createHmac("sha256", key).update(content).digest("base64")}`;
}

interface Request {
  readonly url: URL;
  readonly method: WebhookConfig["method"];
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

async function post(
  label: string,
  { url, method, headers, body }: Request,
  addresses: readonly Address[],
  context: SendContext,
  signal: AbortSignal,
): Promise<void> {
  // Loaded when it is needed: most commands send nothing.
  const { Agent, request } = await import("undici");
  const agent = new Agent({
    connections: 1,
    pipelining: 0,
    allowH2: false,
    connect: { lookup: pinnedTo(addresses), autoSelectFamily: true, ...(context.trust !== undefined && { ca: context.trust }) },
  });
  try {
    const answer = await request(url, {
      method,
      headers,
      ...(method !== "GET" && { body }),
      dispatcher: agent,
      signal,
    });
    const { statusCode: status } = answer;
    const asked = answer.headers["retry-after"];
    // What is left of the answer is thrown away, and so is a connection that breaks meanwhile.
    await answer.body.dump({ limit: ANSWER_BYTES, signal }).catch(() => undefined);
    if (status >= 200 && status < 300) return;
    const after = retryAfterMs(Array.isArray(asked) ? asked[0] : asked, context.clock.now());
    throw receiverFailed(label, `answered with ${status}`, hintOf(status), {
      gone: status === 410,
      ...(after !== undefined && { retryAfterMs: after }),
    });
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    signal.throwIfAborted();
    // Its message may quote what was sent, so only its code is said.
    throw receiverFailed(
      label,
      `cannot be reached (${errnoOf(error) ?? "unknown error"})`,
      "Check the address, the network, and the certificate of the receiver.",
    );
  } finally {
    await agent.destroy().catch(() => undefined);
  }
}

function hintOf(status: number): string {
  if (status >= 300 && status < 400)
    return "It redirects, which is not followed: put the URL it redirects to into the configuration.";
  if (status === 401 || status === 403) return "Check the secret in `headers` or in the URL.";
  if (status === 404 || status === 410) return "There is nothing at this URL any more: check it.";
  return status >= 500 || status === 429 ? "It is tried again later." : "Look at the log of the receiver.";
}

/** A resolver that knows one answer. */
function pinnedTo(addresses: readonly Address[]): LookupFunction {
  const [first] = addresses;
  return (_hostname, options, done) => {
    if (options.all === true) done(null, [...addresses]);
    else done(null, first?.address ?? "", first?.family);
  };
}
