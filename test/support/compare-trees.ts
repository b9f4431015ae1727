/**
 * The judge of every restore: compares two folders with Node's own calls and nothing of the walker. Folders are held
 * open and entries reached through /proc/self/fd, so paths may be of any length. Only attributes and
 * holes come through src/posix, whose tests check them against other means.
 */
import { closeSync, constants, lstatSync, openSync, readdirSync, readlinkSync, readSync, type BigIntStats } from "node:fs";
import { pathText } from "../../src/base/path-text.ts";
import { dataRanges } from "../../src/posix/extents.ts";
import { readXattrs } from "../../src/posix/xattr.ts";

export type Aspect = "content" | "mode" | "owner" | "mtime" | "xattrs" | "target" | "device" | "links" | "sparse";

export interface CompareOptions {
  /** What not to compare, for restores that cannot have it (owners without root). Names, types and sizes always count. */
  readonly ignore?: readonly Aspect[];
  /** Leaves out the two folders' own metadata. */
  readonly ignoreRoot?: boolean;
  /** Xattr names to leave out. */
  readonly ignoreXattrs?: readonly string[];
  /** Stop after so many differences. Default 200. */
  readonly limit?: number;
}

const BLOCK_BYTES = 1 << 20;
const OPEN_FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const OPEN_FILE = constants.O_RDONLY | constants.O_NOFOLLOW;

/**
 * The differences between `original` and `copy`, one line each, in tree order; empty when they are equal. Compared are
 * names, types, bytes, modes, owners, modification times to the nanosecond, xattrs with ACLs, symlink targets, device
 * numbers, which names are hard links of each other, and that the copy takes little more space than the original.
 */
export function compareTrees(original: string, copy: string, options: CompareOptions = {}): string[] {
  const comparison = new Comparison(options);
  const [a, b] = [openSync(original, OPEN_FOLDER), openSync(copy, OPEN_FOLDER)];
  try {
    if (options.ignoreRoot !== true) comparison.root(a, b);
    comparison.folders(a, b, "");
  } catch (error) {
    if (error !== TOO_MANY) throw error;
  } finally {
    closeSync(a);
    closeSync(b);
  }
  return comparison.differences;
}

const TOO_MANY = new Error("enough differences");

class Comparison {
  readonly differences: string[] = [];
  readonly #ignored: ReadonlySet<Aspect>;
  readonly #ignoredXattrs: ReadonlySet<string>;
  readonly #limit: number;
  /** First path seen of each linked inode, on either side. */
  readonly #firstA = new Map<string, string>();
  readonly #firstB = new Map<string, string>();
  readonly #blockA = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  readonly #blockB = Buffer.allocUnsafeSlow(BLOCK_BYTES);

  constructor(options: CompareOptions) {
    this.#ignored = new Set(options.ignore);
    this.#ignoredXattrs = new Set(options.ignoreXattrs);
    this.#limit = options.limit ?? 200;
  }

  root(a: number, b: number): void {
    const [pathA, pathB] = [under(a, "."), under(b, ".")];
    this.#metadata(pathA, pathB, lstat(pathA), lstat(pathB), "");
  }

  folders(a: number, b: number, path: string): void {
    const [namesA, namesB] = [namesOf(a), namesOf(b)];
    let i = 0;
    let j = 0;
    while (i < namesA.length || j < namesB.length) {
      const [nameA, nameB] = [namesA[i], namesB[j]];
      if (nameB === undefined || (nameA !== undefined && nameA < nameB)) {
        this.#report(`${path}/${nameA}`, "is missing");
        i++;
      } else if (nameA === undefined || nameB < nameA) {
        this.#report(`${path}/${nameB}`, "should not be there");
        j++;
      } else {
        this.#entries(a, b, nameA, `${path}/${nameA}`);
        i++;
        j++;
      }
    }
  }

