import { appendFileSync, lstatSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { ArchiveBuilder } from "../../../src/formats/archive/archive-builder.ts";
import { readLiveFile } from "../../../src/formats/archive/live-file.ts";
import { PartStream } from "../../../src/formats/archive/part-stream.ts";
import { walkFiles } from "../../../src/sources/files/walk.ts";
import type { SourceProblem } from "../../../src/sources/source.ts";
import { temporaryTree } from "../../support/tree-literal.ts";

/** Archives a folder; `act` is called between the blocks of each file, and before the first one with `-1`. */
async function archiveWhile(
  folder: string,
  partBytes: number,
  act: (block: number) => void,
): Promise<{ tar: Buffer; builder: ArchiveBuilder; problems: SourceProblem[] }> {
  const parts: Buffer[] = [];
  const problems: SourceProblem[] = [];
  const builder = new ArchiveBuilder(
    new PartStream(partBytes, (number, bytes) => (parts[number] = Buffer.from(bytes))),
    new PartStream(2 ** 20, () => undefined),
  );
  const options = {
    paths: [Buffer.from(folder)],
    exclude: [],
    excludeIfPresent: [],
    excludeLargerThanBytes: undefined,
    oneFileSystem: false,
    minimumEntries: 0,
  };
  let block = 0;
  for (const event of walkFiles(options, { onProblem: (problem) => problems.push(problem) })) {
    if (event.step === "enter") builder.enter(event.entry);
    else if (event.step === "leave") builder.leave();
    else {
      act(-1);
      await readLiveFile(builder, event.entry, {
        onProblem: (problem) => problems.push(problem),
        placeOf: (path) => path,
        onBytes: () => {
          act(block++);
          return undefined;
        },
      });
    }
  }
  builder.end();
  return { tar: Buffer.concat(parts), builder, problems };
}

function extracted(tar: Buffer, path: string): Buffer {
  const run = spawnSync("tar", ["--extract", "--to-stdout", "-f", "-", path.slice(1)], { input: tar, maxBuffer: 2 ** 26 });
  expect([run.status, run.stderr.toString()]).toEqual([0, ""]);
  return run.stdout;
}

describe("a file that is archived while it changes", () => {
  it("is read again when it still fits into its part", async () => {
    using source = temporaryTree({ file: randomBytes(3 * 2 ** 20) });
    const path = join(source.path, "file");
    const content = randomBytes(2 ** 20 + 3);
    const { tar, builder } = await archiveWhile(source.path, 2 ** 24, (block) => {
      if (block === 1) writeFileSync(path, content);
    });
    expect(builder.counts).toMatchObject({ files: 1, changedWhileRead: 0, sourceBytes: content.length });
    expect(extracted(tar, path).equals(content)).toBe(true);
  });

  it("is marked when it changes twice", async () => {
    using source = temporaryTree({ file: randomBytes(3 * 2 ** 20) });
    const path = join(source.path, "file");
    const { builder } = await archiveWhile(source.path, 2 ** 24, (block) => {
      if (block >= 0) appendFileSync(path, "more");
    });
    expect(builder.counts).toMatchObject({ files: 1, changedWhileRead: 1 });
  });

  it("is marked and as long as it was read when it shrinks and its beginning is stored already", async () => {
    using source = temporaryTree({ after: "the next file", file: randomBytes(5 * 2 ** 20) });
    const path = join(source.path, "file");
    const { tar, builder } = await archiveWhile(source.path, 2 ** 20, (block) => {
      if (block === 3) truncateSync(path, 2_500_000);
    });
    expect(builder.counts).toMatchObject({ files: 2, changedWhileRead: 1 });
    const size = builder.counts.sourceBytes - "the next file".length;
    expect(size).toBeLessThan(5 * 2 ** 20);
    expect(extracted(tar, path).length).toBe(size);
    expect(extracted(tar, join(source.path, "after")).toString()).toBe("the next file");
  });

  it("never gets longer than it was when it was opened", async () => {
    using source = temporaryTree({ file: randomBytes(5 * 2 ** 20), next: "still in place" });
    const path = join(source.path, "file");
    const { tar, builder } = await archiveWhile(source.path, 2 ** 20, (block) => {
      if (block === 2) appendFileSync(path, randomBytes(2 ** 20));
    });
    expect(builder.counts).toMatchObject({ files: 2, changedWhileRead: 1 });
    expect(extracted(tar, path).length).toBe(5 * 2 ** 20);
    expect(extracted(tar, join(source.path, "next")).toString()).toBe("still in place");
  });

  it("is only counted when it vanished, and keeps the others whole", async () => {
    using source = temporaryTree({ a: "first", b: "second", c: "third" });
    let files = 0;
    const { tar, builder, problems } = await archiveWhile(source.path, 2 ** 20, (block) => {
      if (block === -1 && files++ === 1) rmSync(join(source.path, "b"));
    });
    expect([builder.counts.files, builder.counts.vanished, problems]).toEqual([2, 1, []]);
    expect(extracted(tar, join(source.path, "c")).toString()).toBe("third");
    expect(tar.includes("second")).toBe(false);
  });

  it("that lost its data to a hole keeps its size, filled up with zeros", async () => {
    using source = temporaryTree();
    const path = join(source.path, "sparse");
    writeFileSync(path, randomBytes(4 * 2 ** 20));
    truncateSync(path, 16 * 2 ** 20);
    appendFileSync(path, "end");
    const { size } = lstatSync(path);
    const { tar, builder } = await archiveWhile(source.path, 2 ** 20, (block) => {
      if (block === 2) truncateSync(path, 2 ** 20);
    });
    expect(builder.counts).toMatchObject({ files: 1, changedWhileRead: 1, sourceBytes: size });
    expect(extracted(tar, path).length).toBe(size);
  });
});
