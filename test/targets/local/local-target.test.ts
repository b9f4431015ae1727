import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FaultPoint } from "../../../src/targets/local/fault-points.ts";
import { LocalTarget, type LocalTargetOptions } from "../../../src/targets/local/local-target.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "holdfast-local-"));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

const open = (options: Partial<LocalTargetOptions> = {}): LocalTarget => new LocalTarget({ path: folder, ...options });
const temporaries = (): string[] => {
  const tmp = path.join(folder, "tmp");
  return fs.existsSync(tmp) ? fs.readdirSync(tmp) : [];
};

describe("local target: order and modes", () => {
  it("syncs the bytes before the name, and the name before it says so", async () => {
    const order: FaultPoint[] = [];
    const target = open({ faultPoint: (point) => order.push(point) });
    await target.put("packs/ab/one", [bytes("x")]);
    expect(order).toEqual([
      "before temporary open",
      "before folder create",
      "after folder create",
      "before temporary open",
      "after temporary open",
      "before temporary write",
      "after temporary write",
      "before fsync",
      "after fsync",
      "before folder create",
      "after folder create",
      "before parent fsync",
      "after parent fsync",
      "before folder create",
      "after folder create",
      "before parent fsync",
      "after parent fsync",
      "before link",
      "after link",
      "before folder fsync",
      "after folder fsync",
      "before temporary unlink",
      "after temporary unlink",
    ]);
    order.length = 0;
    await target.put("packs/ab/two", [bytes("y")]);
    expect(order.filter((point) => point.includes("folder create") || point.includes("parent"))).toEqual([]);
  });

  it("syncs the parent of a folder that another process made", async () => {
    fs.mkdirSync(path.join(folder, "index"));
    const order: FaultPoint[] = [];
    await open({ faultPoint: (point) => order.push(point) }).put("index/a", [bytes("x")]);
    expect(order.indexOf("after parent fsync")).toBeGreaterThan(-1);
    expect(order.indexOf("after parent fsync")).toBeLessThan(order.indexOf("before link"));
  });

  it("makes files 0600 and folders 0700", async () => {
    const root = path.join(folder, "a/b");
    await open({ path: root, create: true }).put("packs/ab/one", [bytes("x")]);
    for (const made of ["a", "a/b", "a/b/packs", "a/b/packs/ab", "a/b/tmp"])
      expect(fs.statSync(path.join(folder, made)).mode & 0o777, made).toBe(0o700);
    expect(fs.statSync(path.join(root, "packs/ab/one")).mode & 0o777).toBe(0o600);
    expect(fs.statSync(path.join(root, "packs/ab/one")).nlink).toBe(1);
  });
});

describe("local target: an object whose name comes last", () => {
  it("is nowhere until it is finished, and then is what was appended", async () => {
    const order: FaultPoint[] = [];
    const target = open({ faultPoint: (point) => order.push(point) });
    await using object = await target.begin();
    await object.append([bytes("one "), bytes("two ")]);
    await object.append([]);
    await object.append([bytes("three")]);
    expect(await target.list("")).toEqual([]);
    expect(temporaries()).toHaveLength(1);
    expect(await target.cleanUp(0)).toBe(0);
    await object.finish("packs/ab/one");
    expect(Buffer.from(await target.get("packs/ab/one")).toString()).toBe("one two three");
    expect(temporaries()).toEqual([]);
    const steps: FaultPoint[] = ["after temporary write", "before fsync", "after fsync", "before link", "after folder fsync"];
    expect(steps.map((step) => order.lastIndexOf(step))).toEqual(
      steps.map((step) => order.lastIndexOf(step)).toSorted((a, b) => a - b),
    );
    expect(order.indexOf("before fsync")).toBeGreaterThan(order.lastIndexOf("after temporary write"));
  });

  it("leaves nothing when it is given up, whatever is under way", async () => {
    const target = open();
    const object = await target.begin();
    const writing = object.append([new Uint8Array(20 * 2 ** 20)]);
    await object[Symbol.asyncDispose]();
    await writing;
    await object[Symbol.asyncDispose]();
    expect(temporaries()).toEqual([]);
    expect(await target.list("")).toEqual([]);
  });

  it("takes a name that holds the same bytes, and refuses one that holds others", async () => {
    const target = open();
    const content = Buffer.alloc(3 * 2 ** 20, "same");
    await target.put("index/same", [content]);
    await target.put("index/longer", [content, content]);
    await target.put("index/other", [Buffer.from(content).fill(1, 2_500_000, 2_500_001)]);
    for (const name of ["index/same", "index/longer", "index/other"]) {
      await using object = await target.begin();
      await object.append([content.subarray(0, 1000), content.subarray(1000)]);
      if (name === "index/same") await object.finish(name);
      else await expect(object.finish(name)).rejects.toMatchObject({ code: "target_exists" });
    }
    expect(temporaries()).toEqual([]);
  });

  it.each([
    ["before temporary open", "ENOSPC", "target_full"],
    ["before temporary write", "EIO", "target_io"],
    ["before fsync", "EIO", "target_io"],
    ["before link", "EIO", "target_io"],
    ["before folder fsync", "EIO", "target_io"],
  ] as const)("a failure leaves nothing: %s = %s is %s", async (point, errno, code) => {
    const target = open({ failAt: `${point}=${errno}` });
    const write = async (): Promise<void> => {
      await using object = await target.begin();
      await object.append([bytes("whole")]);
      await object.finish("keys/slot");
    };
    await expect(write()).rejects.toMatchObject({ code });
    expect(await target.list("")).toEqual([]);
    expect(temporaries()).toEqual([]);
    await write();
    expect(Buffer.from(await target.get("keys/slot")).toString()).toBe("whole");
  });
});

