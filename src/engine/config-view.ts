import type { Config, JobConfig } from "../config/config.ts";

/** Lists of a program and its arguments: what is in them may be a password that somebody wrote there. */
const ARGUMENTS = new Set(["run", "command"]);
/** Where rules stand in the file: of use to who has the file. */
const LEFT_OUT = new Set(["excludePlaces"]);

/** The configuration in force, with names where it has references: no secret, and of commands only the program. */
export function viewConfig(config: Config): Record<string, unknown> {
  const jobs = Object.fromEntries([...config.jobs].map(([name, job]) => [name, withNames(job)]));
  return hidden({ ...config, jobs }) as Record<string, unknown>;
}

function withNames(job: JobConfig): Record<string, unknown> {
  return {
    ...job,
    sources: job.sources.map(({ name }) => name),
    targets: job.targets.map(({ target, ...rest }) => ({ target: target.name, ...rest })),
  };
}

function hidden(config: unknown): unknown {
  const text = JSON.stringify(config, (key, value: unknown) => {
    if (LEFT_OUT.has(key)) return undefined;
    if (ARGUMENTS.has(key) && Array.isArray(value)) return value.length > 1 ? [value[0], "***"] : value;
    if (key === "encryption" && typeof value === "object" && value !== null && "name" in value) return value.name;
    return value;
  });
  return JSON.parse(text) as unknown;
}
