/** Damerau–Levenshtein distance (adjacent swaps count 1), or `limit + 1` when it is larger than `limit`. */
export function editDistance(left: string, right: string, limit: number): number {
  if (Math.abs(left.length - right.length) > limit) return limit + 1;
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: right.length + 1 }, (_, column) => column);
  for (let row = 1; row <= left.length; row++) {
    const current = [row];
    let best = row;
    for (let column = 1; column <= right.length; column++) {
      const same = left[row - 1] === right[column - 1];
      let cost = Math.min(previous[column]! + 1, current[column - 1]! + 1, previous[column - 1]! + (same ? 0 : 1));
      const swapped = row > 1 && column > 1 && left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1];
      if (swapped) cost = Math.min(cost, beforePrevious[column - 2]! + 1);
      current.push(cost);
      best = Math.min(best, cost);
    }
    if (best > limit && (beforePrevious.length === 0 || Math.min(...previous) > limit)) return limit + 1;
    beforePrevious = previous;
    previous = current;
  }
  return Math.min(previous[right.length]!, limit + 1);
}

/**
 * The candidate that `text` most likely was meant to be, or undefined when none is near: at most one slip for every
 * three letters, case and separators aside, or the one is the beginning of the other. Of equally near ones that with
 * the same first letter wins, then the first.
 */
export function nearest(text: string, candidates: Iterable<string>): string | undefined {
  const plain = (value: string): string => value.toLowerCase().replaceAll(/[-_ ]/g, "");
  if (text.length === 0 || text.length > 100) return undefined;
  const limit = Math.min(3, Math.max(1, Math.floor(text.length / 3)));
  const wanted = plain(text);
  let found: string | undefined;
  let score = limit + 1;
  for (const candidate of candidates) {
    if (candidate === text) continue;
    const given = plain(candidate);
    const isStart = wanted.length >= 3 && given.length >= 3 && (wanted.startsWith(given) || given.startsWith(wanted));
    const slips = given === wanted ? 0 : editDistance(text.toLowerCase(), candidate.toLowerCase(), limit);
    const distance = isStart ? Math.min(slips, limit) : slips;
    const next = distance + (given[0] === wanted[0] ? 0 : 0.5);
    if (distance <= limit && next < score) [found, score] = [candidate, next];
  }
  return found;
}

/** `did you mean "x"?`, or undefined. */
export function didYouMean(text: string, candidates: Iterable<string>): string | undefined {
  const found = nearest(text, candidates);
  return found === undefined ? undefined : `did you mean "${found}"?`;
}

/** `a, b and c`; `nothing` for an empty list. */
export function listOf(names: Iterable<string>, last = "and"): string {
  const all = [...names];
  if (all.length === 0) return "nothing";
  return all.length === 1 ? all[0]! : `${all.slice(0, -1).join(", ")} ${last} ${all.at(-1)}`;
}
