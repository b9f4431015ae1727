import { TreeSplitter, type EmitNode } from "../../../../src/formats/repository/objects/tree-node.ts";

/** The tree of a directory whose encoded entries come sorted by name; returns the id of its root node. */
export function buildTree(
  entries: Iterable<{ readonly name: Uint8Array; readonly encoded: Uint8Array }>,
  emit: EmitNode,
): Uint8Array {
  const splitter = new TreeSplitter(emit);
  for (const { name, encoded } of entries) splitter.add(name, encoded);
  return splitter.finish();
}
