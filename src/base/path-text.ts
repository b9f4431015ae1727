/**
 * Longest path of a folder that is entered, four times what the system takes in one call. Every level of a walk keeps its
 * path, so without a bound a folder that is nothing but deep would take memory by the square of its depth.
 */
export const LONGEST_PATH_BYTES = 16_384;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Raw path bytes for people: UTF-8 where it is valid; other bytes and control characters as `\xNN`, and a backslash as `\\`. */
export function pathText(bytes: Uint8Array): string {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    // Byte by byte: what is ASCII stays readable.
    return Array.from(bytes, (byte) =>
      byte >= 0x20 && byte < 0x7f && byte !== 0x5c ? String.fromCharCode(byte) : byte === 0x5c ? "\\\\" : hex(byte),
    ).join("");
  }
  // Bidirectional controls could make a name look like another one; like other controls they are shown by their bytes.
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\\\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (char) =>
    char === "\\" ? "\\\\" : Array.from(Buffer.from(char), hex).join(""),
  );
}

/** The bytes of a path that `pathText` printed, or that a person typed. */
export function pathBytes(text: string): Buffer {
  const parts: Buffer[] = [];
  let rest = text;
  for (;;) {
    const at = rest.search(/\\(x[0-9a-f]{2}|\\)/);
    if (at < 0) break;
    parts.push(Buffer.from(rest.slice(0, at)));
    if (rest[at + 1] === "\\") {
      parts.push(Buffer.from("\\"));
      rest = rest.slice(at + 2);
    } else {
      parts.push(Buffer.from(rest.slice(at + 2, at + 4), "hex"));
      rest = rest.slice(at + 4);
    }
  }
  parts.push(Buffer.from(rest));
  return Buffer.concat(parts);
}

/** The names of a raw path, without empty ones; views into it. */
export function components(path: Uint8Array): Uint8Array[] {
  const names: Uint8Array[] = [];
  for (let start = 0; start < path.length;) {
    const slash = path.indexOf(0x2f, start);
    const end = slash < 0 ? path.length : slash;
    if (end > start) names.push(path.subarray(start, end));
    start = end + 1;
  }
  return names;
}

function hex(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}
