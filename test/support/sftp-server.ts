import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { SftpTargetSpec } from "../../src/targets/registry.ts";
import { parseHostKey, type HostKey } from "../../src/targets/sftp/host-key.ts";
import { freePort } from "./free-port.ts";

const SSHD = "/usr/sbin/sshd";

/** OpenSSH's own server on a port of its own, with its keys and files in one folder. */
export class SftpServer implements AsyncDisposable {
  static readonly isInstalled = existsSync(SSHD);
  readonly folder: string;
  readonly port: number;
  readonly user = userInfo().username;
  readonly hostKeys: readonly HostKey[];
  readonly privateKey: string;
  readonly keyFile: string;
  readonly #options: readonly string[];
  #child: ChildProcess | undefined;

  private constructor(folder: string, port: number, options: readonly string[]) {
    this.folder = folder;
    this.port = port;
    this.#options = options;
    for (const type of ["ed25519", "rsa"]) keygen(join(folder, `host_${type}`), type);
    this.keyFile = join(folder, "id");
    keygen(this.keyFile, "ed25519");
    writeFileSync(join(folder, "authorized_keys"), readFileSync(`${this.keyFile}.pub`), { mode: 0o600 });
    this.privateKey = readFileSync(this.keyFile, "utf8");
    this.hostKeys = ["ed25519", "rsa"].map((type) => parseHostKey(readFileSync(join(folder, `host_${type}.pub`), "utf8"))!);
    mkdirSync(join(folder, "data"));
  }

  /** `options` are further lines of sshd_config. */
  static async start(options: readonly string[] = []): Promise<SftpServer> {
    const server = new SftpServer(mkdtempSync(join(tmpdir(), "holdfast-sshd-")), await freePort(), options);
    await server.begin();
    return server;
  }

  /** Lets a key in. */
  allow(publicKey: string): void {
    appendFileSync(join(this.folder, "authorized_keys"), publicKey);
  }

  /** Lets nobody in any more, until keys are allowed again, and cuts who is there. */
  lock(): void {
    writeFileSync(join(this.folder, "authorized_keys"), "");
    this.cut();
  }

  /** Ends every connection; new ones are taken. */
  cut(): void {
    for (const pid of this.sessions()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has just ended by itself.
      }
    }
  }

  async begin(): Promise<void> {
    const configuration = join(this.folder, "sshd_config");
    writeFileSync(
      configuration,
      [
        `Port ${this.port}`,
        "ListenAddress 127.0.0.1",
        `HostKey ${this.folder}/host_ed25519`,
        `HostKey ${this.folder}/host_rsa`,
        `AuthorizedKeysFile ${this.folder}/authorized_keys`,
        `PidFile ${this.folder}/pid`,
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "MaxStartups 100",
        ...this.#options,
        ...(this.#options.some((line) => line.startsWith("Subsystem")) ? [] : ["Subsystem sftp internal-sftp"]),
        "",
      ].join("\n"),
    );
    if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true });
    this.#child = spawn(SSHD, ["-D", "-f", configuration, "-E", join(this.folder, "log")], { stdio: "ignore" });
    for (let waited = 0; !(await answers(this.port)); waited += 20) {
      if (waited > 10_000 || this.#child.exitCode !== null)
        throw new Error(`sshd did not start: ${readFileSync(join(this.folder, "log"), "utf8")}`);
      await sleep(20);
    }
  }

  /** Ends it, and what it began for its connections. */
  async end(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const ended = once(child, "exit");
    this.cut();
    this.#child = undefined;
    child.kill("SIGKILL");
    await ended;
  }

  /** The processes that serve connections. */
  sessions(): number[] {
    return this.#child === undefined ? [] : descendants(this.#child.pid as number);
  }

  spec(path: string, options: Partial<SftpTargetSpec> = {}): Omit<SftpTargetSpec, "driver"> {
    const { port, user, privateKey, hostKeys } = this;
    return { host: "127.0.0.1", port, user, privateKey, hostKeys, path: join(this.folder, path), ...options };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function keygen(file: string, type: string, passphrase = ""): void {
  execFileSync("ssh-keygen", ["-q", "-t", type, "-N", passphrase, "-C", "holdfast-test", "-f", file]);
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "data");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

function descendants(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
  return children.flatMap((child) => {
    try {
      return [...descendants(child), child];
    } catch {
      return [];
    }
  });
}
