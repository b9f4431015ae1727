/** Which addresses a message may be sent to. Ranges are those of IANA's special-purpose registries. */
import { BlockList, isIPv4, isIPv6 } from "node:net";

/** `public` may be connected to; `private` kinds when somebody allows it; the others never. */
export type AddressKind =
  | "public"
  | "loopback"
  | "private"
  | "link-local"
  | "unspecified"
  | "multicast"
  | "metadata"
  | "reserved"
  | "not an address";

/** Kinds that `allowPrivate` lets through. */
const PRIVATE_KINDS: ReadonlySet<AddressKind> = new Set(["loopback", "private", "link-local"]);

/** The first range that holds an address says what it is. Of several that do, the narrower stands first. */
const IPV4: readonly (readonly [AddressKind, string, number])[] = [
  // Where clouds tell a machine its credentials: AWS and most others, Alibaba, Oracle.
  ["metadata", "169.254.169.254", 32],
  ["metadata", "169.254.170.2", 32],
  ["metadata", "100.100.100.200", 32],
  ["metadata", "192.0.0.192", 32],
  ["unspecified", "0.0.0.0", 8],
  ["loopback", "127.0.0.0", 8],
  ["link-local", "169.254.0.0", 16],
  ["private", "10.0.0.0", 8],
  ["private", "172.16.0.0", 12],
  ["private", "192.168.0.0", 16],
  ["private", "100.64.0.0", 10],
  ["reserved", "192.0.0.0", 24],
  ["reserved", "192.0.2.0", 24],
  ["reserved", "192.88.99.0", 24],
  ["reserved", "198.18.0.0", 15],
  ["reserved", "198.51.100.0", 24],
  ["reserved", "203.0.113.0", 24],
  ["multicast", "224.0.0.0", 4],
  ["reserved", "240.0.0.0", 4],
];

const IPV6: readonly (readonly [AddressKind, string, number])[] = [
  ["metadata", "fd00:ec2::", 32],
  ["metadata", "fd20:ce::254", 128],
  ["unspecified", "::", 128],
  ["loopback", "::1", 128],
  ["private", "fc00::", 7],
  ["link-local", "fe80::", 10],
  ["private", "fec0::", 10],
  ["multicast", "ff00::", 8],
  // Teredo, ORCHID, benchmarks and what else the IETF keeps; documentation.
  ["reserved", "2001::", 23],
  ["reserved", "2001:db8::", 32],
  ["reserved", "3fff::", 20],
];

const lists = (ranges: typeof IPV4, family: "ipv4" | "ipv6"): readonly (readonly [AddressKind, BlockList])[] =>
  ranges.map(([kind, network, prefix]) => {
    const list = new BlockList();
    list.addSubnet(network, prefix, family);
    return [kind, list];
  });
const IPV4_LISTS = lists(IPV4, "ipv4");
const IPV6_LISTS = lists(IPV6, "ipv6");

/** What an address in its usual text is. IPv6 that carries an IPv4 address is judged by that one. */
export function kindOfAddress(address: string): AddressKind {
  if (isIPv4(address)) return IPV4_LISTS.find(([, list]) => list.check(address, "ipv4"))?.[0] ?? "public";
  // What follows a % is the interface of a link-local address.
  const [text = ""] = address.split("%");
  if (!isIPv6(text)) return "not an address";
  const groups = groupsOf(text);
  const embedded = embeddedIPv4(groups);
  if (embedded !== undefined) {
    const kind = kindOfAddress(embedded);
    if (kind !== "public") return kind;
    return groups[0] === 0x64 || groups[5] === 0xffff ? "public" : "reserved";
  }
  const found = IPV6_LISTS.find(([, list]) => list.check(text, "ipv6"))?.[0];
  if (found !== undefined) return found;
  // Everything public lies in 2000::/3.
  return ((groups[0] ?? 0) & 0xe000) === 0x2000 ? "public" : "reserved";
}

/** Whether a message may be sent there. */
export function isAllowed(kind: AddressKind, allowPrivate: boolean): boolean {
  return kind === "public" || (allowPrivate && PRIVATE_KINDS.has(kind));
}

/** Eight numbers of 16 bits. */
function groupsOf(address: string): number[] {
  // A URL writes an address in its shortest form, without dots.
  const text = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [head = "", tail] = text.split("::");
  const parse = (part: string): number[] => (part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16)));
  const [left, right] = [parse(head), parse(tail ?? "")];
  return tail === undefined ? left : [...left, ...Array.from({ length: 8 - left.length - right.length }, () => 0), ...right];
}

/** The IPv4 address that a mapped, compatible, translated (64:ff9b::/96 and 64:ff9b:1::/48) or 6to4 address leads to. */
function embeddedIPv4(groups: readonly number[]): string | undefined {
  const dotted = (high = 0, low = 0): string => `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  const [a, b, c] = groups;
  const zero = (from: number, to: number): boolean => groups.slice(from, to).every((group) => group === 0);
  if (zero(0, 5) && groups[5] === 0xffff) return dotted(groups[6], groups[7]);
  // `::ffff:0:a.b.c.d`, and `::a.b.c.d` but for `::` and `::1` themselves.
  if (zero(0, 4) && groups[4] === 0xffff && groups[5] === 0) return dotted(groups[6], groups[7]);
  if (zero(0, 6) && (groups[6] !== 0 || (groups[7] ?? 0) > 1)) return dotted(groups[6], groups[7]);
  if (a === 0x64 && b === 0xff9b && zero(2, 6)) return dotted(groups[6], groups[7]);
  // Where networks put their own translators: never public.
  if (a === 0x64 && b === 0xff9b) return "192.0.2.0";
  if (a === 0x2002) return dotted(b, c);
  return undefined;
}
