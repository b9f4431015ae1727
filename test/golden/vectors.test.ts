/**
 * The bytes of format 1, fixed. Each vector is checked three ways: the encoder still gives exactly these bytes, the decoder
 * gives the value back from the committed bytes, and where `by-hand.ts` has it, the words of `docs/format.md` lead to them too.
 */
import * as crypto from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Secret } from "../../src/base/secret.ts";
import { decompress } from "../../src/codec/compress.ts";
import { KIND } from "../../src/codec/seal.ts";
import { decodeKeyring } from "../../src/formats/repository/keys/keyring.ts";
import { openSlot } from "../../src/formats/repository/keys/slot.ts";
import { decodeCondemned } from "../../src/formats/repository/objects/condemned-object.ts";
import { decodeIndexObject } from "../../src/formats/repository/objects/index-object.ts";
import { decodeLease } from "../../src/formats/repository/objects/lease-object.ts";
import { decodeNote } from "../../src/formats/repository/objects/note-object.ts";
import { decodeDirectory, decodeTrailer, readDirectory } from "../../src/formats/repository/objects/pack-directory.ts";
import { decodeSnapshot } from "../../src/formats/repository/objects/snapshot-object.ts";
import { decodeNode } from "../../src/formats/repository/objects/tree-node.ts";
import * as byHand from "./by-hand.ts";
import { counterStream, FIXED_KEYS, fixedKey, KEY_FILE, PASSWORD, sha256 } from "./fixed.ts";
import * as made from "./vectors.ts";
import { unhex, type Vector, type Vectors } from "./vectors.ts";

const FOLDER = join(import.meta.dirname, "vectors");
const REPO = FIXED_KEYS.repositoryId;

function committed(name: string): Vectors {
  return JSON.parse(readFileSync(join(FOLDER, `${name}.json`), "utf8")) as Vectors;
}

/** Members of a vector that is a table. */
function table(vector: Vector | undefined): Vectors {
  expect(typeof vector).toBe("object");
  return vector as Vectors;
}

/** Every kind of bytes as hex and bigints as text, for comparing. */
function plain(value: unknown): unknown {
  const text = JSON.stringify(value, function (this: Record<string, unknown>, name: string, one: unknown) {
    // A Buffer has become an object before it comes here.
    const own = this[name];
    if (own instanceof Uint8Array) return Buffer.from(own).toString("hex");
    return own instanceof Uint32Array ? [...own] : typeof one === "bigint" ? `${one}` : one;
  });
  return JSON.parse(text) as unknown;
}

const now = await made.allVectors();
const lineage = byHand.lineage(FIXED_KEYS.lineageSecret);
const masterOf = (epoch: number): Uint8Array => FIXED_KEYS.epochs.find((one) => one.epoch === epoch)?.master as Uint8Array;
const current = { epoch: 2, keyId: byHand.keyId(masterOf(2), REPO, 2) };

it("every file of vectors is made here, and every one that is made is there", () => {
  expect(readdirSync(FOLDER).toSorted()).toEqual(
    Object.keys(now)
      .map((name) => `${name}.json`)
      .toSorted(),
  );
});

it.each(Object.keys(now))("the encoders give the committed bytes: %s", (name) => {
  expect(now[name]).toEqual(committed(name));
});

describe("chunks", () => {
  it.each(made.CUT_INPUTS.map((one, i) => ({ ...one, i })))("$profile cuts $input as the page says", ({ profile, bytes, i }) => {
    const [vector] = (committed("chunks")["cuts"] as readonly Vectors[]).slice(i);
    expect(vector?.["profile"]).toBe(profile);
    expect(byHand.cuts(lineage.gear, profile, bytes)).toEqual(vector?.["lengths"]);
  });

  it("ids are those the page says", () => {
    const ids = table(committed("chunks")["ids"]);
    expect(Object.keys(ids)).toEqual(Object.keys(made.CHUNK_INPUTS));
    for (const [input, bytes] of Object.entries(made.CHUNK_INPUTS)) {
      const { data, tree } = table(ids[input]);
      expect(byHand.chunkId(lineage.dataId, bytes)).toEqual(unhex(data));
      expect(byHand.chunkId(lineage.treeId, bytes)).toEqual(unhex(tree));
    }
  });
});

