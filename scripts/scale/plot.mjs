// The figures as one SVG: for each kind a panel of seconds and one of megabytes, both axes logarithmic.
import { ACTS, KINDS } from "./kinds.mjs";

const WIDTH = 460;
const HEIGHT = 300;
const MARGIN = { left: 62, right: 24, top: 34, bottom: 46 };
const HEADER = 84;
/** What is told apart by colour; acts of one colour never meet in a panel. */
const COLOURS = {
  first: "#000000",
  unchanged: "#d55e00",
  snapshots: "#56b4e9",
  find: "#009e73",
  verify: "#cc79a7",
  one: "#0072b2",
  restore: "#8c6d1f",
  prune: "#7a3fb0",
  prunePlan: "#7a3fb0",
  pruneHalf: "#7a3fb0",
};
const LEGEND = ["first", "unchanged", "snapshots", "find", "verify", "one", "restore", "prune"];
const MEASURES = [
  { key: "wall", title: "seconds" },
  { key: "rss", title: "peak memory, MB" },
];

export function plotOf({ kinds, steps, samples, sizeOf }) {
  const [width, height] = [WIDTH * MEASURES.length, HEADER + HEIGHT * kinds.length];
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    '<g font-family="sans-serif" font-size="11" fill="#222">',
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    text(MARGIN.left, 22, "Holdfast as its work grows", 'font-size="15" font-weight="bold"'),
    ...legend(),
  ];
  for (const [row, kind] of kinds.entries())
    for (const [column, { key, title }] of MEASURES.entries()) {
      const own = samples.filter((one) => one.kind === kind && one[key] > 0);
      const labels = steps.map((factor) => ({ factor, size: KINDS[kind].show(sizeOf(kind, factor)) }));
      parts.push(`<g transform="translate(${column * WIDTH},${HEADER + row * HEIGHT})">`);
      parts.push(...panel({ samples: own, key, labels, title: `${kind}: ${title}`, id: `${kind}-${key}` }), "</g>");
    }
  return `${[...parts, "</g>", "</svg>"].join("\n")}\n`;
}

function legend() {
  const entries = LEGEND.map((act, i) => {
    const [x, y] = [MARGIN.left + (i % 4) * 170, 42 + Math.floor(i / 4) * 18];
    const colour = COLOURS[act];
    const line = `<path d="M${x},${y}h22" stroke="${colour}" stroke-width="2"/>`;
    return `${line}<circle cx="${x + 11}" cy="${y}" r="3" fill="${colour}"/>${text(x + 28, y + 4, ACTS[act].title)}`;
  });
  const [x, y] = [MARGIN.left + 4 * 170, 42];
  return [...entries, `<path d="M${x},${y}h22" stroke="#888" stroke-dasharray="4 3"/>`, text(x + 28, y + 4, "linear growth")];
}

/** The lines of the acts over the steps, and the growth that would be linear from the highest of the first step. */
function panel({ samples, key, labels, title, id }) {
  const [left, right, top, bottom] = [MARGIN.left, WIDTH - MARGIN.right, MARGIN.top, HEIGHT - MARGIN.bottom];
  const parts = [text(left, top - 12, title, 'font-size="13" font-weight="bold"')];
  const factors = labels.map(({ factor }) => factor);
  const values = samples.map((one) => one[key]);
  if (values.length === 0) return [...parts, text(left, top + 20, "no figures")];
  const [low, high] = rangeOf(values);
  const scaleX = scaleOf(factors[0], Math.max(factors.at(-1), factors[0] * 2), left + 12, right - 34);
  const scaleY = scaleOf(low, high, bottom, top);
  for (const value of ticksOf(low, high)) {
    const y = scaleY(value);
    parts.push(`<path d="M${left},${y}H${right}" stroke="#e4e4e4"/>`, text(left - 6, Number(y) + 4, value, 'text-anchor="end"'));
  }
  for (const { factor, size } of labels) {
    const x = scaleX(factor);
    parts.push(`<path d="M${x},${bottom}v5" stroke="#222"/>`, text(x, bottom + 17, `${factor}×`, 'text-anchor="middle"'));
    parts.push(text(x, bottom + 31, size, 'text-anchor="middle" font-size="9.5" fill="#555"'));
  }
  parts.push(`<clipPath id="${id}"><rect x="${left}" y="${top}" width="${right - left}" height="${bottom - top}"/></clipPath>`);
  parts.push(`<g clip-path="url(#${id})" fill="none">`);
  const begin = Math.max(...samples.filter(({ factor }) => factor === factors[0]).map((one) => one[key]));
  if (Number.isFinite(begin)) {
    const end = begin * (factors.at(-1) / factors[0]);
    const line = `M${scaleX(factors[0])},${scaleY(begin)}L${scaleX(factors.at(-1))},${scaleY(end)}`;
    parts.push(`<path d="${line}" stroke="#888" stroke-dasharray="4 3"/>`);
  }
  for (const [act, points] of Map.groupBy(samples, (one) => one.act)) {
    const at = points.map((one) => [scaleX(one.factor), scaleY(one[key])]);
    parts.push(`<path d="M${at.map((point) => point.join()).join("L")}" stroke="${COLOURS[act]}" stroke-width="2"/>`);
    for (const [x, y] of at) parts.push(`<circle cx="${x}" cy="${y}" r="3" fill="${COLOURS[act]}"/>`);
  }
  return [...parts, "</g>", `<path d="M${left},${top}V${bottom}H${right}" fill="none" stroke="#222"/>`];
}

/** A little more than the values, and at least a factor of 4. */
function rangeOf(values) {
  const [low, high] = [Math.min(...values) / 1.25, Math.max(...values) * 1.25];
  const more = Math.max(1, Math.sqrt((4 * low) / high));
  return [low / more, high * more];
}

const scaleOf = (from, to, start, end) => (value) =>
  (start + ((end - start) * Math.log(value / from)) / Math.log(to / from)).toFixed(1);

/** Some digits of each power of ten: fewer the more powers there are. */
function ticksOf(low, high) {
  const digits = high / low > 500 ? [1] : high / low > 12 ? [1, 2, 5] : [1, 1.5, 2, 3, 5, 7];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (const digit of digits) ticks.push(Number(`${digit}e${power}`));
  return ticks.filter((value) => value >= low && value <= high);
}

const text = (x, y, content, attributes = "") => `<text x="${x}" y="${y}" ${attributes}>${content}</text>`;
