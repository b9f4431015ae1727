import { expect, test } from "vitest";
import { createFilesSource } from "../../../src/sources/files/files-source.ts";
import { sourceConformance } from "../../conformance/source.ts";
import { hardLink, symlink, temporaryTree } from "../../support/tree-literal.ts";

sourceConformance("files", () => {
  const tree = temporaryTree({
    b: { "2": "two", "10": "ten", empty: {} },
    a: "one",
    "a.b": "dotted",
    link: symlink("a"),
    twin: hardLink("a"),
  });
  return {
    source: createFilesSource({ paths: [tree.path], minimumEntries: 1 }),
    files: {
      [`${tree.path}/a`]: "one",
      [`${tree.path}/b/10`]: "ten",
      [`${tree.path}/a.b`]: "dotted",
      [`${tree.path}/twin`]: "one",
    },
    dispose: () => tree[Symbol.dispose](),
  };
});

test("a files source whose paths are all missing is not available, one of several may be", async () => {
  using tree = temporaryTree({ here: "" });
  const { signal } = new AbortController();
  const open = (...names: string[]): Promise<unknown> =>
    createFilesSource({ paths: names.map((name) => `${tree.path}/${name}`) }).open({ signal });
  await expect(open("gone", "lost")).rejects.toMatchObject({
    code: "source_unavailable",
    data: { reasons: ["ENOENT", "ENOENT"] },
  });
  await expect(open("gone", "here")).resolves.toBeDefined();
  await expect(open("here/below")).rejects.toMatchObject({ data: { reasons: ["ENOTDIR"] } });
});

test("a files source hands its rules to the walk", async () => {
  using tree = temporaryTree();
  const rules = {
    exclude: ["*.tmp"],
    excludeIfPresent: [".nobackup"],
    excludeLargerThanBytes: 5,
    oneFileSystem: true,
    minimumEntries: 2,
  };
  const optionsOf = async (config: Parameters<typeof createFilesSource>[0]): Promise<unknown> => {
    await using open = await createFilesSource(config).open({ signal: new AbortController().signal });
    expect(open.facts()).toEqual({});
    return open.stream;
  };
  const paths = [new Uint8Array(Buffer.from(tree.path))];
  expect(await optionsOf({ paths: [tree.path], ...rules })).toEqual({ kind: "files", options: { paths, ...rules } });
  expect(await optionsOf({ paths: [tree.path] })).toEqual({
    kind: "files",
    options: {
      paths,
      exclude: [],
      excludeIfPresent: [],
      excludeLargerThanBytes: undefined,
      oneFileSystem: false,
      minimumEntries: 0,
    },
  });
  expect(() => createFilesSource({ paths: ["relative"] })).toThrow("absolute");
  expect(() => createFilesSource({ paths: [] })).toThrow("absolute");
});
