import { join, matchesGlob, normalize, relative } from "node:path/posix";
import { parseDuration } from "../base/duration.ts";
import { parseSize } from "../base/size.ts";
import { checkName } from "./check-policies.ts";
import type { Draft } from "./draft.ts";
import { pointerOf } from "./evaluate.ts";
import { folderOf } from "./include.ts";
import { entriesOf } from "./loose.ts";
import type { Loose, LooseFile } from "./loose.ts";
import type { Hooks, SftpTarget } from "./schema-types.ts";
import { listOf } from "./suggest.ts";

/** An absolute, normalised path without a final slash, relative to the file the value stands in. */
export function absolutePath(draft: Draft, pointer: string, text: string): string {
  const path = text.startsWith("/") ? normalize(text) : join(folderOf(draft.spot(pointer).value.file.path), text);
  return path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
}

/** True when `path` is `folder` or lies in it. */
export function isInside(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === "/" ? "/" : `${folder}/`);
}

export function checkPath(draft: Draft, pointer: string, text: string | undefined): void {
  if (text === undefined || draft.isBad(pointer)) return;
  if (text === "~" || text.startsWith("~/"))
    draft.error("wrong_value", pointer, "`~` is not expanded in a path", {
      expected: "an absolute path, or one relative to this file",
      suggestion: `write \${HOME}${text.slice(1)}`,
    });
  else if (text.includes("\0")) draft.error("wrong_value", pointer, "a path cannot hold a NUL character");
}

export function checkEncryptions(draft: Draft, file: LooseFile): void {
  for (const folder of ["stateDir", "cacheDir"] as const) checkPath(draft, `/daemon/${folder}`, file.daemon?.[folder]);
  for (const [name, encryption] of entriesOf(file.encryption)) {
    const pointer = pointerOf("/encryption", name);
    if (name === "none")
      draft.error("bad_name", pointer, "the name `none` is reserved", {
        at: draft.spot(pointer).key,
        suggestion: "call it main",
      });
    checkPath(draft, pointerOf(pointer, "keyFile"), encryption.keyFile);
    checkSecret(draft, pointerOf(pointer, "password"), encryption.password);
    for (const [index, secret] of (encryption.previous ?? []).entries())
      checkSecret(draft, pointerOf(pointerOf(pointer, "previous"), index), secret);
    const derivation = encryption.keyDerivation;
    const at = pointerOf(pointer, "keyDerivation");
    if (derivation?.function === "argon2id" && derivation.memory !== undefined) {
      const memory = parseSize(derivation.memory) ?? 0;
      if (memory < 8 * 2 ** 20 || memory > 2 ** 30)
        draft.error(
          "wrong_value",
          pointerOf(at, "memory"),
          `${derivation.memory} of memory is too ${memory > 2 ** 30 ? "much" : "little"}`,
          { expected: "from `8MiB` to `1GiB`" },
        );
    }
    if (derivation?.function !== "scrypt" || !draft.isSound(at)) continue;
    const cost = derivation.cost ?? 65536;
    if ((cost & (cost - 1)) !== 0)
      draft.error("wrong_value", pointerOf(at, "cost"), `${cost} is not a power of two`, {
        suggestion: `use ${2 ** Math.round(Math.log2(cost))}`,
      });
    else if (128 * cost * (derivation.blockSize ?? 8) > 2 ** 30)
      draft.error("wrong_value", at, "this scrypt needs more than 1 GiB of memory", {
        at: draft.spot(at).key,
        expected: "128 × cost × blockSize of at most 1 GiB",
      });
  }
}

export function checkSecret(draft: Draft, pointer: string, secret: unknown): void {
  if (typeof secret !== "string") {
    if (typeof secret === "object" && secret !== null && "file" in secret)
      checkPath(draft, pointerOf(pointer, "file"), String(secret.file));
    return;
  }
  if (draft.isBad(pointer)) return;
  if (draft.spot(pointer).variable) return;
  draft.warning("plain_secret", pointer, "a secret is written in the file", {
    suggestion: "refer to it: { file: … }, { env: … }, { command: […] } or { credential: … }",
  });
}

