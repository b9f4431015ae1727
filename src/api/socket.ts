/**
 * The control socket's place in the file system. It is bound inside a new folder of mode 0700, gets its mode 0600 there, and is
 * then renamed to its name: at no moment may anybody else connect, and what a dead daemon left is replaced.
 */
import { once } from "node:events";
import { chmodSync, closeSync, constants, existsSync, lstatSync, mkdtempSync, openSync, renameSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { dirname, join } from "node:path";
import { asHoldfastError, errnoOf, HoldfastError } from "../index.ts";

export const SOCKET = "control.sock";
/** What `bind` takes on every system: `sun_path` has 104 bytes on some, with the zero at the end. */
const MAX_PATH_BYTES = 103;

/**
 * Has `listen` bind a socket, and gives it its name in `stateDir`. Resolves when others may connect; disposing removes the name,
 * unless another socket has it by now. Rejects with `state_unusable`.
 */
export async function bindSocket(stateDir: string, listen: (path: string) => Promise<void>): Promise<AsyncDisposable> {
  return await bind(join(stateDir, SOCKET), 0o600, listen);
}

/**
 * The same at any path, with any mode. What others use is not replaced: neither a file of another kind, nor a socket where
 * somebody answers. Rejects with `api_unavailable`.
 */
export async function bindSocketAt(
  path: string,
  mode: number,
  listen: (path: string) => Promise<void>,
): Promise<AsyncDisposable> {
  const inTheWay = await whatIsAt(path);
  if (inTheWay !== undefined)
    throw new HoldfastError("api_unavailable", `The API cannot be served at ${path}: ${inTheWay}`, {
      hint: "Give `control.listen` another path, or take away what is there.",
    });
  try {
    return await bind(path, mode, listen);
  } catch (error) {
    const { message, hint } = asHoldfastError(error);
    throw new HoldfastError("api_unavailable", message, { hint: hint ?? "Check `control.listen`.", cause: error });
  }
}

async function whatIsAt(path: string): Promise<string | undefined> {
  const status = lstatSync(path, { throwIfNoEntry: false });
  if (status === undefined) return undefined;
  if (!status.isSocket()) return "there is something else";
  const socket = connect(path);
  try {
    await once(socket, "connect");
    return "another program listens there";
  } catch {
    return undefined;
  } finally {
    socket.destroy();
  }
}

async function bind(path: string, mode: number, listen: (path: string) => Promise<void>): Promise<AsyncDisposable> {
  let folder: string | undefined;
  let fd: number | undefined;
  try {
    folder = mkdtempSync(join(dirname(path), ".control-"));
    fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
    // A path by descriptor is short, however deep the folder lies.
    const byDescriptor = `/proc/self/fd/${fd}/socket`;
    const direct = join(folder, "socket");
    await listen(existsSync(`/proc/self/fd/${fd}`) ? byDescriptor : checkedLength(direct));
    chmodSync(direct, mode);
    const { dev, ino } = lstatSync(direct);
    renameSync(direct, path);
    rmSync(folder, { recursive: true });
    const kept = fd;
    return {
      [Symbol.asyncDispose]: async () => {
        // Kept open until now: what is bound by a path is removed by it, and the number must not mean another folder then.
        closeSync(kept);
        try {
          const now = lstatSync(path);
          if (now.dev === dev && now.ino === ino) rmSync(path);
        } catch (error) {
          if (errnoOf(error) !== "ENOENT") throw error;
        }
      },
    };
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
    if (error instanceof HoldfastError) throw error;
    throw new HoldfastError("state_unusable", `The socket ${path} cannot be made (${errnoOf(error) ?? "unknown error"})`, {
      hint: "Its folder must be on a local file system that this user may write, and nothing else may be in the socket's place.",
      cause: error,
    });
  }
}

function checkedLength(path: string): string {
  if (Buffer.byteLength(path) <= MAX_PATH_BYTES) return path;
  throw new HoldfastError("state_unusable", `The path of the socket is too long for this system: ${path}`, {
    hint: "Give `daemon.stateDir`, or `control.listen`, a shorter path.",
  });
}
