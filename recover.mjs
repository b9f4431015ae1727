#!/usr/bin/env node
// Restores files from a folder that holds a Holdfast repository, with nothing but this file and Node.
//
//   node recover.mjs REPOSITORY-FOLDER [secret] list
//   node recover.mjs REPOSITORY-FOLDER [secret] restore SNAPSHOT|latest --to DIR [PATH]
//
// `--help` prints every option. The repository is only read. The format is described in docs/format.md, and the
// sections below follow it: bytes, keys, objects, packs and index, chunks, snapshots, trees, restoring.
//
// Node 22.15 or newer reads everything except key slots made with argon2id, which need Node 24.7. On an older Node
// this program starts too, and says what is missing only when something in the repository needs it.

import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { spawnSync } from "node:child_process";
import readline from "node:readline";
import { Writable } from "node:stream";
import zlib from "node:zlib";

const HELP = `Restores files from a folder that holds a Holdfast repository.

  node recover.mjs REPOSITORY-FOLDER [options] list
  node recover.mjs REPOSITORY-FOLDER [options] restore SNAPSHOT|latest --to DIR [PATH]

SNAPSHOT is the first column of the list, or its beginning. PATH restores only that file or folder.
Everything is put below DIR under its full path: /etc/hosts becomes DIR/etc/hosts.

  --password-file F  the password is the content of F, without the newline at its end
  --password-env N   the password is in the environment variable N
  --key-file F       the key file. With none of these three, the password is asked for
  --to DIR           where to put the files; must be empty or not exist
  --force            DIR may hold files already; those with equal names are replaced
  --rebuild          do not use index/: read the directory of every pack instead
  --deleted          also offer snapshots that a note marks as deleted (their data may be gone)

Exit codes: 0 everything was restored, 1 failed, 2 wrong usage, 3 some files could not be restored,
10 no repository in that folder, 12 wrong password or key file.
`;

// ---------------------------------------------------------------------------------------------- messages and failures

/** Ends the program with a message and an exit code. Everything else that is thrown spoils one file or object only. */
class Stop extends Error {
  constructor(exitCode, message) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Bytes of the repository that are not what the format says, or that cannot be read. */
class Damaged extends Error {}

const say = (message) => fs.writeSync(2, `${message}\n`);

/** A name as text that is safe on a terminal: control characters and bytes that are not UTF-8 appear as \xNN. */
function show(value) {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(String(value));
  const text = bytes.toString("utf8");
  const hex = (byte) => `\\x${byte.toString(16).padStart(2, "0")}`;
  if (!Buffer.from(text).equals(bytes)) return bytes.toString("latin1").replace(/[^ -~]/g, (c) => hex(c.charCodeAt(0)));
  return text.replace(/[\p{Cc}\p{Cf}]/gu, (c) => (c < "\u00a0" ? hex(c.charCodeAt(0)) : `\\u{${c.codePointAt(0).toString(16)}}`));
}

function check(condition, message) {
  if (!condition) throw new Damaged(message);
}

// --------------------------------------------------------------------------------------------------------------- bytes

/** Reads the fixed and variable width numbers of the format from a buffer and refuses to go beyond its end. */
class Reader {
  constructor(buffer) {
    this.buffer = buffer;
    this.at = 0;
  }
  raw(length) {
    check(length <= this.buffer.length - this.at, "ends too early");
    return this.buffer.subarray(this.at, (this.at += length));
  }
  u8() {
    return this.raw(1)[0];
  }
  u32() {
    return this.raw(4).readUInt32LE();
  }
  i64() {
    return this.raw(8).readBigInt64LE();
  }
  /** A varint up to 2^64 as BigInt: inode and device numbers need all bits. */
  varint64() {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.u8();
      check(shift < 63n || byte <= 1, "a varint is too large");
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) {
        check(byte !== 0 || shift === 0n, "a varint is not in its shortest form");
        return value;
      }
    }
  }
  varint(max = Number.MAX_SAFE_INTEGER) {
    const first = this.buffer[this.at];
    let value = first;
    if (first < 128) this.at++;
    else value = this.varint64();
    check(value <= max, "a number is larger than the format allows");
    return Number(value);
  }
  bytes(max = 2 ** 28) {
    return this.raw(this.varint(max));
  }
  end() {
    check(this.at === this.buffer.length, "has bytes after its end");
  }
}

const sha256 = (bytes) => crypto.createHash("sha256").update(bytes).digest("hex");
const hmac = (hash, key, data) => crypto.createHmac(hash, key).update(data).digest();
const hkdf = (key, salt, info, length) => Buffer.from(crypto.hkdfSync("sha256", key, salt, info, length));

/** Base64 in its one spelling, of `min` to `max` bytes. */
function base64(text, min, max = min) {
  const bytes = Buffer.from(String(text), "base64");
  check(bytes.toString("base64") === text && bytes.length >= min && bytes.length <= max, "has a malformed member");
  return bytes;
}

function openGcm(key, nonce, aad, ciphertextAndTag) {
  const end = ciphertextAndTag.length - 16;
  const decipher = crypto.createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: 16 });
  decipher.setAAD(aad);
  decipher.setAuthTag(ciphertextAndTag.subarray(end));
  try {
    return Buffer.concat([decipher.update(ciphertextAndTag.subarray(0, end)), decipher.final()]);
  } catch {
    throw new Damaged("its authentication tag does not fit");
  }
}

const NONE = 0;
const ZSTD = 1;
const GZIP = 2;

/** Undoes codec(content): exactly `rawLength` bytes from exactly one frame or member. */
function decompress(codec, input, rawLength) {
  if (codec === NONE) {
    check(input.length === rawLength, "its raw length does not fit");
    return input;
  }
  check(codec === ZSTD || codec === GZIP, `unknown codec ${codec}`);
  if (codec === ZSTD && !zlib.zstdDecompressSync)
    throw new Stop(
      1,
      `The repository holds zstd data: this needs Node 22.15 or newer, and this is Node ${process.versions.node}.`,
    );
  const options = { info: true, maxOutputLength: Math.max(rawLength, 1) };
  let result;
  try {
    if (codec === ZSTD) {
      check(zstdFrameLength(new Reader(input)) === input.length, "something follows its frame");
      result = zlib.zstdDecompressSync(input, { ...options, params: { [zlib.constants.ZSTD_d_windowLogMax]: 24 } });
    } else {
      // Without its header and trailer: the reader of whole files would go on to a second member by itself.
      check(input.length >= 18 && input.readUInt32BE(0) === 0x1f8b0800, "its header is not a plain gzip header");
      result = zlib.inflateRawSync(input.subarray(10, -8), options);
      check(result.engine.bytesWritten === input.length - 18, "something follows its member");
      check(input.readUInt32LE(input.length - 4) === rawLength, "its trailer does not fit");
      check(!zlib.crc32 || zlib.crc32(result.buffer) === input.readUInt32LE(input.length - 8), "its trailer does not fit");
    }
  } catch (error) {
    throw new Damaged(`cannot be decompressed: ${error.message}`);
  }
  check(result.buffer.length === rawLength, "its raw length does not fit");
  return result.buffer;
}

/** The length of a zstd frame by its block headers (RFC 8878): the decoder would go on to a second frame by itself. */
function zstdFrameLength(reader) {
  check(reader.u32() === 0xfd2fb528, "does not begin with a frame");
  const descriptor = reader.u8();
  check((descriptor & 3) === 0, "names a dictionary");
  const isSingleSegment = (descriptor & 32) !== 0; // it has no window, and always a size
  reader.raw(isSingleSegment ? [1, 2, 4, 8][descriptor >> 6] : 1 + [0, 2, 4, 8][descriptor >> 6]);
  for (let header = 0; (header & 1) === 0;) {
    header = reader.raw(3).readUIntLE(0, 3);
    const type = (header >> 1) & 3;
    check(type !== 3, "has a block of an unknown type");
    reader.raw(type === 1 ? 1 : header >> 3); // a block of one repeated byte stores only that
  }
  if (descriptor & 4) reader.raw(4); // checksum
  return reader.at;
}