describe("keys", () => {
  it("of epochs, of the root key and of the lineage are derived as the page says", () => {
    const { root, epochs, lineage: kin } = committed("keys");
    for (const one of epochs as readonly Vectors[]) {
      const [epoch, master] = [one["epoch"] as number, unhex(one["master"])];
      expect(byHand.keyId(master, REPO, epoch)).toEqual(unhex(one["keyId"]));
      for (const purpose of ["data", "tree", "index", "snapshot", "notes", "salt"])
        expect({ purpose, key: byHand.purposeKey(master, REPO, purpose, epoch) }).toEqual({ purpose, key: unhex(one[purpose]) });
    }
    const ofRoot = table(root);
    expect(byHand.keyId(FIXED_KEYS.root, REPO, 0)).toEqual(unhex(ofRoot["keyId"]));
    for (const purpose of ["keyring", "salt"])
      expect(byHand.purposeKey(FIXED_KEYS.root, REPO, purpose, 0)).toEqual(unhex(ofRoot[purpose]));
    const gear = table(table(kin)["gear"]);
    const bytes = Buffer.alloc(1024);
    for (const [i, value] of lineage.gear.entries()) bytes.writeUInt32LE(value, i * 4);
    expect([sha256(bytes), lineage.gear.slice(0, 4), lineage.gear[255]]).toEqual([gear["sha256"], gear["first"], gear["last"]]);
    expect(lineage.id).toEqual(unhex(table(kin)["id"]));
  });
});

describe("frames", () => {
  const names = Object.keys(committed("frames"));

  it.each(names)("the committed bytes open, by the program and by the page: %s", (name) => {
    const frame = table(committed("frames")[name]);
    const [kind, codec, rawLength] = ["kind", "codec", "rawLength"].map((member) => frame[member] as number) as [
      1 | 2,
      number,
      number,
    ];
    const sealed = unhex(frame["sealed"]);
    const row = { suite: 0, ...current, sealedKey: Buffer.alloc(0) };
    expect(made.sealerOf("").openFrame({ kind, codec, rawLength, row }, sealed)).toEqual(made.FRAME_TEXT);
    const header = byHand.header({ magic: "HFF1", kind, codec, rawLength, ...current });
    expect(header).toEqual(unhex(frame["header"]));
    const key = byHand.purposeKey(masterOf(2), REPO, kind === 1 ? "data" : "tree", 2);
    const plain = byHand.unsealed(sealed, { repo: REPO, header, key });
    expect(plain).toEqual(unhex(frame["plain"]));
    const random = counterStream(`frame ${name.split(" ")[1]}/call 0`, 32);
    const saltKey = byHand.purposeKey(masterOf(2), REPO, "salt", 2);
    expect(byHand.sealed(plain, random, saltKey, { repo: REPO, header, key })).toEqual(sealed);
  });

  it("what compressors once made decodes", () => {
    for (const { codec, bytes } of Object.values(made.COMPRESSED))
      expect(decompress(codec, bytes, made.FRAME_TEXT.length)).toEqual(made.FRAME_TEXT);
  });
});

describe("packs", () => {
  const { pack, directory, wideDirectory, trailer, id } = committed("packs");
  const bytes = unhex(pack);

  it("the committed pack is read from its end, and its frames open", async () => {
    expect(sha256(bytes)).toBe(id);
    expect(bytes.length % 4096).toBe(0);
    const sealer = made.sealerOf("");
    const read = await readDirectory(sealer, bytes.length, async (offset, length) => bytes.subarray(offset, offset + length));
    expect(read).toEqual(decodeDirectory(unhex(directory)));
    const fixed = made.fixedPack().directory;
    expect(read.frames.map((frame) => ({ ...frame, chunkIds: Buffer.from(frame.chunkIds) }))).toEqual(fixed.frames);
    let at = 0;
    for (const frame of read.frames) {
      const raw = sealer.openFrame({ kind: 1, ...frame, row: read.rows[frame.row] }, bytes.subarray(at, at + frame.storedLength));
      at += frame.storedLength;
      expect(made.KEYS.chunkId(1, raw.subarray(0, frame.chunkLengths[0]))).toEqual(Buffer.from(frame.chunkIds.subarray(0, 32)));
    }
  });

  it("its tail is laid out as the page says", () => {
    const tail = unhex(trailer);
    expect(tail).toEqual(bytes.subarray(-16));
    const size = tail.readUInt32LE(0);
    expect(tail.subarray(4).toString("latin1")).toBe("\x01\0\0\0HFPACK01");
    expect(decodeTrailer(tail)).toEqual({ directorySize: size, kind: 1 });
    const object = bytes.subarray(-16 - size, -16);
    const content = unhex(directory);
    const header = byHand.header({ magic: "HFO1", kind: 3, codec: 0, rawLength: content.length, ...current });
    expect(object.subarray(0, 40)).toEqual(header);
    const key = byHand.purposeKey(masterOf(2), REPO, "index", 2);
    const plain = byHand.unsealed(object.subarray(40), { repo: REPO, header, key });
    expect(plain).toEqual(byHand.objectPlain(content, bytes.length - size));
  });

  it("a directory with several rows, a sealed key and the largest numbers reads back", () => {
    const { kind, rows, frames } = decodeDirectory(unhex(wideDirectory));
    expect(plain({ kind, rows, frames })).toEqual(plain(made.WIDE_DIRECTORY));
  });
});