describe("local target: every failing call", () => {
  const cases: [FaultPoint, string, string, boolean][] = [
    ["before temporary open", "ENOSPC", "target_full", false],
    ["before temporary open", "EROFS", "target_read_only", false],
    ["before temporary open", "EACCES", "target_denied", false],
    ["before temporary open", "EMFILE", "target_io", true],
    ["before temporary write", "ENOSPC", "target_full", false],
    ["before temporary write", "EDQUOT", "target_full", false],
    ["before temporary write", "EIO", "target_io", false],
    ["before temporary write", "ETIMEDOUT", "target_unreachable", true],
    ["before temporary write", "ESTALE", "target_io", true],
    ["before fsync", "EIO", "target_io", false],
    ["before fsync", "ESTALE", "target_io", false],
    ["before fsync", "EAGAIN", "target_io", false],
    ["before fsync", "ENOSPC", "target_full", false],
    ["before folder create", "ENOSPC", "target_full", false],
    ["before parent fsync", "EIO", "target_io", false],
    ["before link", "EIO", "target_io", false],
    ["before link", "ENOSPC", "target_full", false],
    ["before folder fsync", "EIO", "target_io", false],
    ["before folder fsync", "ETIMEDOUT", "target_unreachable", false],
  ];

  it.each(cases)("put: %s = %s is %s, transient %s, and leaves nothing", async (point, errno, code, transient) => {
    const target = open({ failAt: `${point}=${errno}` });
    await expect(target.put("keys/slot", [bytes("whole")])).rejects.toMatchObject({ code, transient, data: { errno } });
    expect(await target.list("")).toEqual([]);
    expect(temporaries()).toEqual([]);
    await target.put("keys/slot", [bytes("whole")]);
    expect(Buffer.from(await target.get("keys/slot")).toString()).toBe("whole");
  });

  it("every error says what it was about and what to do", async () => {
    const target = open({ failAt: "before fsync=EIO" });
    await expect(target.put("keys/slot", [bytes("x")])).rejects.toMatchObject({
      message: expect.stringContaining(path.join(folder, "keys/slot")),
      hint: expect.stringMatching(/\w+ \w+/),
    });
  });

  it("a folder whose parent could not be synced is made anew", async () => {
    const order: FaultPoint[] = [];
    const target = open({
      faultPoint: (point) => {
        order.push(point);
        if (point === "before parent fsync" && order.filter((hit) => hit === point).length === 1)
          throw Object.assign(new Error("injected"), { code: "EIO" });
      },
    });
    await expect(target.put("keys/slot", [bytes("x")])).rejects.toMatchObject({ code: "target_io" });
    expect(fs.existsSync(path.join(folder, "keys"))).toBe(false);
  });

  it("a failed listing rejects, it is not cut short", async () => {
    await open().put("packs/aa/1", [bytes("x")]);
    await open().put("packs/bb/2", [bytes("x")]);
    const target = open({ failAt: "before readdir:3=EIO" });
    await expect(target.list("packs/")).rejects.toMatchObject({ code: "target_io" });
  });

  it("a folder that vanishes during a listing is no failure", async () => {
    await open().put("packs/aa/1", [bytes("x")]);
    await open().put("packs/bb/2", [bytes("x")]);
    expect(await open({ failAt: "before readdir:3=ENOENT" }).list("packs/")).toHaveLength(1);
  });

  it.each(["EIO", "EACCES"])("a read that fails with %s is not a missing object", async (errno) => {
    await open().put("keys/slot", [bytes("x")]);
    const code = errno === "EIO" ? "target_io" : "target_denied";
    await expect(open({ failAt: `before read=${errno}` }).get("keys/slot")).rejects.toMatchObject({ code });
  });

  it.each([
    ["before delete", "EROFS", "target_read_only"],
    ["before delete", "EPERM", "target_denied"],
    ["before delete fsync", "EIO", "target_io"],
  ])("delete: %s = %s is %s", async (point, errno, code) => {
    const target = open({ failAt: `${point}=${errno}` });
    await target.put("keys/slot", [bytes("x")]);
    await expect(target.delete("keys/slot")).rejects.toMatchObject({ code, transient: false });
  });
});