// ------------------------------------------------------------------------------------------- the repository's own files

function listFolder(folder) {
  try {
    return fs.readdirSync(folder).sort();
  } catch (error) {
    if (error.code === "ENOENT") return [];
    throw error;
  }
}

/** Names of the objects of one kind: 64 hex digits, or 32 for key slots. Other names are ignored. */
const objectNames = (folder, digits = 64) =>
  listFolder(folder).filter((name) => name.length === digits && /^[0-9a-f]+$/.test(name));

const MAX_OBJECT = 2 ** 28 + 2 ** 20; // 256 MiB of content and what sealing and padding add
function readSmall(file, max) {
  const fd = fs.openSync(file, "r");
  try {
    check(fs.fstatSync(fd).size <= max, "is larger than the format allows");
    return fs.readFileSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function readRange(file, offset, length) {
  const fd = fs.openSync(file, "r");
  try {
    const buffer = Buffer.allocUnsafe(length);
    for (let done = 0; done < length;) {
      const count = fs.readSync(fd, buffer, done, length - done, offset + done);
      check(count > 0, "ends too early");
      done += count;
    }
    return buffer;
  } finally {
    fs.closeSync(fd);
  }
}

/** The repository id from holdfast.json: 16 bytes that go into nearly every key. */
function readRepositoryId(folder) {
  let text;
  try {
    text = readSmall(path.join(folder, "holdfast.json"), 65_536).toString("utf8");
  } catch (error) {
    throw new Stop(10, `${show(folder)} holds no repository: holdfast.json cannot be read (${error.message}).`);
  }
  let config;
  try {
    config = JSON.parse(text);
  } catch {
    // handled below: no format
  }
  if (config?.format !== "holdfast-repository" || !/^[0-9a-f]{32}$/.test(config.id))
    throw new Stop(10, `${show(folder)} holds no repository: holdfast.json does not describe one.`);
  if (config.version !== 1) throw new Stop(1, `The repository has version ${config.version}; this program reads version 1.`);
  return Buffer.from(config.id, "hex");
}

// ---------------------------------------------------------------------------------------------------------------- keys

/** `bytes` of the format: the length as varint, then the bytes. Used here only for the slots' additional data. */
function lengthPrefixed(value) {
  const bytes = Buffer.from(value);
  const prefix = [];
  let length = bytes.length;
  for (; length > 127; length = Math.floor(length / 128)) prefix.push((length % 128) | 128);
  return Buffer.concat([Buffer.from([...prefix, length]), bytes]);
}

/** Runs the slot's key derivation. Every cost is checked against the format's bounds before anything is computed. */
function deriveSlotKey(kdf, salt, secret) {
  const within = (value, max, min = 1) =>
    check(Number.isSafeInteger(value) && value >= min && value <= max, "a cost is out of bounds");
  switch (kdf.function) {
    case "keyfile":
      return { text: "keyfile", derive: () => hkdf(secret.keyFile, salt, "holdfast/v1/slot", 64) };
    case "argon2id": {
      const { memoryKiB: memory, passes, parallelism } = kdf;
      within(passes, 16);
      within(parallelism, 16);
      within(memory, 1_048_576, 8 * parallelism);
      const options = { message: secret.password, nonce: salt, parallelism, tagLength: 64, memory, passes };
      return {
        text: `argon2id,${memory},${passes},${parallelism}`,
        derive: crypto.argon2Sync && (() => crypto.argon2Sync("argon2id", options)),
        needs: "argon2id, which needs Node 24.7 or newer",
      };
    }
    case "scrypt": {
      const { logN, r, p } = kdf;
      within(logN, 30);
      within(r, 2 ** 23);
      within(p, 16);
      const N = 2 ** logN;
      check(128 * N * r <= 2 ** 30, "a cost is out of bounds");
      const options = { N, r, p, maxmem: 128 * r * (N + p + 2) + 65_536 };
      return { text: `scrypt,${logN},${r},${p}`, derive: () => crypto.scryptSync(secret.password, salt, 64, options) };
    }
    case "pbkdf2": {
      within(kdf.iterations, 10_000_000);
      check(kdf.hash === "sha512", "unknown hash");
      return {
        text: `pbkdf2,sha512,${kdf.iterations}`,
        derive: () => crypto.pbkdf2Sync(secret.password, salt, kdf.iterations, 64, "sha512"),
      };
    }
    default:
      throw new Damaged("unknown key derivation");
  }
}

/** Tries every slot that fits the secret until one opens, and returns the 32 bytes of the root key. */
function openRootKey(folder, repo, secret) {
  const unsupported = new Set();
  let tried = 0;
  const names = objectNames(path.join(folder, "keys"), 32);
  if (names.length > 64) say(`There are ${names.length} key slots; only the first 64 are tried.`);
  for (const name of names.slice(0, 64)) {
    try {
      const bytes = readSmall(path.join(folder, "keys", name), 4096);
      check(bytes.length === 4096, "is not 4,096 bytes long");
      // The JSON value must be followed by spaces alone: JSON.parse would accept other white space too.
      const json = bytes.toString("utf8").replace(/ +$/, "");
      check(/^\{.*\}$/s.test(json), "is not JSON followed by spaces");
      const slot = JSON.parse(json);
      check(slot.version === 1 && slot.id === name, "has another version or id");
      check(typeof slot.label === "string" && typeof slot.created === "string", "has no label or date");
      if ((slot.kdf?.function === "keyfile") !== (secret.keyFile !== undefined)) continue;
      const [salt, commitment] = [base64(slot.salt, 16, 64), base64(slot.commitment, 32)];
      const [nonce, wrapped] = [base64(slot.nonce, 12), base64(slot.wrapped, 48)];
      const { text, derive, needs } = deriveSlotKey(slot.kdf, salt, secret);
      if (!derive) {
        unsupported.add(needs);
        continue;
      }
      tried++;
      const out = derive();
      if (!crypto.timingSafeEqual(out.subarray(32), commitment)) continue;
      const slotId = Buffer.from(name, "hex");
      const aad = Buffer.concat([
        Buffer.from("holdfast/v1/slot"),
        repo,
        slotId,
        lengthPrefixed(text),
        lengthPrefixed(salt),
        lengthPrefixed(slot.label),
        lengthPrefixed(slot.created),
      ]);
      return openGcm(out.subarray(0, 32), nonce, aad, wrapped);
    } catch (error) {
      say(`Key slot ${name} is skipped: ${error.message}.`);
    }
  }
  const what = secret.keyFile ? "key file" : "password";
  if (unsupported.size) {
    const node = `this is Node ${process.versions.node}`;
    throw new Stop(tried ? 12 : 1, `The ${what} opened no key slot, but some slots use ${[...unsupported].join(", ")}; ${node}.`);
  }
  throw new Stop(12, tried ? `The ${what} opens none of the key slots.` : `The repository has no key slot for a ${what}.`);
}

// ------------------------------------------------------------------------------------------------------------- objects

const KIND = { data: 1, tree: 2, directory: 3, index: 4, snapshot: 5, keyring: 6, note: 9 };
const PURPOSE = { 1: "data", 2: "tree", 3: "index", 4: "index", 5: "snapshot", 6: "keyring", 9: "notes" };

/** The keys of the repository: master keys by epoch and key id, and the keys of chunk ids. Derived keys are kept. */
class Keys {
  constructor(repo, rootKey) {
    this.repo = repo;
    this.masters = new Map();
    this.add(0, rootKey); // the root key acts as the master of epoch 0
  }
  add(epoch, master) {
    const keyId = hkdf(master, this.repo, `holdfast/v1/key-id/${epoch}`, 16);
    this.masters.set(`${epoch}/${keyId.toString("hex")}`, { epoch, master, derived: new Map() });
  }
  addKeyring(keyring) {
    for (const { epoch, master } of keyring.epochs) this.add(epoch, base64(master, 32));
    const secret = base64(keyring.lineage.secret, 32);
    this.chunkIdKey = {
      [KIND.data]: hkdf(secret, "", "holdfast/v1/lineage/data-id", 32),
      [KIND.tree]: hkdf(secret, "", "holdfast/v1/lineage/tree-id", 32),
    };
  }
  /** Undoes "sealed": returns plain. `header` is the 40 bytes that say how, `sealedKey` what may follow them. */
  unseal(header, sealedKey, sealed) {
    const [kind, suite, epoch, keyId] = [header[4], header[6], header.readUInt32LE(8), header.toString("hex", 20, 36)];
    check(suite === 0 && sealedKey.length === 0, `unknown suite ${suite}`);
    check(sealed.length >= 48, "ends too early");
    check((epoch === 0) === (kind === KIND.keyring), "is sealed with a key of another purpose");
    const entry = this.masters.get(`${epoch}/${keyId}`);
    check(entry, `is sealed with a key of epoch ${epoch} that the keyring does not hold`);
    const purpose = PURPOSE[kind];
    let key = entry.derived.get(purpose);
    if (!key) entry.derived.set(purpose, (key = hkdf(entry.master, this.repo, `holdfast/v1/${purpose}/${epoch}`, 32)));
    const keyAndNonce = hmac("sha512", key, sealed.subarray(0, 32));
    const aad = Buffer.concat([Buffer.from("holdfast/v1"), this.repo, header, sealedKey]);
    return openGcm(keyAndNonce.subarray(0, 32), keyAndNonce.subarray(32, 44), aad, sealed.subarray(32));
  }
}

/** Opens an object (kinds 3–9) and returns its content. `paddedTo` is what must be a multiple of 4,096. */
function openObject(keys, kind, bytes, paddedTo = bytes.length) {
  check(paddedTo % 4096 === 0 && bytes.length > 40, "has a wrong size");
  const header = bytes.subarray(0, 40);
  check(header.toString("latin1", 0, 4) === "HFO1" && header[4] === kind && header[7] === 0, "has a wrong header");
  const rawLength = header.readBigUInt64LE(12);
  check(rawLength <= 2n ** 28n, "is larger than the format allows");
  const sealedKeyEnd = 40 + header.readUInt32LE(36);
  check(sealedKeyEnd <= 40 + 4096, "has a wrong header");
  const plain = keys.unseal(header, bytes.subarray(40, sealedKeyEnd), bytes.subarray(sealedKeyEnd));
  const reader = new Reader(plain);
  const payload = reader.raw(reader.u32());
  const padding = plain.subarray(reader.at);
  check(padding.length < 4096 && padding.every((byte) => byte === 0), "has wrong padding");
  return decompress(header[5], payload, Number(rawLength));
}

/** Opens the named objects of a folder; calls `use` with name and content. Returns the names of those that failed. */
function openAll(folder, subfolder, kind, keys, use, names = objectNames(path.join(folder, subfolder))) {
  const failed = [];
  for (const name of names) {
    try {
      const bytes = readSmall(path.join(folder, subfolder, name), MAX_OBJECT);
      check(sha256(bytes) === name, "the SHA-256 of its bytes is not its name");
      use(name, openObject(keys, kind, bytes));
    } catch (error) {
      if (error instanceof Stop) throw error;
      failed.push(name);
      say(`${subfolder}/${name} is damaged or unreadable and is ignored: ${error.message}.`);
    }
  }
  return failed;
}

function readKeyring(folder, keys) {
  let best;
  openAll(folder, "keyring", KIND.keyring, keys, (_name, content) => {
    const keyring = JSON.parse(content.toString("utf8"));
    check(Number.isSafeInteger(keyring.generation) && keyring.epochs?.length > 0, "is not a keyring");
    for (const text of [keyring.lineage?.secret, ...keyring.epochs.map(({ master }) => master)]) base64(text, 32);
    // Names come in ascending order, so that among equal generations the smaller name stays.
    if (!best || keyring.generation > best.generation) best = keyring;
  });
  if (!best) throw new Stop(1, "No object in keyring/ can be read. Without one, nothing can be decrypted.");
  const unknown = best.features?.incompatible ?? [];
  if (unknown.length) throw new Stop(1, `The repository uses features this program does not know: ${show(unknown.join(", "))}.`);
  keys.addKeyring(best);
}

// ----------------------------------------------------------------------------------------------------- packs and index

/** A growing table of rows of unsigned 32-bit numbers: some ten bytes where objects would take a hundred. */
class Rows {
  constructor(width) {
    this.width = width;
    this.count = 0;
    this.data = new Uint32Array(1024 * width);
  }
  add(...values) {
    if ((this.count + 1) * this.width > this.data.length) {
      const grown = new Uint32Array(this.data.length * 2);
      grown.set(this.data);
      this.data = grown;
    }
    this.data.set(values, this.count * this.width);
    return this.count++;
  }
  get(row, column) {
    return this.data[row * this.width + column];
  }
}

/** Where every chunk lies: packs, their frames, and for each chunk its frame and place there. */
class ChunkIndex {
  constructor() {
    this.packs = new Map(); // pack id → { id, kind, rows }
    this.packList = [];
    this.frames = new Rows(6); // pack, offset, stored length, raw length, codec, row of the key table
    this.chunks = new Rows(7); // the first 16 bytes of the id, frame, offset in the raw bytes, length
    this.slots = new Uint32Array(4096); // hash table with linear probing; holds chunk row + 1
  }

  /** Reads "rows, frames" as a pack directory and an index object have them. Nothing is added unless all of it is good. */
  addPack(reader, id, kind, idLength, expectedSize) {
    check(kind === KIND.data || kind === KIND.tree, "unknown pack kind");
    const rows = [];
    for (let n = reader.varint(1024); n > 0; n--)
      rows.push({
        suite: reader.u8(),
        epoch: reader.u32(),
        keyId: Buffer.from(reader.raw(16)),
        sealedKey: Buffer.from(reader.bytes(4096)),
      });
    const frames = [];
    let [offset, chunkCount] = [0, 0];
    for (let n = reader.varint(65_536); n > 0; n--) {
      const codec = reader.u8();
      const row = reader.varint();
      const stored = reader.varint(2 ** 30);
      const raw = reader.varint(2 ** 24);
      check(row < rows.length && codec <= GZIP, "a frame has an unknown key or codec");
      // What does not shrink is stored raw; sealing adds 48 bytes.
      check(stored >= 48 && stored <= raw + 48 && (codec !== NONE || stored === raw + 48), "a frame has a wrong length");
      const chunks = [];
      let rawOffset = 0;
      for (let m = reader.varint(1_048_576 - chunkCount); m > 0; m--, chunkCount++) {
        const idWords = reader.raw(idLength);
        const length = reader.varint(2 ** 23);
        check(length > 0, "a chunk is empty");
        chunks.push([idWords, rawOffset, length]);
        rawOffset += length;
      }
      check(chunks.length > 0 && rawOffset === raw, "the chunks of a frame do not fill it");
      frames.push({ offset, stored, raw, codec, row, chunks });
      offset += stored;
      check(offset < 2 ** 30, "the pack is larger than the format allows");
    }
    const fits = expectedSize.exact ? offset === expectedSize.frames : offset < expectedSize.frames;
    check(fits, "the lengths of its frames do not fit its size");
    if (this.packs.has(id)) return; // two index objects may name the same pack: any of them counts
    const pack = { id, kind, rows };
    this.packs.set(id, pack);
    const packNumber = this.packList.push(pack) - 1;
    for (const frame of frames) {
      const number = this.frames.add(packNumber, frame.offset, frame.stored, frame.raw, frame.codec, frame.row);
      for (const [chunkId, rawOffset, length] of frame.chunks) this.addChunk(chunkId, number, rawOffset, length);
    }
  }

  addChunk(id, frame, offset, length) {
    const words = [0, 4, 8, 12].map((at) => id.readUInt32LE(at));
    this.insert(this.chunks.add(...words, frame, offset, length));
    if (this.chunks.count * 2 > this.slots.length) {
      this.slots = new Uint32Array(this.slots.length * 2);
      for (let row = 0; row < this.chunks.count; row++) this.insert(row);
    }
  }
  insert(row) {
    const mask = this.slots.length - 1; // ids are random, so that their first word is a good hash
    let at = this.chunks.get(row, 0) & mask;
    while (this.slots[at] !== 0) at = (at + 1) & mask;
    this.slots[at] = row + 1;
  }

  /** Every place where the index says the chunk lies. The caller checks the whole id. */
  *locations(kind, id) {
    const mask = this.slots.length - 1;
    for (let at = id.readUInt32LE(0) & mask; this.slots[at] !== 0; at = (at + 1) & mask) {
      const row = this.slots[at] - 1;
      const frame = this.chunks.get(row, 4);
      if ([0, 1, 2, 3].some((word) => this.chunks.get(row, word) !== id.readUInt32LE(word * 4))) continue;
      if (this.packList[this.frames.get(frame, 0)].kind !== kind) continue;
      yield { frame, offset: this.chunks.get(row, 5), length: this.chunks.get(row, 6) };
    }
  }

  addIndexObject(content) {
    const reader = new Reader(content);
    readReplaced(reader);
    for (let n = reader.varint(); n > 0; n--) {
      const id = reader.raw(32).toString("hex");
      const kind = reader.u8();
      const size = reader.varint(2 ** 30 - 1);
      // The size of the pack's directory is not in the index: the frames are only known to end before it.
      this.addPack(reader, id, kind, 16, { frames: size - 16 });
    }
    reader.end();
  }

  /** Adds a pack by its own trailer and directory. */
  addPackFile(folder, keys, id) {
    const file = packFile(folder, id);
    const size = fs.statSync(file).size;
    check(size >= 16 && size < 2 ** 30, "has a wrong size");
    const trailer = readRange(file, size - 16, 16);
    check(trailer.toString("latin1", 8) === "HFPACK01" && trailer.readUIntLE(5, 3) === 0, "has a wrong trailer");
    const directorySize = trailer.readUInt32LE(0);
    check(directorySize <= Math.min(size - 16, MAX_OBJECT), "has a wrong trailer");
    const object = readRange(file, size - 16 - directorySize, directorySize);
    const reader = new Reader(openObject(keys, KIND.directory, object, size));
    check(reader.u8() === 1, "its directory has an unknown version");
    const kind = reader.u8();
    check(kind === trailer[4], "its trailer and its directory differ");
    this.addPack(reader, id, kind, 32, { frames: size - 16 - directorySize, exact: true });
    reader.end();
  }
}

/** The beginning of an index object: the names of those that it replaces. */
function readReplaced(reader) {
  check(reader.u8() === 1, "has an unknown version");
  const names = [];
  for (let n = reader.varint(); n > 0; n--) names.push(reader.raw(32).toString("hex"));
  return names;
}

// The SHA-256 of a pack is not checked against its name: that would mean to read all of it. Its directory, its frames and
// its chunks are authenticated one by one instead, when they are used.
const packFile = (folder, id) => path.join(folder, "packs", id.slice(0, 2), id);

/** Reads chunks. Keeps the last frames decoded, because neighbouring chunks lie in the same frame. */
class ChunkStore {
  constructor(folder, keys, cacheBytes = 64 * 2 ** 20) {
    Object.assign(this, { folder, keys, cacheBytes, cachedBytes: 0, cache: new Map(), bad: new Map() });
    this.index = new ChunkIndex();
    this.allPacksRead = false;
  }

  loadIndex(rebuild) {
    if (rebuild) return this.readPackDirectories("as asked for with --rebuild");
    // Opened twice: only when all have been seen is it known which ones are replaced and do not count.
    const replaced = new Set();
    const names = objectNames(path.join(this.folder, "index"));
    const failed = openAll(this.folder, "index", KIND.index, this.keys, (_name, content) => {
      for (const name of readReplaced(new Reader(content))) replaced.add(name);
    });
    const wanted = names.filter((name) => !replaced.has(name) && !failed.includes(name));
    const add = (_name, content) => this.index.addIndexObject(content);
    failed.push(...openAll(this.folder, "index", KIND.index, this.keys, add, wanted));
    if (failed.some((name) => !replaced.has(name))) this.readPackDirectories("because index/ is damaged");
    else if (names.length === 0) this.readPackDirectories("because index/ holds nothing");
  }

  /** Reads the directory of every pack that the index does not know yet. */
  readPackDirectories(why) {
    if (this.allPacksRead) return;
    this.allPacksRead = true;
    const packs = path.join(this.folder, "packs");
    const ids = objectNames(packs, 2).flatMap((xx) => objectNames(path.join(packs, xx)).filter((id) => id.startsWith(xx)));
    const missing = ids.filter((id) => !this.index.packs.has(id));
    say(`Reading the directories of ${missing.length} packs, ${why}.`);
    for (const id of missing) {
      progress(() => `reading pack directories: ${this.index.packs.size} of ${ids.length}`);
      try {
        this.index.addPackFile(this.folder, this.keys, id);
      } catch (error) {
        if (error instanceof Stop) throw error;
        say(`The directory of pack ${id} cannot be read: ${error.message}.`);
      }
    }
  }

  /** The raw bytes of one frame. */
  frame(number) {
    const cached = this.cache.get(number);
    if (cached) {
      this.cache.delete(number);
      this.cache.set(number, cached); // now the newest
      return cached;
    }
    if (this.bad.has(number)) throw this.bad.get(number);
    const [packNumber, offset, stored, rawLength, codec, rowNumber] = [0, 1, 2, 3, 4, 5].map((c) =>
      this.index.frames.get(number, c),
    );
    const pack = this.index.packList[packNumber];
    const row = pack.rows[rowNumber];
    let raw;
    try {
      const header = Buffer.alloc(40);
      header.write("HFF1", 0, "latin1");
      header.set([pack.kind, codec, row.suite, 0], 4);
      header.writeUInt32LE(row.epoch, 8);
      header.writeUInt32LE(rawLength, 12); // the upper half stays zero: a frame has at most 16 MiB
      row.keyId.copy(header, 20);
      header.writeUInt32LE(row.sealedKey.length, 36);
      check(stored <= 2 ** 24 + 2 ** 20, "is larger than the format allows");
      const sealed = readRange(packFile(this.folder, pack.id), offset, stored);
      raw = decompress(codec, this.keys.unseal(header, row.sealedKey, sealed), rawLength);
    } catch (error) {
      if (error instanceof Stop) throw error;
      const failure = new Damaged(`pack ${pack.id}, bytes ${offset} to ${offset + stored}: ${error.message}`);
      this.bad.set(number, failure);
      say(`Damaged: ${failure.message}.`);
      throw failure;
    }
    this.cache.set(number, raw);
    this.cachedBytes += raw.length;
    for (const [oldest, bytes] of this.cache) {
      if (this.cachedBytes <= this.cacheBytes || oldest === number) break;
      this.cache.delete(oldest);
      this.cachedBytes -= bytes.length;
    }
    return raw;
  }

  /** The bytes of a chunk from the first copy that opens and whose id fits. It lies in the cache: not to be changed. */
  chunk(kind, id) {
    let reason = "no pack holds it";
    const tried = new Set();
    for (;;) {
      for (const { frame, offset, length } of this.index.locations(kind, id)) {
        if (tried.has(`${frame}/${offset}`)) continue;
        tried.add(`${frame}/${offset}`);
        try {
          const bytes = this.frame(frame).subarray(offset, offset + length);
          if (hmac("sha256", this.keys.chunkIdKey[kind], bytes).equals(id)) return bytes;
          reason = "its bytes do not fit its id";
        } catch (error) {
          if (!(error instanceof Damaged)) throw error;
          reason = error.message;
        }
      }
      if (this.allPacksRead) break;
      this.readPackDirectories("because the index leads to no good copy of a chunk");
    }
    throw new Damaged(`chunk ${id.toString("hex")} is lost: ${reason}`);
  }
}

// ----------------------------------------------------------------------------------------------------------- snapshots

function readSnapshots(folder, keys, withDeleted) {
  const deleted = new Set();
  openAll(folder, "notes", KIND.note, keys, (_name, content) => {
    const note = JSON.parse(content.toString("utf8"));
    if (note.type === "deletion") for (const { object } of note.snapshots) deleted.add(object);
  });
  const snapshots = [];
  let dropped = 0;
  const failed = openAll(folder, "snapshots", KIND.snapshot, keys, (name, content) => {
    const snapshot = JSON.parse(content.toString("utf8"));
    check(/^[0-9a-f]{64}$/.test(snapshot.root) && /^[0-9a-f]{32}$/.test(snapshot.uid), "is not a snapshot");
    // A snapshot may lie there twice, equal but for the key it is sealed under.
    if (snapshots.some(({ uid, isDeleted }) => uid === snapshot.uid && isDeleted === deleted.has(name))) return;
    if (deleted.has(name) && !withDeleted) dropped++;
    else snapshots.push({ ...snapshot, object: name, isDeleted: deleted.has(name) });
  });
  if (dropped) say(`${dropped} snapshots are marked as deleted and not offered; --deleted offers them.`);
  const byTime = (a, b) => (String(a.time) < String(b.time) ? -1 : String(a.time) > String(b.time) ? 1 : 0);
  return { snapshots: snapshots.sort(byTime), failed };
}

function chooseSnapshot(snapshots, wanted) {
  if (snapshots.length === 0) throw new Stop(1, "The repository holds no snapshot that can be read.");
  // A safety copy holds what a restore was about to change: it is only ever meant by its id.
  if (wanted === "latest") return snapshots.findLast(({ tags }) => !tags?.includes("pre-restore")) ?? snapshots.at(-1);
  const found = snapshots.filter((snapshot) => snapshot.uid.startsWith(wanted.toLowerCase()));
  if (found.length === 0) throw new Stop(1, `There is no snapshot ${show(wanted)}; "list" shows them.`);
  if (new Set(found.map((each) => each.uid)).size > 1)
    throw new Stop(1, `${show(wanted)} is the beginning of several snapshots.`);
  return found.at(-1);
}

function printList(snapshots) {
  const rows = [["SNAPSHOT", "TIME", "HOST", "JOB", "SOURCE", "STATUS", "FILES", "BYTES"]];
  for (const each of snapshots) {
    const { uid, time, host, job, source, status, counts, bytes, isDeleted } = each;
    rows.push(
      [uid, time, host, job, source, isDeleted ? "deleted" : status, counts?.files, bytes?.source].map((v) => show(v ?? "-")),
    );
  }
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]))
      .join("  ")
      .trimEnd();
  fs.writeSync(1, `${rows.map(line).join("\n")}\n`);
}

