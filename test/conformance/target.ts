import { createHash, randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Target } from "../../src/targets/target.ts";

/** A target for one test, empty, and what is left to release when the target itself has been disposed. */
export interface TargetFixture {
  readonly target: Target;
  readonly release?: () => PromiseLike<void>;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const packName = (content: Uint8Array): string => {
  const id = createHash("sha256").update(content).digest("hex");
  return `packs/${id.slice(0, 2)}/${id}`;
};
const names = async (target: Target, prefix: string): Promise<string[]> =>
  (await target.list(prefix)).map((object) => object.name).toSorted();

/** Registers the tests of the Target contract for one driver or wrapper; `make` is called for every test. */
export function targetConformance(name: string, make: () => Promise<TargetFixture>): void {
  describe(`target contract: ${name}`, () => {
    let fixture: TargetFixture;
    let target: Target;

    beforeEach(async () => {
      fixture = await make();
      target = fixture.target;
    });
    afterEach(async () => {
      await target[Symbol.asyncDispose]();
      await fixture.release?.();
    });

    describe("put and get", () => {
      it("returns what was put, joined from its parts", async () => {
        await target.put("index/a", [bytes("one "), new Uint8Array(0), bytes("two "), bytes("three")]);
        expect(Buffer.from(await target.get("index/a")).toString()).toBe("one two three");
      });

      it("stores views at an offset of a larger buffer as the view's bytes only", async () => {
        const large = randomBytes(300_000);
        const view = large.subarray(1000, 200_000);
        const expected = Buffer.from(view);
        await target.put("index/view", [view]);
        expect(Buffer.compare(await target.get("index/view"), expected)).toBe(0);
      });

      it("stores more parts than one system call takes", async () => {
        const parts = Array.from({ length: 3000 }, (_, i) => bytes(`${i},`));
        await target.put("index/parts", parts);
        expect(Buffer.compare(await target.get("index/parts"), Buffer.concat(parts))).toBe(0);
      });

      it.each([
        ["no parts", []],
        ["an empty part", [new Uint8Array(0)]],
      ])("stores zero bytes: %s", async (_, parts) => {
        await target.put("notes/empty", parts);
        expect(await target.get("notes/empty")).toHaveLength(0);
        expect(await target.get("notes/empty", { range: { offset: 0, length: 0 } })).toHaveLength(0);
        expect(await target.stat("notes/empty")).toMatchObject({ sizeBytes: 0 });
      });

      it("stores 40 MiB", async () => {
        const content = randomBytes(40 * 2 ** 20);
        const digest = createHash("sha256").update(content).digest("hex");
        const object = packName(content);
        await target.put(object, [content.subarray(0, 12_345_678), content.subarray(12_345_678)]);
        expect(
          createHash("sha256")
            .update(await target.get(object))
            .digest("hex"),
        ).toBe(digest);
        const tail = await target.get(object, { range: { offset: 40 * 2 ** 20 - 10, length: 10 } });
        expect(tail).toHaveLength(10);
      });

      it("takes names in several folder levels beside each other", async () => {
        const all = ["holdfast.json", "keys/0a", "packs/aa/bb", "packs/aa/cc/dd-e_f.g", "packs/ab/bb"];
        for (const object of all) await target.put(object, [bytes(object)]);
        for (const object of all) expect(Buffer.from(await target.get(object)).toString()).toBe(object);
        expect(await names(target, "")).toEqual(all.toSorted());
      });

      it("gives the caller bytes of its own", async () => {
        await target.put("index/own", [bytes("unharmed")]);
        (await target.get("index/own")).fill(0);
        expect(Buffer.from(await target.get("index/own")).toString()).toBe("unharmed");
      });

      it("is not affected by changes to the parts after the put", async () => {
        const part = randomBytes(100_000);
        const expected = Buffer.from(part);
        await target.put("index/after", [part]);
        if (!part.buffer.detached) part.fill(0);
        expect(Buffer.compare(await target.get("index/after"), expected)).toBe(0);
      });

      it("refuses names that are none, before anything happens", async () => {
        for (const bad of ["", "/", "a/", "/a", "a//b", "A", "a b", "..", "a/../b", "./a", "tmp", "tmp/a", "é", "a\0"]) {
          await expect(target.put(bad, [bytes("x")])).rejects.toThrow(/Not an object name/);
          await expect(target.get(bad)).rejects.toThrow(/Not an object name/);
        }
        expect(await target.list("")).toEqual([]);
      });
    });

    describe("never replaces", () => {
      it.each([
        ["a plain name", "keys/slot"],
        ["a content-addressed name", `packs/ab/${"ab".repeat(32)}`],
      ])("%s: other bytes are refused, the first stay", async (_, object) => {
        await target.put(object, [bytes("first")]);
        for (const other of ["other", "longer than the first", ""])
          await expect(target.put(object, [bytes(other)])).rejects.toMatchObject({ code: "target_exists", transient: false });
        expect(Buffer.from(await target.get(object)).toString()).toBe("first");
        expect(await target.list("")).toHaveLength(1);
      });

      it("lets one of many writers of a name win, whole", async () => {
        const contents = Array.from({ length: 8 }, (_, i) => Buffer.alloc(100_000, i));
        const results = await Promise.allSettled(contents.map((content) => target.put("keys/race", [Buffer.from(content)])));
        expect(results.filter((result) => result.status === "fulfilled")).toHaveLength(1);
        const winner = results.findIndex((result) => result.status === "fulfilled");
        expect(Buffer.compare(await target.get("keys/race"), contents[winner] as Buffer)).toBe(0);
      });

      it("refuses the same bytes with target_exists or takes them as stored, and keeps the object", async () => {
        const content = randomBytes(2_500_000);
        const copy = Buffer.from(content);
        const object = packName(content);
        await target.put(object, [content]);
        await target.put(object, [Buffer.from(copy.subarray(0, 7)), Buffer.from(copy.subarray(7))]).catch((error: unknown) => {
          expect(error).toMatchObject({ code: "target_exists" });
        });
        expect(Buffer.compare(await target.get(object), copy)).toBe(0);
      });
    });

    describe("ranges", () => {
      beforeEach(() => target.put("index/range", [bytes("0123456789")]));

      it.each([
        [0, 4, "0123"],
        [3, 4, "3456"],
        [6, 4, "6789"],
        [0, 10, "0123456789"],
        [4, 0, ""],
        [10, 0, ""],
      ])("offset %i, length %i", async (offset, length, expected) => {
        const got = await target.get("index/range", { range: { offset, length } });
        expect(Buffer.from(got).toString()).toBe(expected);
      });

      it.each([
        [0, 11],
        [9, 2],
        [10, 1],
        [11, 0],
        [1000, 5],
      ])("past the end is damage: offset %i, length %i", async (offset, length) => {
        await expect(target.get("index/range", { range: { offset, length } })).rejects.toMatchObject({
          code: "object_damaged",
          transient: false,
        });
      });
    });

    describe("what is not there", () => {
      it("get rejects, stat is undefined, delete succeeds, list is empty", async () => {
        await target.put("index/there", [bytes("x")]);
        for (const absent of ["index/absent", "no/such/folder", "index/there/below", "index"]) {
          await expect(target.get(absent)).rejects.toMatchObject({ code: "target_missing_object", transient: false });
          await expect(target.get(absent, { range: { offset: 0, length: 1 } })).rejects.toMatchObject({
            code: "target_missing_object",
          });
          expect(await target.stat(absent)).toBeUndefined();
        }
        await target.delete("index/absent");
        await target.delete("no/such/folder");
        expect(await target.list("no/such/")).toEqual([]);
        expect(await names(target, "")).toEqual(["index/there"]);
      });

      it("lists an empty target", async () => {
        expect(await target.list("")).toEqual([]);
      });
    });

    describe("stat, list, delete", () => {
      it("stat tells size and time", async () => {
        await target.put("index/stat", [bytes("12345")]);
        const stat = await target.stat("index/stat");
        expect(stat).toMatchObject({ name: "index/stat", sizeBytes: 5 });
        if (target.capabilities.objectTimes) expect(Math.abs((stat?.modifiedMs ?? 0) - Date.now())).toBeLessThan(3_600_000);
        else expect(stat?.modifiedMs).toBeUndefined();
        expect(await target.list("index/")).toEqual([stat]);
      });

      it("lists exactly what lies under a prefix", async () => {
        for (const object of ["packs/aa/1", "packs/aa/2", "packs/ab/3", "packs-old/4", "packsaa", "index/5"])
          await target.put(object, [bytes(object)]);
        expect(await names(target, "packs/")).toEqual(["packs/aa/1", "packs/aa/2", "packs/ab/3"]);
        expect(await names(target, "packs/aa/")).toEqual(["packs/aa/1", "packs/aa/2"]);
        expect(await target.list("")).toHaveLength(6);
      });

      it("lists 300 objects of one folder", async () => {
        const all = Array.from({ length: 300 }, (_, i) => `notes/${String(i).padStart(3, "0")}`);
        await Promise.all(all.map((object) => target.put(object, [bytes(object)])));
        expect(await names(target, "notes/")).toEqual(all);
      });

      it("refuses prefixes that are no folder", async () => {
        for (const bad of ["packs", "/", "a//", "../", "tmp/"])
          await expect(target.list(bad)).rejects.toThrow(/Not a folder of objects/);
      });

      it("deletes one object, twice, and its name can be used again", async () => {
        await target.put("leases/a", [bytes("first")]);
        await target.put("leases/b", [bytes("stays")]);
        await target.delete("leases/a");
        await target.delete("leases/a");
        expect(await target.stat("leases/a")).toBeUndefined();
        await expect(target.get("leases/a")).rejects.toMatchObject({ code: "target_missing_object" });
        expect(await names(target, "")).toEqual(["leases/b"]);
        await target.put("leases/a", [bytes("second")]);
        expect(Buffer.from(await target.get("leases/a")).toString()).toBe("second");
      });

      it("deletes no folder", async () => {
        await target.put("packs/aa/1", [bytes("x")]);
        await target.delete("packs/aa").catch((error: unknown) => expect(error).toMatchObject({ name: "HoldfastError" }));
        expect(await names(target, "")).toEqual(["packs/aa/1"]);
      });
    });

    describe("in flight together", () => {
      it("keeps 50 puts, gets and stats apart", async () => {
        const contents = Array.from({ length: 50 }, () => randomBytes(20_000));
        const copies = contents.map((content) => Buffer.from(content));
        const objects = contents.map(packName);
        await Promise.all(contents.map((content, i) => target.put(objects[i] as string, [content])));
        const got = await Promise.all(objects.map((object) => target.get(object)));
        expect(got.every((content, i) => Buffer.compare(content, copies[i] as Buffer) === 0)).toBe(true);
        const stats = await Promise.all(objects.map((object) => target.stat(object)));
        expect(stats.every((stat) => stat?.sizeBytes === 20_000)).toBe(true);
        await Promise.all(objects.map((object) => target.delete(object)));
        expect(await target.list("")).toEqual([]);
      });
    });

    describe("aborts", () => {
      const reason = new Error("this very reason");

      it("rejects every call with the reason when the signal has fired before, and does nothing", async () => {
        const signal = AbortSignal.abort(reason);
        await target.put("index/kept", [bytes("x")]);
        const calls = [
          () => target.put("index/a", [bytes("x")], { signal }),
          () => target.get("index/kept", { signal }),
          () => target.stat("index/kept", { signal }),
          () => target.list("", { signal }),
          () => target.delete("index/kept", { signal }),
          () => target.capacity({ signal }),
          () => target.cleanUp(0, { signal }),
        ];
        for (const call of calls) await expect(call()).rejects.toBe(reason);
        expect(await names(target, "")).toEqual(["index/kept"]);
      });

      it("rejects a put in flight with the reason and leaves nothing partial", async () => {
        const content = randomBytes(40 * 2 ** 20);
        const digest = createHash("sha256").update(content).digest("hex");
        const controller = new AbortController();
        const put = target.put("packs/aborted", [content], { signal: controller.signal });
        controller.abort(reason);
        await expect(put).rejects.toBe(reason);
        for (const object of await target.list("")) {
          expect(object).toMatchObject({ name: "packs/aborted", sizeBytes: 40 * 2 ** 20 });
          expect(
            createHash("sha256")
              .update(await target.get(object.name))
              .digest("hex"),
          ).toBe(digest);
        }
      });

      it("rejects a get in flight, and goes on working", async () => {
        const content = randomBytes(20 * 2 ** 20);
        const copy = Buffer.from(content);
        await target.put("packs/large", [content]);
        const controller = new AbortController();
        const get = target.get("packs/large", { signal: controller.signal });
        controller.abort(reason);
        await expect(get).rejects.toBe(reason);
        expect(Buffer.compare(await target.get("packs/large"), copy)).toBe(0);
      });

      it("leaves the other calls in flight alone", async () => {
        const controller = new AbortController();
        const content = randomBytes(100_000);
        const aborted = target.put("index/aborted", [Buffer.from(content)], { signal: controller.signal }).catch(() => undefined);
        const others = Array.from({ length: 10 }, (_, i) => target.put(`index/${i}`, [Buffer.from(content)]));
        controller.abort(reason);
        await Promise.all([aborted, ...others]);
        for (let i = 0; i < 10; i++) expect(await target.stat(`index/${i}`)).toMatchObject({ sizeBytes: 100_000 });
      });
    });

    describe("the rest", () => {
      it("tells its capabilities", () => {
        expect(target.capabilities.concurrency).toBeGreaterThanOrEqual(1);
        expect(["strong", "eventual"]).toContain(target.capabilities.listing);
      });

      it("tells a capacity that makes sense, or none", async () => {
        const capacity = await target.capacity();
        if (capacity?.totalBytes !== undefined && capacity.freeBytes !== undefined)
          expect(capacity.freeBytes).toBeLessThanOrEqual(capacity.totalBytes);
      });

      it("cleans up no object", async () => {
        await target.put("index/a", [bytes("x")]);
        expect(await target.cleanUp(0)).toBe(0);
        expect(await names(target, "")).toEqual(["index/a"]);
      });

      it("can be disposed twice", async () => {
        await target[Symbol.asyncDispose]();
        await target[Symbol.asyncDispose]();
      });
    });
  });
}
