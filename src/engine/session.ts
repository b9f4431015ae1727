import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { asHoldfastError, HoldfastError } from "../base/errors.ts";
import type { RunListener } from "../base/events.ts";
import type { Randomness } from "../base/random.ts";
import type { Config, JobConfig, TargetConfig } from "../config/config.ts";
import type { Format, Store, StoreOptions, Unlocking } from "../formats/format.ts";
import { formatOf } from "../formats/registry.ts";
import { locationOf } from "../plan/changes.ts";
import type { State } from "../state/state.ts";
import { accessBySpec, type TargetAccess } from "../targets/access.ts";
import { accessThroughCache } from "../targets/wrap/cache.ts";
import type { RetryNotice } from "../targets/wrap/retry.ts";
import { kdfChoice, settlePassword, unlockingForNew, unlockings } from "./encryption.ts";
import { record, type Actor } from "./audit.ts";
import type { SecretContext } from "./secrets.ts";
import { targetSpec } from "./target-spec.ts";

const RETRY_NOTICE_MS = 15_000;

/** What surrounds a session: everything the engine would otherwise take from the process. */
export interface Surroundings extends SecretContext {
  readonly clock: Clock;
  readonly random: Randomness;
  readonly toolVersion: string;
  /** Text of the configuration files before interpolation, kept when it is accepted. */
  readonly configText: string;
  /** Git commit of the configuration's work tree, when it lies in one; asking git may take as long as opening a target. */
  readonly gitCommit: Promise<string | undefined> | string | undefined;
  readonly listener: RunListener;
  /** Who does what is done here, for the audit log. */
  readonly actor?: Actor;
  /** Another way to a target; tests put memory targets here. */
  readonly accessFor?: (target: TargetConfig) => TargetAccess | undefined;
  /** Bytes after which a pack is closed; tests make them small. */
  readonly packBytes?: number;
}

/** A store that could not be opened, and why. */
export interface ClosedStore {
  readonly target: TargetConfig;
  readonly error: HoldfastError;
}

/**
 * One configuration at work: its state and the stores opened so far. Opens each target at most once and checks it against
 * its pin. Disposing closes the stores; the state belongs to whoever made it.
 */
export class Session implements AsyncDisposable {
  readonly config: Config;
  readonly state: State;
  readonly surroundings: Surroundings;
  #stores = new Map<string, Promise<Store>>();
  /** Targets that only a previous password opened. */
  #openedByPrevious = new Set<string>();
  /** Targets whose key slots were looked at since they were opened. */
  #settledKeys = new Set<string>();

  constructor(config: Config, state: State, surroundings: Surroundings) {
    this.config = config;
    this.state = state;
    this.surroundings = surroundings;
  }

  /** This session with more listeners: the same stores, which stay this one's to close. Never dispose what this returns. */
  alsoTelling(listener: RunListener, onWarning: (text: string) => void): Session {
    const { surroundings } = this;
    const also = new Session(this.config, this.state, {
      ...surroundings,
      listener: (event) => {
        surroundings.listener(event);
        listener(event);
      },
      onWarning: (text) => {
        surroundings.onWarning?.(text);
        onWarning(text);
      },
    });
    also.#stores = this.#stores;
    also.#openedByPrevious = this.#openedByPrevious;
    also.#settledKeys = this.#settledKeys;
    return also;
  }

  target(name: string): TargetConfig {
    const target = this.config.targets.get(name);
    if (target === undefined)
      throw new HoldfastError("name_unknown", `There is no target ${name}`, {
        hint: `The configuration has: ${[...this.config.targets.keys()].join(", ") || "none"}.`,
      });
    return target;
  }

  job(name: string): JobConfig {
    const job = this.config.jobs.get(name);
    if (job === undefined)
      throw new HoldfastError("name_unknown", `There is no job ${name}`, {
        hint: `The configuration has: ${[...this.config.jobs.keys()].join(", ") || "none"}.`,
      });
    return job;
  }