// --------------------------------------------------------------------------------------------------------------- trees

const TYPE = { file: 1, directory: 2, symlink: 3, char: 4, block: 5, fifo: 6, socket: 7 };
const FLAG = { racy: 1, changed: 2, xattrs: 4, sparse: 8, unreadable: 16 };

function readNode(reader) {
  check(reader.u8() === 1, "a tree node has an unknown version");
  return { type: reader.u8(), count: reader.varint() };
}

/** The check that keeps a restore below its destination. */
function readName(reader) {
  const name = Buffer.from(reader.bytes(4096));
  const isForbidden = name.includes(0) || name.includes(0x2f) || ["", ".", ".."].includes(name.toString("latin1"));
  check(!isForbidden, `a name is forbidden: ${show(name)}`);
  return name;
}

const FLAGS_OF_ALL = FLAG.racy | FLAG.xattrs;
const FLAGS_OF_TYPE = { [TYPE.file]: FLAG.changed | FLAG.sparse, [TYPE.directory]: FLAG.unreadable };

function readEntry(reader) {
  const entry = { name: readName(reader), type: reader.u8(), flags: reader.varint(31), mode: reader.varint(0o7777) };
  const { type, flags } = entry;
  check(type >= TYPE.file && type <= TYPE.socket, `unknown type of entry ${type}`);
  check((flags & ~(FLAGS_OF_ALL | FLAGS_OF_TYPE[type])) === 0, `an entry of type ${type} has the flags ${flags}`);
  Object.assign(entry, { uid: reader.varint(2 ** 32 - 1), gid: reader.varint(2 ** 32 - 1) });
  reader.bytes(1024); // user and group by name: owners are restored by number
  reader.bytes(1024);
  Object.assign(entry, { mtime: reader.i64(), ctime: reader.i64() });
  Object.assign(entry, { inode: reader.varint64(), links: reader.varint(), device: reader.varint64() });
  if (type === TYPE.file) readFilePart(reader, entry);
  else if (type === TYPE.directory) {
    check(entry.device === 0n, "a directory has a device");
    entry.tree = reader.raw(32);
  } else if (type === TYPE.symlink) {
    entry.target = reader.bytes(65_536);
    check(entry.target.length > 0 && !entry.target.includes(0), "the target of a symlink is forbidden");
  } else if (type === TYPE.char || type === TYPE.block) entry.rdev = reader.varint64();
  entry.xattrs = flags & FLAG.xattrs ? readXattrs(reader) : [];
  return entry;
}