describe("trees", () => {
  const trees = committed("trees");

  it("every kind of entry reads back from the committed bytes, alone and in a leaf of all", () => {
    const entries = table(trees["entries"]);
    expect(Object.keys(entries)).toEqual(Object.keys(made.ENTRIES));
    const encoded = Object.values(entries).map(unhex);
    const leaf = Buffer.concat([Buffer.of(1, 0, encoded.length), ...encoded]);
    expect(sha256(leaf)).toBe(table(trees["leaf"])["sha256"]);
    const node = decodeNode(leaf);
    const wanted = Object.values(made.ENTRIES);
    expect(node.type === "leaf" ? node.entries.length : 0).toBe(wanted.length);
    if (node.type !== "leaf") return;
    for (const [i, entry] of node.entries.entries()) {
      const { flags, ...rest } = wanted[i] as (typeof wanted)[number];
      // The encoder adds the flag of xattrs.
      expect(plain({ ...entry, flags: entry.flags & ~4 })).toEqual(plain({ ...rest, flags }));
    }
  });

  it("an empty directory, an inner node and a list of chunks read back", () => {
    expect(decodeNode(unhex(trees["emptyDirectory"]))).toEqual({ type: "leaf", entries: [] });
    const inner = decodeNode(unhex(trees["innerNode"]));
    const [, leaves] = Object.entries(table(trees["directories"]))[0] as [string, readonly Vectors[]];
    const ids = leaves.filter((node) => node["type"] === 0).map((node) => node["id"]);
    expect(inner.type === "inner" ? inner.children.map((child) => Buffer.from(child.id).toString("hex")) : []).toEqual(ids);
    const { nodes } = made.chunkListOf(257);
    const list = decodeNode(nodes[0] as Buffer);
    expect(list.type === "list" ? list.ids.length : 0).toBe(257 * 32);
    expect(nodes[0]?.subarray(0, 68)).toEqual(unhex(table(trees["listNode"])["begins"]));
  });
});

