import { HoldfastError } from "../../base/errors.ts";
import { pathBytes } from "../../base/path-text.ts";

/** A typed path in a snapshot as raw bytes: absolute, no double or final slashes. `\xNN` is a byte, as `ls` shows it. */
export function snapshotPath(text: string): Buffer {
  const parts = pathBytes(text)
    .toString("latin1")
    .split("/")
    .filter((part) => part !== "" && part !== ".");
  if (parts.some((part) => part.includes("\0")))
    throw new HoldfastError("usage", "A path in a snapshot has no zero bytes", {
      hint: "Write the path as `holdfast ls` shows it.",
    });
  if (parts.includes(".."))
    throw new HoldfastError("usage", `The path ${text} goes up with ..`, { hint: "Write the path from the snapshot's root." });
  return Buffer.from(`/${parts.join("/")}`, "latin1");
}
