import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HoldfastError } from "../../../src/base/errors.ts";
import type { Target } from "../../../src/targets/target.ts";
import { accessByPort } from "../../../src/targets/access.ts";
import { createTarget } from "../../../src/targets/registry.ts";
import { accessThroughCache, CacheTarget } from "../../../src/targets/wrap/cache.ts";
import { FaultyTarget } from "../../support/faulty-target.ts";
import { MemoryTarget } from "../../support/memory-target.ts";

const idOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const CONTENT = Buffer.from("a small object");
const ID = idOf(CONTENT);
const NAME = `index/${ID}`;

let root: string;
let folder: string;
let memory: MemoryTarget;
let target: CacheTarget;

beforeEach(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-cache-"));
  folder = path.join(root, "deep", "cache");
  memory = new MemoryTarget();
  target = new CacheTarget(memory, { folder });
});
afterEach(() => fs.rmSync(root, { recursive: true, force: true }));

const copyOf = (name: string): string => path.join(folder, name);
const kept = (): string[] =>
  fs.existsSync(folder)
    ? fs
        .readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
        .toSorted()
    : [];
const codeOf = async (promise: Promise<unknown>): Promise<string> =>
  await promise.then(
    () => "none",
    (error: unknown) => (error instanceof HoldfastError ? error.code : String(error)),
  );

