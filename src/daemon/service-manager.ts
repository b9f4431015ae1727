import type { Clock } from "../base/clock.ts";
import { sendToUnixSocket } from "../posix/notify-socket.ts";

/** Ticks of CLOCK_MONOTONIC in microseconds, which `RELOADING=1` must carry. */
const monotonicUs = (): bigint => process.hrtime.bigint() / 1000n;

export interface ServiceManagerOptions {
  /** Of the process: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
}

/**
 * Tells systemd, or whatever else started the daemon, how it is doing (sd_notify(3)), and that it is alive as often as
 * asked. Silent where nobody asked, and never a reason to fail.
 */
export class ServiceManager implements Disposable {
  readonly #socket: string;
  readonly #stop = new AbortController();
  #status = "";

  constructor({ env, clock }: ServiceManagerOptions) {
    this.#socket = env["NOTIFY_SOCKET"] ?? "";
    const watchdogUs = Number(env["WATCHDOG_USEC"] ?? 0);
    const isForUs = env["WATCHDOG_PID"] === undefined || env["WATCHDOG_PID"] === String(process.pid);
    if (this.#socket !== "" && watchdogUs > 0 && isForUs) void this.#keepAlive(clock, watchdogUs / 2000);
  }

  ready(): void {
    this.#send("READY=1");
  }

  /** The configuration is being read; `ready` ends it. */
  reloading(): void {
    this.#send(`RELOADING=1\nMONOTONIC_USEC=${monotonicUs()}`);
  }

  stopping(): void {
    this.#send("STOPPING=1\nSTATUS=Stopping");
  }

  /** One line for `systemctl status`. */
  status(text: string): void {
    const line = text.replaceAll(/[\r\n]+/g, " ");
    if (line !== this.#status) this.#send(`STATUS=${line}`);
    this.#status = line;
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
  }

  #send(message: string): void {
    if (this.#socket !== "") sendToUnixSocket(this.#socket, message);
  }

  /** Twice as often as asked, from the loop that all runs are started from: one that hangs is silent. */
  async #keepAlive(clock: Clock, everyMs: number): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#send("WATCHDOG=1");
      await clock.sleep(everyMs, signal).catch(() => undefined);
    }
  }
}
