// Medians of the samples, ratios, aims, and the Markdown that is printed.
import { median } from "./measure.mjs";
import { LINES } from "./lines.mjs";

const NAMES = { limit: "limit", "limit-unchecked": "limit without read-back" };

/** One row a line and tool, in the order of LINES: medians, ratios to restic and to the limit, and how the aims were met. */
export function rowsOf({ samples, failures, pauses, lines, tools, files }) {
  const rows = [];
  for (const line of lines) {
    const of = (tool, key) => median(samples.filter((one) => one.line === line && one.tool === tool).map((one) => one[key]));
    for (const tool of [...tools, ...Object.keys(NAMES)]) {
      const runs = samples.filter((one) => one.line === line && one.tool === tool).length;
      const reason = failures.find((one) => one.line === line && (one.tool === tool || one.tool === undefined))?.reason;
      if (runs === 0 && (reason === undefined || !(tool in NAMES ? limitsOf(line).includes(tool) : true))) continue;
      const row = { line, tool, runs, reason };
      for (const key of ["wall", "cpu", "rss", "bytes"]) {
        row[key] = of(tool, key);
        if (key !== "rss") row[`${key}Ratio`] = ratio(row[key], of("restic", key));
      }
      if (tool === "holdfast") {
        row.limitRatio = ratio(row.wall, of("limit", "wall"));
        row.limitUncheckedRatio = ratio(row.wall, of("limit-unchecked", "wall"));
        row.pause = pauses[line];
        row.aims = aimsOf(LINES[line], row, files);
      }
      rows.push(row);
    }
  }
  return rows;
}

/** The limits that a line is compared with. */
export const limitsOf = (line) =>
  LINES[line].limit === undefined ? [] : LINES[line].limit === "backup" ? ["limit", "limit-unchecked"] : ["limit"];

const ratio = (value, base) => (value === undefined || base === undefined || base === 0 ? undefined : value / base);

/** `{ what, aim, found, reached }` for each aim of a line; `reached` is undefined where there is nothing to compare with. */
function aimsOf({ aims, bytes }, row, files) {
  const found = {
    wall: row.wallRatio,
    cpu: row.cpuRatio,
    bytes: row.bytesRatio,
    limit: row.limitRatio,
    rss: row.rss,
    rssAtTenMillion: row.rss,
  };
  const texts = {
    wall: (aim) => `wall ≤ ${aim.toFixed(2)}×`,
    cpu: (aim) => `CPU ≤ ${aim.toFixed(2)}×`,
    bytes: (aim) => `${bytes} ≤ ${aim.toFixed(2)}×`,
    limit: (aim) => `limit ≤ ${aim.toFixed(1)}×`,
    rss: (aim) => `peak ≤ ${aim} MB`,
    rssAtTenMillion: (aim) => `peak ≤ ${aim} MB at 10 million files`,
  };
  return Object.entries(aims)
    .filter(([, aim]) => aim !== undefined)
    .map(([what, aim]) => {
      // A small tree within the memory of a large one proves nothing; beyond it, it disproves.
      const judged = found[what] !== undefined && (what !== "rssAtTenMillion" || files >= 1e7 || found[what] > aim);
      return { what, text: texts[what](aim), aim, found: found[what], reached: judged ? found[what] <= aim : undefined };
    });
}

const cell = (value, digits, unit = "") => (value === undefined || Number.isNaN(value) ? "" : `${value.toFixed(digits)}${unit}`);
const MARKS = new Map([
  [true, "✓"],
  [false, "✗"],
  [undefined, "?"],
]);

export function mainTable(rows) {
  const lines = [
    "| workload | line | tool | wall s | to restic | CPU s | to restic | peak MB | stored or new MB | to restic | to the limit | aim | longest pause ms |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
  ];
  for (const row of rows) {
    const { title, bytes } = LINES[row.line];
    const megabytes = row.bytes === undefined ? "" : `${bytes === "new" ? "+" : ""}${(row.bytes / 1e6).toFixed(1)}`;
    const limit =
      row.limitRatio === undefined
        ? ""
        : `${cell(row.limitRatio, 2, "×")}${row.limitUncheckedRatio === undefined ? "" : ` (${cell(row.limitUncheckedRatio, 2, "×")} without read-back)`}`;
    const aims = (row.aims ?? []).map(({ text, reached }) => `${text} ${MARKS.get(reached)}`).join(", ");
    const cells = [
      title,
      row.line,
      NAMES[row.tool] ?? row.tool,
      row.runs === 0
        ? `not run: ${plain(row.reason)}`
        : `${cell(row.wall, 2)}${row.reason === undefined ? "" : ` (${row.runs} runs, then: ${plain(row.reason)})`}`,
      cell(row.wallRatio, 2, "×"),
      cell(row.cpu, 1),
      cell(row.cpuRatio, 2, "×"),
      cell(row.rss, 0),
      megabytes,
      cell(row.bytesRatio, 2, "×"),
      limit,
      aims,
      cell(row.pause, 0),
    ];
    lines.push(`| ${cells.join(" | ")} |`);
  }
  return lines.join("\n");
}

const plain = (text) => text.replaceAll(/\s+/g, " ").replaceAll("|", "/").slice(0, 300);

/** Stored sizes beside the raw bytes and beside `tar | zstd -3`; `archives` holds both by line. */
export function sizeTable(rows, archives, tools) {
  const lines = [`| corpus | raw MB | tar, zstd -3 | ${tools.join(" | ")} |`, `|---|---|---|${tools.map(() => "---|").join("")}`];
  for (const [line, { raw, packed, reason }] of Object.entries(archives)) {
    const show = (bytes) => (bytes === undefined ? "" : `${(bytes / 1e6).toFixed(1)} (${(raw / bytes).toFixed(2)} to 1)`);
    const stored = tools.map((tool) => show(rows.find((row) => row.line === line && row.tool === tool)?.bytes));
    lines.push(
      `| ${LINES[line].title} | ${(raw / 1e6).toFixed(1)} | ${reason === undefined ? show(packed) : plain(reason)} | ${stored.join(" | ")} |`,
    );
  }
  return lines.length === 2 ? undefined : lines.join("\n");
}

/** How many aims were reached, and which were not. */
export function verdict(rows) {
  const all = rows.flatMap(({ line, aims = [] }) => aims.map((one) => ({ line, ...one })));
  const missed = all.filter(({ reached }) => reached === false);
  const open = all.filter(({ reached }) => reached === undefined);
  const name = ({ line, text, what, found }) =>
    `${line}: ${text}, found ${found?.toFixed(what.startsWith("rss") ? 0 : 2) ?? "nothing"}`;
  return [
    `${all.length - missed.length - open.length} of ${all.length} aims reached.`,
    ...(missed.length === 0 ? [] : [`Missed: ${missed.map(name).join("; ")}.`]),
    ...(open.length === 0 ? [] : [`Not judged: ${open.map(name).join("; ")}.`]),
  ].join(" ");
}
