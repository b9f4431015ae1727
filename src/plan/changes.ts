/**
 * What waits for approval. One id covers everything destructive in a plan: target by target, the rule before and the rule after,
 * and when the one before was noted, so that an approval once used never fits again. Which snapshots fall under the
 * rules moves with every backup; it is shown, and is not part of the id, or no approval would ever arrive in time.
 */
import { createHash } from "node:crypto";
import type { Config, TargetConfig } from "../config/config.ts";
import type { AcceptedTarget, Observed } from "./observed.ts";
import type { ChangeAction, RetentionAction } from "./plan.ts";
import { canonicalRules } from "./removals.ts";
import type { RetentionProposal } from "./removals.ts";

export interface PlannedChanges {
  readonly id: string | undefined;
  readonly approved: boolean;
  readonly changes: readonly ChangeAction[];
  readonly retention: readonly RetentionAction[];
}

/** Marks as held what nobody approved. `approved` names plan ids; only the exact id of this plan counts. */
export function planChanges(
  config: Config,
  observed: Observed,
  proposals: readonly RetentionProposal[],
  approved: ReadonlySet<string>,
): PlannedChanges {
  const changed = observed.accepted.flatMap((before) => changeOf(before, config.targets.get(before.name)));
  const contents = [
    ...changed.map(({ change, target, why }) => [
      "change",
      change,
      target,
      why,
      observed.accepted.find(({ name }) => name === target)?.acceptedMs,
    ]),
    ...proposals
      .filter(({ loosened }) => loosened !== undefined)
      .map(({ action, noted }) => [
        "retention",
        action.target,
        action.job,
        noted?.timeMs ?? null,
        noted ? canonicalRules(noted.rules) : null,
        canonicalRules(action.rules),
      ]),
  ].map((content) => JSON.stringify(content));
  const id = contents.length === 0 ? undefined : planId(config.host, contents);
  const isApproved = id !== undefined && approved.has(id);
  return {
    id,
    approved: isApproved,
    changes: changed.map((change) => ({ ...change, held: isApproved ? undefined : change.why })),
    retention: proposals.map(({ action, loosened }) => ({ ...action, held: isApproved ? undefined : loosened })),
  };
}

function planId(host: string, contents: readonly string[]): string {
  return createHash("sha256")
    .update(JSON.stringify([host, ...contents.toSorted()]))
    .digest("hex")
    .slice(0, 12);
}

function changeOf(before: AcceptedTarget, after: TargetConfig | undefined): Omit<ChangeAction, "held">[] {
  const target = before.name;
  if (!after)
    return [
      {
        kind: "change",
        change: "removed-target",
        target,
        why: `target ${target} (${before.location}) is no longer declared; its snapshots stay, and no new ones are made`,
      },
    ];
  const changes: Omit<ChangeAction, "held">[] = [];
  if (locationOf(after) !== before.location)
    changes.push({
      kind: "change",
      change: "moved-target",
      target,
      why: `target ${target} moves from ${before.location} to ${locationOf(after)}; the snapshots stay behind`,
    });
  if (after.encryption?.name !== before.encryption)
    changes.push({
      kind: "change",
      change: "changed-encryption",
      target,
      why: `the encryption of target ${target} changes from ${before.encryption ?? "none"} to ${after.encryption?.name ?? "none"}`,
    });
  return changes;
}

/** Where a target is, in one text without secrets: what pins and accepted configurations remember it by. */
export function locationOf(target: TargetConfig): string {
  if (target.type === "local") return `local:${target.path}`;
  const port = target.port === 22 ? "" : `:${target.port}`;
  return `${target.type}://${target.user}@${target.host}${port}/${target.path}`;
}

/** What to remember of a configuration once it is accepted; the next plan is compared with it. */
export function acceptedTargets(config: Config, acceptedMs: number): AcceptedTarget[] {
  return [...config.targets.values()].map((target) => ({
    name: target.name,
    location: locationOf(target),
    encryption: target.encryption?.name,
    acceptedMs,
  }));
}