function readXattrs(reader) {
  const start = reader.at;
  const xattrs = [];
  for (let n = reader.varint(); n > 0; n--) {
    const [name, value] = [reader.bytes(1024), reader.bytes(2 ** 20)];
    check(name.length > 0 && !name.includes(0), "the name of an attribute is forbidden");
    check(xattrs.length === 0 || Buffer.compare(xattrs.at(-1)[0], name) < 0, "attributes are not in order");
    xattrs.push([name, value]);
  }
  check(xattrs.length > 0 && reader.at - start <= 2 ** 22, "the attributes of an entry are none or too many");
  return xattrs;
}

function readFilePart(reader, entry) {
  entry.size = reader.varint();
  const profile = reader.u8(); // says how a later backup cuts
  entry.depth = reader.u8();
  entry.ids = reader.raw(32 * reader.varint(256));
  entry.extents = [];
  if (entry.flags & FLAG.sparse) readExtents(reader, entry);
  else if (entry.size > 0) entry.extents.push({ offset: 0, length: entry.size });
  const data = entry.extents.reduce((sum, { length }) => sum + length, 0);
  const isEmpty = entry.ids.length === 0;
  check((data === 0) === isEmpty && entry.ids.length / 32 <= data, "a file has chunks without data, or data without");
  check(isEmpty ? profile === 0 && entry.depth === 0 : profile >= 1 && profile <= 4, "a file has a wrong profile");
  check(entry.depth <= 4, "its chunk lists are nested too deeply");
}

