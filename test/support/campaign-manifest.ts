/** What a tree was at one time, small enough to keep for every snapshot of a campaign. */
import { createHash } from "node:crypto";
import { closeSync, lstatSync, openSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { pathText } from "../../src/base/path-text.ts";
import { readXattrs } from "../../src/posix/xattr.ts";

/** One line for each path (latin1): everything a restore must bring back. */
export type Manifest = ReadonlyMap<string, string>;

const buffer = Buffer.allocUnsafeSlow(1 << 20);

/**
 * Reads the tree at `root` with Node's own calls: names, types, modes, owners, modification times to the nanosecond,
 * content as SHA-256, symlink targets, xattrs, and which names are hard links of each other.
 */
export function takeManifest(root: string): Manifest {
  const lines = new Map<string, string>();
  const linked = new Map<string, string>();
  const visit = (path: Buffer, name: string): void => {
    const stat = lstatSync(path, { bigint: true });
    const mode = stat.isSymbolicLink() ? "link" : stat.mode.toString(8);
    const parts: string[] = [`mode ${mode}`, `owner ${stat.uid}:${stat.gid}`, `mtime ${stat.mtimeNs}`];
    for (const xattr of readXattrs(path))
      parts.push(`${Buffer.from(xattr.name).toString("latin1")} ${Buffer.from(xattr.value).toString("hex")}`);
    if (stat.isSymbolicLink()) parts.push(`target ${readlinkSync(path, { encoding: "latin1" })}`);
    if (stat.isFile()) parts.push(`size ${stat.size}`, `content ${contentOf(path)}`);
    if (!stat.isDirectory() && stat.nlink > 1n) {
      const inode = `${stat.dev}:${stat.ino}`;
      const first = linked.get(inode) ?? name;
      linked.set(inode, first);
      parts.push(`hard link of ${first}`);
    }
    lines.set(name, parts.join(", "));
    if (!stat.isDirectory()) return;
    const names = readdirSync(path, { encoding: "buffer" }).map((bytes) => bytes.toString("latin1"));
    for (const child of names.toSorted()) visit(Buffer.concat([path, Buffer.from(`/${child}`, "latin1")]), `${name}/${child}`);
  };
  visit(Buffer.from(root), "");
  return lines;
}

function contentOf(path: Buffer): string {
  const hash = createHash("sha256");
  const fd = openSync(path, "r");
  try {
    for (let read = readSync(fd, buffer); read > 0; read = readSync(fd, buffer)) hash.update(buffer.subarray(0, read));
  } finally {
    closeSync(fd);
  }
  return hash.digest("base64");
}

/** The first differences, for people; empty when the trees are equal. */
export function manifestDifferences(expected: Manifest, found: Manifest, limit = 10): string[] {
  const differences: string[] = [];
  const shown = (name: string): string => pathText(Buffer.from(name === "" ? "/" : name, "latin1"));
  for (const [name, line] of expected) {
    const other = found.get(name);
    if (other === undefined) differences.push(`${shown(name)} is missing`);
    else if (other !== line) differences.push(`${shown(name)} is {${other}}, not {${line}}`);
    if (differences.length >= limit) return differences;
  }
  for (const name of found.keys()) {
    if (!expected.has(name)) differences.push(`${shown(name)} should not be there`);
    if (differences.length >= limit) break;
  }
  return differences;
}
