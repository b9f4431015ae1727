/** What a golden repository must give: written beside it when it was made, from what was put in. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Described, Summary } from "./described.ts";

export interface ExpectedSnapshot {
  readonly id: string;
  readonly job: string;
  readonly time: string;
  readonly mode: string;
  readonly status: string;
  readonly tags: readonly string[];
  readonly description: string;
  /** ISO 8601, true or false. */
  readonly hold: string | boolean;
  readonly unreadable: readonly string[];
  readonly summaries: readonly Summary[];
  /** Everything but the root and what is summed up, depth first in the order of names. */
  readonly entries: readonly Described[];
}

export interface ExpectedDamage {
  readonly kind: string;
  readonly id: string;
  /** Ids of snapshots. */
  readonly snapshots: readonly string[];
  readonly paths: readonly string[];
}

export interface Manifest {
  readonly about: string;
  readonly format: "repository" | "archive";
  /** When it was finished; no object is younger. */
  readonly made: string;
  /** Every secret that opens it. */
  readonly secrets: readonly { readonly kind: "password" | "keyfile"; readonly secret: string }[];
  /** Secrets whose slots were removed. */
  readonly removedSecrets: readonly string[];
  /** Ids of deleted snapshots. */
  readonly deleted: readonly string[];
  /** Packs that lie there condemned and that nobody needs. */
  readonly condemned: readonly string[];
  /** What a verification of every byte names, sorted by id. */
  readonly damage: readonly ExpectedDamage[];
  /** Packs that a repair marks as damaged. */
  readonly unmarked: readonly string[];
  /** Oldest first. */
  readonly snapshots: readonly ExpectedSnapshot[];
}

/** Objects, one line each where they are long lists. */
export function manifestText(manifest: Manifest): string {
  const { snapshots, ...rest } = manifest;
  const lines = (items: readonly unknown[], indent: string): string =>
    items.length === 0 ? "[]" : `[\n${items.map((item) => `${indent}  ${JSON.stringify(item)}`).join(",\n")}\n${indent}]`;
  const members = Object.entries(rest).map(
    ([name, value]) => `  "${name}": ${Array.isArray(value) ? lines(value, "  ") : JSON.stringify(value)}`,
  );
  const listed = snapshots.map(({ entries, summaries, ...info }) => {
    const infos = Object.entries(info).map(([name, value]) => `      "${name}": ${JSON.stringify(value)}`);
    return `    {\n${infos.join(",\n")},\n      "summaries": ${lines(summaries, "      ")},\n      "entries": ${lines(entries, "      ")}\n    }`;
  });
  return `{\n${members.join(",\n")},\n  "snapshots": [\n${listed.join(",\n")}\n  ]\n}\n`;
}

export const VERSIONS: string = join(import.meta.dirname, "repositories");

/** Every golden repository of every version of the format: `v1/keys-and-prune` and so on. */
export function goldenNames(): string[] {
  return readdirSync(VERSIONS)
    .flatMap((version) => readdirSync(join(VERSIONS, version)).map((name) => `${version}/${name}`))
    .toSorted();
}

export function repositoryFolder(name: string): string {
  return join(VERSIONS, name, "repository");
}

export function readManifest(name: string): Manifest {
  return JSON.parse(readFileSync(join(VERSIONS, name, "manifest.json"), "utf8")) as Manifest;
}
