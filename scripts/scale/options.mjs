// The command line of `npm run scale`.
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, resolve } from "node:path";
import { listOf, readCommandLine } from "../bench/command-line.mjs";
import { GNU_TIME } from "../bench/measure.mjs";
import { KINDS } from "./kinds.mjs";

const HELP = `npm run scale -- [options]

  --kinds LIST  what grows, comma separated (default: all); at 1x
${Object.entries(KINDS)
  .map(([name, { title, base, show }]) => `                  ${name.padEnd(10)} ${title}: ${show(base)}`)
  .join("\n")}
  --steps LIST  factors, ascending (default: 1,2,4,8)
  --scale X     multiplies every size, such as 0.01: tries the scripts, and says nothing of growth (default: 1)
  --work FOLDER corpora and repositories, on the disk that is measured (default: ${tmpdir()}); removed at the end
  --out FILE    everything measured, as JSON
  --plot FILE   the figures as SVG

At 8x, files needs about 8 GB on ext4 for its 2 million files (a block each) and 2 GB for their repository; folder half of
that; index 1 GB; the others less. A kind is removed before the next begins. What does not fit is refused before anything is made.

Prints Markdown on standard output, progress on standard error. Each act is one command of its own; megabytes are decimal. The
growth is that from the first step to the last, divided by that of the size: 1 is linear, less is better.

What the kinds do besides: index backs up 200 real files, and only plans its prune, which would remove every pack, as no snapshot
needs them. Its packs are sparse files with a real directory at the end. Of the snapshots all but the first and the last are
written with the program's own encoders, an hour apart up to now; prune keeps half of them, and is last. Each step has a
repository of its own. Elsewhere prune has no retention, and deletes nothing.

Holdfast is the one of this checkout as it is built: run npm run build first.
`;

/** What the command line asks for, checked; ends the program after --help and after a mistake. */
export function readOptions() {
  const { values, fail } = readCommandLine("scale", HELP, {
    kinds: { type: "string", default: Object.keys(KINDS).join() },
    steps: { type: "string", default: "1,2,4,8" },
    scale: { type: "string", default: "1" },
    work: { type: "string", default: tmpdir() },
    out: { type: "string" },
    plot: { type: "string" },
  });
  const kinds = listOf(values.kinds);
  const unknown = kinds.find((name) => KINDS[name] === undefined);
  if (unknown !== undefined) fail(`there is no kind ${unknown}`);
  const steps = listOf(values.steps).map(Number);
  if (steps.length === 0 || steps.some((step, i) => !(Number.isInteger(step) && step > (steps[i - 1] ?? 0))))
    fail("--steps takes whole numbers, ascending");
  const scale = Number(values.scale);
  if (!(scale > 0 && Number.isFinite(scale))) fail("--scale takes a number above 0");
  if (!existsSync(GNU_TIME)) fail("memory cannot be measured: GNU time is missing (Debian package time)");
  const root = resolve(new URL("../..", import.meta.url).pathname);
  if (!existsSync(resolve(root, "dist/main.js"))) fail("the program is not built: run npm run build");
  const path = (value) => {
    if (value === undefined) return undefined;
    if (!existsSync(dirname(resolve(value)))) fail(`there is no folder for ${value}`);
    return resolve(value);
  };
  return {
    kinds: [...new Set(kinds)],
    steps,
    scale,
    root,
    work: resolve(values.work),
    out: path(values.out),
    plot: path(values.plot),
  };
}
