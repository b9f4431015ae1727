import type { ObjectId, PackId } from "../../../base/ids.ts";
import type { SeenLease } from "../leases/leases.ts";
import type { Bitmap } from "../verify/bitmap.ts";
import { isWhole, rankOf, PACK_RANK, type RepositoryView, type ViewPack } from "../verify/repository-view.ts";

/** A lease that began up to this long after a condemnation may not have seen it. */
const LEASE_MARGIN_MS = 3_600_000;
/** Condemned objects outlive their packs so long: index objects and processes that name those packs are gone by then. */
export const TOMBSTONE_MS = 30 * 86_400_000;
/** Frames below this part of live bytes are regrouped when their pack is rewritten. */
const REGROUP_BELOW = 0.8;
/** A frame of fewer raw bytes compresses worse than what a fresh backup would make. */
const SMALL_FRAME = 2 ** 19;
/** Packs below half their size are small; so many of one kind are merged. */
const MERGE_SMALL_FROM = 4;
/** What index, directories and padding may add to the unused bytes. */
const MARGIN = 0.8;

export const DROP = 0;
export const COPY = 1;
export const REGROUP = 2;

/** A pack whose live chunks are stored anew. */
export interface Rewrite {
  readonly pack: PackId;
  readonly kind: 1 | 2;
  readonly sizeBytes: number;
  /** For each frame DROP, COPY (as it is) or REGROUP (decoded, its live chunks in new frames). */
  readonly frames: Uint8Array;
  /** False for a condemned pack in which live chunks were found: it is condemned already. */
  readonly condemn: boolean;
}

/** What a prune will do. The same plan is shown by a dry run and performed by a run. */
export interface PrunePlan {
  /** Condemned packs to delete now. */
  readonly sweep: readonly PackId[];
  /** Condemned objects whose packs are long gone. */
  readonly tombstones: readonly ObjectId[];
  readonly rewrites: readonly Rewrite[];
  /** Packs rewritten for nothing but the epoch of their keys. */
  readonly oldEpochs: readonly Rewrite[];
  /** Packs without a live chunk. */
  readonly dead: readonly PackId[];
  readonly unindexed: readonly PackId[];
  readonly packsBefore: number;
  readonly bytesBefore: number;
  /** Stored bytes of live chunks, estimated by frame. */
  readonly liveBytes: number;
  /** Stored bytes that stay although nothing needs them. */
  readonly unusedBytes: number;
  /** Damaged packs that stay because a snapshot needs them. */
  readonly damagedKept: number;
  readonly notes: readonly string[];
}

export interface PlanInput {
  readonly view: RepositoryView;
  /** The preferred copy of every chunk that a snapshot needs. */
  readonly live: Bitmap;
  /** Of others, all states. */
  readonly leases: readonly SeenLease[];
  readonly nowMs: number;
  /** The target's time, where it tells one. */
  readonly targetNowMs: number | undefined;
  readonly graceMs: number;
  /** No other lease is live and listing is strong: what is condemned may go at once. */
  readonly immediate: boolean;
  readonly maxUnused: number;
  readonly packBytes: number;
  /** False when there is no space to write: only packs without live chunks are condemned then. */
  readonly rewrite: boolean;
  /** `file`: frames of single files stay as they are. */
  readonly grouping: "frame" | "file";
  /** Packs with a frame under an epoch before this one are rewritten too. */
  readonly sinceEpoch: number | undefined;
}

interface FrameState {
  readonly stored: number;
  readonly raw: number;
  readonly liveRaw: number;
  readonly epoch: number;
}

interface PackState {
  readonly pack: ViewPack;
  readonly kind: 1 | 2;
  readonly sizeBytes: number;
  readonly frames: readonly FrameState[];
  /** Estimated stored bytes of dead chunks. */
  readonly waste: number;
  readonly liveBytes: number;
}

