import { expect, test } from "vitest";
import type { ProbesConfig } from "../../src/config/config.ts";
import { HoldfastError } from "../../src/base/errors.ts";
import { Probes } from "../../src/daemon/probes.ts";
import { FakeClock } from "../support/fake-clock.ts";

const at = (port: number, metrics = true): ProbesConfig => ({ listen: { kind: "tcp", host: "127.0.0.1", port }, metrics });

interface Bench {
  readonly probes: Probes;
  readonly clock: FakeClock;
  /** What happened, in order. */
  readonly told: string[];
  /** Ports that are taken. */
  readonly taken: Set<number>;
}

function bench(): Bench {
  const clock = new FakeClock();
  const told: string[] = [];
  const taken = new Set<number>();
  const say =
    (level: string) =>
    (text: string): void =>
      void told.push(`${level} ${text}`);
  const log = { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") };
  const serve = async ({ listen, metrics }: ProbesConfig): Promise<AsyncDisposable> => {
    const port = listen.kind === "tcp" ? listen.port : 0;
    if (taken.has(port)) throw new HoldfastError("usage", "it cannot listen there (EADDRINUSE)");
    told.push(`open ${port} ${metrics}`);
    return { [Symbol.asyncDispose]: async () => void told.push(`close ${port}`) };
  };
  return { probes: new Probes({ clock, log, serve }), clock, told, taken };
}

test("there is one listener, the one that is declared last", async () => {
  const { probes, told } = bench();
  await probes.listen(undefined);
  await probes.listen(at(1));
  await probes.listen(at(1));
  await probes.listen(at(1, false));
  await Promise.all([probes.listen(at(2)), probes.listen(at(3))]);
  await probes.listen(undefined);
  await probes.listen(at(4));
  await probes[Symbol.asyncDispose]();
  expect(told.filter((line) => !line.startsWith("info"))).toEqual(
    "open 1 true;close 1;open 1 false;close 1;open 2 true;close 2;open 3 true;close 3;open 4 true;close 4".split(";"),
  );
});

test("one that cannot listen is an error in the log, and is tried again until it can", async () => {
  const { probes, told, taken, clock } = bench();
  taken.add(1);
  await probes.listen(at(1));
  const failed = "error probes are NOT answered on 127.0.0.1:1: it cannot listen there (EADDRINUSE)";
  expect(told).toEqual([failed]);
  await clock.advance(60_000);
  expect(told).toEqual([failed, failed]);
  taken.clear();
  await clock.advance(60_000);
  expect(told.slice(2)).toEqual(["open 1 true", "info probes are answered on 127.0.0.1:1"]);
  await clock.advance(600_000);
  expect(told).toHaveLength(4);
  await probes[Symbol.asyncDispose]();
  expect(clock.sleeping).toBe(0);
});

test("what is not declared any more is not tried again", async () => {
  const { probes, told, taken, clock } = bench();
  taken.add(1);
  await probes.listen(at(1));
  await probes.listen(at(2));
  await clock.advance(600_000);
  expect(told.slice(1)).toEqual(["open 2 true", "info probes are answered on 127.0.0.1:2"]);
  taken.add(3);
  await probes.listen(at(3));
  await probes[Symbol.asyncDispose]();
  await clock.advance(600_000);
  expect(told.filter((line) => line.includes(":3"))).toHaveLength(1);
});
