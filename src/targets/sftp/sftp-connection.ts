import { Client, type ClientErrorExtensions, type ConnectConfig, type SFTPWrapper } from "ssh2";
import { HoldfastError } from "../../base/errors.ts";
import { fingerprint, keyType, type HostKey } from "./host-key.ts";
import { statusOf, unreachable } from "./sftp-errors.ts";

/** How a server is reached and who asks. Plain values. */
export interface SftpLogin {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password?: string | undefined;
  /** A private key as OpenSSH, PEM or PuTTY write it. */
  readonly privateKey?: string | undefined;
  readonly passphrase?: string | undefined;
  /** Path of an agent's socket. */
  readonly agent?: string | undefined;
  /** The keys the host may show, at least one. */
  readonly hostKeys: readonly HostKey[];
  /** How long a server may answer nothing while something was asked; default a minute. */
  readonly silenceMs?: number | undefined;
}

const CONNECT_MS = 30_000;
const SILENCE_MS = 60_000;
const GOODBYE_MS = 2000;

type Done<T> = (error?: Error | null, value?: T) => void;

interface Open {
  readonly fail: (error: HoldfastError) => void;
  readonly doing: string;
}

/** One SSH connection with one SFTP channel. Once it has failed every call fails; make another one then. */
export class SftpConnection implements AsyncDisposable {
  readonly #client: Client;
  readonly #where: string;
  #sftp: SFTPWrapper | undefined;
  #failure: { readonly what: string; readonly cause: unknown } | undefined;
  readonly #open = new Set<Open>();
  #heardMs = 0;
  readonly #watch: NodeJS.Timeout;
  readonly #closed: Promise<void>;

