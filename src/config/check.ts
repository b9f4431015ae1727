import { checkControl } from "./check-control.ts";
import { checkJobs } from "./check-jobs.ts";
import { checkNotices } from "./check-notices.ts";
import { checkRetention, checkSchedule } from "./check-policies.ts";
import { checkEncryptions, checkSources, checkTargets } from "./check-places.ts";
import type { Draft } from "./draft.ts";
import { pointerOf } from "./evaluate.ts";
import { entriesOf } from "./loose.ts";
import type { LooseFile } from "./loose.ts";

/** What the checks need of a LoadInput. */
export interface CheckContext {
  readonly defaults: { readonly timezone: string };
}

/**
 * What a schema cannot say: names that lead nowhere, places that collide, policies that keep nothing, promises that
 * cannot be kept. Looks at what is well formed only, so that one mistake is one problem.
 */
export function checkConfig(draft: Draft, context: CheckContext): void {
  const file = draft.root as unknown as LooseFile;
  checkControl(draft, file);
  checkEncryptions(draft, file);
  checkSources(draft, file);
  checkTargets(draft, file);
  for (const [name, schedule] of entriesOf(file.schedules)) checkSchedule(draft, pointerOf("/schedules", name), schedule);
  for (const [name, retention] of entriesOf(file.retention)) checkRetention(draft, pointerOf("/retention", name), retention);
  checkJobs(draft, file, file.daemon?.timezone ?? context.defaults.timezone);
  checkNotices(draft, file);
  if (file.maintenance?.schedule !== undefined) checkSchedule(draft, "/maintenance/schedule", file.maintenance.schedule);
}