describe("objects", () => {
  const objects = committed("objects");
  const purposes: Readonly<Record<number, string>> = { 4: "index", 5: "snapshot", 7: "index", 8: "index", 9: "notes" };
  const names = Object.keys(objects);
  const contentOf = (name: string): Buffer => {
    const { kind, content } = table(objects[name]);
    return kind === KIND.index ? unhex(content) : Buffer.from(content as string);
  };

  it.each(names)("the committed content is sealed as the page says: %s", (name) => {
    const { kind: number, name: id, object, begins } = table(objects[name]);
    const kind = number as number;
    const content = contentOf(name);
    const isKeyring = kind === KIND.keyring;
    const [master, epoch] = isKeyring ? [FIXED_KEYS.root, 0] : [masterOf(2), 2];
    const keyId = byHand.keyId(master, REPO, epoch);
    const header = byHand.header({ magic: "HFO1", kind, codec: 0, epoch, rawLength: content.length, keyId });
    const key = byHand.purposeKey(master, REPO, isKeyring ? "keyring" : (purposes[kind] as string), epoch);
    const random = counterStream(`object ${name}/call 0`, 32);
    const saltKey = byHand.purposeKey(master, REPO, "salt", epoch);
    const sealed = byHand.sealed(byHand.objectPlain(content), random, saltKey, { repo: REPO, header, key });
    const bytes = Buffer.concat([header, sealed]);
    expect(bytes.length % 4096).toBe(0);
    expect(sha256(bytes)).toBe(id);
    expect(object === undefined ? bytes.subarray(0, 64) : bytes).toEqual(unhex(object ?? begins));
    expect(made.sealerOf("").openObject(kind, bytes)).toEqual(content);
  });

  it("every content reads back as the value it was made of", () => {
    expect(decodeKeyring(contentOf("keyring"))).toEqual(made.KEYRING);
    expect(decodeSnapshot(contentOf("snapshot"))).toEqual(made.SNAPSHOT);
    expect(decodeSnapshot(contentOf("snapshot without what may be absent"))).toEqual(made.PLAIN_SNAPSHOT);
    expect(decodeLease(contentOf("lease"))).toEqual(made.LEASE);
    expect(decodeCondemned(contentOf("condemned"))).toEqual(made.CONDEMNED);
    for (const [name, note] of Object.entries(made.NOTES)) expect(decodeNote(contentOf(`note: ${name}`))).toEqual(note);
    expect(decodeIndexObject(contentOf("index of nothing"))).toEqual({ supersedes: [], packs: [] });
    const { supersedes, packs } = decodeIndexObject(contentOf("index"));
    const fixed = made.fixedIndex();
    expect(supersedes).toEqual(fixed.supersedes);
    expect(packs.map(({ id, kind, sizeBytes }) => [id, kind, sizeBytes])).toEqual(
      fixed.packs.map(({ id, kind, sizeBytes }) => [id, kind, sizeBytes]),
    );
    for (const [i, pack] of packs.entries())
      for (const [j, frame] of pack.frames.entries()) {
        const whole = fixed.packs[i]?.frames[j] as (typeof pack.frames)[number];
        const { chunkIds, ...rest } = frame;
        const { chunkIds: wholeIds, ...wholeRest } = whole;
        expect(rest).toEqual(wholeRest);
        for (let c = 0; c < frame.chunkLengths.length; c++)
          expect(Buffer.from(chunkIds.subarray(c * 16, c * 16 + 16))).toEqual(
            Buffer.from(wholeIds.subarray(c * 32, c * 32 + 16)),
          );
      }
  });
});

describe("key slots", () => {
  const out: Readonly<Record<string, (salt: Buffer) => readonly [Uint8Array, string]>> = {
    argon2id: (nonce) => [
      crypto.argon2Sync("argon2id", {
        message: Buffer.from(PASSWORD),
        nonce,
        parallelism: 3,
        tagLength: 64,
        memory: 64,
        passes: 2,
      }),
      "argon2id,64,2,3",
    ],
    scrypt: (salt) => [crypto.scryptSync(PASSWORD, salt, 64, { N: 2 ** 4, r: 8, p: 2 }), "scrypt,4,8,2"],
    pbkdf2: (salt) => [crypto.pbkdf2Sync(PASSWORD, salt, 1000, 64, "sha512"), "pbkdf2,sha512,1000"],
    keyfile: (salt) => [byHand.hkdf(Buffer.from(KEY_FILE, "hex"), salt, "holdfast/v1/slot", 64), "keyfile"],
  };

  it.each(Object.keys(out))("a committed slot opens, by the program and by the page: %s", async (name) => {
    const { text, sha256: hash } = table(committed("slots")[name]);
    const bytes = Buffer.alloc(4096, " ");
    bytes.write(text as string);
    expect(sha256(bytes)).toBe(hash);
    const slot = JSON.parse(text as string) as Record<string, string>;
    const derive = out[name] as (typeof out)[string];
    const [derived, kdfText] = derive(fixedKey(`slot salt ${name}`));
    expect(byHand.openSlot(slot, REPO, derived, kdfText)).toEqual(Buffer.from(FIXED_KEYS.root));
    const kind = name === "keyfile" ? "keyfile" : "password";
    for (const ending of ["", "\n", "\r\n"])
      expect(
        await openSlot(bytes, new Secret((kind === "keyfile" ? KEY_FILE.toUpperCase() : PASSWORD) + ending), kind, REPO),
      ).toEqual(Buffer.from(FIXED_KEYS.root));
  });
});
