import { dirname } from "node:path";
import type { RunStatus } from "../../base/events.ts";
import type { RunId } from "../../base/ids.ts";
import type { Config, HooksConfig } from "../../config/config.ts";
import type { PromisedHook } from "../../state/owed-hooks.ts";

export type HookKind = keyof HooksConfig;

/** What hooks belong to: a source, or a job as a whole. */
export interface HookOwner {
  readonly job: string;
  readonly source: string | undefined;
}

/** One hook, with all that is needed to run it, now or at a later start. */
export type HookCall = PromisedHook;

/** How far what the hook belongs to has come. `read`: a source was read to its end, and nothing is committed yet. */
export type HookStatus = RunStatus | "running" | "read";

/** What a hook is told. */
export interface HookFacts extends HookOwner {
  readonly run: RunId;
  readonly host: string;
  readonly status: HookStatus;
  /** Code of the error; undefined when there is none. */
  readonly error: string | undefined;
}

/** The hooks of one kind, in their order. */
export function hookCalls(config: Config, owner: HookOwner, hooks: HooksConfig | undefined, kind: HookKind): HookCall[] {
  const place = owner.source === undefined ? `jobs.${owner.job}` : `sources.${owner.source}`;
  const cwd = dirname(config.path);
  return (hooks?.[kind] ?? []).map((hook, index) => ({ ...hook, name: `${place}.hooks.${kind}[${index}]`, kind, cwd }));
}

/** Which hooks tell of an end. None of one that somebody wanted (`cancelled`), which is neither a success nor an alarm. */
export function endingKind(status: RunStatus): "onSuccess" | "onFailure" | undefined {
  if (status === "success" || status === "partial") return "onSuccess";
  return status === "failed" ? "onFailure" : undefined;
}

/** The environment of a hook: `inherited`, and what it is told. Every variable is always set, to nothing when there is nothing to say. */
export function hookEnvironment(
  inherited: Readonly<Record<string, string>>,
  kind: HookKind,
  facts: HookFacts,
): Readonly<Record<string, string>> {
  return {
    ...inherited,
    HOLDFAST_RUN: facts.run,
    HOLDFAST_JOB: facts.job,
    HOLDFAST_SOURCE: facts.source ?? "",
    HOLDFAST_HOOK: kind,
    HOLDFAST_STATUS: facts.status,
    HOLDFAST_ERROR: facts.error ?? "",
    HOLDFAST_HOST: facts.host,
  };
}
