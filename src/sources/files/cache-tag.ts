/** The Cache Directory Tagging standard: only a tag that begins with the signature marks a cache. */
import { closeSync, fstatSync, readSync } from "node:fs";
import type { Directory, DirectoryReader } from "./directory-reader.ts";

export const CACHE_TAG = "CACHEDIR.TAG";
const NAME = Buffer.from(CACHE_TAG);
const SIGNATURE = Buffer.from("Signature: 8a477f597d28d172789f06886806bc55");

/** True when the directory's tag is a regular file with the signature; false also when it cannot be read. */
export function holdsCacheTag(reader: DirectoryReader, directory: Directory): boolean {
  let fd: number;
  try {
    fd = reader.openFile(directory, NAME, Buffer.concat([directory.path, Buffer.from("/"), NAME]));
  } catch {
    return false;
  }
  try {
    const start = Buffer.alloc(SIGNATURE.length);
    return fstatSync(fd).isFile() && readSync(fd, start, 0, start.length, 0) === start.length && start.equals(SIGNATURE);
  } catch {
    return false;
  } finally {
    closeSync(fd);
  }
}
