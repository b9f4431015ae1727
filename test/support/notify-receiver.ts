/** The other end of sd_notify(3): a datagram socket that keeps what it is sent. Node has none, so it is the C library's. */
import { createRequire } from "node:module";
import { closeSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import type * as KoffiModule from "koffi";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const MSG_DONTWAIT = 0x40;

export interface NotifyReceiver extends Disposable {
  /** What came so far, oldest first. */
  readonly messages: readonly string[];
  /** Resolves when a message that has `text` came after the first `from` ones. */
  receives(text: string, from?: number): Promise<string>;
}

/** Listens at `path`, below 108 bytes; `@name` is an abstract one. */
export function notifyReceiver(path: string): NotifyReceiver {
  const koffi = createRequire(import.meta.url)("koffi") as typeof KoffiModule;
  const libc = koffi.load(null);
  const socket = libc.func("socket", "int", ["int", "int", "int"]) as (...args: number[]) => number;
  const bind = libc.func("bind", "int", ["int", "void *", "uint"]) as (fd: number, address: Buffer, size: number) => number;
  const recv = libc.func("recv", "int64_t", ["int", "void *", "size_t", "int"]) as (
    fd: number,
    into: Buffer,
    size: number,
    flags: number,
  ) => number;
  const fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  const address = Buffer.alloc(2 + path.length + (path.startsWith("@") ? 0 : 1));
  address.writeUInt16LE(AF_UNIX);
  address.write(path.replace(/^@/, "\0"), 2);
  if (fd < 0 || bind(fd, address, address.length) !== 0) throw new Error(`cannot listen at ${path}`);
  const messages: string[] = [];
  const buffer = Buffer.alloc(65_536);
  const drain = (): void => {
    for (
      let size = recv(fd, buffer, buffer.length, MSG_DONTWAIT);
      size >= 0;
      size = recv(fd, buffer, buffer.length, MSG_DONTWAIT)
    )
      messages.push(buffer.toString("utf8", 0, Number(size)));
  };
  return {
    get messages() {
      drain();
      return messages;
    },
    async receives(text, from = 0) {
      for (;;) {
        drain();
        const found = messages.slice(from).find((message) => message.includes(text));
        if (found !== undefined) return found;
        // There is nothing to wait for but the next look.
        await setTimeout(10);
      }
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
}
