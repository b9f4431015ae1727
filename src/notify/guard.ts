import { lookup as lookupHost } from "node:dns/promises";
import { isIP } from "node:net";
import { errnoOf, HoldfastError } from "../base/errors.ts";
import { isAllowed, kindOfAddress, type AddressKind } from "./addresses.ts";

export interface Address {
  readonly address: string;
  readonly family: 4 | 6;
}

/** The addresses of a name, as the system resolves it. */
export type Lookup = (host: string) => Promise<readonly Address[]>;

export const systemLookup: Lookup = async (host) =>
  (await lookupHost(host, { all: true })).map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }));

export interface GuardOptions {
  /** The receiver and its host, for messages. */
  readonly label: string;
  readonly allowPrivate: boolean;
  readonly lookup: Lookup;
}

/**
 * The addresses that a message to `url` may be sent to. The name is resolved once, here: who connects must use these and
 * resolve nothing again, so that no second answer can lead elsewhere. Rejects with `receiver_refused` when the URL is not one
 * to send to, or when any of its addresses is not allowed; with `receiver_failed` when the name has none.
 */
export async function checkedAddresses(url: URL, options: GuardOptions): Promise<readonly Address[]> {
  const { label, allowPrivate, lookup } = options;
  if (url.protocol !== "https:" && url.protocol !== "http:")
    throw refused(label, `its URL begins with ${url.protocol}`, "Give it an https:// URL.");
  if (url.username !== "" || url.password !== "")
    throw refused(label, "its URL holds a user or a password", "Send them in `headers`, as a reference to a secret.");
  // Decimal, octal and hexadecimal ways of writing an address are one by now: the URL has parsed them.
  const host = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
  const literal = isIP(host);
  const addresses =
    literal === 0 ? await resolve(host, label, lookup) : [{ address: host, family: literal === 6 ? 6 : 4 } as const];
  for (const { address } of addresses) {
    const kind = kindOfAddress(address);
    if (!isAllowed(kind, allowPrivate)) throw refusedAddress(label, address, kind);
  }
  return addresses;
}

async function resolve(host: string, label: string, lookup: Lookup): Promise<readonly Address[]> {
  let found: readonly Address[];
  try {
    found = await lookup(host);
  } catch (error) {
    throw new HoldfastError(
      "receiver_failed",
      `${label} cannot be reached: its name cannot be resolved (${errnoOf(error) ?? "unknown error"})`,
      {
        hint: "Check the name in `url`, and the name servers of this machine.",
        transient: true,
      },
    );
  }
  if (found.length === 0)
    throw new HoldfastError("receiver_failed", `${label} cannot be reached: its name has no address`, {
      hint: "Check the name in `url`.",
      transient: true,
    });
  return found;
}

const HINTS: Readonly<Partial<Record<AddressKind, string>>> = {
  loopback: "It is this machine itself. When that is meant, say `allowPrivate: true` at the webhook.",
  private: "It lies in a private network. When that is meant, say `allowPrivate: true` at the webhook.",
  "link-local": "It lies on the same link. When that is meant, say `allowPrivate: true` at the webhook.",
  metadata: "Clouds hand out credentials there; nothing is ever sent to it.",
};

function refusedAddress(label: string, address: string, kind: AddressKind): HoldfastError {
  return refused(
    label,
    `its address ${address} is ${kind}`,
    HINTS[kind] ?? "Nothing is ever sent to such an address. Check `url`.",
    {
      address,
      kind,
    },
  );
}

function refused(label: string, why: string, hint: string, data?: Readonly<Record<string, unknown>>): HoldfastError {
  return new HoldfastError("receiver_refused", `${label} is not sent to: ${why}`, { hint, ...(data && { data }) });
}
