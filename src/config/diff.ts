import { formatDuration } from "../base/duration.ts";
import { Secret } from "../base/secret.ts";
import { formatSize } from "../base/size.ts";
import type { Config } from "./config.ts";
import { escapeControl } from "./problem.ts";

export type ConfigSection =
  | "settings"
  | "control"
  | "encryption"
  | "sources"
  | "targets"
  | "schedules"
  | "retention"
  | "jobs"
  | "maintenance"
  | "guards"
  | "webhooks"
  | "email"
  | "probes";

/** What happened to one named thing, or to one single section. Serialisable, and without secrets. */
export interface ConfigChange {
  readonly section: ConfigSection;
  /** Empty for a section without names. */
  readonly name: string;
  readonly kind: "added" | "removed" | "changed" | "renamed";
  /** The earlier name of a renamed job. */
  readonly from?: string | undefined;
  /** Of `changed` and `renamed`; of `added` and `removed` every field on its one side. Sorted as declared. */
  readonly fields: readonly FieldChange[];
}

export interface FieldChange {
  /** `targets.disk.retention` */
  readonly path: string;
  /** For people; undefined when there was or is none. */
  readonly before: string | undefined;
  readonly after: string | undefined;
}

/** A leaf of a configuration: how it is shown, and what tells it from another. */
interface Leaf {
  readonly shown: string;
  readonly identity: string;
}

type Leaves = Map<string, Leaf>;

const NAMED = ["encryption", "sources", "targets", "schedules", "retention", "jobs", "webhooks"] as const;
/** Where things stand is no difference, and names are shown as such. */
const HIDDEN = new Set(["excludePlaces", "name"]);

function leafOf(key: string, value: unknown): Leaf | undefined {
  if (value instanceof Secret) return { shown: "***", identity: value.reveal().toString("hex") };
  if (typeof value === "number") {
    const shown = key.endsWith("Ms") ? formatDuration(value) : key.endsWith("Bytes") ? formatSize(value) : String(value);
    return { shown, identity: String(value) };
  }
  if (typeof value === "string" || typeof value === "boolean") return { shown: String(value), identity: JSON.stringify(value) };
  if (Array.isArray(value) && value.every((item) => typeof item !== "object"))
    return { shown: `[${value.join(", ")}]`, identity: JSON.stringify(value) };
  return undefined;
}

const isNamed = (value: unknown): value is { readonly name: string } =>
  typeof value === "object" && value !== null && "name" in value && typeof value.name === "string";

/** The name under which an item of a list is shown: its own, that of what it refers to, or its number. */
function labelOf(item: unknown, index: number): string {
  if (isNamed(item)) return item.name;
  for (const key of ["target", "schedule"]) {
    const inner: unknown = typeof item === "object" && item !== null ? (item as Record<string, unknown>)[key] : undefined;
    if (isNamed(inner)) return inner.name;
  }
  return String(index + 1);
}

function flatten(value: object, path: string, leaves: Leaves): void {
  for (const [key, item] of Object.entries(value)) {
    if (HIDDEN.has(key) || item === undefined || item === null) continue;
    const at = path === "" ? trimmed(key) : `${path}.${trimmed(key)}`;
    const leaf = leafOf(key, item);
    if (leaf !== undefined) leaves.set(at, leaf);
    else if (isNamed(item)) leaves.set(at, { shown: item.name, identity: item.name });
    else if (Array.isArray(item)) flattenList(item, at, leaves);
    else if (typeof item === "object") flatten(item as object, at, leaves);
  }
}

function flattenList(items: readonly unknown[], path: string, leaves: Leaves): void {
  for (const [index, item] of items.entries()) {
    const at = `${path}.${labelOf(item, index)}`;
    const leaf = leafOf("", item);
    if (leaf !== undefined) leaves.set(at, leaf);
    else if (isNamed(item)) leaves.set(at, { shown: "yes", identity: item.name });
    else if (typeof item === "object" && item !== null) flatten(item, at, leaves);
  }
}

const trimmed = (key: string): string => key.replace(/(?:Ms|Bytes)$/, "");

const leavesOf = (value: object | undefined): Leaves => {
  const leaves: Leaves = new Map();
  if (value !== undefined) flatten(value, "", leaves);
  return leaves;
};