/** Decides as a value what a prune does; reads nothing but its input. */
export function planPrune(input: PlanInput): PrunePlan {
  const { view } = input;
  const notes: string[] = [];
  const states: PackState[] = [];
  const sweep: PackId[] = [];
  const unindexed: PackId[] = [];
  const dead: PackId[] = [];
  const rewrites: Rewrite[] = [];
  let blocked = 0;
  let damagedKept = 0;
  for (const pack of view.packs.values()) {
    if (pack.listed === undefined) continue;
    if (pack.indexed === undefined) {
      if (pack.condemned.length > 0) {
        if (maySweep(pack, input)) sweep.push(pack.id);
        else blocked++;
      } else if (mayCondemnUnindexed(pack, input)) unindexed.push(pack.id);
      continue;
    }
    const state = stateOf(pack, input);
    const condemned = pack.condemned.length > 0;
    if (state.liveBytes === 0) {
      if (!condemned) dead.push(pack.id);
      else if (maySweep(pack, input)) sweep.push(pack.id);
      else blocked++;
    } else if (rankOf(pack) === PACK_RANK.damaged) damagedKept++;
    else if (condemned) {
      if (input.rewrite)
        rewrites.push({
          pack: pack.id,
          kind: state.kind,
          sizeBytes: state.sizeBytes,
          frames: actions(state, true, input),
          condemn: false,
        });
    } else states.push(state);
  }
  const liveBytes = states.reduce((sum, state) => sum + state.liveBytes, 0);
  const { chosen, unusedBytes } = input.rewrite
    ? chooseRewrites(states, liveBytes, input)
    : { chosen: [], unusedBytes: sumOf(states) };
  rewrites.push(...chosen);
  const oldEpochs = input.rewrite ? rewritesForEpoch(states, new Set(chosen.map(({ pack }) => pack)), input) : [];
  if (blocked > 0) notes.push(`${blocked} condemned packs stay: their grace time has not passed, or a lease from before is live`);
  if (damagedKept > 0)
    notes.push(
      `${damagedKept} damaged packs stay, because snapshots still refer to them; the next backup stores again what its source still has`,
    );
  for (const { state, owner, host } of input.leases)
    if (state === "clock-fault")
      notes.push(`The lease ${owner} of host ${host} lies in the future: a clock is wrong there or here; it is not obeyed`);
  const listed = [...view.packs.values()].flatMap(({ listed: stat }) => (stat === undefined ? [] : [stat.sizeBytes]));
  return {
    sweep,
    tombstones: expiredTombstones(input),
    rewrites,
    oldEpochs,
    dead,
    unindexed,
    packsBefore: listed.length,
    bytesBefore: listed.reduce((sum, size) => sum + size, 0),
    liveBytes,
    unusedBytes,
    damagedKept,
    notes,
  };
}

function stateOf(pack: ViewPack, { view, live }: PlanInput): PackState {
  const info = view.index.pack(pack.id);
  const frames: FrameState[] = [];
  let waste = 0;
  let liveBytes = 0;
  // Cut short since it was indexed: none of its copies count, and a live chunk without another copy has refused the prune.
  if (info !== undefined && isWhole(pack))
    for (let number = info.firstFrame; number < info.firstFrame + info.frameCount; number++) {
      const { storedLength, rawLength, row } = view.index.frame(number);
      let liveRaw = 0;
      for (const { chunk, length } of view.index.chunksOf(number)) if (live.has(chunk)) liveRaw += length;
      frames.push({ stored: storedLength, raw: rawLength, liveRaw, epoch: row.epoch });
      liveBytes += (storedLength * liveRaw) / rawLength;
      waste += storedLength * (1 - liveRaw / rawLength);
    }
  return { pack, kind: info?.kind ?? 1, sizeBytes: pack.listed?.sizeBytes ?? 0, frames, waste, liveBytes };
}

/** The most wasteful packs first, until what stays unused is within bounds; then small packs. */
function chooseRewrites(
  states: readonly PackState[],
  liveBytes: number,
  input: PlanInput,
): { chosen: Rewrite[]; unusedBytes: number } {
  const budget = input.maxUnused * liveBytes * MARGIN;
  const chosen = new Set<PackState>();
  let unused = sumOf(states);
  for (const state of states.toSorted(
    (a, b) => b.waste / b.sizeBytes - a.waste / a.sizeBytes || (a.pack.id < b.pack.id ? -1 : 1),
  )) {
    if (unused <= budget) break;
    chosen.add(state);
    unused -= state.waste;
  }
  for (const kind of [1, 2] as const) {
    const small = states.filter((state) => state.kind === kind && !chosen.has(state) && state.sizeBytes < input.packBytes / 2);
    const open = [...chosen].some((state) => state.kind === kind);
    if (small.length < (open ? 1 : MERGE_SMALL_FROM)) continue;
    for (const state of small) {
      chosen.add(state);
      unused -= state.waste;
    }
  }
  const rewrites: Rewrite[] = [];
  for (const state of [...chosen].toSorted((a, b) => (a.pack.id < b.pack.id ? -1 : 1))) {
    // A frame that is mostly live is copied as it is, as long as its dead part fits the budget too.
    const kept = wasteOfMostlyLive(state);
    const copyMostlyLive = unused + kept <= budget;
    if (copyMostlyLive) unused += kept;
    rewrites.push({
      pack: state.pack.id,
      kind: state.kind,
      sizeBytes: state.sizeBytes,
      frames: actions(state, copyMostlyLive, input),
      condemn: true,
    });
  }
  return { chosen: rewrites, unusedBytes: unused };
}

