import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { AddressInfo } from "node:net";
import { Server, utils, type SFTPWrapper } from "ssh2";
import type { SftpTargetSpec } from "../../src/targets/registry.ts";
import { parseHostKey } from "../../src/targets/sftp/host-key.ts";
import { keygen } from "./sftp-server.ts";
import { temporaryTree } from "./tree-literal.ts";

const { STATUS_CODE } = utils.sftp;
const FOLDER = 0o040755;
const FILE = 0o100600;

/** An SFTP server without extensions that keeps sizes only, and may not keep what it says it has. */
export class LyingSftpServer implements AsyncDisposable {
  /** The names that files were given. */
  readonly named: string[] = [];
  readonly #server: Server;
  readonly #hostKey: string;
  readonly #lie: string;
  readonly #sizes = new Map<string, number>();
  readonly #folders = new Set(["/", "/folder"]);

  private constructor(lie: string) {
    using folder = temporaryTree();
    // Of the keys that ssh2 makes by itself, one in two hundred cannot be read.
    const file = join(folder.path, "key");
    keygen(file, "ed25519");
    const key = readFileSync(file);
    this.#hostKey = readFileSync(`${file}.pub`, "utf8");
    this.#lie = lie;
    this.#server = new Server({ hostKeys: [key] }, (client) => {
      client.on("error", () => undefined);
      client.on("authentication", (context) => context.accept());
      client.on("session", (accept) => void accept().on("sftp", (acceptSftp) => this.#serve(acceptSftp())));
    });
  }

  static async start(lie: "loses the end" | "writes nothing" | "says the truth"): Promise<LyingSftpServer> {
    const liar = new LyingSftpServer(lie);
    liar.#server.listen(0, "127.0.0.1");
    await once(liar.#server, "listening");
    return liar;
  }

  spec(): Omit<SftpTargetSpec, "driver"> {
    const { port } = this.#server.address() as AddressInfo;
    return { host: "127.0.0.1", port, user: "x", password: "x", hostKeys: [parseHostKey(this.#hostKey)!], path: "/folder" };
  }

  #serve(sftp: SFTPWrapper): void {
    const done = (id: number): void => sftp.status(id, STATUS_CODE.OK);
    const attributes = (path: string): Parameters<SFTPWrapper["attrs"]>[1] | undefined => {
      const size = this.#sizes.get(path);
      if (size === undefined && !this.#folders.has(path)) return undefined;
      return { mode: size === undefined ? FOLDER : FILE, uid: 0, gid: 0, size: size ?? 0, atime: 0, mtime: 0 };
    };
    const look = (id: number, path: string): void => {
      const found = attributes(path);
      if (found === undefined) sftp.status(id, STATUS_CODE.NO_SUCH_FILE);
      else sftp.attrs(id, found);
    };
    sftp.on("STAT", look);
    sftp.on("FSTAT", (id, handle) => look(id, handle.toString()));
    sftp.on("MKDIR", (id, path) => {
      this.#folders.add(path);
      done(id);
    });
    sftp.on("OPEN", (id, path) => {
      if (!this.#folders.has(path.slice(0, path.lastIndexOf("/")))) return sftp.status(id, STATUS_CODE.NO_SUCH_FILE);
      this.#sizes.set(path, 0);
      sftp.handle(id, Buffer.from(path));
    });
    sftp.on("WRITE", (id, handle, offset, bytes) => {
      const path = handle.toString();
      const kept =
        this.#lie === "writes nothing" ? 0 : Math.min(offset + bytes.length, this.#lie === "loses the end" ? 1000 : Infinity);
      this.#sizes.set(path, Math.max(this.#sizes.get(path) ?? 0, kept));
      done(id);
    });
    sftp.on("CLOSE", done);
    sftp.on("REMOVE", (id, path) => {
      this.#sizes.delete(path);
      done(id);
    });
    sftp.on("RENAME", (id, from, to) => {
      if (!this.#folders.has(to.slice(0, to.lastIndexOf("/")))) return sftp.status(id, STATUS_CODE.NO_SUCH_FILE);
      this.named.push(to);
      this.#sizes.set(to, this.#sizes.get(from) ?? 0);
      this.#sizes.delete(from);
      done(id);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await once(this.#server, "close").catch(() => undefined);
  }
}
