/**
 * What happens, for those who follow it as it does: events as the state keeps them, the beginning and end of every run, and where
 * runs are. Readers hold a place, never a queue: one that is slow falls behind, and is told when it has lost something.
 *
 * An item's id says how far a reader has come: `STATE.SEQUENCE.PROCESS.NUMBER`, the sequence of the newest event in the state and
 * the number of the item in this process. After a restart events go on where they were left; beginnings and ends of runs are
 * remembered by the process alone.
 */
import type { Clock } from "../base/clock.ts";
import { HoldfastError } from "../base/errors.ts";
import type { Progress, RunEvent, RunKind } from "../base/events.ts";
import type { RunId } from "../base/ids.ts";
import { randomHex, type Randomness } from "../base/random.ts";
import type { EventRecord } from "../state/outbox.ts";
import type { State } from "../state/state.ts";

/** Items that are remembered: a reader that is further behind has lost some. */
const KEPT = 2000;
/** Events read from the state at once. */
const PAGE = 100;
/** How often events of other processes are looked for, while somebody reads. */
const POLL_MS = 5000;
const NOTE = "feed";
const NO_PROCESS = "00000000";

export interface FeedItem {
  readonly id: string;
  /** The name of an event, `run_started` or `run_ended`. */
  readonly type: string;
  readonly jobs: readonly string[];
  /** JSON, on one line. */
  readonly data: string;
}

export interface RunningProgress {
  readonly run: RunId;
  readonly kind: RunKind;
  readonly subject: string;
  readonly jobs: readonly string[];
  readonly progress: Progress;
}

/** A place in what happens. */
export interface FeedReader extends Disposable {
  /** The next item; undefined when there is none yet. Throws what the state says. */
  next(): FeedItem | undefined;
  /** Where it is now, as an id. */
  readonly position: string;
  /** Why items were left out since this was asked last; undefined when none were. */
  lost(): string | undefined;
  /** Where runs are that have moved since this was asked last; at first all that run. */
  progress(): RunningProgress[];
}

export interface EventFeed {
  /** Reads what comes after `position` (from now on when undefined), and calls `onMore` when there is something new. */
  follow(position: string | undefined, onMore: () => void): FeedReader;
}

interface Running extends Omit<RunningProgress, "progress"> {
  progress: Progress | undefined;
  moved: number;
}

interface Position {
  readonly state: string;
  readonly sequence: number;
  readonly process: string;
  readonly number: number;
}

export class Feed implements EventFeed, Disposable {
  readonly #options: { readonly state: State; readonly clock: Clock };
  /** Of this state: an id of another one means nothing here. */
  readonly #epoch: string;
  readonly #process: string;
  readonly #items: FeedItem[] = [];
  /** Number of the first item that is remembered; items count from 1. */
  #first = 1;
  #sequence = 0;
  readonly #running = new Map<RunId, Running>();
  #moves = 0;
  readonly #readers = new Set<() => void>();
  readonly #stored: Disposable;
  #polling: AbortController | undefined;

  constructor(options: { readonly state: State; readonly clock: Clock; readonly random: Randomness }) {
    const { state, clock, random } = options;
    this.#options = options;
    this.#process = randomHex(random, 4);
    let epoch: unknown;
    try {
      epoch = state.note(NOTE)?.value;
      if (typeof epoch !== "string") state.setNote(NOTE, (epoch = randomHex(random, 4)), clock.now());
      this.#sequence = state.outbox.eventRange().newest;
    } catch (error) {
      // A state that is busy: what was before this process cannot be told.
      if (!(error instanceof HoldfastError)) throw error;
    }
    this.#epoch = typeof epoch === "string" ? epoch : this.#process;
    this.#stored = state.outbox.onEvent(() => this.#pull());
  }

  /** Takes in what a run tells. */
  run(event: RunEvent): void {
    if (event.type === "started") {
      const { run, kind, subject, time } = event;
      const jobs = kind === "prune" ? [] : [subject];
      this.#running.set(run, { run, kind, subject, jobs, progress: undefined, moved: 0 });
      this.#push("run_started", jobs, { run, kind, subject, time: new Date(time).toISOString() });
      return;
    }
    const running = this.#running.get(event.run);
    if (running === undefined) return;
    const { run, kind, subject, jobs } = running;
    if (event.type === "progress") {
      running.progress = event.progress;
      running.moved = ++this.#moves;
    } else if (event.type === "ended") {
      this.#running.delete(run);
      const { status, time, error } = event;
      const why = error === undefined ? null : { code: error.code, message: error.message, hint: error.hint ?? null };
      this.#push("run_ended", jobs, { run, kind, subject, status, time: new Date(time).toISOString(), error: why });
    }
  }

