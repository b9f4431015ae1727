import { createHash, randomInt } from "node:crypto";
import { asHoldfastError, HoldfastError } from "../../base/errors.ts";
import type { Progress } from "../../base/events.ts";
import type { SnapshotId } from "../../base/ids.ts";
import { pathText } from "../../base/path-text.ts";
import type { Target } from "../../targets/target.ts";
import type { SnapshotEntry, VerifyCheck, VerifyDamage, VerifyReport } from "../format.ts";
import { listArchives, readManifest, type ListedArchive } from "./archive-list.ts";
import { readNotes } from "./archive-notes.ts";
import { ArchiveReader, fileData } from "./archive-reader.ts";
import type { Manifest, PartRecord } from "./manifest.ts";
import { CONFIG_NAME, manifestName, partName, type StreamKind } from "./object-names.ts";
import { PartReader } from "./part-reader.ts";
import { readStoreId } from "./store-config.ts";

/** Bytes read and hashed at a time. */
const READ_BYTES = 4 * 2 ** 20;
const MAX_PATHS = 100;

export interface VerifyArchivesOptions {
  /** The target's name. */
  readonly name: string;
  /** Empty: all. */
  readonly snapshots: readonly SnapshotId[];
  readonly readData: number;
  readonly onProgress: (progress: Progress) => void;
}

/**
 * Checks archives against their manifests: that every part is there with its size, that the entry index reads whole and
 * its entries lie inside the tar, and, for the chosen share of the parts, every byte. Notes and the store's own file too.
 * Damage is a result; rejects only when the target itself fails.
 */
export async function verifyArchives(target: Target, options: VerifyArchivesOptions): Promise<VerifyReport> {
  return await new Verification(target, options).run();
}

class Verification {
  readonly #target: Target;
  readonly #options: VerifyArchivesOptions;
  readonly #damage: VerifyDamage[] = [];
  readonly #checks = new Map<string, { checked: number; failed: number; note?: string }>();
  #bytesRead = 0;
  #bytesTotal = 0;
  #filesDone = 0;

  constructor(target: Target, options: VerifyArchivesOptions) {
    this.#target = target;
    this.#options = options;
  }