function readExtents(reader, { size, extents }) {
  let end = -1;
  for (let n = reader.varint(65_536); n > 0; n--) {
    const extent = { offset: reader.varint(), length: reader.varint() };
    check(extent.offset > end && extent.length > 0, "the extents of a sparse file are not in order");
    end = extent.offset + extent.length;
    check(end <= size, "an extent lies outside its file");
    extents.push(extent);
  }
}

/**
 * The entries of a directory in order. A lost part of a directory is given to `lost`; the other parts still come. `order`
 * holds the first name that the part must have, by its parent, and the last name before it.
 */
function* entriesOf(store, id, lost, depth = 0, order = {}) {
  try {
    check(depth <= 16, "a directory is nested too deeply in itself");
    const reader = new Reader(Buffer.from(store.chunk(KIND.tree, id))); // a copy: the walk goes on below it
    const node = readNode(reader);
    check(node.type === 0 || node.type === 1, "a list is where a directory should be");
    check(node.count > 0 || (node.type === 0 && depth === 0), "a part of a directory is empty");
    let before;
    for (let n = node.count; n > 0; n--) {
      const item = node.type === 0 ? readEntry(reader) : { name: readName(reader), child: reader.raw(32) };
      const isFirst = n === node.count && order.first;
      check(!isFirst || order.first.equals(item.name), "a part of a directory begins with another name than its parent says");
      before ??= order.last;
      check(!before || Buffer.compare(before, item.name) < 0, "the names of a directory are not in order");
      before = item.name;
      if (n === 1) reader.end();
      if (!item.child) {
        order.last = item.name;
        yield item;
      } else yield* entriesOf(store, item.child, lost, depth + 1, Object.assign(order, { first: item.name }));
    }
  } catch (error) {
    if (!(error instanceof Damaged)) throw error;
    lost(error);
  }
}