function fieldChanges(before: object | undefined, after: object | undefined): FieldChange[] {
  const old = leavesOf(before);
  const now = leavesOf(after);
  const changes: FieldChange[] = [];
  for (const path of new Set([...old.keys(), ...now.keys()])) {
    const [was, is] = [old.get(path), now.get(path)];
    if (was?.identity === is?.identity) continue;
    // Two secrets, or two rounded numbers, may look the same and differ.
    const same = was !== undefined && was.shown === is?.shown;
    changes.push({ path, before: was?.shown, after: same ? `${is!.shown} (changed)` : is?.shown });
  }
  return changes;
}

/** What is not the default; tokens by their names. */
function controlOf({ control }: Config): object {
  const { listen, tokens, ...rest } = control;
  const where = listen?.kind === "unix" ? `unix:${listen.path}` : listen && `${listen.host}:${listen.port}`;
  const given = Object.entries(rest).filter(([, value]) => value !== false && !(Array.isArray(value) && value.length === 0));
  const named = tokens.map(({ name, ...token }) => [name, token] as const);
  return { listen: where, ...Object.fromEntries(given), tokens: Object.fromEntries(named) };
}

const settingsOf = (config: Config): object => ({ host: config.host, daemon: config.daemon });

/** What differs between two configurations, by section; `before` undefined: everything is added. Secrets are never shown. */
export function diffConfigs(before: Config | undefined, after: Config): ConfigChange[] {
  const changes: ConfigChange[] = [];
  const single = (section: ConfigSection, was: object | undefined, is: object): void => {
    const fields = fieldChanges(was, is);
    if (fields.length > 0) changes.push({ section, name: "", kind: was === undefined ? "added" : "changed", fields });
  };
  single("settings", before && settingsOf(before), settingsOf(after));
  single("control", before && controlOf(before), controlOf(after));
  for (const section of NAMED) {
    const old: ReadonlyMap<string, object> = before?.[section] ?? new Map<string, object>();
    const now: ReadonlyMap<string, object> = after[section];
    const renamed = section === "jobs" ? renamedJobs(before, after) : new Map<string, string>();
    const gone = new Set(renamed.values());
    for (const [name, value] of now) {
      const from = renamed.get(name);
      const was = old.get(from ?? name);
      const fields = fieldChanges(was, value);
      if (was === undefined) changes.push({ section, name, kind: "added", fields });
      else if (from !== undefined)
        changes.push({ section, name, kind: "renamed", from, fields: fields.filter(({ path }) => path !== "formerly") });
      else if (fields.length > 0) changes.push({ section, name, kind: "changed", fields });
    }
    for (const [name, value] of old)
      if (!now.has(name) && !gone.has(name))
        changes.push({ section, name, kind: "removed", fields: fieldChanges(value, undefined) });
  }
  single("maintenance", before?.maintenance, after.maintenance);
  single("guards", before?.guards, after.guards);
  single("email", before?.email, after.email ?? {});
  single("probes", before?.probes, after.probes ?? {});
  return changes;
}

/** New name → old name, for jobs that say `formerly` what is there no more. */
function renamedJobs(before: Config | undefined, after: Config): Map<string, string> {
  const renamed = new Map<string, string>();
  for (const [name, job] of after.jobs) {
    const from = job.formerly.find((former) => before?.jobs.has(former) === true && !after.jobs.has(former));
    if (from !== undefined && before?.jobs.has(name) !== true) renamed.set(name, from);
  }
  return renamed;
}

const MARKS = { added: "+", removed: "-", changed: "~", renamed: "~" } as const;
const COLORS = { added: "\u001B[32m", removed: "\u001B[31m", changed: "\u001B[33m", renamed: "\u001B[33m" } as const;

/** The changes for people, one line for each thing and one for each changed field; empty when there is none. */
export function renderConfigDiff(changes: readonly ConfigChange[], options: { readonly color: boolean }): string {
  const lines: string[] = [];
  for (const { section, name, kind, from, fields } of changes) {
    const title = escapeControl(
      `${MARKS[kind]} ${section}${name === "" ? "" : `.${name}`}${from === undefined ? "" : ` (formerly ${from})`}`,
    );
    lines.push(options.color ? `${COLORS[kind]}${title}\u001B[0m` : title);
    if (kind === "removed") continue;
    for (const { path, before, after } of fields) {
      const change = kind === "added" ? after : `${before ?? "(none)"} → ${after ?? "(none)"}`;
      lines.push(escapeControl(`    ${path}: ${change}`));
    }
  }
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}
