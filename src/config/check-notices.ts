import { EVENT_TYPES } from "../base/events.ts";
import { parseDuration } from "../base/duration.ts";
import { checkSecret } from "./check-places.ts";
import { checkName } from "./check-policies.ts";
import type { Draft } from "./draft.ts";
import { pointerOf } from "./evaluate.ts";
import { entriesOf } from "./loose.ts";
import type { Loose, LooseFile } from "./loose.ts";
import type { Webhook } from "./schema-types.ts";

/** An attempt holds a connection, and the line of messages behind it. */
const LONGEST_TIMEOUT_MS = 60_000;
/** Headers that the sender sets, or that would change how the message is read. */
const OWN_HEADERS = /^(?:host|connection|content-length|content-type|transfer-encoding|upgrade|expect|te|trailer|webhook-.*)$/i;
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Headers that hold a secret whatever it looks like. */
const SECRET_HEADER = /auth|token|secret|key|cookie|passw/i;

/** What a webhook is told of: what it says, and what its name or its kind says. Empty: nothing was said. */
export function webhookPatterns(name: string, kind: string, events: readonly string[] | undefined): string[] {
  const byName = EVENT_TYPES.filter((type) => type === name);
  const patterns = [...byName, ...(events ?? [])];
  return patterns.length === 0 && kind === "healthchecks" ? ["backup_*"] : patterns;
}

export function checkNotices(draft: Draft, file: LooseFile): void {
  for (const [name, webhook] of entriesOf(file.webhooks)) checkWebhook(draft, pointerOf("/webhooks", name), name, webhook);
  const { email } = file;
  if (email === undefined) return;
  checkFilters(draft, "/email", email);
  const { smtp } = email;
  if (email.digestAt !== undefined && draft.isSound("/email/digest") && email.digest !== "daily")
    draft.error("conflicting_keys", "/email/digestAt", "`digestAt` goes with `digest: daily`", {
      at: draft.spot("/email/digestAt").key,
    });
  if (smtp?.password === undefined) return;
  checkSecret(draft, "/email/smtp/password", smtp.password);
  if (smtp.security === "none" && draft.isSound("/email/smtp/security"))
    draft.error("conflicting_keys", "/email/smtp/security", "a password would be sent in plain text", {
      expected: "`starttls` or `tls`",
    });
}

function checkWebhook(draft: Draft, pointer: string, name: string, webhook: Loose<Webhook>): void {
  checkFilters(draft, pointer, webhook);
  const at = (key: string): string => pointerOf(pointer, key);
  if (typeof webhook.url === "object") checkSecret(draft, at("url"), webhook.url);
  const isKnown = draft.isSound(at("kind")) && draft.isSound(at("events"));
  const kind = webhook.kind ?? "plain";
  if (isKnown && draft.isAbsent(pointer, "events") && webhookPatterns(name, kind, undefined).length === 0)
    draft.error("missing_key", at("events"), `webhooks.${name} needs \`events\`, as its name is not that of an event`, {
      at: draft.spot(pointer).key,
      expected: 'names of events, or patterns such as `"*_failed"`',
    });
  const timeoutMs = webhook.timeout === undefined ? undefined : parseDuration(webhook.timeout);
  if (timeoutMs !== undefined && (timeoutMs < 100 || timeoutMs > LONGEST_TIMEOUT_MS))
    draft.error("wrong_value", at("timeout"), `${webhook.timeout} is too ${timeoutMs < 100 ? "short" : "long"}`, {
      expected: "from `100ms` to `60s`",
    });
  if (webhook.signingSecret !== undefined) {
    checkSecret(draft, at("signingSecret"), webhook.signingSecret);
    if (isKnown && kind !== "plain")
      draft.error("conflicting_keys", at("signingSecret"), `a webhook of kind ${kind} is not signed`, {
        at: draft.spot(at("signingSecret")).key,
      });
  }
  for (const [header, value] of entriesOf(webhook.headers)) {
    const place = pointerOf(at("headers"), header);
    if (!HEADER_NAME.test(header) || OWN_HEADERS.test(header))
      draft.error(
        "bad_name",
        place,
        HEADER_NAME.test(header) ? `the header ${header} is set by Holdfast` : "this is no name of a header",
        {
          at: draft.spot(place).key,
        },
      );
    else if (typeof value !== "string" || SECRET_HEADER.test(header)) checkSecret(draft, place, value);
  }
}

function checkFilters(draft: Draft, pointer: string, filter: Loose<Pick<Webhook, "jobs" | "targets">>): void {
  for (const section of ["jobs", "targets"] as const)
    for (const [index, name] of (filter[section] ?? []).entries())
      if (name !== undefined) checkName(draft, section, pointerOf(pointerOf(pointer, section), index), name);
}