/** The ids of a file's data chunks in order, through the chunk lists of a large file. */
function* dataChunkIds(store, ids, depth) {
  for (let at = 0; at < ids.length; at += 32) {
    const id = ids.subarray(at, at + 32);
    if (depth === 0) {
      yield id;
      continue;
    }
    const reader = new Reader(Buffer.from(store.chunk(KIND.tree, id)));
    const node = readNode(reader);
    check(node.type === 2 && node.count >= 1 && node.count <= 4096, "a chunk list is malformed");
    const below = reader.raw(32 * node.count);
    reader.end();
    yield* dataChunkIds(store, below, depth - 1);
  }
}

// ----------------------------------------------------------------------------------------------------------- restoring

let nextProgress = Date.now() + 5000;
function progress(text) {
  if (Date.now() < nextProgress) return;
  nextProgress = Date.now() + 5000;
  say(`… ${text()}`);
}

const FATAL_ERRNO = new Set(["ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE"]);

/**
 * A name for `target`, an absolute path, that the system takes until the next call: it refuses paths of 4,096 bytes (macOS:
 * 1,024), so the parents of a longer one become the current directory step by step. None of them may be a symlink at its end.
 */
function reach(target) {
  let rest = target;
  while (rest.length > 1000) {
    const cut = rest.lastIndexOf(0x2f, 1000);
    if (cut <= 0) break; // one name that is too long by itself
    enter(rest.subarray(0, cut));
    rest = rest.subarray(cut + 1);
  }
  return rest;
}

function enter(folder) {
  const fd = fs.openSync(folder, fs.constants.O_DIRECTORY | fs.constants.O_NOFOLLOW);
  try {
    // Node enters only folders whose name is text; Linux has every open one under a plain name.
    const link = `/proc/self/fd/${fd}`;
    process.chdir(fs.existsSync(link) ? link : folder.toString());
    const [wanted, here] = [fs.fstatSync(fd), fs.statSync(".")];
    check(wanted.ino === here.ino && wanted.dev === here.dev, "a folder on its way cannot be entered");
  } finally {
    fs.closeSync(fd);
  }
}

const LONGEST_PATH = 16_384;

class Restore {
  constructor(store, destination, force) {
    Object.assign(this, { store, destination, force, files: 0, bytes: 0, failed: 0, inodes: new Map(), directories: [] });
    this.counts = { changed: 0, unreadable: 0, sockets: 0 };
    this.metadata = new Metadata();
  }

  fail(place, error) {
    if (error instanceof Stop) throw error;
    if (FATAL_ERRNO.has(error.code))
      throw new Stop(1, `Writing ${show(place)} failed: ${error.message}. Nothing more was tried.`);
    if (!(error instanceof Damaged) && error.code === undefined) throw error; // a fault of this program
    this.failed++;
    say(`Not restored: ${show(place)}: ${error.message}.`);
  }

  /** Restores the directory with tree `id` to `place`; with `only`, just the entry of that path (an array of names). */
  walk(id, place, only) {
    let found = only.length === 0;
    // A list, not recursion: directories can be nested thousands deep.
    const open = [this.open(id, place, only)];
    for (let top = open.at(-1); top; top = open.at(-1)) {
      const { done, value: entry } = top.entries.next();
      if (done) {
        open.pop();
        continue;
      }
      const isDirectory = entry.type === TYPE.directory;
      const [wanted, ...below] = top.only;
      if (wanted && !(entry.name.equals(wanted) && (isDirectory || below.length === 0))) continue;
      found ||= below.length === 0;
      const target = Buffer.concat([top.place, Buffer.from("/"), entry.name]);
      try {
        // No backup goes deeper. Every level keeps its path: without a bound, mere depth would take all memory.
        const isTooDeep = top.place.length > Buffer.byteLength(this.destination) + LONGEST_PATH;
        if (isTooDeep) throw new Damaged(`its path has more than ${LONGEST_PATH} bytes`);
        if (isDirectory) this.makeDirectory(entry, target);
        else this.restoreEntry(entry, target);
        if (isDirectory) open.push(this.open(entry.tree, target, below));
      } catch (error) {
        this.fail(target, error);
        if (isDirectory) say(`Nothing below it was tried: ${show(target)}.`);
      }
      progress(() => `${this.files} files, ${this.bytes} bytes restored; now ${show(target)}`);
    }
    return found;
  }

  open(id, place, only) {
    const lost = (error) => this.fail(Buffer.concat([place, Buffer.from("/ (an unknown part of this directory)")]), error);
    return { place, only, entries: entriesOf(this.store, id, lost) };
  }

  makeDirectory(entry, target) {
    const name = reach(target);
    const existing = fs.lstatSync(name, { throwIfNoEntry: false });
    if (!existing) fs.mkdirSync(name, 0o700);
    else if (!existing.isDirectory()) throw new Damaged("something that is not a directory is in the way");
    // Modes and times come last: restoring what is inside would change the times, and the mode may forbid it.
    this.directories.push(this.metadata.record(target, entry));
    if (entry.flags & FLAG.unreadable) this.counts.unreadable++;
  }

  restoreEntry(entry, target) {
    const name = reach(target);
    const existing = fs.lstatSync(name, { throwIfNoEntry: false });
    if (existing?.isDirectory()) throw new Damaged("a directory is in the way");
    if (existing) fs.unlinkSync(name); // only with --force; also a symlink goes, and is never followed
    // Entries of one inode are one file. If their contents differ nevertheless, both contents are kept.
    const inode = entry.links > 1 && `${entry.device}:${entry.inode}`;
    const content = [Buffer.from(`${entry.type},${entry.size},${entry.rdev},`), entry.ids ?? entry.target ?? Buffer.from("")];
    const identity = inode && sha256(Buffer.concat(content));
    const first = inode && this.inodes.get(inode);
    if (first && first.identity === identity) {
      this.moveTo(target, (temporary) => fs.linkSync(reach(first.target), temporary));
      return;
    }
    if (entry.type === TYPE.socket) {
      this.counts.sockets++;
      return;
    }
    if (entry.type === TYPE.file) this.writeFile(entry, target);
    else if (entry.type === TYPE.symlink) fs.symlinkSync(entry.target, name);
    else this.moveTo(target, (temporary) => makeNode(entry, temporary));
    if (inode && !first) this.inodes.set(inode, { target, identity });
    this.metadata.add(this.metadata.record(target, entry));
    this.files++;
    if (entry.flags & FLAG.changed) this.counts.changed++;
  }

