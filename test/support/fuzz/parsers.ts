import { archiveParsers } from "./archive-parsers.ts";
import type { FuzzedParser } from "./fuzz.ts";
import { repositoryParsers } from "./repository-parsers.ts";
import { textParsers } from "./text-parsers.ts";

/** Every reader of bytes that come from a target, from a person or from this machine's own files. */
export async function allParsers(): Promise<FuzzedParser[]> {
  return [...(await repositoryParsers()), ...archiveParsers(), ...textParsers()];
}
