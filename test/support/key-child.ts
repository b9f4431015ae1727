/** A process that changes keys until it kills itself at a named call of its target. */
import { runKeyChild } from "./key-lab.ts";

const [argument] = process.argv.slice(2);
if (argument === undefined) throw new Error("key-child is run by a campaign of keys");
await runKeyChild(JSON.parse(argument) as Parameters<typeof runKeyChild>[0]);