describe("local target: names that are taken", () => {
  it("counts the same bytes as stored", async () => {
    await open().put("keys/slot", [bytes("same")]);
    await open().put("keys/slot", [bytes("sa"), bytes("me")]);
    expect(temporaries()).toEqual([]);
  });

  it("compares when another writer takes the name after the look", async () => {
    const rival = open();
    for (const [content, outcome] of [
      ["mine", "stored"],
      ["yours", "target_exists"],
    ] as const) {
      const file = path.join(folder, `keys/${outcome.replace("_", "-")}`);
      const target = open({
        faultPoint: (point) => {
          if (point === "before link") fs.writeFileSync(file, content);
        },
      });
      await rival.put("keys/other", [bytes("makes the folder")]);
      const put = target.put(path.relative(folder, file), [bytes("mine")]);
      if (outcome === "stored") await put;
      else await expect(put).rejects.toMatchObject({ code: outcome });
      expect(fs.readFileSync(file, "utf8")).toBe(content);
    }
    expect(temporaries()).toEqual([]);
  });

  it("names the damage when a content-addressed name holds other bytes", async () => {
    const name = `packs/ab/${"ab".repeat(32)}`;
    await open().put(name, [bytes("good")]);
    fs.writeFileSync(path.join(folder, name), "bad!");
    await expect(open().put(name, [bytes("good")])).rejects.toMatchObject({
      code: "target_exists",
      hint: expect.stringContaining("damaged"),
    });
  });

  it("refuses a name that is a folder", async () => {
    fs.mkdirSync(path.join(folder, "keys/slot"), { recursive: true });
    await expect(open().put("keys/slot", [bytes("x")])).rejects.toMatchObject({ code: "target_exists" });
  });

  it("reports a truncated object as damage when the size changes under a read", async () => {
    await open().put("keys/slot", [bytes("0123456789")]);
    fs.truncateSync(path.join(folder, "keys/slot"), 4);
    await expect(open().get("keys/slot", { range: { offset: 2, length: 8 } })).rejects.toMatchObject({ code: "object_damaged" });
  });
});

