/**
 * A seeded scheduler of actors that share one simulated target. Every call of an actor waits here; at each step the seed
 * decides whose call is let through, whether time passes, and who is frozen (SIGSTOP) or dies (SIGKILL). Actors have clocks of
 * their own beside the target's, and `setInterval` follows them. All is one thread, and nothing real is waited for but the
 * key derivation, during which nothing else can happen: what a run does follows from its seed alone.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Clock } from "../../src/base/clock.ts";
import { HoldfastError } from "../../src/base/errors.ts";
import type { TargetVerb } from "../../src/targets/wrap/wrapped-target.ts";
import { SeededNumbers } from "./changing-tree.ts";
import type { Gate } from "./simulated-target.ts";

const MINUTE = 60_000;
/** Time passes in steps no longer than this, between which leases are renewed as they would be. */
const SLICE_MS = 15 * MINUTE;
/** Turns of the event loop after which an actor that neither asks nor sleeps hangs; a key derivation takes a few hundred. */
const TURNS = 1_000_000;

interface Call {
  readonly verb: TargetVerb;
  readonly name: string;
  /** Of a timer, while the actor's main work goes on. */
  readonly background: boolean;
  /** Does it on the target; the answer is given by the function returned. */
  readonly perform: () => () => void;
}

interface Timer {
  readonly fire: () => void;
  readonly everyMs: number;
  nextMs: number;
}

interface Sleeper {
  readonly wakeMs: number;
  readonly wake: () => void;
}

/** What happens to an actor when it is about to make a certain call. */
export interface Trap {
  readonly verb: TargetVerb;
  /** Beginning of the name. */
  readonly name: string;
  /** Which of these calls, from 1. */
  nth: number;
  readonly act:
    | { readonly kind: "freeze"; readonly forMs: number; readonly performed: boolean; readonly bootTimeStops: boolean }
    | { readonly kind: "kill"; readonly performed: boolean }
    /** The others go on for so many steps first; no time is taken from the actor. */
    | { readonly kind: "hold"; readonly steps: number }
    /** Its wall clock is set. */
    | { readonly kind: "jump"; readonly byMs: number };
}

export class Actor {
  readonly name: string;
  /** Its clock's distance from the target's. */
  offsetMs = 0;
  /** Time that its monotonic clock did not count. */
  uncountedMs = 0;
  frozenUntilMs: number | undefined;
  heldSteps = 0;
  dead = false;
  done = false;
  /** It was frozen, its clock was set, or it could not renew: it may be too late for what it does. */
  disturbed = false;
  /** What follows when it is killed. */
  onKilled: () => void = () => undefined;
  failure: unknown;
  /** False: its timers' calls get nowhere, as if the network were slow. */
  renews = true;
  weight = 1;
  traps: Trap[] = [];
  readonly pending: Call[] = [];
  readonly answers: (() => void)[] = [];
  readonly sleepers = new Set<Sleeper>();
  readonly timers = new Set<Timer>();

  constructor(name: string) {
    this.name = name;
  }

  get alive(): boolean {
    return !this.dead && !this.done;
  }

  get frozen(): boolean {
    return this.frozenUntilMs !== undefined;
  }
}

export class Simulation {
  readonly numbers: SeededNumbers;
  readonly actors: Actor[] = [];
  readonly counts = new Map<string, number>();
  /** What happened, newest last, for whoever has to understand a failure. */
  readonly log: string[] = [];
  /** The target's time. */
  nowMs = Date.parse("2026-03-01T00:00:00Z");
  steps = 0;
  /** How readily another actor goes on at each step, 0 to 1. */
  switching = 0.2;
  /** How often time passes between two steps, 0 to 1. */
  passing = 0.01;
  readonly #context = new AsyncLocalStorage<{ readonly actor: Actor; readonly background: boolean }>();
  readonly #startMs = this.nowMs;
  #current: Actor | undefined;
  #over = false;

  constructor(seed: string) {
    this.numbers = new SeededNumbers(seed);
  }

  count(event: string): void {
    this.counts.set(event, (this.counts.get(event) ?? 0) + 1);
  }

  note(text: string): void {
    this.log.push(`${new Date(this.nowMs).toISOString().slice(5, 19)} ${text}`);
  }

  /** True in `chance` of 1 of all cases. */
  chance(chance: number): boolean {
    return this.numbers.unit() < chance;
  }

