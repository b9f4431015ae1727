import { closeSync } from "node:fs";
import { libc, posixSupport } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0x80000;
const MSG_DONTWAIT_NOSIGNAL = 0x40 | 0x4000;
/** sockaddr_un: two bytes of family, and the path with its NUL in 108 (unix(7)). */
const MAX_PATH_BYTES = 107;

/**
 * Sends one datagram to a Unix socket, as sd_notify(3) does; Node has none of these. `path` begins with `@` for a name in the
 * abstract namespace. False when it could not be sent: nobody listens, or the system has no such call. Never waits, never throws.
 */
export function sendToUnixSocket(path: string, message: string): boolean {
  const name = Buffer.from(path);
  if (name.length === 0 || name.length > MAX_PATH_BYTES || !posixSupport().available) return false;
  const isAbstract = name[0] === 0x40;
  if (isAbstract) name[0] = 0;
  const address = Buffer.alloc(2 + name.length + (isAbstract ? 0 : 1));
  address.writeUInt16LE(AF_UNIX);
  address.set(name, 2);
  const fd = libc().socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) return false;
  try {
    const bytes = Buffer.from(message);
    return libc().sendto(fd, bytes, bytes.length, MSG_DONTWAIT_NOSIGNAL, address, address.length) === bytes.length;
  } finally {
    closeSync(fd);
  }
}
