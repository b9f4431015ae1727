// Run by swap-attack.ts: swaps folders and files of a destination for symlinks to a canary and back, in a tight loop, until
// it is ended. Arguments: destination, a folder on the same file system, canary, seed. Prints what it did when told to stop.
import { closeSync, constants, mkdirSync, readdirSync, renameSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { errnoOf } from "../../src/base/errors.ts";
import { AT_FDCWD, mkdirAt, O_PATH, openAt, pathBelow } from "../../src/posix/at.ts";
import { cString, libc } from "../../src/posix/libc.ts";
import { SeededNumbers } from "./changing-tree.ts";

const RENAME_EXCHANGE = 2;
const FOLDER = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW;
const [out, attic, canary, seed] = process.argv.slice(2) as [string, string, string, string];
const numbers = new SeededNumbers(`attack ${seed}`);
const done = { folders: 0, files: 0, temporaries: 0, misses: 0 };

mkdirSync(attic);
const folderSpare = join(attic, "folder");
const fileSpare = join(attic, "file");
let taken = 0;

/** True when `act` did it; false when something was in its way. */
function tolerate(act: () => void): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}

/** Gives `act` a folder of the destination. The attacker itself must not go through its own symlinks: the canary is not its to change. */
function inFolder(names: readonly string[], act: (fd: number) => void): void {
  let fd: number | undefined;
  tolerate(() => {
    fd = openAt(AT_FDCWD, Buffer.from(out), FOLDER);
    for (const name of names) {
      const next = openAt(fd, Buffer.from(name), FOLDER);
      closeSync(fd);
      fd = next;
    }
    act(fd);
  });
  if (fd !== undefined) closeSync(fd);
}

/** The symlink takes the place of what is there, which goes to where the symlink was. */
function exchange(fd: number, name: string, spare: string): boolean {
  const [a, b] = [cString(Buffer.from(name)), cString(Buffer.from(spare), 1)];
  return libc().renameat2(fd, a, AT_FDCWD, b, RENAME_EXCHANGE) === 0;
}

function takeAway(spare: string): void {
  tolerate(() => renameSync(spare, join(attic, `taken-${taken++}`)));
}

const child = (): string => `d${numbers.below(3)}`;
const somewhere = (): string[] => Array.from({ length: numbers.below(3) }, child);

/** A folder becomes a symlink to its like in the canary, or to all of it; half the time it comes back at once. */
function swapFolder(): void {
  const [names, name] = [somewhere(), child()];
  tolerate(() => symlinkSync(numbers.below(2) === 0 ? join(canary, ...names, name) : canary, folderSpare));
  inFolder(names, (fd) => {
    if (!exchange(fd, name, folderSpare)) return void done.misses++;
    done.folders++;
    if (numbers.below(2) === 0) exchange(fd, name, folderSpare);
    else takeAway(folderSpare);
  });
}

function swapFile(): void {
  const name = numbers.pick(["f0", "f1", "link", "pipe", "twin", "extra"]);
  tolerate(() => symlinkSync(join(canary, "file"), fileSpare));
  inFolder(somewhere(), (fd) => {
    if (!exchange(fd, name, fileSpare)) return void done.misses++;
    done.files++;
    takeAway(fileSpare);
  });
}

/** What a restore is just writing becomes a symlink under its hands. */
function swapTemporary(): void {
  inFolder(somewhere(), (fd) => {
    for (const name of readdirSync(pathBelow(fd), "utf8").filter((each) => each.startsWith(".holdfast-"))) {
      tolerate(() => symlinkSync(join(canary, "file"), fileSpare));
      if (!exchange(fd, name, fileSpare)) continue;
      done.temporaries++;
      takeAway(fileSpare);
    }
  });
}

function leaveSomething(): void {
  inFolder(somewhere(), (fd) => {
    tolerate(() => mkdirAt(fd, Buffer.from("more"), 0o755));
    tolerate(() => closeSync(openAt(fd, Buffer.from("extra"), NEW_FILE, 0o644)));
  });
}

const acts = [swapFolder, swapFolder, swapFolder, swapFile, swapTemporary, leaveSomething] as const;
process.stdin.on("data", () => {
  process.stdout.write(JSON.stringify(done));
  process.exit(0);
});
process.stdout.write("ready\n");
function turn(): void {
  for (let i = 0; i < 200; i++) numbers.pick(acts)();
  setImmediate(turn);
}
turn();
