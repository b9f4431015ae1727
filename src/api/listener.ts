/**
 * The API's server beside the control socket, as the configuration in force wants it: opened, moved and closed as it changes, its
 * tokens and certificate read anew with every reading. What cannot be opened is said and tried again; the daemon goes on.
 */
import { readFile } from "node:fs/promises";
import type { Server as SecureServer } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import { createSecureContext } from "node:tls";
import { asHoldfastError, errnoOf, HoldfastError, type ApiStatus, type DaemonControl, type ListenConfig } from "../index.ts";
import type { NetworkOptions } from "./network.ts";
import type { Api } from "./server.ts";
import { bindSocketAt } from "./socket.ts";
import { Tokens } from "./tokens.ts";

/** How often it is tried to open what could not be opened. */
const RETRY_MS = 30_000;
/** How long a stop waits for a secret or a file that is being read. */
const LAST_READING_MS = 2000;
/** Owner and group may connect; who has no token gets no further. */
const SOCKET_MODE = 0o660;

interface Tls {
  readonly cert: string;
  readonly key: string;
}

interface Open extends AsyncDisposable {
  /** Where, and whether with TLS. */
  readonly as: string;
  readonly api: Api;
}

export type Build = (network: NetworkOptions & { readonly tls?: Tls | undefined }) => Api;

export class Listener implements AsyncDisposable {
  readonly #control: DaemonControl;
  readonly #build: Build;
  readonly #tokens = new Tokens();
  readonly #reading: Disposable;
  #open: Open | undefined;
  #work: Promise<void> = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;
  #failure: string | undefined;
  #certificate: string | undefined;
  #disposed = false;
  /** Servers that take nothing new, and wait for the operations that are attached to them. */
  readonly #retiring = new Set<Open>();

  constructor(control: DaemonControl, build: Build) {
    this.#control = control;
    this.#build = build;
    this.#reading = control.access.onReading(() => void this.refresh());
  }

