/** A folder of everything a file system can hold that backup programs get wrong. */
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  ftruncateSync,
  lchownSync,
  linkSync,
  mkdirSync,
  openSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { errnoOf } from "../../src/base/errors.ts";
import { pathText } from "../../src/base/path-text.ts";
import { AT_FDCWD, mkdirAt, mknodAt, openAt, setTimesAt, setTimesFd, symlinkAt } from "../../src/posix/at.ts";
import { makeDevice } from "../../src/posix/stat.ts";
import { setXattr } from "../../src/posix/xattr.ts";

export interface OdditiesOptions {
  /** Also sparse files of 10 GiB and 1 TiB, for readers that know holes. */
  readonly huge?: boolean;
  /** Entries of a crowded folder; none by default, 100,000 in full. */
  readonly crowd?: number;
}

export interface Oddities {
  /** What this machine, user or file system refused, by name and errno. */
  readonly skipped: readonly { readonly what: string; readonly reason: string }[];
}

/** Files whose names are the oddity; latin1, one character a byte. */
export const ODD_NAMES: readonly string[] = [
  "caf\xe9",
  "\xff\xfe\x80",
  "line\nbreak",
  "tab\tand\x01control\x7f",
  "back\\slash",
  "-rf",
  " spaces ",
  "'quotes\"`",
  "*?[a-z]",
  "...",
  "trailing.",
  "\xf0\x9f\x92\xbe",
  "n".repeat(255),
  "\xe9".repeat(255),
  // The same é, composed and decomposed; the same word in two cases.
  "\xc3\xa9",
  "e\xcc\x81",
  "Case",
  "case",
];

