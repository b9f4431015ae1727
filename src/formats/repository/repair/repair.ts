import type { HoldfastError } from "../../../base/errors.ts";
import type { PackId } from "../../../base/ids.ts";
import type { Progress } from "../../../base/events.ts";
import { checkFeatures } from "../keys/keyring.ts";
import { encodeCondemned } from "../objects/condemned-object.ts";
import { isoTime } from "../objects/json-object.ts";
import { acquireMaintenance } from "../prune/maintenance.ts";
import type { Repository } from "../repository.ts";
import { readPacks } from "../verify/read-packs.ts";
import { isWhole, loadView, packName, type RepositoryView } from "../verify/repository-view.ts";
import { VerifyPool } from "../verify/verify-pool.ts";
import { rebuildIndex, type RebuildReport } from "./rebuild-index.ts";

export interface RepairOptions {
  /** Rebuild the index even when nothing seems wrong with it. */
  readonly index: boolean;
  /** Packs to examine byte by byte, as a verification named them; `all` reads every pack; none reads no pack. */
  readonly packs: readonly PackId[] | "all";
  readonly onProgress: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

export interface RepairReport {
  /** Undefined when the index was left as it is. */
  readonly rebuilt: RebuildReport | undefined;
  /** Why it was rebuilt, for people. */
  readonly reasons: readonly string[];
  /** Packs newly marked as damaged: the next backup that meets their chunks stores them again. */
  readonly marked: readonly { readonly id: PackId; readonly problems: readonly string[] }[];
  readonly packsRead: number;
}

/**
 * Puts a condemned object with reason `damaged`: packs stay while snapshots refer to them, but nothing new builds on them.
 * Does nothing for none. The caller holds a lease, whose owner it names.
 */
export async function markDamaged(
  repository: Repository,
  packs: readonly PackId[],
  owner: string,
  signal?: AbortSignal,
): Promise<void> {
  if (packs.length === 0) return;
  const content = encodeCondemned({ reason: "damaged", time: isoTime(repository.options.clock.now()), packs: [...packs], owner });
  await repository.putObject("condemned", content, signal);
  await repository.refreshCondemned(signal);
}

/**
 * Repairs what can be: rebuilds an index that is unreadable or incomplete, and marks packs that cannot be read so that the
 * next backup stores again what its source still has. Never deletes. Holds the maintenance lease; rejects with
 * `repository_locked` beside another maintainer, and when the target fails for another reason than damage.
 */
export async function repairRepository(repository: Repository, options: RepairOptions): Promise<RepairReport> {
  const { signal } = options;
  checkFeatures(repository.keyring.features, "write");
  await using stack = new AsyncDisposableStack();
  const maintenance = stack.use(await acquireMaintenance(repository, { signal }));
  let view = await loadView(repository, { signal, withAbsent: true, fresh: true });
  const reasons = indexProblems(view);
  if (options.index) reasons.push("it was asked for");
  let rebuilt: RebuildReport | undefined;
  if (reasons.length > 0) {
    rebuilt = await rebuildIndex(repository, { signal });
    view = await loadView(repository, { signal, withAbsent: true, fresh: true });
  } else await repository.loadIndex(() => undefined, signal);
  const wanted = options.packs === "all" ? [...view.packs.keys()] : options.packs;
  const chosen = wanted.flatMap((id) => {
    const sizeBytes = view.packs.get(id)?.listed?.sizeBytes;
    return sizeBytes === undefined ? [] : [{ id, sizeBytes }];
  });
  const bad = new Map<PackId, string[]>();
  for (const { id, message, kept } of rebuilt?.unreadable ?? []) if (kept) bad.set(id, [message]);
  if (chosen.length > 0) {
    const pool = stack.use(await VerifyPool.start(repository.keys.material));
    await readPacks({
      repository,
      pool,
      packs: chosen,
      recordOf: (id) => view.index.record(id),
      onPack: (id, { problems }) => {
        if (problems.length > 0) bad.set(id, [...(bad.get(id) ?? []), ...problems]);
      },
      onProgress: (packs, bytes) =>
        options.onProgress({
          phase: "packs",
          filesDone: packs,
          filesTotal: chosen.length,
          bytesDone: bytes,
          bytesTotal: chosen.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
          storedBytes: 0,
          current: undefined,
        }),
      signal,
    });
  }
  const marked: { readonly id: PackId; readonly problems: readonly string[] }[] = [];
  for (const [id, problems] of bad) {
    // What a prune has deleted and a late listing still shows is gone, not damaged.
    if (view.packs.get(id)?.damaged === true || (await repository.target.stat(packName(id), { signal })) === undefined) continue;
    marked.push({ id, problems });
  }
  maintenance.assertHeld();
  await markDamaged(
    repository,
    marked.map(({ id }) => id),
    maintenance.lease.owner,
    signal,
  );
  return { rebuilt, reasons, marked, packsRead: chosen.length };
}

/** Why the index does not tell what the target holds; empty when it does. */
function indexProblems(view: RepositoryView): string[] {
  const problems: string[] = [];
  for (const [id, error] of view.damagedIndex) if (!view.supersededIndex.has(id)) problems.push(messageOf(id, error));
  const packs = [...view.packs.values()];
  const count = (text: string, what: (pack: (typeof packs)[number]) => boolean): void => {
    const matching = packs.filter(what).length;
    if (matching > 0) problems.push(`${matching} packs ${text}`);
  };
  count(
    "are named by the index and are missing or cut short",
    (pack) => pack.indexed !== undefined && !isWhole(pack) && pack.condemned.length === 0,
  );
  count("are in no index", (pack) => pack.indexed === undefined && pack.condemned.length === 0);
  return problems;
}

function messageOf(id: string, error: HoldfastError): string {
  return `index object ${id} cannot be read: ${error.message}`;
}