  async run(): Promise<VerifyReport> {
    const { readData, snapshots } = this.#options;
    const store = await this.#attempt("store", "store", CONFIG_NAME, async () => await this.#storeId());
    const listed = await listArchives(this.#target);
    const finished = listed.filter(({ manifest }) => manifest !== undefined);
    const chosen = snapshots.length === 0 ? finished : finished.filter(({ uid }) => snapshots.includes(uid));
    for (const uid of snapshots)
      if (!finished.some((one) => one.uid === uid))
        this.#fail("archives", { kind: "snapshot", id: uid, message: "There is no such archive", snapshots: [uid], paths: [] });
    const manifests: { archive: ListedArchive; manifest: Manifest }[] = [];
    for (const archive of chosen) {
      const manifest = await this.#attempt("archives", "snapshot", archive.uid, async () => await this.#manifest(archive, store));
      if (manifest !== undefined) manifests.push({ archive, manifest });
    }
    if (readData > 0)
      this.#bytesTotal =
        manifests.reduce((sum, { manifest }) => sum + bytesOf(manifest.tar) + bytesOf(manifest.entries), 0) * readData;
    for (const { archive, manifest } of manifests) await this.#archive(archive, manifest);
    await this.#notes();
    const unfinished = listed.length - finished.length;
    if (unfinished > 0) this.#check("archives").note = `${unfinished} unfinished archives were not looked at`;
    return {
      ok: this.#damage.length === 0,
      checks: [...this.#checks].map(([name, check]): VerifyCheck => ({ name, ...check })),
      damage: this.#damage,
      snapshots: chosen.length,
      bytesRead: this.#bytesRead,
      level: readData === 0 ? "structure" : readData >= 1 ? "data" : `data ${readData}`,
    };
  }

  async #storeId(): Promise<string> {
    const id = await readStoreId(this.#target, this.#options.name);
    if (id === undefined) throw new HoldfastError("object_damaged", `${CONFIG_NAME} is missing`);
    return id;
  }

  async #manifest(archive: ListedArchive, store: string | undefined): Promise<Manifest | undefined> {
    const manifest = await readManifest(this.#target, archive);
    if (manifest !== undefined && store !== undefined && manifest.store !== store)
      throw new HoldfastError(
        "object_foreign",
        `${manifestName(archive.uid)} belongs to another archive store, ${manifest.store}`,
      );
    return manifest;
  }

  async #archive(archive: ListedArchive, manifest: Manifest): Promise<void> {
    const { uid } = archive;
    const badParts = new Map<number, { message: string }>();
    for (const kind of ["entries", "tar"] as const)
      for (const [number, part] of manifest[kind].entries()) {
        const message = await this.#part(archive, kind, number, part, manifest);
        if (message === undefined) continue;
        if (kind === "tar") badParts.set(number, { message });
        else this.#fail("parts", { kind: "part", id: partName(uid, kind, number), message, snapshots: [uid], paths: [] });
      }
    const paths = new Map<number, string[]>();
    await this.#attempt("entries", "index", uid, async () => {
      const parts = new PartReader(this.#target, uid, "tar", manifest.tar);
      for await (const entry of walk(new ArchiveReader(this.#target), uid)) {
        if (++this.#filesDone % 10_000 === 0) this.#progress();
        if (entry.entry.type !== "file" || badParts.size === 0) continue;
        const { position, dataBytes } = fileData(entry);
        for (const { part } of parts.ranges(position, dataBytes)) {
          if (!badParts.has(part)) continue;
          const found = paths.get(part) ?? [];
          paths.set(part, found);
          if (found.length < MAX_PATHS) found.push(pathText(entry.path));
        }
      }
    });
    for (const [number, { message }] of badParts)
      this.#fail("parts", {
        kind: "part",
        id: partName(uid, "tar", number),
        message,
        snapshots: [uid],
        paths: paths.get(number) ?? [],
      });
  }

  /** What is wrong with a part, or undefined. */
  async #part(
    { uid, objects }: ListedArchive,
    kind: StreamKind,
    number: number,
    part: PartRecord,
    manifest: Manifest,
  ): Promise<string | undefined> {
    const name = partName(uid, kind, number);
    const stat = objects.find((object) => object.name === name);
    this.#check("parts").checked++;
    if (stat === undefined) return "It is missing";
    if (stat.sizeBytes !== part.bytes) return `It has ${stat.sizeBytes} bytes, not ${part.bytes}`;
    if (!chosenShare(this.#options.readData)) return undefined;
    const start = bytesOf(manifest[kind].slice(0, number));
    const reader = new PartReader(this.#target, uid, kind, manifest[kind]);
    const hash = createHash("sha256");
    this.#check("data").checked++;
    try {
      for (let at = 0; at < part.bytes; at += READ_BYTES) {
        const bytes = await reader.read(start + at, Math.min(READ_BYTES, part.bytes - at));
        hash.update(bytes);
        this.#bytesRead += bytes.length;
        this.#progress(name);
      }
    } catch (error) {
      return damageOf(error).message;
    }
    if (hash.digest("hex") === part.sha256) return undefined;
    this.#check("data").failed++;
    return "Its bytes have another SHA-256";
  }

  async #notes(): Promise<void> {
    const check = this.#check("notes");
    const notes = await readNotes(this.#target, (name, { message }) => {
      check.checked++;
      this.#fail("notes", { kind: "note", id: name, message, snapshots: [], paths: [] });
    });
    check.checked += notes.length;
  }

  /** Counts one check of `name`; damage becomes a line of the report, everything else rejects. */
  async #attempt<T>(name: string, kind: string, id: string, act: () => Promise<T>): Promise<T | undefined> {
    this.#check(name).checked++;
    try {
      return await act();
    } catch (error) {
      this.#fail(name, {
        kind,
        id,
        message: damageOf(error).message,
        snapshots: kind === "store" ? [] : [id as SnapshotId],
        paths: [],
      });
      return undefined;
    }
  }

  #fail(name: string, damage: VerifyDamage): void {
    this.#check(name).failed++;
    this.#damage.push(damage);
  }

  #check(name: string): { checked: number; failed: number; note?: string } {
    let check = this.#checks.get(name);
    if (check === undefined) this.#checks.set(name, (check = { checked: 0, failed: 0 }));
    return check;
  }

  #progress(current?: string): void {
    this.#options.onProgress({
      phase: "verify",
      filesDone: this.#filesDone,
      filesTotal: undefined,
      bytesDone: this.#bytesRead,
      bytesTotal: this.#bytesTotal,
      storedBytes: 0,
      current,
    });
  }
}

/** The error when it tells of damage; rethrown when it is the target that fails. */
function damageOf(error: unknown): HoldfastError {
  const failure = asHoldfastError(error);
  if (!failure.code.startsWith("object_") && failure.code !== "snapshot_missing") throw error;
  return failure;
}

async function* walk(reader: ArchiveReader, uid: SnapshotId): AsyncGenerator<SnapshotEntry, void, undefined> {
  const waiting = [await reader.root(uid)];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop())
    for await (const entries of reader.list(directory))
      for (const entry of entries) {
        yield entry;
        if (entry.entry.type === "directory") waiting.push(entry);
      }
}

function bytesOf(parts: readonly PartRecord[]): number {
  return parts.reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Each part by chance, so that many verifications of a share see everything. */
function chosenShare(share: number): boolean {
  return share >= 1 || (share > 0 && randomInt(2 ** 32) < share * 2 ** 32);
}
