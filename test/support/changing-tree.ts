/** A tree of files that lives: made from a seed, and changed from run to run in every way that backup programs get wrong. */
import { createCipheriv, createHash } from "node:crypto";
import {
  chmodSync,
  closeSync,
  existsSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { errnoOf } from "../../src/base/errors.ts";
import { AT_FDCWD, setTimesAt } from "../../src/posix/at.ts";
import { setXattr } from "../../src/posix/xattr.ts";

export interface TreeSize {
  readonly files: number;
  readonly bytes: number;
}

/** Numbers that depend on the seed alone (xorshift32, seeded through SHA-256). */
export class SeededNumbers {
  #state: number;

  constructor(seed: string) {
    this.#state = createHash("sha256").update(seed).digest().readUInt32LE(0) || 1;
  }

  /** 0 ≤ n < 1. */
  unit(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state / 2 ** 32;
  }

  /** An integer from 0 to below `limit`. */
  below(limit: number): number {
    return Math.floor(this.unit() * limit);
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
}

const FILES_A_FOLDER = 40;
/** Parts of the files that one step touches. */
const CHANGED = 0.04;
const REPLACED = 0.02;
const MOVED = 0.01;

/**
 * The tree below `root`. Equal seeds give equal trees and equal changes, times excepted. Every eighth file cannot be
 * compressed, the others are text. The sum of bytes stays near the one asked for.
 */
export class ChangingTree {
  readonly root: string;
  readonly #size: TreeSize;
  readonly #numbers: SeededNumbers;
  /** Relative paths of regular files, with their sizes. */
  readonly #files = new Map<string, number>();
  readonly #others: string[] = [];
  #folders: string[] = [];
  #named = 0;

  constructor(root: string, seed: string, size: TreeSize) {
    this.root = root;
    this.#size = size;
    this.#numbers = new SeededNumbers(`tree ${seed}`);
  }

  /** Makes the tree in an empty or missing folder. */
  create(): void {
    mkdirSync(this.root, { recursive: true });
    const folders = Math.max(1, Math.ceil(this.#size.files / FILES_A_FOLDER));
    this.#folders.push("");
    while (this.#folders.length < folders) this.#makeFolder();
    // A few files hold much, most hold little: like real folders.
    const weights = Array.from({ length: this.#size.files }, () => 1 / (0.02 + this.#numbers.unit()));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (const weight of weights) this.#makeFile(Math.round((weight / total) * this.#size.bytes));
    this.#links(3);
  }

  /** One round of changes: about a tenth of the files. */
  change(): void {
    const count = (part: number): number => Math.max(1, Math.round(this.#size.files * part));
    for (let i = count(CHANGED); i > 0; i--) this.#rewrite();
    for (let i = count(REPLACED); i > 0; i--) this.#remove();
    for (let i = count(MOVED); i > 0; i--) this.#move();
    for (let i = count(MOVED); i > 0; i--) this.#retouch();
    if (this.#others.length > 12) for (const path of this.#others.splice(0, 4)) rmSync(this.#at(path), { force: true });
    this.#links(2);
    this.#specials();
    this.#makeFolder();
    this.#renameFolder();
    this.#refill();
  }

  #at(path: string): string {
    return join(this.root, path);
  }

  #newName(): string {
    return `${this.#numbers.pick(["report", "data", "Notes", "ümlaut", "a b"])}-${this.#named++}`;
  }

  #makeFolder(): void {
    const parent = this.#numbers.pick(this.#folders);
    const path = parent.split("/").length > 6 ? this.#newName() : join(parent, this.#newName());
    mkdirSync(this.#at(path));
    this.#folders.push(path);
  }

  #makeFile(bytes: number): void {
    const path = join(this.#numbers.pick(this.#folders), this.#newName());
    writeFileSync(this.#at(path), this.#content(bytes));
    this.#files.set(path, bytes);
  }

  #content(bytes: number): Buffer {
    const key = createHash("md5").update(String(this.#numbers.unit())).digest();
    const content = createCipheriv("aes-128-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(bytes));
    if (this.#numbers.below(8) > 0) for (let i = 0; i < bytes; i++) content[i] = 0x61 + ((content[i] as number) & 7);
    return content;
  }

  #anyFile(): string {
    return this.#numbers.pick([...this.#files.keys()]);
  }

  /** In place: bytes in the middle, at the end, at the start, fewer, none, or equal ones under a new time. */
  #rewrite(): void {
    const path = this.#anyFile();
    const size = this.#files.get(path) ?? 0;
    const fd = openSync(this.#at(path), "r+");
    let next = size;
    switch (this.#numbers.below(6)) {
      case 0:
        writeSync(fd, this.#content(Math.min(4096, size)), 0, undefined, this.#numbers.below(Math.max(1, size - 4096)));
        break;
      case 1: {
        const more = this.#content(1 + this.#numbers.below(Math.max(64, size >> 3)));
        writeSync(fd, more, 0, undefined, size);
        next = size + more.length;
        break;
      }
      case 2:
        next = this.#numbers.below(size + 1);
        ftruncateSync(fd, next);
        break;
      case 3:
        writeSync(fd, this.#content(size), 0, undefined, 0);
        break;
      case 4:
        next = 0;
        ftruncateSync(fd, 0);
        break;
      default:
        // A byte that stays what it is moves the times alone; another one keeps the size.
        if (size > 0) writeSync(fd, Buffer.from([this.#numbers.below(256)]), 0, 1, this.#numbers.below(size));
    }
    closeSync(fd);
    this.#files.set(path, next);
  }

  #remove(): void {
    const path = this.#anyFile();
    unlinkSync(this.#at(path));
    this.#files.delete(path);
  }

  #move(): void {
    const from = this.#anyFile();
    const to = join(this.#numbers.pick(this.#folders), this.#newName());
    renameSync(this.#at(from), this.#at(to));
    this.#files.set(to, this.#files.get(from) ?? 0);
    this.#files.delete(from);
  }

  /** Metadata only. */
  #retouch(): void {
    const path = Buffer.from(this.#at(this.#anyFile()));
    const nanoseconds =
      BigInt(1_600_000_000 + this.#numbers.below(100_000_000)) * 1_000_000_000n + BigInt(this.#numbers.below(1_000_000_000));
    switch (this.#numbers.below(3)) {
      case 0:
        chmodSync(path, this.#numbers.pick([0o600, 0o644, 0o755, 0o640, 0o4711]));
        break;
      case 1:
        setTimesAt(AT_FDCWD, path, undefined, nanoseconds);
        break;
      default:
        try {
          setXattr(path, Buffer.from("user.round"), Buffer.from(String(this.#numbers.below(1000))));
        } catch (error) {
          if (!["ENOTSUP", "EOPNOTSUPP", "EACCES"].includes(errnoOf(error) ?? "")) throw error;
        }
    }
  }

  #links(count: number): void {
    for (let i = 0; i < count; i++) {
      const target = this.#anyFile();
      const hard = join(this.#numbers.pick(this.#folders), this.#newName());
      linkSync(this.#at(target), this.#at(hard));
      const soft = join(this.#numbers.pick(this.#folders), this.#newName());
      symlinkSync(this.#numbers.pick([target, "../nowhere", "."]), this.#at(soft));
      this.#others.push(hard, soft);
    }
  }

  /** A file with holes, an empty one, and a folder that becomes a file. */
  #specials(): void {
    const sparse = join(this.#numbers.pick(this.#folders), this.#newName());
    const fd = openSync(this.#at(sparse), "w");
    writeSync(fd, "middle", 1 << 20);
    ftruncateSync(fd, 3 << 20);
    closeSync(fd);
    this.#others.push(sparse);
    const swapped = this.#at("swapped");
    const wasFolder = existsSync(join(swapped, "inside"));
    rmSync(swapped, { recursive: true, force: true });
    if (wasFolder) writeFileSync(swapped, "a file now");
    else {
      mkdirSync(swapped);
      writeFileSync(join(swapped, "inside"), "a folder now");
    }
  }

  #renameFolder(): void {
    const leaves = this.#folders.filter((path) => path !== "" && !this.#folders.some((other) => other.startsWith(`${path}/`)));
    if (leaves.length === 0) return;
    const from = this.#numbers.pick(leaves);
    const to = this.#newName();
    renameSync(this.#at(from), this.#at(to));
    const moved = (path: string): string => (path === from || path.startsWith(`${from}/`) ? to + path.slice(from.length) : path);
    this.#folders = this.#folders.map(moved);
    this.#others.splice(0, this.#others.length, ...this.#others.map(moved));
    const inside = [...this.#files].filter(([path]) => moved(path) !== path);
    for (const [path, size] of inside) {
      this.#files.delete(path);
      this.#files.set(moved(path), size);
    }
  }

  /** New files until the tree has its size again. */
  #refill(): void {
    const missing = Math.max(1, this.#size.files - this.#files.size);
    let bytes = this.#size.bytes;
    for (const size of this.#files.values()) bytes -= size;
    for (let i = missing; i > 0; i--) {
      const share = Math.max(0, Math.round((bytes / i) * 2 * this.#numbers.unit()));
      this.#makeFile(i === 1 ? Math.max(0, bytes) : share);
      bytes -= i === 1 ? bytes : share;
    }
  }
}
