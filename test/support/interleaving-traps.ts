/** Where an interleaving stops its actors: at the calls between which the order matters. */
import type { Simulation, Trap } from "./simulation.ts";

const HOUR = 3_600_000;

type Place = Pick<Trap, "verb" | "name">;

export const WRITER_TRAPS: readonly Place[] = [
  { verb: "put", name: "snapshots/" },
  { verb: "put", name: "snapshots/" },
  { verb: "put", name: "packs/" },
  { verb: "put", name: "index/" },
  { verb: "put", name: "leases/" },
  { verb: "list", name: "condemned/" },
  { verb: "list", name: "packs/" },
  { verb: "get", name: "leases/" },
  { verb: "get", name: "packs/" },
  { verb: "delete", name: "leases/" },
];

export const MAINTAINER_TRAPS: readonly Place[] = [
  { verb: "list", name: "leases/" },
  { verb: "list", name: "snapshots/" },
  { verb: "list", name: "index/" },
  { verb: "get", name: "packs/" },
  { verb: "get", name: "snapshots/" },
  { verb: "put", name: "condemned/" },
  { verb: "put", name: "index/" },
  { verb: "put", name: "packs/" },
  { verb: "put", name: "notes/" },
  { verb: "delete", name: "index/" },
  { verb: "delete", name: "packs/" },
  { verb: "delete", name: "leases/" },
  { verb: "delete", name: "snapshots/" },
];

/** Freezes, holds, kills and jumps of the clock, where and when the seed says. */
export function traps(numbers: Simulation["numbers"], places: readonly Place[], count: number): Trap[] {
  return Array.from({ length: count }, () => {
    const place = numbers.pick(places);
    const nth = 1 + numbers.below(5);
    const performed = numbers.below(2) === 0;
    const kind = numbers.pick(["freeze", "freeze", "freeze", "hold", "hold", "kill", "jump"] as const);
    switch (kind) {
      case "freeze":
        return {
          ...place,
          nth,
          act: {
            kind,
            performed,
            forMs: numbers.pick([HOUR, 3 * HOUR, 3 * HOUR, 80 * HOUR, 170 * HOUR]),
            bootTimeStops: numbers.below(3) === 0,
          },
        };
      case "hold":
        return { ...place, nth, act: { kind, steps: numbers.pick([20, 100, 400]) } };
      case "kill":
        return { ...place, nth, act: { kind, performed } };
      case "jump":
        return { ...place, nth, act: { kind, byMs: numbers.pick([HOUR, -HOUR, 3 * HOUR, -3 * HOUR]) } };
    }
  });
}