  writeFile(entry, target) {
    const fd = fs.openSync(reach(target), "wx", 0o600); // "x" never follows a symlink
    try {
      let [extent, inExtent, written] = [0, 0, 0];
      for (const id of dataChunkIds(this.store, entry.ids, entry.depth)) {
        const bytes = this.store.chunk(KIND.data, id);
        for (let at = 0; at < bytes.length;) {
          check(extent < entry.extents.length, "its content is longer than its size");
          const { offset, length } = entry.extents[extent];
          const count = fs.writeSync(fd, bytes, at, Math.min(bytes.length - at, length - inExtent), offset + inExtent);
          at += count;
          inExtent += count;
          if (inExtent === length) [extent, inExtent] = [extent + 1, 0];
        }
        written += bytes.length;
        progress(() => `${this.files} files, ${this.bytes + written} bytes restored; now ${show(target)}`);
      }
      check(extent === entry.extents.length, "its content is shorter than its size");
      fs.ftruncateSync(fd, entry.size); // a hole at the end
      this.bytes += written;
    } catch (error) {
      fs.unlinkSync(reach(target)); // half a file under its real name would be taken for the whole
      throw error;
    } finally {
      fs.closeSync(fd);
    }
  }

  /** Makes something under a short plain name and renames it: what makes it may take neither raw names nor long paths. */
  moveTo(target, make) {
    const temporary = path.join(this.destination, `.recover-${crypto.randomUUID()}`);
    make(temporary);
    fs.renameSync(temporary, reach(target));
  }

  finish() {
    for (const record of this.directories.toReversed()) this.metadata.add(record); // the deepest first
    this.metadata.flush();
    const { changed, unreadable, sockets } = this.counts;
    if (changed) say(`${changed} files changed while the backup read them; their content may be a mixture.`);
    if (unreadable) say(`${unreadable} directories could not be read by the backup and are empty here.`);
    if (sockets) say(`${sockets} sockets were left out: their program makes them anew.`);
    this.metadata.report();
  }
}

/** FIFOs and devices. Node cannot make them, so a program does. */
function makeNode({ type, rdev = 0n }, place) {
  // Device numbers as Linux packs them: 12 low bits of the major after 8 low bits of the minor, the rest above.
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n);
  const letter = type === TYPE.char ? "c" : "b";
  const [program, ...args] = type === TYPE.fifo ? ["mkfifo", place] : ["mknod", place, letter, String(major), String(minor)];
  const result = spawnSync(program, args, { ...HELPER_OPTIONS, encoding: "utf8" });
  if (result.status !== 0) throw new Damaged(`${program} failed: ${show((result.error?.message ?? result.stderr).trim())}`);
}

// ------------------------------------------------------------------------------- owners, modes, times, extended attributes

// Node sets times only to about a microsecond and no extended attributes at all. If python3 or perl is there, it gets the
// work in batches: one line "path mode seconds nanoseconds name:value …" each, all but the numbers in hex; "-" leaves the
// mode alone. It answers a line "what line-number message" for each failure: x attribute, m mode, t times.
const PYTHON = `
import os, sys, time
raw = bytes.fromhex
for number, line in enumerate(sys.stdin):
    path, mode, seconds, nanoseconds, *xattrs = line.split()
    path = raw(path)
    while len(path) > 1000 and b"/" in path[1:1000]:
        head, path = path[:1000].rpartition(b"/")[0], path[path.rindex(b"/", 0, 1000) + 1:]
        os.chdir(head)
    def attempt(what, action, *rest, **more):
        try: action(path, *rest, **more)
        except Exception as error: print(what, number, str(error).split(":")[0], flush=True)
    for pair in xattrs:
        name, value = pair.split(":")
        attempt("x", os.setxattr, raw(name), raw(value), follow_symlinks=False)
    if mode != "-": attempt("m", os.chmod, int(mode, 8))
    times = (time.time_ns(), int(seconds) * 10**9 + int(nanoseconds))
    attempt("t", os.utime, ns=times, follow_symlinks=False)
`;
// Perl has no such functions, but it can make system calls by number: lsetxattr and utimensat.
const PERL = `
my ($setxattr, $utimens) = map { $_ + 0 } @ARGV;
my $number = -1;
while (my $line = <STDIN>) {
  chomp $line;
  my ($path, $mode, $seconds, $nanoseconds, @xattrs) = split / /, $line;
  $path = pack("H*", $path); $number++;
  while (length($path) > 1000 and (my $cut = rindex($path, "/", 1000)) > 0) {
    chdir(substr($path, 0, $cut));
    $path = substr($path, $cut + 1);
  }
  for (@xattrs) {
    my ($name, $value) = map { pack("H*", $_) } split(/:/, $_, 2);
    syscall($setxattr, $path, $name, $value, length($value), 0) == 0 or print "x $number $!\\n";
  }
  $mode eq "-" or chmod(oct($mode), $path) or print "m $number $!\\n";
  my $times = pack("q4", 0, 0x3fffffff, $seconds, $nanoseconds);
  syscall($utimens, -100, $path, $times, 0x100) == 0 or print "t $number $!\\n";
}
`;
const PERL_SYSCALLS = { x64: ["189", "280"], arm64: ["6", "88"] }[process.arch];
// Not the variable that may hold the password, and no current directory that is too deep for programs.
const HELPER_OPTIONS = { env: { PATH: process.env.PATH }, cwd: "/" };
const HELPERS = [["python3", "-I", "-c", PYTHON]];
if (process.platform === "linux" && PERL_SYSCALLS) HELPERS.push(["perl", "-e", PERL, "--", ...PERL_SYSCALLS]);

class Metadata {
  constructor() {
    Object.assign(this, { batch: [], batchSize: 0, helpers: [...HELPERS], isRoot: process.getuid?.() === 0 });
    this.lost = { owner: 0, elevated: 0, xattr: 0, mode: 0, time: 0, rounded: 0 };
    this.shown = 0;
  }

  /** What must be set later, copied, so that it does not hold the tree chunk in memory. */
  record(target, { type, mode, mtime, uid, gid, xattrs }) {
    const pairs = xattrs.map(([name, value]) => `${name.toString("hex")}:${value.toString("hex")}`);
    return { target, mode: type === TYPE.symlink ? null : mode, mtime, uid, gid, xattrs: pairs };
  }

  add(record) {
    this.batch.push(record);
    this.batchSize += 1 + record.xattrs.join().length / 1000;
    if (this.batchSize > 8192) this.flush();
  }

  flush() {
    const batch = this.batch.splice(0);
    this.batchSize = 0;
    if (batch.length === 0) return;
    // The owner first: changing it takes set-user-id bits and capabilities away.
    for (const record of batch) {
      const { target, uid, gid } = record;
      let isOwners = uid === process.getuid?.() && gid === process.getgid?.();
      if (this.isRoot) isOwners = this.attempt("owner", target, () => fs.lchownSync(reach(target), uid, gid));
      else if (uid !== process.getuid?.()) this.lost.owner++;
      // The power of set-user-id and set-group-id was meant for another owner: it is not given to this one.
      if (isOwners || (record.mode & 0o6000) === 0) continue;
      record.mode &= ~0o6000;
      this.lost.elevated++;
    }
    while (this.helpers.length > 0) {
      const [program, ...args] = this.helpers[0];
      const result = spawnSync(program, args, {
        input: batch.map(helperLine).join(""),
        maxBuffer: 2 ** 28,
        ...HELPER_OPTIONS,
      });
      if (result.status === 0) return this.readAnswers(batch, result.stdout.toString());
      this.helpers.shift(); // not installed, or it failed: the next one does the whole batch again
    }
    for (const record of batch) this.setWithNodeAlone(record);
  }