  private constructor(client: Client, where: string, silenceMs: number) {
    this.#client = client;
    this.#where = where;
    this.#closed = new Promise((resolve) => client.once("close", () => resolve()));
    client.on("error", (error) => this.#fail(error.message, error));
    client.on("close", () => this.#fail("the connection was closed"));
    this.#watch = setInterval(() => {
      if (this.#open.size === 0 || performance.now() - this.#heardMs < silenceMs) return;
      this.#fail(`the server has not answered for ${silenceMs / 1000} s`);
    }, silenceMs / 10).unref();
  }

  /** Connects, proves the host, logs in and opens the channel. Rejects with `target_untrusted`, `target_denied` or `target_unreachable`. */
  static async connect(login: SftpLogin): Promise<SftpConnection> {
    const where = `${login.user}@${login.host}:${login.port}`;
    const client = new Client();
    let seen: Buffer | undefined;
    const ready = Promise.withResolvers<void>();
    // Where connecting throws at once, nobody waits for it.
    ready.promise.catch(() => undefined);
    client.once("ready", () => ready.resolve());
    client.on("error", (error) => ready.reject(loginError(error, login, where, seen)));
    client.once("close", () => ready.reject(unreachable(`connect to ${where}`, "the server closed the connection")));
    client.on("keyboard-interactive", (_name, _instructions, _language, prompts, answer) =>
      answer(prompts.map(() => login.password ?? "")),
    );
    try {
      client.connect(
        configOf(login, (key) => {
          seen = key;
          return login.hostKeys.some(({ blob }) => blob === key.toString("base64"));
        }),
      );
      await ready.promise;
    } catch (error) {
      client.destroy();
      throw error instanceof HoldfastError ? error : loginError(error as Error, login, where, seen);
    }
    // Small requests must not wait for each other's acknowledgement.
    client.setNoDelay(true);
    const connection = new SftpConnection(client, where, login.silenceMs ?? SILENCE_MS);
    try {
      const sftp = await connection.#channel();
      sftp.on("close", () => connection.#fail("the SFTP channel was closed"));
      sftp.on("error", (error: Error) => connection.#fail(error.message, error));
      connection.#sftp = sftp;
      return connection;
    } catch (error) {
      await connection[Symbol.asyncDispose]();
      throw error;
    }
  }

  get isOpen(): boolean {
    return this.#failure === undefined;
  }

  /**
   * One request and its answer: `start` sends it and calls `done` with what came back. `doing` completes "Cannot …". Rejects with
   * what the server said, as it said it, and with `target_unreachable` when the connection is lost meanwhile.
   */
  call<T>(doing: string, start: (sftp: SFTPWrapper, done: Done<T>) => void): Promise<T> {
    return this.#ask(doing, (done) => start(this.#sftp as SFTPWrapper, done));
  }

  #channel(): Promise<SFTPWrapper> {
    return this.#ask<SFTPWrapper>(`open the SFTP channel of ${this.#where}`, (done) => this.#client.sftp(done)).catch(
      (error: unknown) => {
        if (error instanceof HoldfastError) throw error;
        throw new HoldfastError("target_denied", `${this.#where} does not offer SFTP: ${(error as Error).message}`, {
          hint: "Enable the sftp subsystem on the server (`Subsystem sftp internal-sftp` in sshd_config), or name another account.",
          cause: error,
        });
      },
    );
  }

  #ask<T>(doing: string, start: (done: Done<T>) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(unreachable(doing, this.#failure.what, this.#failure.cause));
        return;
      }
      const now = performance.now();
      if (this.#open.size === 0) this.#heardMs = now;
      const open: Open = { fail: reject, doing };
      this.#open.add(open);
      try {
        start((error, value) => {
          this.#heardMs = performance.now();
          this.#open.delete(open);
          if (!error) resolve(value as T);
          else if (statusOf(error) !== undefined || this.#sftp === undefined) reject(error);
          // No answer of the server, but the end of the channel, or bytes that are none of this protocol.
          else {
            reject(unreachable(doing, error.message, error));
            this.#fail(error.message, error);
          }
        });
      } catch (error) {
        this.#open.delete(open);
        reject(error as Error);
      }
    });
  }

  #fail(what: string, cause?: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = { what, cause };
    clearInterval(this.#watch);
    for (const { fail, doing } of this.#open) fail(unreachable(doing, what, cause));
    this.#open.clear();
    this.#client.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#watch);
    this.#client.end();
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([this.#closed, new Promise<void>((resolve) => (timer = setTimeout(resolve, GOODBYE_MS)))]);
    clearTimeout(timer);
    this.#client.destroy();
  }
}

function configOf(login: SftpLogin, hostVerifier: (key: Buffer) => boolean): ConnectConfig {
  const { host, port, user: username, password, privateKey, passphrase, agent, hostKeys } = login;
  return {
    host,
    port,
    username,
    ...(password !== undefined && { password, tryKeyboard: true }),
    ...(privateKey !== undefined && { privateKey }),
    ...(passphrase !== undefined && { passphrase }),
    ...(agent !== undefined && { agent }),
    // The password last: it is sent to a server only where nothing else opens.
    authHandler: [
      ...(privateKey === undefined ? [] : ["publickey" as const]),
      ...(agent === undefined ? [] : ["agent" as const]),
      ...(password === undefined ? [] : ["password" as const, "keyboard-interactive" as const]),
    ],
    hostVerifier,
    readyTimeout: CONNECT_MS,
    keepaliveInterval: 15_000,
    keepaliveCountMax: 4,
    algorithms: {
      // What a processor does by itself comes first.
      cipher: { prepend: ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"], append: [], remove: [] },
      // The host has keys of several types, and shows the one that is asked for.
      serverHostKey: [...new Set(hostKeys.flatMap(({ type }) => signaturesOf(type)))] as NonNullable<
        ConnectConfig["algorithms"]
      >["serverHostKey"] &
        string[],
    },
  };
}

function signaturesOf(type: string): string[] {
  return type === "ssh-rsa" ? ["rsa-sha2-512", "rsa-sha2-256"] : [type];
}

function loginError(
  error: Error & Partial<ClientErrorExtensions>,
  login: SftpLogin,
  where: string,
  seen: Buffer | undefined,
): HoldfastError {
  const doing = `connect to ${where}`;
  if (seen !== undefined && !login.hostKeys.some(({ blob }) => blob === seen.toString("base64"))) {
    const line = `${keyType(seen) ?? "unknown"} ${seen.toString("base64")}`;
    return new HoldfastError(
      "target_untrusted",
      `${login.host} shows another key than the one it is known by: ${fingerprint(seen)}`,
      {
        hint: `Nothing was sent to it. Ask whoever runs the server; only when the key was really changed, put this one into the configuration: ${line}`,
        data: { host: login.host, key: line },
      },
    );
  }
  if (/no matching host key/i.test(error.message))
    return new HoldfastError("target_untrusted", `${login.host} has no key of the type it is known by`, {
      hint: `Known are: ${login.hostKeys.map(({ type }) => type).join(", ")}. Ask whoever runs the server for its key.`,
      cause: error,
    });
  if (error.level === "client-authentication")
    return new HoldfastError("target_denied", `${where} does not let Holdfast in`, {
      hint: `Tried: ${triedOf(login)}. Check the user, and that the server accepts it (for a key: the account's authorized_keys).`,
      cause: error,
    });
  if (/private ?key|passphrase|Encrypted/i.test(error.message))
    return new HoldfastError("secret_unavailable", `The identity file for ${where} cannot be used: ${error.message}`, {
      hint: "It must be a private key in OpenSSH, PEM or PuTTY format; when it is encrypted, give its `passphrase`.",
      cause: error,
    });
  return unreachable(doing, error.message === "" ? "it failed without saying why" : error.message, error);
}

function triedOf({ password, privateKey, agent }: SftpLogin): string {
  const tried = [
    privateKey !== undefined && "the identity file",
    agent !== undefined && "the agent",
    password !== undefined && "the password",
  ];
  const named = tried.filter((one) => one !== false);
  return named.length === 0 ? "nothing, for none of `identityFile`, `agent` and `password` is given" : named.join(", ");
}
