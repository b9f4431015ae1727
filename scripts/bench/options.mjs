// The command line of `npm run bench`.
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { listOf, readCommandLine } from "./command-line.mjs";
import { ALIASES, LINES } from "./lines.mjs";

const HELP = `npm run bench -- [options]

  --lines LIST    what to measure, comma separated (default: all):
${Object.entries(LINES)
  .map(([name, { title }]) => `                    ${name.padEnd(20)} ${title}`)
  .join("\n")}
                  states, sqlite and many stand for all their lines
  --runs N        runs of each line and tool; medians are shown (default: 5)
  --peers LIST    what to compare with, where installed (default: restic,borg)
  --cache FOLDER  keeps the corpora (default: ${join(tmpdir(), "holdfast-bench")}); about 12 GB for all
  --work FOLDER   repositories, on the disk that is measured (default: the cache folder); removed at the end
  --corpus FOLDER a folder in place of the Linux source
  --files N       files of the lines many (default: 200000)
  --scale X       shrink every corpus, such as 0.01: tries the scripts, and says nothing of speed (default: 1)
  --no-pauses     leave out the pass that measures pauses of the event loop
  --json FILE     append the result as one line of JSON

Prints Markdown on standard output, progress on standard error. Megabytes are decimal. The aims are those of the design; ✓ reached, ✗ missed,
? nothing to compare with. Holdfast is the one of this checkout as it is built: run npm run build first.
`;

/** What the command line asks for, checked; ends the program after --help and after a mistake. */
export function readOptions() {
  const { values, fail } = readCommandLine("bench", HELP, {
    ...Object.fromEntries(["lines", "work", "corpus", "json"].map((name) => [name, { type: "string" }])),
    runs: { type: "string", default: "5" },
    peers: { type: "string", default: "restic,borg" },
    cache: { type: "string", default: join(tmpdir(), "holdfast-bench") },
    files: { type: "string", default: "200000" },
    scale: { type: "string", default: "1" },
    "no-pauses": { type: "boolean", default: false },
  });
  const lines = values.lines === undefined ? Object.keys(LINES) : listOf(values.lines).flatMap((name) => ALIASES[name] ?? [name]);
  const unknown = lines.find((name) => LINES[name] === undefined);
  if (unknown !== undefined) fail(`there is no line ${unknown}`);
  const peers = listOf(values.peers);
  const stranger = peers.find((name) => name !== "restic" && name !== "borg");
  if (stranger !== undefined) fail(`there is no peer ${stranger}`);
  const [count, files, part] = [values.runs, values.files, values.scale].map(Number);
  if (!(Number.isInteger(count) && count > 0)) fail("--runs takes a whole number of 1 or more");
  if (!(Number.isInteger(files) && files > 0)) fail("--files takes a whole number of 1 or more");
  if (!(part > 0 && part <= 1)) fail("--scale takes a number above 0 and up to 1");
  return {
    peers,
    files,
    runs: count,
    scale: part,
    wanted: new Set(lines),
    json: values.json,
    withPauses: !values["no-pauses"],
    cache: resolve(values.cache),
    work: resolve(values.work ?? values.cache),
    corpus: values.corpus === undefined ? undefined : resolve(values.corpus),
    root: resolve(new URL("../..", import.meta.url).pathname),
  };
}
