// Repositories that would take too long to make by backups, written with the program's own encoders.
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { createSystemClock, Holdfast, openState, randomHex, readConfigFile, systemRandom } from "../../src/index.ts";
import { encodeIndexObject, toPackRecord } from "../../src/formats/repository/objects/index-object.ts";
import { finishPack } from "../../src/formats/repository/objects/pack-directory.ts";
import { decodeSnapshot, encodeSnapshot } from "../../src/formats/repository/objects/snapshot-object.ts";
import { decodeNode, encodedEntry, TreeSplitter } from "../../src/formats/repository/objects/tree-node.ts";
import { ChunkReader } from "../../src/formats/repository/read/chunk-reader.ts";
import { mergeIndexObjects } from "../../src/formats/repository/write/commit.ts";
import { FrameBuilder } from "../../src/formats/repository/write/frame-builder.ts";
import { FRAME_BYTES } from "../../src/formats/repository/write/writer.ts";
import { breathe } from "../bench/measure.mjs";
import { createNoise, createText } from "../bench/random.mjs";

const CHUNK_BYTES = 65_536;
const FRAME_CHUNKS = FRAME_BYTES / CHUNK_BYTES;
const PACK_CHUNKS = 512;
/** Chunks of one index object, as a writer makes them. */
const INDEX_CHUNKS = 65_536;
/** What sealing adds to a frame. */
const SEAL_BYTES = 48;
const HOUR_MS = 3_600_000;

/** Calls `act` with the target of a configuration, opened in this process; `now` is what it takes for the time. */
async function withLibrary(config, now, act) {
  const surroundings = {
    env: process.env,
    cwd: "/",
    hostName: "bench",
    home: "/",
    isRoot: process.getuid() === 0,
    timezone: "UTC",
  };
  const loaded = readConfigFile(config, surroundings, false);
  const state = openState(loaded.config.daemon.stateDir);
  const holdfast = new Holdfast(loaded.config, state, {
    env: process.env,
    credentialsDirectory: undefined,
    clock: { ...createSystemClock(), now },
    random: systemRandom,
    toolVersion: "scale",
    gitCommit: undefined,
    configText: "",
    listener: () => {},
  });
  try {
    const { repository } = await holdfast.session.store("disk");
    await act(holdfast, repository);
  } finally {
    await holdfast[Symbol.asyncDispose]();
    state.close();
  }
}

/** Index objects that name so many chunks, and packs of the sizes and with the directories that fit; their frames are holes. */
export async function writeIndex(config, folder, chunks) {
  await withLibrary(config, Date.now, async (_, repository) => {
    const noise = createNoise("index");
    let packs = [];
    for (let left = chunks; left > 0; left -= PACK_CHUNKS) {
      await breathe();
      packs.push(writeHollowPack(repository.sealer, folder, noise, Math.min(left, PACK_CHUNKS)));
      if (packs.length * PACK_CHUNKS < INDEX_CHUNKS && left > PACK_CHUNKS) continue;
      await repository.putObject("index", encodeIndexObject({ supersedes: [], packs }));
      packs = [];
    }
  });
}

function writeHollowPack(sealer, folder, noise, chunks) {
  const frames = [];
  for (let left = chunks; left > 0; left -= FRAME_CHUNKS) {
    const chunkLengths = new Uint32Array(Math.min(left, FRAME_CHUNKS)).fill(CHUNK_BYTES);
    const rawLength = chunkLengths.length * CHUNK_BYTES;
    const chunkIds = noise(chunkLengths.length * 32);
    frames.push({ codec: 0, row: 0, storedLength: rawLength + SEAL_BYTES, rawLength, chunkIds, chunkLengths });
  }
  const framesBytes = frames.reduce((sum, { storedLength }) => sum + storedLength, 0);
  const directory = { kind: 1, rows: [sealer.currentRow()], frames };
  const tail = Buffer.concat(finishPack(sealer, directory, framesBytes));
  // Only who reads a whole pack would see that its name is not its hash.
  const id = noise(32).toString("hex");
  const place = join(folder, "packs", id.slice(0, 2));
  fs.mkdirSync(place, { recursive: true, mode: 0o700 });
  const file = fs.openSync(join(place, id), "wx", 0o600);
  fs.writeSync(file, tail, 0, tail.length, framesBytes);
  fs.closeSync(file);
  return toPackRecord(id, framesBytes + tail.length, directory);
}

/**
 * So many snapshots of a folder of small files, an hour apart up to an hour ago, each with one file changed, on the disk too. The
 * first is a backup; the others are what backups would have left: two packs, an index object and a snapshot each, and small index
 * objects merged.
 */