const REFUSALS = new Set(["EPERM", "EACCES", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EILSEQ", "EFBIG", "ENOSPC"]);
const RW_DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const S = 1_000_000_000n;

/**
 * Fills an existing folder. Names and contents are the same every time; whatever is refused is listed, and everything
 * else is there. As root it includes devices, owners, trusted and security attributes.
 */
export function writeOddities(root: string, options: OdditiesOptions = {}): Oddities {
  const base = Buffer.from(root);
  const skipped: { what: string; reason: string }[] = [];
  const attempt = (what: string, act: () => void): void => {
    try {
      act();
    } catch (error) {
      const reason = errnoOf(error);
      if (reason === undefined || !REFUSALS.has(reason)) throw error;
      skipped.push({ what, reason });
    }
  };
  const at = (path: string): Buffer => Buffer.concat([base, Buffer.from(`/${path}`, "latin1")]);
  const folder = (name: string): void => mkdirSync(at(name));

  folder("names");
  for (const name of ODD_NAMES) attempt(`name ${JSON.stringify(name)}`, () => writeFileSync(at(`names/${name}`), `I am ${name}`));
  folder("deep");
  attempt("path over 4,096 bytes", () => writeDeep(at("deep")));
  writeLinks(at, attempt);
  writeSparse(at, attempt, options.huge === true);
  writeAttributes(at, attempt);
  writeSpecials(at, attempt);
  writeModes(at, attempt);
  writeOwners(at, attempt);
  writeTimes(at, attempt);
  if (options.crowd !== undefined) writeCrowd(at, options.crowd);
  return { skipped };
}

type At = (path: string) => Buffer;
type Attempt = (what: string, act: () => void) => void;

function writeDeep(top: Buffer): void {
  let fd = openAt(AT_FDCWD, top, RW_DIRECTORY);
  try {
    for (let level = 0; level < 21; level++) {
      const name = Buffer.from(`${level}-`.padEnd(240, "d"));
      mkdirAt(fd, name, 0o755);
      const next = openAt(fd, name, RW_DIRECTORY);
      closeSync(fd);
      fd = next;
    }
    const file = openAt(fd, Buffer.from("bottom"), constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o640);
    writeSync(file, "the bottom of the sea");
    setTimesFd(file, undefined, 1_500_000_000n * S + 7n);
    closeSync(file);
    symlinkAt(Buffer.from("bottom"), fd, Buffer.from("link"));
    mkdirAt(fd, Buffer.from("empty"), 0o700);
  } finally {
    closeSync(fd);
  }
}

function writeLinks(at: At, attempt: Attempt): void {
  for (const name of ["links", "links/a", "links/b"]) mkdirSync(at(name));
  writeFileSync(at("links/a/one"), "one file, three names");
  linkSync(at("links/a/one"), at("links/b/two"));
  linkSync(at("links/a/one"), at("links/three"));
  writeFileSync(at("links/a/twin"), "one file, three names");
  symlinkSync("nowhere", at("links/dangling"));
  attempt("hard-linked symlink", () => linkSync(at("links/dangling"), at("links/b/dangling-too")));
  symlinkSync("/etc/hostname", at("links/absolute"));
  symlinkSync("loop-b", at("links/loop-a"));
  symlinkSync("loop-a", at("links/loop-b"));
  symlinkSync(".", at("links/self"));
  symlinkSync("a/", at("links/slash"));
  symlinkSync("../../../../../../..", at("links/up"));
  symlinkSync(Buffer.from("caf\xe9\n", "latin1"), at("links/raw"));
  symlinkSync("x/".repeat(2000), at("links/long"));
}

function writeCrowd(at: At, count: number): void {
  mkdirSync(at("crowd"));
  for (let i = 0; i < count; i++) writeFileSync(at(`crowd/${i}`), i % 10 === 0 ? String(i) : "");
}

function writeSparse(at: At, attempt: Attempt, huge: boolean): void {
  mkdirSync(at("sparse"));
  const sparse = (name: string, size: number, data: readonly (readonly [number, string])[]): void => {
    const fd = openSync(at(`sparse/${name}`), "w");
    for (const [offset, text] of data) writeSync(fd, text, offset);
    ftruncateSync(fd, size);
    closeSync(fd);
  };
  const gib = 2 ** 30;
  sparse("gibibyte", gib, [
    [0, "first"],
    [gib / 2 + 5, "middle"],
    [gib - 4, "last"],
  ]);
  sparse("only-hole", 8 * 2 ** 20, []);
  sparse("starts-with-hole", 2 ** 20, [[2 ** 19, "half way"]]);
  sparse("ends-with-hole", 2 ** 20, [[0, "only the start"]]);
  if (huge)
    for (const [name, size] of [
      ["10-gibibytes", 10 * gib],
      ["tebibyte", 1024 * gib],
    ] as const)
      attempt(name, () =>
        sparse(name, size, [
          [0, "first"],
          [size / 2 + 5, "middle"],
          [size - 4, "last"],
        ]),
      );
  // Zeros that are stored, not a hole.
  writeFileSync(at("sparse/zeros"), Buffer.alloc(256 * 1024));
  writeFileSync(at("sparse/empty"), "");
}

/** A POSIX ACL as the kernel keeps it: version 2, then tag, permissions and id of each entry. */
function aclBytes(entries: readonly (readonly [tag: number, permissions: number, id?: number])[]): Buffer {
  const bytes = Buffer.alloc(4 + entries.length * 8);
  bytes.writeUInt32LE(2, 0);
  for (const [index, [tag, permissions, id]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + index * 8);
    bytes.writeUInt16LE(permissions, 6 + index * 8);
    bytes.writeUInt32LE(id ?? 0xffffffff, 8 + index * 8);
  }
  return bytes;
}

/** rw for the owner, r for user 1000 and the group, nothing for others. */
export const SAMPLE_ACL: Buffer = aclBytes([
  [1, 6],
  [2, 4, 1000],
  [4, 4],
  [0x10, 4],
  [0x20, 0],
]);

function writeAttributes(at: At, attempt: Attempt): void {
  mkdirSync(at("attributes"));
  const set = (path: string, name: string, value: Buffer): void =>
    attempt(`${name} on ${path}`, () => setXattr(at(`attributes/${path}`), Buffer.from(name, "latin1"), value));
  writeFileSync(at("attributes/file"), "with attributes");
  set("file", "user.comment", Buffer.from("héllo"));
  set("file", "user.empty", Buffer.alloc(0));
  set("file", "user.binary", Buffer.from([0, 1, 0, 255, 10, 0]));
  set("file", "user.caf\xe9 \n", Buffer.from("raw name"));
  set("file", "user.long", Buffer.alloc(2500, "v"));
  mkdirSync(at("attributes/folder"));
  set("folder", "user.kind", Buffer.from("folder"));
  set("folder", "system.posix_acl_default", SAMPLE_ACL);
  set("folder", "system.posix_acl_access", SAMPLE_ACL);
  symlinkSync("file", at("attributes/link"));
  set("link", "trusted.holdfast", Buffer.from("on the link itself"));
  writeFileSync(at("attributes/acl"), "with an ACL");
  set("acl", "system.posix_acl_access", SAMPLE_ACL);
  writeFileSync(at("attributes/capability"), "may bind low ports");
  // struct vfs_cap_data, revision 2, effective: CAP_NET_BIND_SERVICE.
  set("capability", "security.capability", Buffer.from("0100000200040000000000000000000000000000", "hex"));
  writeFileSync(at("attributes/read-only"), "attributes of what cannot be written");
  set("read-only", "user.locked", Buffer.from("yes"));
  chmodSync(at("attributes/read-only"), 0o444);
}

function writeSpecials(at: At, attempt: Attempt): void {
  mkdirSync(at("special"));
  mkdirSync(at("special/empty-folder"));
  const node = (name: string, type: number, device = 0n): void =>
    attempt(name, () => mknodAt(AT_FDCWD, at(`special/${name}`), type | 0o640, device));
  node("fifo", constants.S_IFIFO);
  node("socket", constants.S_IFSOCK);
  node("null", constants.S_IFCHR, makeDevice(1, 3));
  node("disk", constants.S_IFBLK, makeDevice(7, 200));
  // Past the 8 bits that either number once had.
  node("big-numbers", constants.S_IFCHR, makeDevice(0xabc, 0x12345));
}

function writeModes(at: At, attempt: Attempt): void {
  mkdirSync(at("modes"));
  for (const mode of [0o4755, 0o2755, 0o6711, 0o000, 0o200, 0o111, 0o777, 0o600]) {
    const path = at(`modes/file-${mode.toString(8).padStart(4, "0")}`);
    writeFileSync(path, "mode");
    attempt(`mode ${mode.toString(8)}`, () => chmodSync(path, mode));
  }
  for (const mode of [0o1777, 0o2775, 0o700, 0o555, 0o000]) {
    const path = at(`modes/folder-${mode.toString(8).padStart(4, "0")}`);
    mkdirSync(path);
    writeFileSync(Buffer.concat([path, Buffer.from("/inside")]), "inside");
    attempt(`mode ${mode.toString(8)}`, () => chmodSync(path, mode));
  }
}

function writeOwners(at: At, attempt: Attempt): void {
  mkdirSync(at("owners"));
  for (const [name, uid, gid] of [
    ["nameless", 54_321, 12_345],
    ["highest", 0xfffffffe, 0xfffffffe],
  ] as const) {
    writeFileSync(at(`owners/${name}`), "owned");
    attempt(`owner ${uid}`, () => chownSync(at(`owners/${name}`), uid, gid));
  }
  writeFileSync(at("owners/setuid"), "owned by another, and setuid");
  attempt("setuid of another owner", () => {
    chownSync(at("owners/setuid"), 54_321, 12_345);
    chmodSync(at("owners/setuid"), 0o4755);
  });
  symlinkSync("nameless", at("owners/link"));
  attempt("owner of a symlink", () => lchownSync(at("owners/link"), 54_321, 12_345));
}

/** Name and modification time, nanoseconds since 1970. ext4 keeps 1901 to 2446. */
export const ODD_TIMES: readonly (readonly [name: string, mtimeNs: bigint])[] = [
  ["epoch", 0n],
  ["one-nanosecond", 1n],
  ["before-epoch", -1n],
  ["1969", -31_536_000n * S + 123_456_789n],
  ["1902", -2_145_916_800n * S + 1n],
  ["now-ish", 1_700_000_000n * S + 999_999_999n],
  ["2038-edge", 2_147_483_648n * S + 1n],
  ["2100", 4_102_444_800n * S + 987_654_321n],
  ["2261", 9_190_000_000n * S + 999_999_999n],
];

function writeTimes(at: At, attempt: Attempt): void {
  mkdirSync(at("times"));
  for (const [name, mtimeNs] of ODD_TIMES) {
    writeFileSync(at(`times/${name}`), name);
    attempt(`time ${name}`, () => setTimesAt(AT_FDCWD, at(`times/${name}`), undefined, mtimeNs));
  }
  symlinkSync("epoch", at("times/link"));
  setTimesAt(AT_FDCWD, at("times/link"), undefined, -5n);
  mkdirSync(at("times/folder"));
  setTimesAt(AT_FDCWD, at("times/folder"), undefined, 1_000_000_000n * S + 42n);
  setTimesAt(AT_FDCWD, at("times"), undefined, 1_234_567_890n * S + 98_765n);
}

/** Each oddity by its name: the paths that have it, as beginnings, latin1. The first that fits a path is meant. */
export const ODDITIES: readonly (readonly [name: string, paths: readonly string[]])[] = [
  ["names of 255 bytes", [`/names/${"n".repeat(255)}`, `/names/${"\xe9".repeat(255)}`]],
  ["names in two cases and two Unicode forms", ["/names/Case", "/names/case", "/names/\xc3\xa9", "/names/e\xcc\x81"]],
  ["names that are not UTF-8, with newlines and controls", ["/names"]],
  ["paths over 4,096 bytes", ["/deep"]],
  ["dangling symlinks", ["/links/dangling", "/links/b/dangling-too"]],
  [
    "absolute, looping and long symlinks",
    ["/links/absolute", "/links/loop-", "/links/self", "/links/slash", "/links/up", "/links/raw", "/links/long"],
  ],
  ["hard links across folders", ["/links"]],
  ["sparse files of 10 GiB and 1 TiB", ["/sparse/10-gibibytes", "/sparse/tebibyte"]],
  ["sparse files", ["/sparse"]],
  ["attributes of symlinks", ["/attributes/link"]],
  ["POSIX ACLs, default ones too", ["/attributes/acl", "/attributes/folder"]],
  ["capabilities", ["/attributes/capability"]],
  ["extended attributes, empty values", ["/attributes"]],
  ["FIFOs", ["/special/fifo"]],
  ["sockets", ["/special/socket"]],
  ["devices", ["/special/null", "/special/disk", "/special/big-numbers"]],
  ["empty folders", ["/special"]],
  ["unreadable files", ["/modes/file-0000", "/modes/file-0200", "/modes/file-0111"]],
  ["unreadable folders", ["/modes/folder-0000"]],
  [
    "setuid, setgid and sticky",
    ["/modes/file-4755", "/modes/file-2755", "/modes/file-6711", "/modes/folder-1777", "/modes/folder-2775", "/owners/setuid"],
  ],
  ["modes", ["/modes"]],
  ["owners that nobody is", ["/owners"]],
  ["times before 1970 and after 2038, nanoseconds", ["/times"]],
  ["a crowded folder", ["/crowd"]],
];

/** What `compareTrees` found, by oddity: nothing for those that came back as they were. Differences of no oddity are under "". */
export function byOddity(differences: readonly string[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const difference of differences) {
    const oddity = ODDITIES.find(([, paths]) =>
      paths.some((path) => difference.startsWith(pathText(Buffer.from(path, "latin1")))),
    );
    const name = oddity?.[0] ?? "";
    found.set(name, [...(found.get(name) ?? []), difference]);
  }
  return found;
}

/** A table of every oddity and what became of it under each heading. */
export function oddityTable(outcomes: Readonly<Record<string, readonly string[]>>): string {
  const columns = Object.entries(outcomes).map(([heading, differences]) => [heading, byOddity(differences)] as const);
  const short = (line: string): string => (line.length <= 60 ? line : `…${line.slice(-59)}`);
  const cell = (found: readonly string[] = []): string =>
    found.length === 0 ? "equal" : `${found.length} differ: ${short(found[0] as string)}`;
  return [
    ["oddity", ...columns.map(([heading]) => heading)],
    ...ODDITIES.map(([name]) => [name, ...columns.map(([, found]) => cell(found.get(name)))]),
  ]
    .map((row) => row.join(" | "))
    .join("\n");
}
