// What the command lines of the measuring scripts have in common.
import { parseArgs } from "node:util";
import * as zlib from "node:zlib";

/** Parses `options` (as `parseArgs` takes them, with --help) of the npm script `name`: `{ values, fail }`; ends the program after --help and after a mistake. */
export function readCommandLine(name, help, options) {
  const fail = (message) => {
    console.error(`${message}\nhint: npm run ${name} -- --help`);
    process.exit(2);
  };
  let values;
  try {
    ({ values } = parseArgs({ options: { help: { type: "boolean", short: "h" }, ...options } }));
  } catch (error) {
    fail(error.message);
  }
  if (values.help) {
    console.log(help);
    process.exit(0);
  }
  if (zlib.zstdCompressSync === undefined)
    fail(`Node ${process.version} has no zstd: run this as npm run ${name}, which uses the project's own`);
  return { values, fail };
}

/** The parts of a comma separated list. */
export const listOf = (text) => text.split(",").filter((part) => part !== "");