  follow(position: string | undefined, onMore: () => void): FeedReader {
    this.#pull();
    const from = position === undefined ? undefined : positionOf(position);
    const newest = this.#first + this.#items.length - 1;
    let number = newest;
    let lost: string | undefined;
    /** Events of the state that come before what this process remembers. */
    let stored: { after: number; readonly until: number } | undefined;
    let page: EventRecord[] = [];
    if (from !== undefined && from.process === this.#process && from.number >= this.#first - 1 && from.number <= newest)
      number = from.number;
    else if (position !== undefined) {
      const { newest: last, forgotten } = this.#options.state.outbox.eventRange();
      if (from === undefined) lost = "the id is not one of these events";
      else if (from.state !== this.#epoch || from.sequence > last) lost = "the id belongs to another state";
      else {
        if (from.sequence < forgotten) lost = "events after this id are forgotten";
        stored = { after: from.sequence, until: this.#sequence };
      }
    }
    let moves = 0;
    const next = (): FeedItem | undefined => {
      while (stored !== undefined) {
        if (page.length === 0)
          page = this.#options.state.outbox.eventsAfter(stored.after, PAGE).filter(({ sequence }) => sequence <= stored!.until);
        const event = page.shift();
        if (event === undefined) stored = undefined;
        else {
          stored.after = event.sequence;
          return itemOf(event, idOfStored(event.sequence));
        }
      }
      if (number < this.#first - 1) {
        lost = "the reader was too slow";
        number = this.#first - 1;
      }
      const item = this.#items[number + 1 - this.#first];
      if (item !== undefined) number++;
      return item;
    };
    this.#readers.add(onMore);
    this.#poll();
    const sequenceAt = (): number => {
      const at = this.#items[number - this.#first];
      return at === undefined ? this.#sequence : (positionOf(at.id)?.sequence ?? 0);
    };
    // What this process has told meanwhile is not behind a reader that still reads what was before.
    const idOfStored = (sequence: number): string => `${this.#epoch}.${sequence}.${NO_PROCESS}.0`;
    const idNow = (): string => (stored === undefined ? this.#idOf(sequenceAt(), number) : idOfStored(stored.after));
    return {
      next,
      get position() {
        return idNow();
      },
      lost: () => {
        const why = lost;
        lost = undefined;
        return why;
      },
      progress: () => {
        const moved = [...this.#running.values()].filter((running) => running.moved > moves);
        moves = this.#moves;
        return moved.flatMap(({ run, kind, subject, jobs, progress }) =>
          progress === undefined ? [] : [{ run, kind, subject, jobs, progress }],
        );
      },
      [Symbol.dispose]: () => {
        this.#readers.delete(onMore);
        if (this.#readers.size === 0) this.#polling?.abort();
      },
    };
  }

  [Symbol.dispose](): void {
    this.#stored[Symbol.dispose]();
    this.#polling?.abort();
  }

  /** Takes in the events that were stored since the last time, by whatever process. */
  #pull(): void {
    try {
      for (;;) {
        const events = this.#options.state.outbox.eventsAfter(this.#sequence, PAGE);
        for (const event of events) {
          this.#sequence = event.sequence;
          const { jobs, data } = itemOf(event, "");
          this.#add(event.type, jobs, data);
        }
        if (events.length < PAGE) return;
      }
    } catch (error) {
      // Tried again at the next event, or in a moment.
      if (!(error instanceof HoldfastError)) throw error;
    }
  }

  #poll(): void {
    if (this.#polling !== undefined) return;
    const polling = (this.#polling = new AbortController());
    const { clock } = this.#options;
    void (async () => {
      while (!polling.signal.aborted) {
        await clock.sleep(POLL_MS, polling.signal).catch(() => undefined);
        if (!polling.signal.aborted) this.#pull();
      }
      this.#polling = undefined;
      if (this.#readers.size > 0) this.#poll();
    })();
  }

  #push(type: string, jobs: readonly string[], data: Readonly<Record<string, unknown>>): void {
    // What was stored before this comes before it.
    this.#pull();
    this.#add(type, jobs, JSON.stringify(data));
  }

  #add(type: string, jobs: readonly string[], data: string): void {
    const number = this.#first + this.#items.length;
    this.#items.push({ id: this.#idOf(this.#sequence, number), type, jobs, data });
    if (this.#items.length > KEPT) {
      this.#items.shift();
      this.#first++;
    }
    this.#wake();
  }

  #idOf(sequence: number, number: number): string {
    return `${this.#epoch}.${sequence}.${this.#process}.${number}`;
  }

  #wake(): void {
    for (const wake of this.#readers) wake();
  }
}

function positionOf(id: string): Position | undefined {
  const match = /^([0-9a-f]{8})\.(\d{1,15})\.([0-9a-f]{8})\.(\d{1,15})$/.exec(id);
  if (match === null) return undefined;
  const [, state = "", sequence, process = "", number] = match;
  return { state, sequence: Number(sequence), process, number: Number(number) };
}

/** What this version cannot read is told as nothing: nobody who stores an event may fail by it. */
function itemOf({ type, payload }: EventRecord, id: string): FeedItem {
  let value: unknown;
  try {
    value = JSON.parse(payload);
  } catch {
    return { id, type, jobs: [], data: "{}" };
  }
  const { jobs } = (value as { readonly data?: { readonly jobs?: unknown } } | null)?.data ?? {};
  const names = Array.isArray(jobs) ? jobs.filter((job) => typeof job === "string") : [];
  // Written anew: on one line, whatever the state held.
  return { id, type, jobs: names, data: JSON.stringify(value) };
}