export function checkSources(draft: Draft, file: LooseFile): void {
  for (const [name, source] of entriesOf(file.sources)) {
    const pointer = pointerOf("/sources", name);
    if (source.type === "files")
      for (const [index, path] of (source.paths ?? []).entries())
        checkPath(draft, pointerOf(pointerOf(pointer, "paths"), index), path);
    if (source.type === "command" && source.command?.[0]?.trim() === "")
      draft.error("wrong_value", pointerOf(pointerOf(pointer, "command"), 0), "this must be the name of a program");
    checkHooks(draft, pointer, source.hooks);
  }
}

const HOOK_KINDS = ["before", "after", "onSuccess", "onFailure"] as const;

/** A path on a server: normalised, without a final slash. */
export function remotePath(text: string): string {
  const path = normalize(text);
  return path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
}

/** The hooks of a job or source at `pointer`. */
export function checkHooks(draft: Draft, pointer: string, hooks: Loose<Hooks> | undefined): void {
  for (const kind of HOOK_KINDS)
    for (const [index, hook] of (hooks?.[kind] ?? []).entries()) {
      const at = pointerOf(pointerOf(pointerOf(pointer, "hooks"), kind), index);
      const program = hook?.run?.[0];
      if (program === undefined) continue;
      const place = pointerOf(pointerOf(at, "run"), 0);
      if (program.trim() === "") draft.error("wrong_value", place, "this must be the name of a program");
      else if (program.startsWith("~/")) checkPath(draft, place, program);
      else if (hook?.run?.length === 1 && /\s/.test(program) && !program.includes("/"))
        draft.error("wrong_value", place, "a program and its arguments are a list, not one text", {
          suggestion: `write ${JSON.stringify(program.trim().split(/\s+/)).replaceAll(",", ", ")}, or [sh, -c, "…"] for a shell`,
        });
      if (hook?.timeout !== undefined && parseDuration(hook.timeout) === 0)
        draft.error("wrong_value", pointerOf(at, "timeout"), "a program needs some time", {
          expected: "a duration above zero",
        });
    }
}

export function checkTargets(draft: Draft, file: LooseFile): void {
  const seen: { name: string; pointer: string; server: string; path: string }[] = [];
  for (const [name, target] of entriesOf(file.targets)) {
    const pointer = pointerOf("/targets", name);
    const at = pointerOf(pointer, "path");
    const isLocal = target.type === "local";
    if (isLocal) {
      checkPath(draft, at, target.path);
      checkPath(draft, pointerOf(pointer, "requireMount"), target.requireMount);
    } else if (target.type === "sftp") checkSftp(draft, pointer, target);
    checkEncryption(draft, pointer, target.encryption, !draft.isAbsent(pointer, "archive"));
    if (target.path === undefined || draft.isBad(at)) continue;
    const path = isLocal ? absolutePath(draft, at, target.path) : remotePath(target.path);
    // Paths on a server are compared as they are written: only the server knows what they lead to.
    const server = target.type === "sftp" ? `${target.user}@${target.host}:${target.port ?? 22}` : "";
    const clash = seen.find((other) => other.server === server && (isInside(path, other.path) || isInside(other.path, path)));
    if (clash !== undefined) {
      const how = clash.path === path ? "have the same path" : "lie one inside the other";
      draft.error("same_path", at, `the targets ${clash.name} and ${name} ${how}, ${path}`, {
        expected: "a folder of its own for each target",
        suggestion: `the other is at ${draft.whereIs(clash.pointer)}`,
      });
    }
    seen.push({ name, pointer, server, path });
    if (!isLocal) continue;
    checkKeyFiles(draft, file, name, path);
    checkContainingSources(draft, file, name, at, path);
  }
}

