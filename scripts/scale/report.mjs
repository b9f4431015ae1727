// The Markdown of one kind.
import { ACTS, KINDS } from "./kinds.mjs";

/** Rows are acts, columns steps with `s / MB`; the last column is the growth of both beside that of the size. */
export function tableOf(kind, steps, samples, failures, sizeOf) {
  const { title, show, acts } = KINDS[kind];
  const find = (act, factor) => samples.find((one) => one.kind === kind && one.act === act && one.factor === factor);
  const lines = [
    `**${kind}**: ${title}`,
    "",
    `| seconds / MB | ${steps.map((factor) => `${factor}× (${show(sizeOf(factor))})`).join(" | ")} | growth |`,
    `|---|${steps.map(() => "---:|").join("")}---:|`,
  ];
  for (const act of acts) {
    const cells = steps.map((factor) => {
      const sample = find(act, factor);
      if (sample !== undefined) return `${sample.wall.toFixed(2)} / ${sample.rss.toFixed(0)}`;
      return failures.some((one) => one.kind === kind && one.factor === factor && (one.act ?? acts[0]) === act) ? "failed" : "";
    });
    const [first, last] = [find(act, steps[0]), find(act, steps.at(-1))];
    const growth = ["wall", "rss"].map((key) => growthOf(first, last, key));
    lines.push(`| ${[ACTS[act].title, ...cells, first === last ? "" : growth.join(" / ")].join(" | ")} |`);
  }
  return lines.join("\n");
}

/** 1 is linear, less is better. */
function growthOf(first, last, key) {
  if (first === undefined || last === undefined) return "";
  return (last[key] / first[key] / (last.size / first.size)).toFixed(2);
}