  /** Brings it to what the configuration says now. Never rejects. */
  async refresh(): Promise<void> {
    const done = this.#work.then(() => this.#refresh());
    this.#work = done;
    await done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    this.#reading[Symbol.dispose]();
    clearTimeout(this.#retry);
    const over = new AbortController();
    await Promise.race([this.#work, sleep(LAST_READING_MS, undefined, { signal: over.signal }).catch(() => undefined)]);
    over.abort();
    const all = this.#open === undefined ? [...this.#retiring] : [this.#open, ...this.#retiring];
    this.#open = undefined;
    await Promise.all(all.map((open) => open[Symbol.asyncDispose]()));
  }

  async #refresh(): Promise<void> {
    if (this.#disposed) return;
    clearTimeout(this.#retry);
    const { access } = this.#control;
    const { listen, tls, tokens } = access.config();
    await this.#tokens.read(tokens, access);
    if (this.#disposed) return;
    this.#open?.api.streams.keep((caller) => this.#tokens.isValid(caller));
    for (const { api } of this.#retiring) api.streams.close();
    if (listen === undefined) {
      if (this.#open !== undefined) access.log.info(`the API is no longer served at ${this.#open.as}`);
      this.#retire();
      this.#failure = undefined;
      access.report(undefined);
      return;
    }
    const where = textOf(listen);
    const as = `${tls === undefined ? (listen.kind === "unix" ? "" : "http://") : "https://"}${where}`;
    const status = (open: boolean, error?: HoldfastError): ApiStatus => ({
      listen: where,
      tls: tls !== undefined,
      open,
      ...(error !== undefined && { error: error.toWire() }),
    });
    try {
      if (this.#tokens.count === 0)
        throw new HoldfastError("api_unavailable", `The API at ${as} is not opened: it has no token that is accepted`, {
          hint: "The lines before say what is wrong with each token.",
        });
      const certificate = tls && (await readTls(tls));
      if (this.#disposed) return;
      if (this.#open?.as === as) this.#renew(certificate);
      else {
        // First the old one: the new one may want the same port.
        this.#retire();
        this.#certificate = certificate?.cert;
        this.#open = await this.#listen(listen, as, certificate);
        if (this.#disposed) return this.#retire();
        access.log.info(`the API is served at ${as}`, { tokens: this.#tokens.count });
      }
      this.#failure = undefined;
      access.report(status(true));
    } catch (thrown) {
      if (this.#disposed) return;
      const error = asHoldfastError(thrown);
      const { message, hint } = error;
      // A certificate that cannot be read takes nothing away from a server that has one.
      const goesOn = this.#open?.as === as && this.#tokens.count > 0;
      if (!goesOn) this.#retire();
      if (this.#failure !== message) access.log.error(goesOn ? `${message}; the one before is kept` : message, { hint });
      this.#failure = message;
      access.report(status(goesOn, error));
      this.#retry = setTimeout(() => void this.refresh(), RETRY_MS);
      this.#retry.unref();
    }
  }

  /** Takes over another certificate. */
  #renew(certificate: Tls | undefined): void {
    if (certificate === undefined || certificate.cert === this.#certificate) return;
    (this.#open?.api.app.server as unknown as SecureServer | undefined)?.setSecureContext(certificate);
    this.#certificate = certificate.cert;
    this.#control.access.log.info("the API has a new certificate");
  }

  async #listen(listen: ListenConfig, as: string, tls: Tls | undefined): Promise<Open> {
    const { access } = this.#control;
    const api = this.#build({
      tokens: this.#tokens,
      config: () => access.config(),
      isSecure: tls !== undefined,
      isUnix: listen.kind === "unix",
      tls,
    });
    await using stack = new AsyncDisposableStack();
    stack.defer(() => api.app.close());
    try {
      if (listen.kind === "tcp") await api.app.listen({ host: listen.host, port: listen.port });
      else
        stack.use(
          await bindSocketAt(listen.path, SOCKET_MODE, async (path) => {
            await api.app.listen({ path });
          }),
        );
    } catch (thrown) {
      if (thrown instanceof HoldfastError) throw thrown;
      const errno = errnoOf(thrown);
      throw new HoldfastError(
        "api_unavailable",
        `The API cannot be served at ${as} (${errno ?? asHoldfastError(thrown).message})`,
        {
          hint: HINTS[errno ?? ""] ?? "Check `control.listen`. It is tried again every half minute.",
          cause: thrown,
        },
      );
    }
    const kept = stack.move();
    return { as, api, [Symbol.asyncDispose]: () => kept.disposeAsync() };
  }

  /** Takes nothing more, at once; operations that somebody is attached to go on to their end. */
  #retire(): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#open = undefined;
    this.#retiring.add(open);
    open.api.app.server.close();
    open.api.streams.close();
    void open.api
      .idle()
      .then(() => open[Symbol.asyncDispose]())
      .catch((error: unknown) => this.#control.access.log.warn(asHoldfastError(error).message))
      .finally(() => this.#retiring.delete(open));
  }
}

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE:
    "Another program listens there. Give `control.listen` another port, or end it. It is tried again every half minute.",
  EACCES: "This user may not listen there: take a port above 1023, or give it CAP_NET_BIND_SERVICE.",
  EADDRNOTAVAIL: "This machine does not have that address (yet). It is tried again every half minute.",
  ENOTFOUND: "The name in `control.listen` has no address. It is tried again every half minute.",
};

function textOf(listen: ListenConfig): string {
  if (listen.kind === "unix") return `unix:${listen.path}`;
  return listen.host.includes(":") ? `[${listen.host}]:${listen.port}` : `${listen.host}:${listen.port}`;
}

/** The files of a certificate that fit each other. */
async function readTls({ cert, key }: Tls): Promise<Tls> {
  const [certText, keyText] = await Promise.all([cert, key].map((path) => readPem(path)));
  const tls = { cert: certText ?? "", key: keyText ?? "" };
  try {
    createSecureContext(tls);
  } catch (thrown) {
    // What OpenSSL says names neither file nor key.
    throw new HoldfastError("api_unavailable", `The certificate ${cert} and the key ${key} cannot be used (${codeOf(thrown)})`, {
      hint: "Both must be PEM, and the key must be that of the first certificate.",
    });
  }
  return tls;
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (thrown) {
    throw new HoldfastError("api_unavailable", `${path} cannot be read (${codeOf(thrown)})`, {
      hint: "`control.tls` names it. The user that runs the daemon must be able to read it.",
    });
  }
}

const codeOf = (thrown: unknown): string => errnoOf(thrown) ?? "unknown error";