  #entries(a: number, b: number, name: string, path: string): void {
    const [pathA, pathB] = [under(a, name), under(b, name)];
    const [statA, statB] = [lstat(pathA), lstat(pathB)];
    const [typeA, typeB] = [typeOf(statA), typeOf(statB)];
    if (typeA !== typeB) {
      this.#report(path, `is a ${typeB}, not a ${typeA}`);
      return;
    }
    this.#metadata(pathA, pathB, statA, statB, path);
    if (typeA !== "folder") this.#links(statA, statB, path);
    if (typeA === "file") this.#files(pathA, pathB, statA, statB, path);
    else if (typeA === "symlink" && this.#checks("target")) {
      const [targetA, targetB] = [readlinkSync(pathA, { encoding: "latin1" }), readlinkSync(pathB, { encoding: "latin1" })];
      if (targetA !== targetB) this.#report(path, `points to ${shown(targetB)}, not to ${shown(targetA)}`);
    } else if ((typeA === "character device" || typeA === "block device") && this.#checks("device")) {
      if (statA.rdev !== statB.rdev) this.#report(path, `is device ${statB.rdev}, not ${statA.rdev}`);
    } else if (typeA === "folder") {
      const [openA, openB] = [openSync(pathA, OPEN_FOLDER), openSync(pathB, OPEN_FOLDER)];
      try {
        this.folders(openA, openB, path);
      } finally {
        closeSync(openA);
        closeSync(openB);
      }
    }
  }

  #metadata(pathA: Buffer, pathB: Buffer, a: BigIntStats, b: BigIntStats, path: string): void {
    // A symlink's permission bits mean nothing and cannot be set.
    if (this.#checks("mode") && !a.isSymbolicLink() && a.mode !== b.mode)
      this.#report(path, `has mode ${(b.mode & 0o7777n).toString(8)}, not ${(a.mode & 0o7777n).toString(8)}`);
    if (this.#checks("owner") && (a.uid !== b.uid || a.gid !== b.gid))
      this.#report(path, `belongs to ${b.uid}:${b.gid}, not to ${a.uid}:${a.gid}`);
    if (this.#checks("mtime") && a.mtimeNs !== b.mtimeNs) this.#report(path, `has mtime ${b.mtimeNs}, not ${a.mtimeNs}`);
    if (this.#checks("xattrs")) this.#xattrs(pathA, pathB, path);
  }

  #xattrs(pathA: Buffer, pathB: Buffer, path: string): void {
    const [a, b] = [this.#xattrMap(pathA), this.#xattrMap(pathB)];
    for (const [name, value] of a) {
      const other = b.get(name);
      if (other === undefined) this.#report(path, `lacks the attribute ${shown(name)}`);
      else if (!value.equals(other)) this.#report(path, `has another value of the attribute ${shown(name)}`);
    }
    for (const name of b.keys()) if (!a.has(name)) this.#report(path, `has the additional attribute ${shown(name)}`);
  }

  #xattrMap(path: Buffer): Map<string, Buffer> {
    const found = new Map<string, Buffer>();
    for (const { name, value } of readXattrs(path)) {
      const text = Buffer.from(name).toString("latin1");
      if (!this.#ignoredXattrs.has(text)) found.set(text, Buffer.from(value));
    }
    return found;
  }

  #links(a: BigIntStats, b: BigIntStats, path: string): void {
    if (!this.#checks("links") || (a.nlink === 1n && b.nlink === 1n)) return;
    const [firstA, firstB] = [firstOf(this.#firstA, a, path), firstOf(this.#firstB, b, path)];
    if (firstA === firstB) return;
    const says = (first: string): string => (first === path ? "nothing before it" : shown(first));
    this.#report(path, `is a hard link of ${says(firstB)}, not of ${says(firstA)}`);
  }

  #files(pathA: Buffer, pathB: Buffer, a: BigIntStats, b: BigIntStats, path: string): void {
    if (a.size !== b.size) {
      this.#report(path, `has ${b.size} bytes, not ${a.size}`);
      return;
    }
    const [size, usedA, usedB] = [Number(a.size), Number(a.blocks) * 512, Number(b.blocks) * 512];
    if (this.#checks("content") && size > 0) this.#bytes(pathA, pathB, path, size, usedA < size && usedB < size);
    if (this.#checks("sparse") && usedB > usedA * 1.1 + 65_536) this.#report(path, `takes ${usedB} bytes on disk, not ${usedA}`);
  }

  #bytes(pathA: Buffer, pathB: Buffer, path: string, size: number, sparse: boolean): void {
    const a = openSync(pathA, OPEN_FILE);
    try {
      const b = openSync(pathB, OPEN_FILE);
      try {
        // What is a hole on both sides is equal; reading it would fill the file cache with zeros.
        const ranges = sparse ? [...dataRanges(a, size), ...dataRanges(b, size)] : [{ offset: 0, length: size }];
        for (const { offset, length } of ranges) {
          const different = this.#firstDifference(a, b, offset, offset + length);
          if (different === undefined) continue;
          this.#report(path, `has other bytes at ${different}`);
          return;
        }
      } finally {
        closeSync(b);
      }
    } finally {
      closeSync(a);
    }
  }

  #firstDifference(a: number, b: number, start: number, end: number): number | undefined {
    for (let offset = start; offset < end;) {
      const wanted = Math.min(BLOCK_BYTES, end - offset);
      const [lengthA, lengthB] = [readSync(a, this.#blockA, 0, wanted, offset), readSync(b, this.#blockB, 0, wanted, offset)];
      const length = Math.min(lengthA, lengthB);
      if (this.#blockA.compare(this.#blockB, 0, length, 0, length) !== 0)
        return offset + this.#blockA.subarray(0, length).findIndex((byte, index) => byte !== this.#blockB[index]);
      if (length === 0) return offset;
      offset += length;
    }
    return undefined;
  }

  #checks(aspect: Aspect): boolean {
    return !this.#ignored.has(aspect);
  }

  #report(path: string, difference: string): void {
    this.differences.push(`${path === "" ? "/" : shown(path)} ${difference}`);
    if (this.differences.length >= this.#limit) throw TOO_MANY;
  }
}

function under(fd: number, latin1: string): Buffer {
  return Buffer.from(`/proc/self/fd/${fd}/${latin1}`, "latin1");
}

function lstat(path: Buffer): BigIntStats {
  return lstatSync(path, { bigint: true });
}

function namesOf(fd: number): string[] {
  return readdirSync(`/proc/self/fd/${fd}`, { encoding: "latin1" }).sort();
}

function typeOf(stat: BigIntStats): string {
  if (stat.isFile()) return "file";
  if (stat.isDirectory()) return "folder";
  if (stat.isSymbolicLink()) return "symlink";
  if (stat.isFIFO()) return "FIFO";
  if (stat.isSocket()) return "socket";
  return stat.isBlockDevice() ? "block device" : "character device";
}

function firstOf(seen: Map<string, string>, stat: BigIntStats, path: string): string {
  const key = `${stat.dev}:${stat.ino}`;
  const first = seen.get(key);
  if (first === undefined) seen.set(key, path);
  return first ?? path;
}

function shown(latin1: string): string {
  return pathText(Buffer.from(latin1, "latin1"));
}