  readAnswers(batch, text) {
    const names = { x: "xattr", m: "mode", t: "time" };
    for (const line of text.split("\n").filter(Boolean)) {
      const [what, number, ...message] = line.split(" ");
      this.attempt(names[what], batch[Number(number)].target, () => {
        throw new Error(message.join(" "));
      });
    }
  }

  setWithNodeAlone({ target, mode, mtime, xattrs }) {
    this.lost.xattr += xattrs.length;
    if (mode !== null) this.attempt("mode", target, () => fs.chmodSync(reach(target), mode));
    const seconds = Number(mtime) / 1e9;
    if (mtime % 1_000_000_000n !== 0n) this.lost.rounded++;
    // Node takes a negative number for "now", but not a negative number as text.
    const exact = seconds < 0 ? String(seconds) : seconds;
    this.attempt("time", target, () => fs.lutimesSync(reach(target), Date.now() / 1000, exact));
  }

  attempt(what, target, action) {
    try {
      action();
      return true;
    } catch (error) {
      this.lost[what]++;
      if (this.shown++ < 20) say(`The ${what} of ${show(target)} was not set: ${error.message}.`);
      return false;
    }
  }

  report() {
    const { owner, elevated, xattr, mode, time, rounded } = this.lost;
    if (owner) say(`${owner} owners were not set${this.isRoot ? "" : ": only root can do that"}.`);
    if (elevated) say(`${elevated} modes lack set-user-id or set-group-id, because their owner or group could not be set.`);
    if (xattr) say(`${xattr} extended attributes were not set${this.helpers.length ? "" : ": that needs python3 or perl"}.`);
    if (mode) say(`${mode} modes were not set.`);
    if (time) say(`${time} times were not set.`);
    if (rounded) say(`${rounded} times were set to about a microsecond: nanoseconds need python3 or perl.`);
  }
}

function helperLine({ target, mode, mtime, xattrs }) {
  const nanoseconds = ((mtime % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n; // never negative, also before 1970
  const seconds = (mtime - nanoseconds) / 1_000_000_000n;
  const words = [target.toString("hex"), mode === null ? "-" : mode.toString(8), seconds, nanoseconds, ...xattrs];
  return `${words.join(" ")}\n`;
}

// ------------------------------------------------------------------------------------------------------- the command line

function parseArguments(argv) {
  const options = { words: [] };
  const withValue = ["--password-file", "--password-env", "--key-file", "--to"];
  for (let i = 0; i < argv.length; i++) {
    const [name, inline] = argv[i].startsWith("--") ? argv[i].split(/=(.*)/s) : [argv[i]];
    if (withValue.includes(name)) {
      options[name] = inline ?? argv[++i];
      if (options[name] === undefined) throw new Stop(2, `${name} needs a value.`);
    } else if (["--force", "--rebuild", "--deleted", "--help"].includes(name)) options[name] = true;
    else if (name.startsWith("-")) throw new Stop(2, `Unknown option ${show(name)}. --help shows all.`);
    else options.words.push(name);
  }
  return options;
}

async function readSecret(options) {
  const given = ["--password-file", "--password-env", "--key-file"].filter((name) => options[name] !== undefined);
  if (given.length > 1) throw new Stop(2, `Only one of ${given.join(" and ")} can be given.`);
  const value = options[given[0]];
  if (given[0] === "--password-env") {
    if (process.env[value] === undefined) throw new Stop(2, `The environment variable ${show(value)} is not set.`);
    return { password: withoutNewline(Buffer.from(process.env[value])) };
  }
  if (given.length === 0) return { password: Buffer.from(await askPassword()) };
  let content;
  try {
    content = fs.readFileSync(value);
  } catch (error) {
    throw new Stop(2, `${show(value)} cannot be read: ${error.message}.`);
  }
  if (given[0] === "--password-file") return { password: withoutNewline(content) };
  const text = content.toString("latin1").trim();
  if (!/^[0-9a-fA-F]{64}$/.test(text)) throw new Stop(12, `${show(value)} is no key file: it must hold 64 hex digits.`);
  return { keyFile: Buffer.from(text, "hex") };
}

function withoutNewline(bytes) {
  if (bytes.at(-1) !== 0x0a) return bytes;
  return bytes.subarray(0, bytes.at(-2) === 0x0d ? -2 : -1);
}

function askPassword() {
  if (!process.stdin.isTTY)
    throw new Stop(2, "There is no terminal to ask for the password: give --password-file, --password-env or --key-file.");
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const asking = readline.createInterface({ input: process.stdin, output: silent, terminal: true });
  fs.writeSync(2, "Password: ");
  return new Promise((resolve, reject) => {
    asking.once("line", resolve);
    asking.once("close", () => {
      fs.writeSync(2, "\n");
      reject(new Stop(2, "No password was given.")); // without effect after a line
    });
    asking.once("line", () => asking.close());
  });
}

function prepareDestination(options) {
  const wanted = options["--to"];
  fs.mkdirSync(wanted, { recursive: true });
  const destination = fs.realpathSync(wanted); // symlinks on the way to DIR are the caller's own wish
  if (!options["--force"] && fs.readdirSync(destination).length > 0)
    throw new Stop(1, `${show(wanted)} is not empty. Choose another folder, or give --force to replace files of equal names.`);
  return destination;
}

async function main(argv) {
  const options = parseArguments(argv);
  const [given, command, wanted, only, ...rest] = options.words;
  if (options["--help"]) {
    fs.writeSync(1, HELP);
    return 0;
  }
  const isRestore = command === "restore" && wanted !== undefined && options["--to"] !== undefined && rest.length === 0;
  const isList = command === "list" && wanted === undefined;
  if (!isRestore && !isList) throw new Stop(2, HELP);

  const folder = path.resolve(given); // the current directory changes while restoring
  const repo = readRepositoryId(folder);
  const secret = await readSecret(options);
  if (secret.password?.length === 0) throw new Stop(12, "The password is empty.");
  const keys = new Keys(repo, openRootKey(folder, repo, secret));
  readKeyring(folder, keys);
  const { snapshots, failed } = readSnapshots(folder, keys, options["--deleted"] === true);
  if (isList) {
    printList(snapshots);
    return failed.length ? 3 : 0;
  }

  const snapshot = chooseSnapshot(snapshots, wanted);
  if (wanted === "latest" && failed.length) say("A newer snapshot may be among those that could not be read.");
  const destination = prepareDestination(options);
  const from = `${show(snapshot.host ?? "?")}, ${show(snapshot.source ?? "?")}, ${show(snapshot.time ?? "?")}`;
  say(`Restoring snapshot ${snapshot.uid} (${from}) to ${show(destination)}.`);
  if (snapshot.unreadableCount)
    say(`The backup could not read ${Number(snapshot.unreadableCount)} entries; they are not in the snapshot.`);
  const store = new ChunkStore(folder, keys);
  store.loadIndex(options["--rebuild"] === true);

  const restore = new Restore(store, destination, options["--force"] === true);
  const names = (only ?? "").split("/").filter((name) => name !== "" && name !== ".");
  const found = restore.walk(
    Buffer.from(snapshot.root, "hex"),
    Buffer.from(destination),
    names.map((name) => Buffer.from(name)),
  );
  restore.finish();
  say(
    `${restore.files} files (${restore.bytes} bytes) and ${restore.directories.length} directories restored to ${show(destination)}.`,
  );
  if (restore.failed) say(`${restore.failed} could not be restored; they are named above.`);
  if (!found && !restore.failed) throw new Stop(1, `The snapshot does not hold ${show(only)}.`);
  return restore.failed ? 3 : 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  // An operating system's error names its file; anything else is a fault of this program and shows where.
  say(error instanceof Stop ? error.message : error.code ? error.message : error.stack);
  process.exitCode = error instanceof Stop ? error.exitCode : 1;
}