  clockOf(actor: Actor): Clock {
    return {
      now: () => this.nowMs + actor.offsetMs,
      monotonic: () => this.nowMs - this.#startMs - actor.uncountedMs,
      sleep: (delayMs) =>
        new Promise<void>((resolve) => {
          const sleeper: Sleeper = {
            wakeMs: this.nowMs + delayMs,
            wake: () => {
              actor.sleepers.delete(sleeper);
              resolve();
            },
          };
          actor.sleepers.add(sleeper);
        }),
    };
  }

  /** Once the run is over every call is let through at once. */
  gateOf(actor: Actor): Gate {
    return (verb, name, perform) =>
      new Promise((resolve, reject) => {
        if (this.#over) {
          resolve(new Promise((settle) => settle(perform())));
          return;
        }
        const background = this.#context.getStore()?.background ?? false;
        actor.pending.push({
          verb,
          name,
          background,
          perform: () => {
            try {
              const result = perform();
              return () => resolve(result);
            } catch (error) {
              return () => reject(error);
            }
          },
        });
      });
  }

  spawn(actor: Actor, program: () => Promise<void>): void {
    this.actors.push(actor);
    this.#context.run({ actor, background: false }, () => {
      program().then(
        () => (actor.done = true),
        (error: unknown) => {
          actor.failure = error;
          actor.done = true;
        },
      );
    });
  }

  /** Runs until every actor has ended or died. Rejects with what an actor rejected with, or when one hangs. */
  async run(maxSteps: number): Promise<void> {
    const real = { setInterval: globalThis.setInterval, clearInterval: globalThis.clearInterval };
    this.#takeIntervals(real);
    try {
      for (;;) {
        await this.#quiesce();
        for (const { failure } of this.actors) if (failure !== undefined) throw failure;
        if (!this.actors.some(({ alive }) => alive)) return;
        if (++this.steps > maxSteps) throw new Error(`No end after ${maxSteps} steps`);
        await this.#step();
      }
    } finally {
      this.#over = true;
      Object.assign(globalThis, real);
    }
  }

  async #step(): Promise<void> {
    if (this.chance(this.passing)) await this.pass(this.numbers.pick([1, 5, 20, 45, 130]) * MINUTE);
    const able = this.actors.filter((actor) => actor.alive && !actor.frozen && actor.pending.length > 0);
    const ready = able.filter(({ heldSteps }) => heldSteps === 0);
    for (const actor of able) if (actor.heldSteps > 0) actor.heldSteps = ready.length === 0 ? 0 : actor.heldSteps - 1;
    if (ready.length === 0) {
      if (able.length === 0) await this.#passToNext();
      return;
    }
    const actor = this.#choose(ready);
    const at = this.numbers.below(actor.pending.length);
    const call = actor.pending[at] as Call;
    if (this.#sprung(actor, call)) return;
    actor.pending.splice(at, 1);
    call.perform()();
  }

  #choose(ready: readonly Actor[]): Actor {
    if (this.#current === undefined || !ready.includes(this.#current) || this.chance(this.switching)) {
      let left = this.numbers.unit() * ready.reduce((sum, { weight }) => sum + weight, 0);
      this.#current = ready.find(({ weight }) => (left -= weight) < 0) ?? ready[0];
    }
    return this.#current as Actor;
  }

  /** True when a trap takes the actor out before (or just after) this call. */
  #sprung(actor: Actor, call: Call): boolean {
    const trap = actor.traps.find(({ verb, name }) => verb === call.verb && call.name.startsWith(name));
    if (trap === undefined || --trap.nth > 0) return false;
    actor.traps = actor.traps.filter((one) => one !== trap);
    const { act } = trap;
    this.note(`${actor.name}: ${act.kind} at ${call.verb} ${call.name.slice(0, 24)}`);
    this.count(act.kind);
    if (act.kind === "hold") {
      actor.heldSteps = act.steps;
      return true;
    }
    if (act.kind === "jump") {
      actor.offsetMs += act.byMs;
      actor.disturbed = true;
      return true;
    }
    if (act.performed) {
      actor.pending.splice(actor.pending.indexOf(call), 1);
      actor.answers.push(call.perform());
    }
    if (act.kind === "kill") this.kill(actor);
    else {
      actor.disturbed = true;
      actor.frozenUntilMs = this.nowMs + act.forMs;
      if (act.bootTimeStops) actor.uncountedMs += act.forMs;
    }
    return true;
  }

  /** Ends an actor where it stands: nothing it waits for ever comes. */
  kill(actor: Actor): void {
    actor.dead = true;
    actor.pending.length = 0;
    actor.answers.length = 0;
    actor.timers.clear();
    actor.sleepers.clear();
    actor.onKilled();
  }

  /** Lets time pass for everyone; those who live renew their leases meanwhile. */
  async pass(durationMs: number): Promise<void> {
    const end = this.nowMs + durationMs;
    while (this.nowMs < end) {
      // A long sleep of everyone is not worth thousands of slices.
      const holders = this.actors.some(({ alive, timers }) => alive && timers.size > 0);
      this.nowMs = Math.min(end, this.nowMs + (holders ? SLICE_MS : durationMs));
      for (const actor of this.actors) {
        if (!actor.alive) continue;
        if (actor.frozenUntilMs !== undefined) {
          if (actor.frozenUntilMs > this.nowMs) continue;
          actor.frozenUntilMs = undefined;
          this.note(`${actor.name}: goes on`);
          for (const answer of actor.answers.splice(0)) answer();
        }
        this.#fireTimers(actor);
        for (const sleeper of actor.sleepers) if (sleeper.wakeMs <= this.nowMs) sleeper.wake();
      }
      await this.#serveRenewals();
    }
  }

  #fireTimers(actor: Actor): void {
    for (const timer of actor.timers) {
      if (timer.nextMs > this.nowMs) continue;
      timer.nextMs = this.nowMs + timer.everyMs;
      this.#context.run({ actor, background: true }, timer.fire);
    }
  }

  async #serveRenewals(): Promise<void> {
    for (;;) {
      await this.#quiesce();
      const actor = this.actors.find((one) => one.alive && !one.frozen && one.renews && one.pending.some(isBackground));
      if (actor === undefined) return;
      this.count("renewal calls");
      const [call] = actor.pending.splice(actor.pending.findIndex(isBackground), 1) as [Call];
      call.perform()();
    }
  }

  /** Nobody can go on at this time: it passes until the first one can. */
  async #passToNext(): Promise<void> {
    const times = this.actors
      .filter(({ alive }) => alive)
      .flatMap(({ frozenUntilMs, sleepers }) =>
        frozenUntilMs === undefined ? [...sleepers].map(({ wakeMs }) => wakeMs) : [frozenUntilMs],
      );
    if (times.length === 0) throw new Error("Everyone waits, and for nothing");
    await this.pass(Math.max(1, Math.min(...times) - this.nowMs));
  }

  /** Until every actor that could go on waits for a call, sleeps, or has ended. */
  async #quiesce(): Promise<void> {
    for (let turn = 0; turn < TURNS; turn++) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      const busy = this.actors.find(
        ({ alive, frozen, pending, sleepers }) => alive && !frozen && pending.length === 0 && sleepers.size === 0,
      );
      if (busy === undefined) return;
    }
    throw new Error("An actor neither asks the target nor sleeps");
  }

  #takeIntervals(real: { setInterval: typeof setInterval; clearInterval: typeof clearInterval }): void {
    const timers = new Map<object, { timer: Timer; actor: Actor }>();
    const take = (fire: () => void, everyMs: number): unknown => {
      const actor = this.#context.getStore()?.actor;
      if (actor === undefined) return real.setInterval(fire, everyMs);
      const timer = { fire, everyMs, nextMs: this.nowMs + everyMs };
      const handle = { unref: () => handle };
      actor.timers.add(timer);
      timers.set(handle, { timer, actor });
      return handle;
    };
    const drop = (handle: object | undefined): void => {
      const known = handle === undefined ? undefined : timers.get(handle);
      if (known === undefined) real.clearInterval(handle as NodeJS.Timeout | undefined);
      else known.actor.timers.delete(known.timer);
    };
    Object.assign(globalThis, { setInterval: take, clearInterval: drop });
  }
}

function isBackground({ background }: Call): boolean {
  return background;
}

/** The code of an error, or its text where it has none. */
export function codeOf(error: unknown): string {
  return error instanceof HoldfastError ? error.code : String(error);
}
