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
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly defaults: { readonly timezone: string };
}

/**
 * What a schema cannot say: names that lead nowhere, places that collide, policies that keep nothing, promises that
 * cannot be kept. Looks at what is well formed only, so that one mistake is one problem.
 */
export function checkConfig(draft: Draft, context: CheckContext): void {
  const file = draft.root as unknown as LooseFile;
  checkHost(draft, context);
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

/** System containers, which are machines with a name of their own. */
const KEEPS_ITS_NAME = new Set(["lxc", "lxc-libvirt", "systemd-nspawn", "wsl"]);

/**
 * In a container the host name is another one at each start: snapshots would be those of another machine each time, with their
 * own retention and without a baseline. That it is one says `$container`, which engines and images set, or Kubernetes' own variable.
 */
function checkHost(draft: Draft, { env }: CheckContext): void {
  const engine = env["container"] ?? "";
  const isContainer = (engine !== "" && !KEEPS_ITS_NAME.has(engine)) || (env["KUBERNETES_SERVICE_HOST"] ?? "") !== "";
  if (isContainer && draft.isAbsent("", "host"))
    draft.error("missing_key", "/host", "`host` is required in a container, whose own name changes", {
      at: draft.spot("").value,
      expected: "the name of the machine in its snapshots, always the same",
      suggestion: "add host: web1",
    });
}
