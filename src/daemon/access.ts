import type { ErrorWire } from "../base/errors.ts";
import type { Secret } from "../base/secret.ts";
import type { ControlConfig } from "../config/config.ts";
import type { SecretReference } from "../config/secret-reference.ts";
import { resolveSecret } from "../engine/secrets.ts";
import type { Log } from "../telemetry/log.ts";
import type { DaemonConfig } from "./reloader.ts";

/** How the API beside the control socket is. Plain. */
export interface ApiStatus {
  /** `127.0.0.1:9480`, `[::1]:9480`, `unix:/path`. */
  readonly listen: string;
  readonly tls: boolean;
  readonly open: boolean;
  /** Why it is not open. */
  readonly error?: ErrorWire | undefined;
}

/** What a server needs of the daemon to decide who may ask. */
export interface ApiAccess {
  /** As the configuration in force says. */
  config(): ControlConfig;
  /** Rejects with `secret_unavailable`. */
  secret(reference: SecretReference): Promise<Secret>;
  /** Calls `listener` after each reading of the configuration, whatever came of it: files that it names may have changed too. */
  onReading(listener: () => void): Disposable;
  readonly log: Log;
  /** Tells how the server is; undefined where none is asked for. */
  report(status: ApiStatus | undefined): void;
}

export class Access implements ApiAccess {
  readonly log: Log;
  readonly #current: () => DaemonConfig;
  readonly #listeners = new Set<() => void>();
  #status: ApiStatus | undefined;

  constructor(log: Log, current: () => DaemonConfig) {
    this.log = log;
    this.#current = current;
  }

  config(): ControlConfig {
    return this.#current().config.control;
  }

  async secret(reference: SecretReference): Promise<Secret> {
    return await resolveSecret(reference, this.#current().surroundings);
  }

  onReading(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  report(status: ApiStatus | undefined): void {
    this.#status = status;
  }

  get status(): ApiStatus | undefined {
    return this.#status;
  }

  /** To be called after each reading of the configuration. */
  wasRead(): void {
    for (const listener of this.#listeners) listener();
  }
}
