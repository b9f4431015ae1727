import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** A line to a server on this machine that can be cut, and can fall silent. */
export class TcpProxy implements AsyncDisposable {
  readonly port: number;
  readonly #server: Server;
  readonly #pairs = new Set<{ near: Socket; far: Socket }>();
  #silent = false;
  /** Bytes of either direction after which the connection that carries them is reset; used up by one cut. */
  #cutAfter: { direction: "sent" | "answered"; bytes: number } | undefined;
  cuts = 0;

  private constructor(server: Server, to: number) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on("connection", (near: Socket) => {
      const far = connect(to, "127.0.0.1");
      const pair = { near, far };
      this.#pairs.add(pair);
      this.#carry(near, far, "sent", pair);
      this.#carry(far, near, "answered", pair);
    });
  }

  static async start(to: number): Promise<TcpProxy> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    return new TcpProxy(server, to);
  }

  /** Resets the connection that has carried so many more bytes, once. What came before them has arrived. */
  cutAfter(direction: "sent" | "answered", bytes: number): void {
    this.#cutAfter = { direction, bytes };
  }

  /** Whether the cut that was ordered is still to come. */
  get isArmed(): boolean {
    return this.#cutAfter !== undefined;
  }

  disarm(): void {
    this.#cutAfter = undefined;
  }

  /** Carries nothing any more, and closes nothing. */
  fallSilent(): void {
    this.#silent = true;
    for (const { near, far } of this.#pairs) {
      near.pause();
      far.pause();
    }
  }

  /** New connections are carried again; those that fell silent stay so. */
  speak(): void {
    this.#silent = false;
  }

  #carry(from: Socket, to: Socket, direction: "sent" | "answered", pair: { near: Socket; far: Socket }): void {
    from.setNoDelay(true);
    from.on("data", (bytes: Buffer) => {
      if (this.#silent) return;
      const cut = this.#cutAfter;
      if (cut?.direction !== direction || bytes.length < cut.bytes) {
        if (cut?.direction === direction) cut.bytes -= bytes.length;
        if (!to.write(bytes)) {
          from.pause();
          to.once("drain", () => this.#silent || from.resume());
        }
        return;
      }
      this.#cutAfter = undefined;
      this.cuts++;
      this.#pairs.delete(pair);
      from.removeAllListeners("data");
      // What goes to the server still arrives there; its answers do not.
      const last = bytes.subarray(0, cut.bytes);
      if (direction === "sent" && last.length > 0) pair.far.end(last);
      else pair.far.end();
      pair.near.resetAndDestroy();
    });
    from.on("error", () => undefined);
    from.on("close", () => {
      this.#pairs.delete(pair);
      if (!this.#silent) to.end();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { near, far } of this.#pairs) {
      near.destroy();
      far.destroy();
    }
    this.#server.close();
    await once(this.#server, "close");
  }
}
