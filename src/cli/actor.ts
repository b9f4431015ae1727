import { userInfo } from "node:os";
import type { Actor } from "../index.ts";

/** Who runs this command, for the audit log: the user by name, or by number where the system knows no name. */
export function commandActor(): Actor {
  const from = `process ${process.pid}`;
  try {
    return { name: `cli:${userInfo().username}`, from };
  } catch {
    return { name: `cli:uid ${process.getuid?.() ?? "unknown"}`, from };
  }
}