describe("cache", () => {
  it("asks the target once, and not at all for what this process stored", async () => {
    await memory.put(NAME, [CONTENT]);
    expect(await target.get(NAME)).toEqual(Uint8Array.from(CONTENT));
    expect(memory.requests.get).toBe(1);
    const again = await target.get(NAME);
    expect(Buffer.from(again)).toEqual(CONTENT);
    expect(again.byteLength).toBe(again.buffer.byteLength);
    await target.put(`notes/${idOf(Buffer.from("two parts"))}`, [Buffer.from("two "), Buffer.from("parts")]);
    expect(Buffer.from(await target.get(`notes/${idOf(Buffer.from("two parts"))}`)).toString()).toBe("two parts");
    expect(memory.requests.get).toBe(1);
    // Another process finds the copies, too.
    expect(Buffer.from(await new CacheTarget(memory, { folder }).get(NAME))).toEqual(CONTENT);
    expect(memory.requests.get).toBe(1);
  });

  it("keeps copies for this user alone", async () => {
    await target.put(NAME, [CONTENT]);
    expect(kept()).toEqual([NAME]);
    expect(fs.statSync(copyOf(NAME)).mode & 0o777).toBe(0o600);
    for (const each of [path.dirname(folder), folder, path.dirname(copyOf(NAME))])
      expect(fs.statSync(each).mode & 0o777).toBe(0o700);
  });

  it("keeps nothing but whole objects of small classes under their own hash", async () => {
    const pack = `packs/${ID.slice(0, 2)}/${ID}`;
    const names = [
      pack,
      `leases/${ID}`,
      `keys/${ID.slice(0, 32)}`,
      "holdfast.json",
      `index/x${ID.slice(1)}`,
      `index/a/${ID}`,
      ID,
    ];
    for (const name of names) {
      await target.put(name, [CONTENT]);
      await target.get(name);
    }
    await memory.put(NAME, [CONTENT]);
    await target.get(NAME, { range: { offset: 2, length: 3 } });
    expect(kept()).toEqual([]);
    const damaged = `snapshots/${idOf(Buffer.from("other"))}`;
    await memory.put(damaged, [CONTENT]);
    // What is wrong with it is for the caller to say.
    expect(Buffer.from(await target.get(damaged))).toEqual(CONTENT);
    expect(kept()).toEqual([]);
  });

  it("believes no copy that is damaged, cut short or replaced", async () => {
    await target.put(NAME, [CONTENT]);
    const wrong = [Buffer.from(CONTENT.map((byte, i) => (i === 3 ? byte ^ 1 : byte))), CONTENT.subarray(0, 5), Buffer.alloc(0)];
    for (const bytes of wrong) {
      fs.writeFileSync(copyOf(NAME), bytes);
      const before = memory.requests.get;
      expect(Buffer.from(await target.get(NAME))).toEqual(CONTENT);
      expect(memory.requests.get).toBe(before + 1);
      expect(fs.readFileSync(copyOf(NAME))).toEqual(CONTENT);
    }
    fs.writeFileSync(copyOf(NAME), "poison");
    memory.objects.delete(NAME);
    expect(await codeOf(target.get(NAME))).toBe("target_missing_object");
    expect(kept()).toEqual([]);
  });

  it("never answers for the target where it is asked itself", async () => {
    await target.put(NAME, [CONTENT]);
    memory.corrupt(NAME, 0);
    expect(Buffer.from(await target.get(NAME, { fresh: true }))).not.toEqual(CONTENT);
    expect(Buffer.from(await target.get(NAME, { range: { offset: 0, length: 1 } }))).not.toEqual(CONTENT.subarray(0, 1));
    memory.objects.delete(NAME);
    expect(await codeOf(target.get(NAME, { fresh: true }))).toBe("target_missing_object");
    expect(await target.stat(NAME)).toBeUndefined();
    expect(await target.list("index/")).toEqual([]);
  });

  it("carries the wish for the target's own bytes through a port", async () => {
    await target.put(NAME, [CONTENT]);
    memory.corrupt(NAME, 0);
    await using access = accessByPort(target);
    const remote = await createTarget(access.forThread().spec);
    expect(Buffer.from(await remote.get(NAME))).toEqual(CONTENT);
    expect(Buffer.from(await remote.get(NAME, { fresh: true }))).not.toEqual(CONTENT);
    await remote[Symbol.asyncDispose]();
  });

  it("forgets what was deleted here, and what a strong listing does not show any more", async () => {
    const others = ["notes", "index"].map((each) => `${each}/${idOf(Buffer.from(each))}`) as [string, string];
    await target.put(NAME, [CONTENT]);
    await target.put(others[0], [Buffer.from("notes")]);
    await target.put(others[1], [Buffer.from("index")]);
    await target.delete(NAME);
    expect(kept()).toEqual([...others].toSorted());
    expect(await codeOf(target.get(NAME))).toBe("target_missing_object");
    for (const name of others) memory.objects.delete(name);
    // Left behind by a crash between writing and renaming.
    fs.writeFileSync(copyOf(`${others[1]}.part`), "half");
    await target.list("packs/");
    expect(kept()).toHaveLength(3);
    await target.list("index/");
    expect(kept()).toEqual([others[0]]);
    await target.list("");
    expect(kept()).toEqual([]);
  });

  it("forgets nothing by a listing that comes late", async () => {
    const late = new MemoryTarget({ listing: "eventual" });
    const cached = new CacheTarget(late, { folder });
    await cached.put(NAME, [CONTENT]);
    expect(await cached.list("index/")).toEqual([]);
    expect(kept()).toEqual([NAME]);
  });

  it("keeps nothing of a put that failed, and drops the copy even when a delete failed", async () => {
    const faulty = new FaultyTarget(memory);
    const cached = new CacheTarget(faulty, { folder });
    const error = new HoldfastError("target_io", "lost");
    faulty.queue({ verb: "put", kind: "error", error }).queue({ verb: "delete", kind: "error", error, when: "after" });
    expect(await codeOf(cached.put(NAME, [CONTENT]))).toBe("target_io");
    expect(kept()).toEqual([]);
    await cached.put(NAME, [CONTENT]);
    expect(await codeOf(cached.delete(NAME))).toBe("target_io");
    expect(await codeOf(cached.get(NAME))).toBe("target_missing_object");
    faulty.assertAllFired();
  });

  it("is not used, and no error, where nothing can be written", async () => {
    const file = path.join(root, "file");
    fs.writeFileSync(file, "");
    for (const bad of ["/dev/null/cache", path.join(file, "below"), file, "/proc/holdfast-cache", path.join(root, "\0")]) {
      const inner = new MemoryTarget();
      const cached = new CacheTarget(inner, { folder: bad });
      await cached.put(NAME, [CONTENT]);
      expect(Buffer.from(await cached.get(NAME))).toEqual(CONTENT);
      expect(await cached.list("")).toHaveLength(1);
      await cached.delete(NAME);
      expect(await codeOf(cached.get(NAME))).toBe("target_missing_object");
      expect(inner.requests).toMatchObject({ put: 1, get: 2, list: 1, delete: 1 });
    }
  });

  it("does not believe a copy whose object was deleted and that cannot be removed", async () => {
    await target.put(NAME, [CONTENT]);
    // A folder in the copy's place stands for whatever keeps a file from being removed.
    fs.rmSync(copyOf(NAME));
    fs.mkdirSync(copyOf(NAME));
    await target.delete(NAME);
    fs.rmdirSync(copyOf(NAME));
    fs.writeFileSync(copyOf(NAME), CONTENT);
    expect(await codeOf(target.get(NAME))).toBe("target_missing_object");
  });

  it("rejects with the reason of a signal that has fired, copy or not", async () => {
    await target.put(NAME, [CONTENT]);
    const reason = new Error("enough");
    await expect(target.get(NAME, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  it("stands before the target of an access; threads go past it, and the access is released with it", async () => {
    let released = 0;
    const spec = { driver: "local", path: "/nowhere" } as const;
    const access = accessThroughCache(
      { target: memory, forThread: () => ({ spec, transfer: [] }), [Symbol.asyncDispose]: async () => void released++ },
      folder,
    );
    await access.target.put(NAME, [CONTENT]);
    expect(kept()).toEqual([NAME]);
    expect(access.forThread().spec).toBe(spec);
    await access[Symbol.asyncDispose]();
    expect(released).toBe(1);
  });

  it("changes no answer, whatever happens to its folder in between", async () => {
    const contents = Array.from({ length: 4 }, (_, i) => Buffer.alloc(i * 3000, i));
    const names = contents.flatMap((bytes) =>
      ["index", "notes", "packs"].map((each) => [`${each}/${idOf(bytes)}`, bytes] as const),
    );
    const object = fc.nat(names.length - 1);
    const step = fc.oneof(
      fc.record({ what: fc.constantFrom("put", "get", "get", "fresh", "range", "delete"), object }),
      fc.record({ what: fc.constantFrom("list", "remove", "flip", "cut", "block", "second"), object }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        fs.rmSync(folder, { recursive: true, force: true });
        const inner = new MemoryTarget();
        let cached: Target = new CacheTarget(inner, { folder });
        const model = new Map<string, Buffer>();
        for (const { what, object: number } of steps) {
          const [name, bytes] = names[number] as readonly [string, Buffer];
          const expected = model.get(name);
          const copy = copyOf(name);
          if (what === "put") {
            await cached.put(name, [bytes.subarray(0, 10), bytes.subarray(10)]);
            model.set(name, bytes);
          } else if (what === "get" || what === "fresh") {
            const got = cached.get(name, { fresh: what === "fresh" });
            if (expected === undefined) expect(await codeOf(got)).toBe("target_missing_object");
            else expect(Buffer.compare(await got, expected)).toBe(0);
          } else if (what === "range") {
            const got = cached.get(name, { range: { offset: 0, length: 1 } });
            expect(await codeOf(got)).toBe(
              expected === undefined ? "target_missing_object" : expected.length === 0 ? "object_damaged" : "none",
            );
          } else if (what === "delete") {
            await cached.delete(name);
            model.delete(name);
          } else if (what === "list") {
            const listed = (await cached.list("index/")).map((stat) => stat.name);
            expect(listed.toSorted()).toEqual([...model.keys()].filter((each) => each.startsWith("index/")).toSorted());
          } else if (what === "second") cached = new CacheTarget(inner, { folder });
          else if (what === "remove") fs.rmSync(folder, { recursive: true, force: true });
          else if (fs.statSync(copy, { throwIfNoEntry: false })?.isFile()) {
            if (what === "cut") fs.truncateSync(copy, bytes.length >> 1);
            else if (what === "flip") fs.writeFileSync(copy, Buffer.from(bytes.map((byte, i) => (i === 0 ? byte ^ 1 : byte))));
            else {
              fs.rmSync(copy);
              fs.mkdirSync(copy);
            }
          }
        }
      }),
      { numRuns: 150 },
    );
  });
});