/** Packs under older epochs that are not rewritten for another reason. Their live frames stay as they are but for the seal. */
function rewritesForEpoch(states: readonly PackState[], chosen: ReadonlySet<PackId>, { sinceEpoch = 0 }: PlanInput): Rewrite[] {
  return states
    .filter(({ pack, frames }) => !chosen.has(pack.id) && frames.some(({ epoch }) => epoch < sinceEpoch))
    .map(({ pack, kind, sizeBytes, frames }) => ({
      pack: pack.id,
      kind,
      sizeBytes,
      frames: Uint8Array.from(frames, ({ liveRaw }) => (liveRaw === 0 ? DROP : COPY)),
      condemn: true,
    }));
}

function actions(state: PackState, copyMostlyLive: boolean, { grouping }: PlanInput): Uint8Array {
  return Uint8Array.from(state.frames, ({ raw, liveRaw }) => {
    if (liveRaw === 0) return DROP;
    if (grouping === "frame" && raw < SMALL_FRAME) return REGROUP;
    if (liveRaw === raw) return COPY;
    return copyMostlyLive && liveRaw >= raw * REGROUP_BELOW ? COPY : REGROUP;
  });
}

function wasteOfMostlyLive({ frames }: PackState): number {
  const mostly = frames.filter(({ raw, liveRaw }) => liveRaw < raw && liveRaw >= raw * REGROUP_BELOW);
  return mostly.reduce((sum, { stored, raw, liveRaw }) => sum + stored * (1 - liveRaw / raw), 0);
}

function sumOf(states: readonly PackState[]): number {
  return states.reduce((sum, { waste }) => sum + waste, 0);
}

/** Condemned by a prune before this one, for longer than the grace time, and by nobody alive unseen. */
function maySweep(pack: ViewPack, input: PlanInput): boolean {
  const first = pack.condemned[0];
  if (first === undefined) return false;
  const condemnedMs = Math.max(Date.parse(first.time), first.objectTimeMs ?? 0);
  // Whichever clock says less counts: time only ever delays.
  const age = Math.min(input.nowMs - condemnedMs, objectAge(first.objectTimeMs, input));
  if (input.nowMs < Date.parse(first.time) || (!input.immediate && age < input.graceMs)) return false;
  // At once needs that nobody is there at all.
  return input.leases.every(
    ({ state, startMs }) => state !== "live" || (!input.immediate && startMs >= condemnedMs + LEASE_MARGIN_MS),
  );
}

function mayCondemnUnindexed(pack: ViewPack, input: PlanInput): boolean {
  if (input.immediate) return true;
  const modifiedMs = pack.listed?.modifiedMs;
  // Without object times nobody can tell a pack being used from one left behind; `--immediate` cleans up there.
  if (modifiedMs === undefined) return false;
  if (Math.min(input.nowMs - modifiedMs, objectAge(modifiedMs, input)) < input.graceMs) return false;
  return input.leases.every(({ state, startMs }) => state !== "live" || startMs > modifiedMs + LEASE_MARGIN_MS);
}

function objectAge(objectTimeMs: number | undefined, { targetNowMs }: PlanInput): number {
  return objectTimeMs === undefined || targetNowMs === undefined ? Number.POSITIVE_INFINITY : targetNowMs - objectTimeMs;
}

function expiredTombstones(input: PlanInput): ObjectId[] {
  return input.view.condemned
    .filter(({ packs, time, objectTimeMs }) => {
      const age = Math.min(input.nowMs - Date.parse(time), objectAge(objectTimeMs, input));
      if (age < Math.max(TOMBSTONE_MS, input.graceMs)) return false;
      return packs.every((id) => {
        const pack = input.view.packs.get(id);
        return pack === undefined || (pack.listed === undefined && pack.indexed === undefined);
      });
    })
    .map(({ id }) => id);
}

/** The packs that a plan condemns. */
export function condemnedBy(plan: PrunePlan): PackId[] {
  return [
    ...plan.dead,
    ...[...plan.rewrites, ...plan.oldEpochs].filter(({ condemn }) => condemn).map(({ pack }) => pack),
    ...plan.unindexed,
  ];
}

/** Bytes of packs as they are listed. */
export function bytesOf(view: RepositoryView, packs: readonly PackId[]): number {
  return packs.reduce((sum, id) => sum + (view.packs.get(id)?.listed?.sizeBytes ?? 0), 0);
}

/** Stored bytes, estimated, of what lives in those frames of a pack that are not dropped. */
export function liveStored(view: RepositoryView, live: Bitmap, pack: PackId, frames: Uint8Array): number {
  const first = view.index.pack(pack)?.firstFrame ?? 0;
  let stored = 0;
  for (const [number, action] of frames.entries()) {
    if (action === DROP) continue;
    const { storedLength, rawLength } = view.index.frame(first + number);
    let raw = 0;
    for (const { chunk, length } of view.index.chunksOf(first + number)) if (live.has(chunk)) raw += length;
    stored += (storedLength * raw) / rawLength;
  }
  return stored;
}
