import { describe, expect, it } from "vitest";
import { buildTree } from "../objects/build-tree.ts";
import { ByteWriter } from "../../../../src/codec/binary.ts";
import { TreeReader } from "../../../../src/formats/repository/read/tree-reader.ts";
import type { ChunkReader } from "../../../../src/formats/repository/read/chunk-reader.ts";
import { encodedEntry, type TreeEntry } from "../../../../src/formats/repository/objects/tree-node.ts";

/** Chunks by a number instead of a hash: nodes may then point anywhere. */
class Chunks {
  readonly #stored: Buffer[] = [];
  reads = 0;

  put(bytes: Buffer): Buffer {
    const id = Buffer.alloc(32);
    id.writeUInt32LE(this.#stored.push(Buffer.from(bytes)), 0);
    return id;
  }

  reader(): TreeReader {
    const chunk = async (_kind: number, id: Uint8Array): Promise<Buffer> => {
      this.reads++;
      return this.#stored[Buffer.from(id).readUInt32LE(0) - 1] as Buffer;
    };
    return new TreeReader({ chunk } as unknown as ChunkReader);
  }
}

const meta = {
  mode: 0o644,
  uid: 0,
  gid: 0,
  user: "",
  group: "",
  mtimeNs: 0n,
  ctimeNs: 0n,
  inode: 1n,
  links: 1,
  device: 0n,
  xattrs: [],
};

function fifo(name: string | Buffer): TreeEntry {
  const base = { flags: 0, meta, size: 0, profile: 0, depth: 0, ids: new Uint8Array(), extents: [] };
  return { ...base, name: Buffer.from(name as string), type: "fifo", linkTarget: undefined, rdev: undefined, tree: undefined };
}

function directory(name: string, tree: Uint8Array): TreeEntry {
  return { ...fifo(name), type: "directory", tree };
}

function leaf(chunks: Chunks, ...entries: TreeEntry[]): Buffer {
  const writer = new ByteWriter(64).u8(1).u8(0).varint(entries.length);
  for (const entry of entries) writer.raw(encodedEntry(entry));
  return chunks.put(writer.finish());
}

function inner(chunks: Chunks, ...children: (readonly [name: string, id: Buffer])[]): Buffer {
  const writer = new ByteWriter(64).u8(1).u8(1).varint(children.length);
  for (const [name, id] of children) writer.bytes(Buffer.from(name)).raw(id);
  return chunks.put(writer.finish());
}

function list(chunks: Chunks, ...ids: Buffer[]): Buffer {
  return chunks.put(new ByteWriter(64).u8(1).u8(2).varint(ids.length).raw(Buffer.concat(ids)).finish());
}

async function names(reader: TreeReader, tree: Uint8Array): Promise<string[]> {
  const found: string[] = [];
  for await (const entries of reader.entriesOf(tree)) found.push(...entries.map((entry) => Buffer.from(entry.name).toString()));
  return found;
}

describe("TreeReader", () => {
  it("lists and finds in a directory of many nodes, reading one path for a lookup", async () => {
    const chunks = new Chunks();
    const all = Array.from({ length: 60_000 }, (_, i) => `name-${String(i).padStart(6, "0")}-${"x".repeat(i % 90)}`).sort();
    const tree = buildTree(
      all.map((name) => ({ name: Buffer.from(name), encoded: encodedEntry(fifo(name)) })),
      (node) => chunks.put(node),
    );
    const root = leaf(chunks, directory("big", Buffer.from(tree)));
    const reader = chunks.reader();
    expect(await names(reader, tree)).toEqual(all);
    expect(chunks.reads).toBeGreaterThan(20);
    for (const name of [all[0], all[1], all[31_415], all.at(-1)] as string[]) {
      chunks.reads = 0;
      expect((await reader.lookup(root, Buffer.from(`/big/${name}`)))?.name.toString()).toBe(name);
      expect(chunks.reads).toBeLessThanOrEqual(4);
    }
    for (const path of ["/big/a", "/big/zzz", "/big/name-031415", "/other", `/big/${all[7]}/below`])
      expect(await reader.lookup(root, Buffer.from(path)), path).toBeUndefined();
  });

  it("gives the ids below chunk lists in order", async () => {
    const chunks = new Chunks();
    const ids = Array.from({ length: 9 }, (_, i) => Buffer.alloc(32, i + 1));
    const low = [list(chunks, ...ids.slice(0, 4)), list(chunks, ...ids.slice(4, 8)), list(chunks, ...ids.slice(8))];
    const top = Buffer.concat([list(chunks, ...low.slice(0, 2)), list(chunks, ...low.slice(2))]);
    const got: Uint8Array[] = [];
    for await (const part of chunks.reader().dataIds({ size: 9, depth: 2, ids: top, extents: undefined })) got.push(part);
    expect(Buffer.concat(got).equals(Buffer.concat(ids))).toBe(true);
  });

  it.each<readonly [string, (chunks: Chunks) => Buffer]>([
    ["leaves overlap", (chunks) => inner(chunks, ["a", leaf(chunks, fifo("a"), fifo("m"))], ["b", leaf(chunks, fifo("b"))])],
    ["begin with the name", (chunks) => inner(chunks, ["a", leaf(chunks, fifo("b"))])],
    ["begin with the name", (chunks) => inner(chunks, ["a", leaf(chunks)])],
    ["holds a list", (chunks) => list(chunks, Buffer.alloc(32))],
    [
      "nested too deep",
      (chunks) => {
        let node = leaf(chunks, fifo("a"));
        for (let depth = 0; depth < 20; depth++) node = inner(chunks, ["a", node]);
        return node;
      },
    ],
  ])("refuses a directory whose nodes are wrong: %s", async (message, build) => {
    const chunks = new Chunks();
    const tree = build(chunks);
    await expect(names(chunks.reader(), tree)).rejects.toMatchObject({
      code: "object_malformed",
      message: expect.stringContaining(message),
    });
  });

  it.each([Buffer.from(".."), Buffer.from("."), Buffer.from("a/b"), Buffer.from("a\0b"), Buffer.alloc(0)])(
    "refuses the hostile name %j",
    async (name) => {
      const chunks = new Chunks();
      const tree = leaf(chunks, fifo(name));
      await expect(names(chunks.reader(), tree)).rejects.toMatchObject({ code: "object_malformed" });
    },
  );

  it("refuses a list that is no list", async () => {
    const chunks = new Chunks();
    const content = { size: 1, depth: 1, ids: leaf(chunks, fifo("a")), extents: undefined };
    await expect(chunks.reader().dataIds(content).next()).rejects.toMatchObject({ code: "object_malformed" });
  });
});
