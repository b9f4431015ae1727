/** Text in columns of a terminal. Pure. */
const COMBINING = /^(?:\p{Mn}|\p{Me}|\u200d|\ufe0f)$/u;
const WIDE =
  /^[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]$/u;
// oxlint-disable-next-line no-control-regex
const COLOR = /\u001b\[[0-9;]*m/g;

/** Columns that `text` takes; colour sequences take none. */
export function widthOf(text: string): number {
  let width = 0;
  for (const char of text.replace(COLOR, "")) width += charWidth(char);
  return width;
}

function charWidth(char: string): number {
  if (char >= " " && char <= "~") return 1;
  return COMBINING.test(char) ? 0 : WIDE.test(char) ? 2 : 1;
}

/** `text` without colours in at most `width` columns, its middle replaced by `…` where it is longer: both ends of a path tell most. */
export function fitMiddle(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  if (width < 1) return "";
  const chars = Array.from(text);
  const tailWidth = Math.floor(((width - 1) * 2) / 3);
  let tail = "";
  for (let i = chars.length - 1; i >= 0 && widthOf(chars[i] + tail) <= tailWidth; i--) tail = chars[i] + tail;
  let head = "";
  for (const char of chars) {
    if (widthOf(head + char) > width - 1 - widthOf(tail)) break;
    head += char;
  }
  return `${head}…${tail}`;
}

/** `text` cut to `width` columns. */
export function fitEnd(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  let head = "";
  for (const char of text) {
    if (widthOf(head + char) > width - 1) break;
    head += char;
  }
  return width < 1 ? "" : `${head}…`;
}

export interface Column {
  readonly title: string;
  readonly align?: "right";
}

/** Rows under titles, two spaces apart, the last column unpadded; no trailing spaces. Ends with a newline. */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  options: { readonly bold: boolean },
): string {
  const widths = columns.map((column, i) => Math.max(widthOf(column.title), ...rows.map((row) => widthOf(row[i] ?? ""))));
  const line = (cells: readonly string[]): string =>
    columns
      .map((column, i) => {
        const cell = cells[i] ?? "";
        const gap = " ".repeat((widths[i] as number) - widthOf(cell));
        return column.align === "right" ? gap + cell : cell + gap;
      })
      .join("  ")
      .trimEnd();
  const head = line(columns.map(({ title }) => title));
  return `${[options.bold ? `\u001b[1m${head}\u001b[0m` : head, ...rows.map(line)].join("\n")}\n`;
}
