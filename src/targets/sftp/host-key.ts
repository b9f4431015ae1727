/** Which key a host must show: pinned in the configuration, or found in a `known_hosts` file (sshd(8)). */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

/** A public key as OpenSSH writes it: `ssh-ed25519 AAAA…`. */
export interface HostKey {
  readonly type: string;
  /** The key's bytes, base64. */
  readonly blob: string;
}

const KEY = /^(?<type>[a-z0-9][a-z0-9@.-]*) +(?<blob>[A-Za-z0-9+/]+={0,2})(?: .*)?$/;

/** The key of a line such as `ssh-ed25519 AAAA… comment`; undefined when it is none. */
export function parseHostKey(text: string): HostKey | undefined {
  const groups = KEY.exec(text.trim())?.groups;
  if (groups?.["type"] === undefined || groups["blob"] === undefined) return undefined;
  const bytes = Buffer.from(groups["blob"], "base64");
  return keyType(bytes) === groups["type"] ? { type: groups["type"], blob: bytes.toString("base64") } : undefined;
}

/** The type a key's own bytes say (RFC 4253, 6.6); undefined when they say none. */
export function keyType(blob: Uint8Array): string | undefined {
  if (blob.length < 5) return undefined;
  const length = Buffer.from(blob.buffer, blob.byteOffset, 4).readUInt32BE();
  return length > 0 && length <= 64 && blob.length > 4 + length
    ? Buffer.from(blob.subarray(4, 4 + length)).toString("latin1")
    : undefined;
}

/** `SHA256:…` as `ssh-keygen -l` shows it. */
export function fingerprint(blob: Uint8Array): string {
  return `SHA256:${createHash("sha256").update(blob).digest("base64").replace(/=+$/, "")}`;
}

/** The keys that a `known_hosts` text has for a host; revoked ones and those of certificate authorities are left out. */
export function knownHostKeys(text: string, host: string, port: number): HostKey[] {
  const names = port === 22 ? [host.toLowerCase()] : [`[${host.toLowerCase()}]:${port}`];
  const keys: HostKey[] = [];
  const revoked = new Set<string>();
  for (const raw of text.split("\n")) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const marker = line.startsWith("@") ? line.slice(0, line.indexOf(" ")) : undefined;
    const rest = marker === undefined ? line : line.slice(marker.length).trim();
    const end = rest.search(/[ \t]/);
    if (end < 0) continue;
    const key = parseHostKey(rest.slice(end).trim());
    if (key === undefined || !names.some((name) => matchesHosts(rest.slice(0, end), name))) continue;
    if (marker === "@revoked") revoked.add(key.blob);
    else if (marker === undefined) keys.push(key);
  }
  return keys.filter(({ blob }) => !revoked.has(blob));
}

/** Patterns by commas, `!` excludes; or one hashed name, `|1|salt|HMAC-SHA1`. */
function matchesHosts(patterns: string, name: string): boolean {
  if (patterns.startsWith("|1|")) {
    const [, , salt, hash] = patterns.split("|");
    const wanted = Buffer.from(hash ?? "", "base64");
    const found = createHmac("sha1", Buffer.from(salt ?? "", "base64"))
      .update(name)
      .digest();
    return wanted.length === found.length && timingSafeEqual(wanted, found);
  }
  let matched = false;
  for (const pattern of patterns.toLowerCase().split(",")) {
    const isExclusion = pattern.startsWith("!");
    if (!wildcard(isExclusion ? pattern.slice(1) : pattern).test(name)) continue;
    if (isExclusion) return false;
    matched = true;
  }
  return matched;
}

function wildcard(pattern: string): RegExp {
  const escaped = pattern.replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`);
  return new RegExp(`^${escaped.replaceAll("*", ".*").replaceAll("?", ".")}$`);
}