export async function writeSnapshots(config, source, count) {
  let time = Date.now() - count * HOUR_MS;
  await withLibrary(
    config,
    () => time,
    async (holdfast, repository) => {
      const { status, error } = await holdfast.backup("corpus", { signal: new AbortController().signal });
      if (status !== "success") throw error;
      const [stored] = await repository.listObjects("snapshots");
      let snapshot = decodeSnapshot(await repository.readObject("snapshots", stored.id));
      const folders = await readFolders(repository, snapshot.root, source);
      const text = createText("snapshots");
      for (let i = 1; i < count; i++) {
        await breathe();
        time += HOUR_MS;
        snapshot = await writeSnapshot(repository, snapshot, {
          source,
          folders,
          place: i % folders.at(-1).entries.length,
          text,
          time,
        });
      }
    },
  );
}

/** One more snapshot, in which the file at `place` has other content of the same length. */
async function writeSnapshot(repository, before, { source, folders, place, text, time }) {
  const files = folders.at(-1).entries;
  const content = text(files[place].size);
  fs.writeFileSync(join(source, files[place].name.toString()), content);
  const packs = [createPack(repository, 1), createPack(repository, 2)];
  const timeNs = BigInt(time) * 1_000_000n;
  const meta = { ...files[place].meta, mtimeNs: timeNs, ctimeNs: timeNs };
  files[place] = { ...files[place], meta, ids: packs[0].add(content) };
  const root = addFolders(packs[1], folders);
  const records = [await packs[0].put(), await packs[1].put()];
  await repository.putIndexObject(records, []);
  const iso = new Date(time).toISOString();
  const snapshot = {
    ...before,
    uid: randomHex(systemRandom, 16),
    run: randomHex(systemRandom, 16),
    time: iso,
    end: iso,
    mode: "incremental",
    baseline: before.uid,
    previous: before.uid,
    root,
    bytes: {
      source: before.bytes.source,
      new: packs[0].rawBytes() + packs[1].rawBytes(),
      stored: records[0].sizeBytes + records[1].sizeBytes,
    },
  };
  await repository.putObject("snapshots", encodeSnapshot(snapshot));
  await mergeIndexObjects(repository);
  return snapshot;
}

/** The folders from the root down to the source: their entries, and which of these leads on. */
async function readFolders(repository, root, source) {
  const reader = new ChunkReader(repository);
  const folders = [];
  let id = Buffer.from(root, "hex");
  for (const name of [...source.split("/").slice(1), undefined]) {
    const { entries } = decodeNode(Buffer.from(await reader.chunk(2, id)));
    const next = entries.findIndex((entry) => entry.name.toString() === name);
    folders.push({ entries, next });
    id = entries[next]?.tree;
  }
  return folders;
}

/** The trees of the folders, the last one first; returns the id of the root in hex. */
function addFolders(pack, folders) {
  let tree;
  for (const { entries, next } of folders.toReversed()) {
    if (tree !== undefined) entries[next] = { ...entries[next], tree };
    const splitter = new TreeSplitter((node) => pack.add(Buffer.from(node)));
    for (const entry of entries) splitter.add(entry.name, encodedEntry(entry));
    tree = splitter.finish();
  }
  return Buffer.from(tree).toString("hex");
}

/** A pack of one kind that takes chunks: `add` returns their ids, `put` resolves to the record for the index. */
function createPack({ keys, sealer, target }, kind) {
  const setup = { repositories: [keys.material], codec: "zstd", level: 3, frameBytes: FRAME_BYTES, grouping: "frame" };
  const builder = new FrameBuilder(kind, setup, systemRandom);
  let raw = 0;
  return {
    rawBytes: () => raw,
    add: (bytes) => {
      const id = keys.chunkId(kind, bytes);
      builder.add(bytes, id, 1, 0);
      raw += bytes.length;
      return id;
    },
    put: async () => {
      builder.flush();
      const taken = builder.take();
      const frames = taken.map(({ sealed, ...frame }) => ({ ...frame, row: 0, storedLength: sealed[0].length }));
      const directory = { kind, rows: [sealer.currentRow()], frames };
      const framesBytes = frames.reduce((sum, { storedLength }) => sum + storedLength, 0);
      const bytes = Buffer.concat([...taken.map(({ sealed }) => sealed[0]), ...finishPack(sealer, directory, framesBytes)]);
      const id = createHash("sha256").update(bytes).digest("hex");
      await target.put(`packs/${id.slice(0, 2)}/${id}`, [bytes]);
      return toPackRecord(id, bytes.length, directory);
    },
  };
}
