import { closeSync, constants, readdirSync } from "node:fs";
import { errnoOf, HoldfastError } from "../../base/errors.ts";
import { O_PATH, openAt, pathBelow, unlinkAt } from "../../posix/at.ts";
import { statAt, statFd } from "../../posix/stat.ts";
import { rawBytes } from "./directories.ts";

const OPEN_DIRECTORY = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const DOT_DOT = Buffer.from("..");
/** Removals between two turns of the event loop. */
const TURN = 256;

interface Level {
  readonly name: string;
  readonly inode: bigint;
  readonly device: bigint;
  names: string[];
}

/**
 * Removes what `name` below `dirFd` is, with everything in it; yields now and then, so that the caller can give others
 * their turn. Follows no symlink, enters no other file system (throws `restore_refused`), and holds one descriptor
 * whatever the depth. What has vanished meanwhile is fine.
 */
export function* removeTree(dirFd: number, name: string): Generator<void, void, undefined> {
  const stat = gone(() => statAt(dirFd, rawBytes(name)));
  if (stat === undefined) return;
  if ((stat.mode & constants.S_IFMT) !== constants.S_IFDIR) {
    gone(() => unlinkAt(dirFd, rawBytes(name)));
    return;
  }
  let fd = openAt(dirFd, rawBytes(name), OPEN_DIRECTORY);
  const { device } = statFd(fd);
  try {
    if (device !== statFd(dirFd).device) throw mounted(name);
    const stack: Level[] = [level(fd, name)];
    let removed = 0;
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const child = top.names.pop();
      if (child === undefined) {
        stack.pop();
        const above = stack.at(-1);
        if (above === undefined) break;
        const up = openAt(fd, DOT_DOT, OPEN_DIRECTORY);
        closeSync(fd);
        fd = up;
        const now = statFd(fd);
        // Somebody moved the folder while it was emptied: what is above it now is not ours to touch.
        if (now.inode !== above.inode || now.device !== above.device)
          throw new HoldfastError("restore_refused", `A folder was moved while it was deleted`, {
            hint: "Run the restore again.",
          });
        gone(() => unlinkAt(fd, rawBytes(top.name), { directory: true }));
      } else {
        const found = gone(() => statAt(fd, rawBytes(child)));
        if (found === undefined) continue;
        if ((found.mode & constants.S_IFMT) === constants.S_IFDIR) {
          if (found.device !== device) throw mounted(child);
          const next = gone(() => openAt(fd, rawBytes(child), OPEN_DIRECTORY));
          if (next === undefined) continue;
          closeSync(fd);
          fd = next;
          stack.push(level(fd, child));
        } else gone(() => unlinkAt(fd, rawBytes(child)));
      }
      if (++removed % TURN === 0) yield;
    }
  } finally {
    closeSync(fd);
  }
  gone(() => unlinkAt(dirFd, rawBytes(name), { directory: true }));
}

function level(fd: number, name: string): Level {
  const { inode, device } = statFd(fd);
  return { name, inode, device, names: readdirSync(pathBelow(fd), { encoding: "latin1" }) };
}

function mounted(name: string): HoldfastError {
  return new HoldfastError("restore_refused", `${name} is a mount point and is not deleted`, {
    hint: "Unmount it first if it should go.",
  });
}

/** The result of `act`, or undefined when what it concerns has vanished. */
function gone<Result>(act: () => Result): Result | undefined {
  try {
    return act();
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}
