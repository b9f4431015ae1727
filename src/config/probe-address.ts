import type { ProbeAddress } from "./config.ts";
import type { FormatFault } from "./format.ts";

/** What `bind` takes as a path on every system. */
const LONGEST_PATH_BYTES = 103;
const DEFAULT_PORT = 9481;

/** `127.0.0.1:9481`, `[::1]:9481`, `localhost:9481` or `unix:/path`; undefined for anything else. */
export function parseProbeAddress(text: string): ProbeAddress | undefined {
  return explainProbeAddress(text) === undefined ? parse(text) : undefined;
}

function parse(text: string): ProbeAddress | undefined {
  if (text.startsWith("unix:")) return { kind: "unix", path: text.slice("unix:".length) };
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  return host === undefined || port < 1 || port > 65535 ? undefined : { kind: "tcp", host, port };
}

export function explainProbeAddress(text: string): FormatFault | undefined {
  const address = parse(text);
  if (address?.kind === "unix") {
    if (!address.path.startsWith("/") || address.path.includes("\0"))
      return {
        reason: "the path of the socket is not absolute",
        suggestion: `write unix:/${address.path.replace(/^\.?\//, "")}`,
      };
    if (Buffer.byteLength(address.path) > LONGEST_PATH_BYTES)
      return { reason: `the path of a socket has at most ${LONGEST_PATH_BYTES} bytes` };
    return undefined;
  }
  if (address !== undefined) return undefined;
  if (/^\d+$/.test(text))
    return { reason: "it has no address", suggestion: `write 127.0.0.1:${text}, or 0.0.0.0:${text} for every address` };
  if (/^:\d+$/.test(text)) return { reason: "it has no address", suggestion: `write 0.0.0.0${text} for every address` };
  if (!/:\d+$/.test(text))
    return { reason: "it has no port", suggestion: /^[\w.-]+$/.test(text) ? `write ${text}:${DEFAULT_PORT}` : undefined };
  return { reason: "it is not an address and a port" };
}
