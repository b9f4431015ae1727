/** A long operation's progress as text. Pure: the time is passed in. */
import { formatDuration, type Progress } from "../index.ts";
import { count, safe, size } from "./format.ts";
import { fitEnd, fitMiddle, widthOf } from "./width.ts";

/** How much of the last seconds counts for the rate: long enough to be calm, short enough to follow a change. */
const RATE_WINDOW_MS = 10_000;

/** How fast something goes, from what was seen lately. */
export class Rate {
  readonly #samples: { readonly atMs: number; readonly bytes: number }[] = [];

  add(atMs: number, bytes: number): void {
    // Another phase counts from the beginning.
    if (bytes < (this.#samples.at(-1)?.bytes ?? 0)) this.#samples.length = 0;
    this.#samples.push({ atMs, bytes });
    while (this.#samples.length > 2 && (this.#samples[1] as { atMs: number }).atMs < atMs - RATE_WINDOW_MS) this.#samples.shift();
  }

  /** Undefined until half a second was seen. */
  get bytesPerSecond(): number | undefined {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.atMs - first.atMs < 500) return undefined;
    return ((last.bytes - first.bytes) * 1000) / (last.atMs - first.atMs);
  }

  /** Seconds until `total`; undefined where nobody can tell. */
  secondsLeft(done: number, total: number | undefined): number | undefined {
    const rate = this.bytesPerSecond;
    if (rate === undefined || rate <= 0 || total === undefined || total < done) return undefined;
    return Math.ceil((total - done) / rate);
  }
}

/** Files, bytes, rate, time left. */
export function progressFacts(progress: Progress, rate: Rate): string[] {
  const of = (done: string, total: string | undefined): string => (total === undefined ? done : `${done} of ${total}`);
  const facts: string[] = [];
  const { filesDone, filesTotal, bytesDone, bytesTotal } = progress;
  if (filesDone > 0 || filesTotal !== undefined)
    facts.push(`${of(count(filesDone), filesTotal === undefined ? undefined : count(filesTotal))} files`);
  if (bytesDone > 0 || bytesTotal !== undefined)
    facts.push(of(size(bytesDone), bytesTotal === undefined ? undefined : size(bytesTotal)));
  const speed = rate.bytesPerSecond;
  if (speed !== undefined && speed > 0) facts.push(`${size(speed)}/s`);
  const left = rate.secondsLeft(bytesDone, bytesTotal);
  if (left !== undefined && left > 0) facts.push(`${formatDuration(left * 1000).replace(/\.\d s$/, " s")} left`);
  return facts;
}

/** One line of at most `width - 1` columns: what runs, how far it is, and what it is at. */
export function progressLine(subject: string, progress: Progress, rate: Rate, width: number): string {
  const facts = [safe(subject), progress.phase, ...progressFacts(progress, rate)].join("  ");
  const room = width - 1 - widthOf(facts) - 2;
  if (progress.current === undefined || room < 10) return fitEnd(facts, width - 1);
  return `${facts}  ${fitMiddle(safe(progress.current), room)}`;
}