describe("local target: the root", () => {
  it("a missing root is unreachable for every call unless it may be made", async () => {
    const target = open({ path: path.join(folder, "absent") });
    const calls = [
      () => target.put("keys/a", [bytes("x")]),
      () => target.get("keys/a"),
      () => target.stat("keys/a"),
      () => target.list(""),
      () => target.delete("keys/a"),
      () => target.capacity(),
      () => target.cleanUp(0),
    ];
    for (const call of calls) await expect(call()).rejects.toMatchObject({ code: "target_unreachable", transient: false });
    expect(fs.existsSync(path.join(folder, "absent"))).toBe(false);
  });

  it("reads of a root that may be made make nothing", async () => {
    const target = open({ path: path.join(folder, "absent"), create: true });
    expect(await target.list("")).toEqual([]);
    expect(await target.stat("keys/a")).toBeUndefined();
    await expect(target.get("keys/a")).rejects.toMatchObject({ code: "target_missing_object" });
    expect(await target.capacity()).toBeUndefined();
    expect(fs.existsSync(path.join(folder, "absent"))).toBe(false);
  });

  it("is not made again after it vanished", async () => {
    const root = path.join(folder, "root");
    const target = open({ path: root, create: true });
    await target.put("keys/a", [bytes("x")]);
    fs.rmSync(root, { recursive: true });
    await expect(target.put("keys/b", [bytes("x")])).rejects.toMatchObject({ code: "target_unreachable" });
    await expect(target.list("")).rejects.toMatchObject({ code: "target_unreachable" });
    expect(fs.existsSync(root)).toBe(false);
  });

  it("that is a file is refused", async () => {
    fs.writeFileSync(path.join(folder, "file"), "x");
    await expect(open({ path: path.join(folder, "file") }).list("")).rejects.toMatchObject({ code: "target_io" });
    await expect(open({ path: path.join(folder, "file/below"), create: true }).put("a", [])).rejects.toMatchObject({
      code: "target_io",
    });
  });

  it("folders removed between two puts are made again", async () => {
    const target = open();
    await target.put("packs/ab/1", [bytes("x")]);
    fs.rmSync(path.join(folder, "packs"), { recursive: true });
    fs.rmSync(path.join(folder, "tmp"), { recursive: true });
    await target.put("packs/ab/2", [bytes("y")]);
    expect(await target.list("")).toMatchObject([{ name: "packs/ab/2" }]);
  });

  it("lists only what may be an object", async () => {
    const target = open();
    await target.put("keys/a", [bytes("x")]);
    for (const foreign of ["README", "keys/Not An Object", "tmp/put-0123", "tmp/other"])
      fs.writeFileSync(path.join(folder, foreign), "x");
    fs.mkdirSync(path.join(folder, "lost+found"));
    fs.symlinkSync("nowhere", path.join(folder, "keys/dangling"));
    expect(await target.list("")).toMatchObject([{ name: "keys/a" }]);
  });
});

describe("local target: left-overs", () => {
  const old = (name: string, ageMs: number): void => {
    fs.mkdirSync(path.join(folder, "tmp"), { recursive: true });
    const file = path.join(folder, "tmp", name);
    fs.writeFileSync(file, "left over");
    const time = (Date.now() - ageMs) / 1000;
    fs.utimesSync(file, time, time);
  };

  it("removes its own that are old enough, and nothing else", async () => {
    old(`put-${"0".repeat(32)}`, 7_200_000);
    old(`claim-${"1".repeat(64)}`, 7_200_000);
    old(`put-${"2".repeat(32)}`, 600_000);
    old("someone-elses", 7_200_000);
    expect(await open().cleanUp(3_600_000)).toBe(2);
    expect(temporaries().toSorted()).toEqual([`put-${"2".repeat(32)}`, "someone-elses"]);
  });

  it("never removes the file of a put in flight", async () => {
    const writing = Promise.withResolvers<void>();
    const target = open({ faultPoint: (point) => point === "after temporary write" && writing.resolve() });
    const content = Buffer.alloc(20 * 2 ** 20, 7);
    const put = target.put("packs/large", [content]);
    await writing.promise;
    expect(temporaries()).toHaveLength(1);
    expect(await target.cleanUp(0)).toBe(0);
    await put;
    expect(await target.stat("packs/large")).toMatchObject({ sizeBytes: content.length });
    expect(temporaries()).toEqual([]);
  });

  it("an aborted put leaves no temporary file", async () => {
    const controller = new AbortController();
    const writing = Promise.withResolvers<void>();
    const target = open({ faultPoint: (point) => point === "after temporary write" && writing.resolve() });
    const put = target.put("packs/large", [Buffer.alloc(20 * 2 ** 20)], { signal: controller.signal });
    await writing.promise;
    expect(temporaries()).toHaveLength(1);
    controller.abort(new Error("enough"));
    await expect(put).rejects.toThrow("enough");
    expect(temporaries()).toEqual([]);
    expect(fs.existsSync(path.join(folder, "packs"))).toBe(false);
  });

  it("without hard links, a claim left by a crash blocks its name until it is removed", async () => {
    let failed = false;
    const withoutLinks = (point: FaultPoint): void => {
      if (point === "after claim" && !failed) {
        failed = true;
        throw Object.assign(new Error("the process dies here"), { code: "EIO" });
      }
      if (point === "before link" && !failed) throw Object.assign(new Error("no hard links"), { code: "ENOTSUP" });
    };
    const target = open({ faultPoint: withoutLinks });
    await expect(target.put("holdfast.json", [bytes("x")])).rejects.toMatchObject({ code: "target_io" });
    await expect(target.put("holdfast.json", [bytes("x")])).rejects.toMatchObject({ code: "target_io", transient: true });
    expect(await target.cleanUp(0)).toBe(1);
    await target.put("holdfast.json", [bytes("x")]);
    expect(temporaries()).toEqual([]);
  });
});
