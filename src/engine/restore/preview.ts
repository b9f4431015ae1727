import { pathText } from "../../base/path-text.ts";
import { errorJson } from "../documents.ts";
import type { Session } from "../session.ts";
import { planRestoreRun, type RunRestoreOptions } from "./run.ts";

const CHANGES = new Set(["create", "replace", "metadata", "delete"]);

/** What a restore would do, counted, with the first steps and the first conflicts; changes nothing. */
export async function previewRestore(
  session: Session,
  options: RunRestoreOptions,
  limit: number,
): Promise<Record<string, unknown>> {
  const steps: { action: string; path: string; type: string | null }[] = [];
  const conflicts: Record<string, unknown>[] = [];
  let changes = 0;
  const { snapshot, target, summary } = await planRestoreRun(session, options, (actions) => {
    for (const action of actions) {
      const path = pathText(Buffer.from(action.path, "latin1"));
      if ("error" in action) {
        if (conflicts.length < limit) conflicts.push({ path, ...errorJson(action.error) });
        continue;
      }
      const act = action.act === "enter" ? (action.exists ? "keep" : "create") : action.act;
      if (!CHANGES.has(act) || changes++ >= limit) continue;
      const type =
        "entry" in action ? action.entry?.entry.type : action.act === "delete" && action.directory ? "directory" : null;
      steps.push({ action: act, path, type: type ?? null });
    }
  });
  const { conflicts: conflictCount, ...counts } = summary;
  return {
    snapshot: snapshot.id,
    target,
    to: options.to,
    counts: { ...counts, conflicts: conflictCount },
    steps,
    conflicts,
    cut: changes > steps.length || conflictCount > conflicts.length ? "limit" : null,
  };
}
