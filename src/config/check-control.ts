import { checkPath, checkSecret } from "./check-places.ts";
import type { Draft } from "./draft.ts";
import { pointerOf } from "./evaluate.ts";
import { isLoopback, parseListen } from "./format.ts";
import type { LooseFile } from "./loose.ts";

/** What a token may look like (RFC 6750), and how long it must be that nobody can guess it. */
export const API_TOKEN = /^[A-Za-z0-9._~+/=-]{32,1024}$/;

/** What a schema cannot say of `control:`. */
export function checkControl(draft: Draft, file: LooseFile): void {
  const { control } = file;
  if (control === undefined) return;
  for (const key of ["cert", "key"] as const) checkPath(draft, `/control/tls/${key}`, control.tls?.[key]);
  for (const [index, root] of (control.restoreRoots ?? []).entries())
    checkPath(draft, pointerOf("/control/restoreRoots", index), root);
  checkTokens(draft, file);
  if (control.commitConfigWrites === true && control.allowConfigWrites !== true && draft.isSound("/control/allowConfigWrites"))
    draft.error("conflicting_keys", "/control/commitConfigWrites", "`commitConfigWrites` goes with `allowConfigWrites: true`", {
      at: draft.spot("/control/commitConfigWrites").key,
    });
  const listen = control.listen === undefined ? undefined : parseListen(control.listen);
  if (listen === undefined) return;
  if (listen.kind === "unix") checkPath(draft, "/control/listen", listen.path);
  const isOpen = (control.tokens ?? []).length > 0 || !draft.isSound("/control/tokens") || draft.hasUnknownKey("/control");
  if (!isOpen)
    draft.error("missing_key", "/control/listen", "nobody could use an API without `tokens`", {
      expected: "`tokens` with at least one `{ name, role, token }`",
      suggestion: "add `tokens: [{ name: ops, role: operator, token: { file: … } }]` to `control`",
    });
  if (!isLoopback(listen) && draft.isAbsent("/control", "tls"))
    draft.error("missing_key", "/control/listen", "other machines can connect there, and tokens would be sent in plain text", {
      expected: "`tls: { cert, key }` in `control`, or a loopback address such as `127.0.0.1:9480`",
      suggestion: "add `tls`, or listen on 127.0.0.1 behind a proxy that has it",
    });
}

function checkTokens(draft: Draft, { control }: LooseFile): void {
  const seen = new Map<string, string>();
  for (const [index, item] of (control?.tokens ?? []).entries()) {
    const pointer = pointerOf("/control/tokens", index);
    const at = pointerOf(pointer, "token");
    checkSecret(draft, at, item?.token);
    if (typeof item?.token === "string" && !draft.isBad(at) && !API_TOKEN.test(item.token))
      draft.error("wrong_value", at, "this token is too short, or has characters that a token cannot have", {
        expected: "32 to 1024 letters, digits and `-._~+/=`",
        suggestion: "make one with `openssl rand -hex 32`",
      });
    if (item?.name === undefined) continue;
    const first = seen.get(item.name);
    if (first === undefined) seen.set(item.name, pointer);
    else
      draft.error("duplicate_name", pointerOf(pointer, "name"), `there is another token ${item.name}`, {
        suggestion: `it is at ${draft.whereIs(first)}`,
      });
  }
}