/** Who lets whom in: the server must prove itself, and so must we. */
function checkSftp(draft: Draft, pointer: string, target: Loose<SftpTarget>): void {
  for (const key of ["identityFile", "agent", "knownHosts"] as const) checkPath(draft, pointerOf(pointer, key), target[key]);
  for (const key of ["password", "passphrase"] as const) checkSecret(draft, pointerOf(pointer, key), target[key]);
  const place = draft.spot(pointer).key;
  const path = pathText(pointer);
  if (draft.isAbsent(pointer, "hostKey") && draft.isAbsent(pointer, "knownHosts"))
    draft.error("missing_key", pointerOf(pointer, "hostKey"), "nothing says which key the server has", {
      at: place,
      path: `${path}.hostKey`,
      expected: "`hostKey`, or `knownHosts`: a server is never trusted unseen",
      suggestion: `\`ssh-keyscan ${target.host ?? "HOST"}\` prints its keys; compare them with what whoever runs the server says`,
    });
  if (["identityFile", "agent", "password"].every((key) => draft.isAbsent(pointer, key)))
    draft.error("missing_key", pointerOf(pointer, "identityFile"), "nothing says how the account is let in", {
      at: place,
      path: `${path}.identityFile`,
      expected: "one of identityFile, agent and password",
    });
  if (draft.isAbsent(pointer, "identityFile") && !draft.isAbsent(pointer, "passphrase"))
    draft.error("wrong_value", pointerOf(pointer, "passphrase"), "a passphrase opens an `identityFile`, and there is none", {
      expected: "an `identityFile`, or no passphrase",
    });
}

function pathText(pointer: string): string {
  return pointer.slice(1).replaceAll("/", ".");
}

function checkEncryption(draft: Draft, pointer: string, encryption: string | undefined, archive: boolean): void {
  const at = pointerOf(pointer, "encryption");
  if (encryption === undefined || draft.isBad(at)) return;
  if (archive && encryption !== "none") {
    draft.error("wrong_value", at, "archives cannot be encrypted in this version", {
      expected: "`none`",
      suggestion: "take `archive` out to keep an encrypted repository",
    });
  } else if (!archive && encryption === "none") {
    const declared = [...(draft.declared("encryption") ?? [])];
    draft.error("encryption_missing", at, "a repository is always encrypted", {
      expected: declared.length === 0 ? "a name declared in `encryption:`" : `one of ${declared.join(", ")}`,
    });
  } else if (!archive) checkName(draft, "encryption", at, encryption);
}

function checkKeyFiles(draft: Draft, file: LooseFile, target: string, path: string): void {
  for (const [name, encryption] of entriesOf(file.encryption)) {
    const at = pointerOf(pointerOf("/encryption", name), "keyFile");
    if (encryption.keyFile === undefined || draft.isBad(at) || !isInside(absolutePath(draft, at, encryption.keyFile), path))
      continue;
    draft.error("path_inside", at, `the key file lies in the target ${target}, beside what it encrypts`, {
      expected: `a path outside ${path}`,
    });
  }
}

/** A backup that backs up its own target grows with every run. */
function checkContainingSources(draft: Draft, file: LooseFile, target: string, pointer: string, path: string): void {
  const sources: string[] = [];
  for (const [name, source] of entriesOf(file.sources)) {
    if (source.type !== "files") continue;
    const at = pointerOf(pointerOf("/sources", name), "paths");
    if (!draft.isSound(pointerOf("/sources", name))) continue;
    const rules = (source.exclude ?? []).filter((rule) => rule !== undefined);
    const contains = (source.paths ?? []).some((text, index) => {
      const folder = text === undefined ? undefined : absolutePath(draft, pointerOf(at, index), text);
      return folder !== undefined && isInside(path, folder) && !isExcluded(relative(folder, path), rules);
    });
    if (contains) sources.push(name);
  }
  if (sources.length > 0)
    draft.warning("path_inside", pointer, `the target ${target} lies in what the source ${listOf(sources)} backs up`, {
      suggestion: "exclude it there, or move it",
    });
}

/** Whether gitignore rules leave out `path` or a folder above it; close enough for a warning. */
function isExcluded(path: string, rules: readonly string[]): boolean {
  const parts = path.split("/").filter((part) => part !== "");
  const folders = parts.map((_, index) => parts.slice(0, index + 1).join("/"));
  return rules.some((rule) => {
    const plain = rule.replace(/\/(\*\*?)?$/, "");
    const glob = plain.replace(/^\//, "").includes("/") || plain.startsWith("/") ? plain.replace(/^\//, "") : `**/${plain}`;
    return !rule.startsWith("!") && folders.some((folder) => matchesGlob(folder, glob));
  });
}