  /** The open store of a target. Rejects with `repository_missing`, `repository_changed`, `key_wrong`, or what the target says. */
  async store(name: string): Promise<Store> {
    const target = this.target(name);
    let store = this.#stores.get(name);
    if (store === undefined) {
      const opening = this.#open(target);
      store = opening;
      this.#stores.set(name, opening);
      // A failure is not kept: the disk may be mounted by the next call.
      opening.catch(() => {
        if (this.#stores.get(name) === opening) this.#stores.delete(name);
      });
    }
    return await store;
  }

  /** Every store that opens among `names` (default: all targets), and why the others do not. */
  async stores(names: readonly string[] = [...this.config.targets.keys()]): Promise<{ open: Store[]; closed: ClosedStore[] }> {
    const open: Store[] = [];
    const closed: ClosedStore[] = [];
    const results = await Promise.allSettled(names.map((name) => this.store(name)));
    results.forEach((result, i) => {
      if (result.status === "fulfilled") open.push(result.value);
      else closed.push({ target: this.target(names[i] as string), error: asHoldfastError(result.reason) });
    });
    return { open, closed };
  }

  /** Makes the store of a target that has none, and pins it. Targets of one configuration share a lineage. */
  async create(name: string, options: { readonly recreate: boolean }): Promise<Store> {
    const target = this.target(name);
    const pinned = this.state.pin(target.name, locationOf(target));
    if (pinned !== undefined && !options.recreate) throw changed(target, "it held a repository before and is empty now");
    const format = await formatOf(target.format.kind);
    const store = await this.#withAccess(target, true, async (storeOptions) => {
      if (await format.exists(storeOptions))
        throw new HoldfastError("repository_exists", `Target ${name} already holds a repository`, {
          hint: "Nothing was changed. To begin anew, move it away first.",
        });
      const { encryption } = target;
      if (encryption === undefined) return await format.create(storeOptions, undefined, undefined, []);
      const unlocking = await unlockingForNew(encryption, this.surroundings, this.surroundings.random);
      const kin = (await this.stores([...this.config.targets.keys()].filter((other) => other !== name))).open;
      return await format.create(storeOptions, unlocking, kdfChoice(encryption), kin);
    });
    const before = this.#stores.get(name);
    this.#stores.set(name, Promise.resolve(store));
    this.#pin(target, store);
    // What was open here before is gone from the target.
    await before?.then((old) => old[Symbol.asyncDispose]()).catch(() => undefined);
    return store;
  }

  /**
   * Completes a change of password: where only a `previous` one opens a target, a key slot for the current one is written and
   * proven, then the old slot is removed. A crash in between leaves both, and the next call removes the old one. Returns what
   * was done, and what could not be, for people; the target stays usable either way. Rejects only when cancelled.
   */
  async settleKeys(
    names: readonly string[],
    signal?: AbortSignal,
  ): Promise<{ readonly level: "info" | "warn"; readonly text: string }[]> {
    const told: { level: "info" | "warn"; text: string }[] = [];
    for (const name of names) {
      const { encryption } = this.target(name);
      if (encryption?.kind !== "password" || encryption.previous.length === 0 || this.#settledKeys.has(name)) continue;
      // Before anything is awaited: two runs that begin together must not both do it.
      this.#settledKeys.add(name);
      try {
        const { keySlots } = await this.store(name);
        const [current] = await unlockings(encryption, this.surroundings);
        if (keySlots === undefined || current === undefined) continue;
        const text = await settlePassword(keySlots, current, {
          opened: !this.#openedByPrevious.has(name),
          kdf: kdfChoice(encryption),
          signal,
        });
        if (text !== undefined)
          record(this, { action: "key.change", subject: name, detail: { done: text } }, { outcome: "accepted" });
        this.#openedByPrevious.delete(name);
        if (text !== undefined) told.push({ level: "info", text: `target ${name}: ${text}` });
      } catch (error) {
        this.#settledKeys.delete(name);
        signal?.throwIfAborted();
        const { message, hint } = asHoldfastError(error);
        told.push({
          level: "warn",
          text: `The password of target ${name} is not changed yet: ${message}${hint === undefined ? "" : ` (${hint})`}`,
        });
      }
    }
    return told;
  }

  async #open(target: TargetConfig): Promise<Store> {
    const format: Format = await formatOf(target.format.kind);
    const pinned = this.state.pin(target.name, locationOf(target)) !== undefined;
    // A folder that is not there is a new target, unless something was seen in it before: then its disk is missing.
    const store = await this.#withAccess(target, !pinned, async (options) => {
      const missing = (): HoldfastError =>
        pinned
          ? changed(target, "it held a repository before and is empty now")
          : new HoldfastError("repository_missing", `Target ${target.name} holds no repository yet`, {
              hint: "`holdfast apply` creates it. If there should be one, check the path and that its disk is mounted.",
            });
      let ways: Unlocking[];
      try {
        ways = await unlockings(target.encryption, this.surroundings);
      } catch (error) {
        // Of a target that has nothing to open yet, nobody needs the key: it may only be made with it.
        throw (await format.exists(options)) ? error : missing();
      }
      try {
        return await this.#unlock(target, format, options, ways);
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
        if (pinned && error.code === "target_unreachable" && error.data?.["path"] === target.path)
          throw changed(target, "its folder does not exist any more");
        throw error.code === "repository_missing" ? missing() : error;
      }
    });
    try {
      this.#checkPin(target, store);
    } catch (error) {
      await store[Symbol.asyncDispose]();
      throw error;
    }
    return store;
  }

  async #unlock(
    target: TargetConfig,
    format: Format,
    options: StoreOptions,
    [current, ...previous]: readonly Unlocking[],
  ): Promise<Store> {
    this.#openedByPrevious.delete(target.name);
    try {
      return await format.open(options, current === undefined ? [] : [current]);
    } catch (error) {
      if (previous.length === 0 || !(error instanceof HoldfastError) || error.code !== "key_wrong") throw error;
      const store = await format.open(options, previous);
      this.#openedByPrevious.add(target.name);
      return store;
    }
  }

  /** Closes one store; the next use opens it anew, and pins what it is then. */
  async close(name: string): Promise<void> {
    const store = this.#stores.get(name);
    this.#stores.delete(name);
    await (await store?.catch(() => undefined))?.[Symbol.asyncDispose]();
  }

  /** Runs `act` with access to the target, which is released when `act` fails; the store owns it afterwards. */
  async #withAccess(target: TargetConfig, create: boolean, act: (options: StoreOptions) => Promise<Store>): Promise<Store> {
    const direct =
      this.surroundings.accessFor?.(target) ??
      (await accessBySpec(await targetSpec(target, create, this.surroundings), {
        ...this.surroundings,
        onRetry: this.#retryTeller(target),
      }));
    const access = accessThroughCache(direct, join(this.config.daemon.cacheDir, cacheNameOf(target)));
    try {
      return await act({
        name: target.name,
        access,
        clock: this.surroundings.clock,
        random: this.surroundings.random,
        host: this.config.host,
        signal: this.surroundings.signal,
        appendOnly: target.appendOnly,
        packBytes: this.surroundings.packBytes,
      });
    } catch (error) {
      await access[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Says now and then that a target is tried again: until it answers, a command seems to do nothing. */
  #retryTeller({ name }: TargetConfig): (retry: RetryNotice) => void {
    let saidMs = Number.NEGATIVE_INFINITY;
    return ({ error }) => {
      const nowMs = this.surroundings.clock.monotonic();
      if (nowMs - saidMs < RETRY_NOTICE_MS) return;
      saidMs = nowMs;
      this.surroundings.onWarning?.(`target ${name}: ${error.message}; it is tried again`);
    };
  }

  #checkPin(target: TargetConfig, store: Store): void {
    const pin = this.state.pin(target.name, locationOf(target));
    if (pin !== undefined && store.identity !== undefined) {
      const { repository } = store.identity;
      if (pin.repository !== repository)
        throw changed(target, `it holds repository ${repository.slice(0, 8)}…, not ${pin.repository.slice(0, 8)}… as before`);
      if (store.identity.generation < pin.generation)
        throw changed(target, "its keyring is older than the one seen before: the target was rolled back");
    }
    this.#pin(target, store);
  }

  #pin(target: TargetConfig, store: Store): void {
    if (store.identity === undefined) return;
    this.state.setPin({ target: target.name, location: locationOf(target), ...store.identity }, this.surroundings.clock.now());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const stores = await Promise.allSettled(this.#stores.values());
    this.#stores.clear();
    await Promise.allSettled(
      stores.flatMap((result) => (result.status === "fulfilled" ? [result.value[Symbol.asyncDispose]()] : [])),
    );
  }
}

/** Of the place, not of the name: copies of one target are of no use to another. */
function cacheNameOf(target: TargetConfig): string {
  return createHash("sha256").update(locationOf(target)).digest("hex").slice(0, 32);
}

function changed(target: TargetConfig, what: string): HoldfastError {
  return new HoldfastError("repository_changed", `Target ${target.name} is not what it was: ${what}`, {
    hint: "Check that the right disk is mounted at the right place. If the repository is really gone and a new one shall begin: `holdfast apply --allow recreate`.",
    data: { target: target.name },
  });
}
