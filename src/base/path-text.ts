const decoder = new TextDecoder("utf-8", { fatal: true });

/** Raw path bytes for people: UTF-8 where it is valid; other bytes and control characters as `\xNN`, and a backslash as `\\`. */
export function pathText(bytes: Uint8Array): string {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    // Byte by byte: what is ASCII stays readable.
    return Array.from(bytes, (byte) => (byte >= 0x20 && byte < 0x7f && byte !== 0x5c ? String.fromCharCode(byte) : hex(byte))).join("");
  }
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (char) => hex(char.charCodeAt(0))).replaceAll(/\\(?!x[0-9a-f]{2})/g, "\\\\");
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

function hex(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}
