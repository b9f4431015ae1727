import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import {
  DEFAULT_KDF,
  errnoOf,
  generateKeyFile,
  HoldfastError,
  locationOf,
  Secret,
  systemRandom,
  type Holdfast,
  type KeySlots,
  type PruneReport,
  type Unlocking,
} from "../../index.ts";
import type { Context } from "../context.ts";
import { plural, safe, shortId, size } from "../format.ts";
import { exitCodeOf, outcomeJson, reportOutcome } from "../outcome.ts";
import { Reporter } from "../reporter.ts";
import { renderTable } from "../width.ts";

export interface KeyFlags {
  readonly target?: string;
}

export interface KeyAddFlags extends KeyFlags {
  readonly passwordFile?: string;
  readonly keyFile?: string;
  readonly label?: string;
}

interface KeyedTarget {
  readonly target: string;
  readonly slots: KeySlots;
}

/** The encrypted targets a key command is about. Rejects when one of them cannot be opened: keys are changed on all or none. */
async function keyedTargets(holdfast: Holdfast, flags: KeyFlags): Promise<KeyedTarget[]> {
  const names =
    flags.target === undefined
      ? [...holdfast.config.targets.values()].filter(({ encryption }) => encryption !== undefined).map(({ name }) => name)
      : [flags.target];
  const keyed: KeyedTarget[] = [];
  for (const target of names) keyed.push({ target, slots: await holdfast.keySlots(target) });
  if (keyed.length === 0)
    throw new HoldfastError("unsupported", "No target is encrypted, so there are no keys", {
      hint: "Declare `encryption:` and name it in a target.",
    });
  return keyed;
}

export async function keyList(context: Context, flags: KeyFlags): Promise<void> {
  await using opened = await context.open();
  const all = [];
  for (const { target, slots } of await keyedTargets(opened.holdfast, flags))
    for (const slot of await slots.list(context.signal)) all.push({ target, ...slot });
  if (context.json) {
    await context.printJson({
      slots: all.map((slot) => ({ ...slot, function: slot.function ?? null, problem: slot.problem ?? null })),
    });
    return;
  }
  const columns = [
    { title: "TARGET" },
    { title: "SLOT" },
    { title: "LABEL" },
    { title: "OPENED BY" },
    { title: "CREATED" },
    { title: "" },
  ];
  const rows = all.map((slot) => [
    slot.target,
    shortId(slot.id),
    safe(slot.label),
    slot.function ?? "unreadable",
    safe(slot.created),
    [slot.inUse ? "in use" : "", slot.problem === undefined ? "" : safe(slot.problem)].filter((text) => text !== "").join("; "),
  ]);
  await context.print(renderTable(columns, rows, { bold: context.colors("stdout") }));
}

export async function keyAdd(context: Context, flags: KeyAddFlags): Promise<void> {
  if (flags.passwordFile !== undefined && flags.keyFile !== undefined)
    throw new HoldfastError("usage", "A slot is opened by a password or by a key file, not both", {
      hint: "Give --password-file or --key-file.",
    });
  await using opened = await context.open();
  const { holdfast } = opened;
  const keyed = await keyedTargets(holdfast, flags);
  const unlocking = await newUnlocking(context, flags);
  const added: { target: string; id: string }[] = [];
  for (const { target, slots } of keyed) {
    const kdf = unlocking.kind === "keyfile" ? undefined : (holdfast.kdf(target) ?? DEFAULT_KDF);
    added.push({ target, id: await slots.add(unlocking, kdf, flags.label ?? "", context.signal) });
  }
  if (context.json) await context.printJson({ added });
  else for (const { target, id } of added) await context.note(`target ${target}: added slot ${shortId(id)}`);
}

async function newUnlocking(context: Context, flags: KeyAddFlags): Promise<Unlocking> {
  if (flags.keyFile !== undefined) {
    const path = resolve(context.shell.cwd, flags.keyFile);
    if (!existsSync(path)) {
      await generateKeyFile(path, systemRandom);
      await context.note(`Made ${path}. Keep a copy of it elsewhere.`);
    }
    const text = readSecretFile(path).trim().toLowerCase();
    if (!/^[0-9a-f]{64}$/.test(text))
      throw new HoldfastError("secret_unavailable", `The key file ${path} does not hold 64 hex digits`, {
        hint: "Name a file that does not exist: it is then made.",
      });
    return { kind: "keyfile", secret: new Secret(text) };
  }
  if (flags.passwordFile !== undefined) {
    const password = readSecretFile(resolve(context.shell.cwd, flags.passwordFile)).replace(/\r?\n$/, "");
    if (password === "")
      throw new HoldfastError("secret_unavailable", `The password file ${flags.passwordFile} is empty`, {
        hint: "Put the new password there.",
      });
    return { kind: "password", secret: new Secret(password) };
  }
  if (!context.shell.stdin.isTerminal || context.json)
    throw new HoldfastError("usage", "There is no new key to add", {
      hint: "Give --password-file FILE or --key-file FILE, or run it on a terminal to type a password.",
    });
  const first = await context.shell.stdin.askSecret("New password: ", context.signal);
  const second = await context.shell.stdin.askSecret("The same again: ", context.signal);
  if (first === undefined || first === "")
    throw new HoldfastError("usage", "The password is empty", { hint: "Nothing was changed." });
  if (first !== second) throw new HoldfastError("usage", "The two passwords differ", { hint: "Nothing was changed. Try again." });
  return { kind: "password", secret: new Secret(first) };
}

function readSecretFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new HoldfastError("secret_unavailable", `${path} cannot be read (${errnoOf(error) ?? "unknown error"})`, {
      hint: "Check the path and its permissions. Nothing was changed.",
      cause: error,
    });
  }
}

export async function keyRemove(context: Context, prefix: string, flags: KeyFlags & { readonly yes?: boolean }): Promise<void> {
  await using opened = await context.open();
  const { holdfast } = opened;
  const fitting: { target: string; slots: KeySlots; id: string; label: string }[] = [];
  for (const { target, slots } of await keyedTargets(holdfast, flags))
    for (const { id, label } of await slots.list(context.signal))
      if (/^[0-9a-f]+$/.test(prefix) && id.startsWith(prefix)) fitting.push({ target, slots, id, label });
  const [only, ...more] = fitting;
  if (only === undefined)
    throw new HoldfastError("name_unknown", `No key slot begins with ${prefix}`, { hint: "`holdfast key list` shows them." });
  if (more.length > 0)
    throw new HoldfastError("selector_ambiguous", `${prefix} fits ${plural(fitting.length, "key slot")}`, {
      hint: `Give more digits: ${fitting.map(({ target, id }) => `${id.slice(0, 12)} (${target})`).join(", ")}`,
    });
  const [proof] = await holdfast.unlockings(only.target);
  if (proof === undefined) throw new HoldfastError("unsupported", `Target ${only.target} is not encrypted and has no keys`);
  const label = only.label === "" ? "" : ` (${only.label})`;
  if (
    !(await context.confirm(
      `remove slot ${shortId(only.id)}${label} of target ${only.target}`,
      "Its password or key file opens it no more",
      flags.yes,
    ))
  )
    return;
  await only.slots.remove(only.id, proof, context.signal);
  if (context.json) await context.printJson({ removed: { target: only.target, id: only.id } });
  else await context.note(`target ${only.target}: removed slot ${shortId(only.id)}`);
}

export async function keyRotate(context: Context, flags: KeyFlags): Promise<void> {
  await using opened = await context.open();
  const rotated: { target: string; epoch: number }[] = [];
  for (const { target, slots } of await keyedTargets(opened.holdfast, flags))
    rotated.push({ target, epoch: await slots.newEpoch(context.signal) });
  if (context.json) await context.printJson({ rotated });
  else
    for (const { target, epoch } of rotated)
      await context.note(
        `target ${target}: what is stored from now on is sealed under epoch ${epoch}; what is there stays readable`,
      );
}

/** Stores anew what older epochs sealed, on one target after the other; a failure on one does not stop the others. */
export async function keyRewrite(context: Context, flags: KeyFlags): Promise<number> {
  await using reporter = new Reporter(context);
  await using opened = await context.open(reporter.listener);
  const { holdfast } = opened;
  let code = 0;
  for (const { target } of await keyedTargets(holdfast, flags)) {
    const outcome = await holdfast.prune(target, {
      dryRun: false,
      immediate: false,
      oldEpochs: true,
      reason: "key rotate --rewrite",
      signal: context.signal,
    });
    await reporter.end();
    const { result } = outcome;
    if (context.json)
      await context.printLine("summary", { command: "key rotate", target, ...outcomeJson(outcome), report: result });
    else {
      if (!context.quiet && result !== undefined) await context.print(rewriteSummary(target, result));
      await reportOutcome(context, `The rewrite of target ${target}`, outcome);
    }
    code = Math.max(code, exitCodeOf(outcome));
  }
  return code;
}

function rewriteSummary(target: string, report: PruneReport): string {
  const { packsRepacked, bytesWritten, objectsCopied } = report;
  if (packsRepacked === 0 && objectsCopied === 0)
    return `target ${target}: nothing is left to store anew under the newest epoch\n`;
  return `target ${target}: ${plural(packsRepacked, "pack")} (${size(bytesWritten)}) and ${plural(objectsCopied, "small object")} stored anew under the newest epoch; the old ones are deleted by a prune after the grace time\n`;
}

export async function keyRecoveryKit(context: Context, flags: KeyFlags): Promise<void> {
  await using opened = await context.open();
  const { holdfast } = opened;
  const kits: { target: string; kit: string }[] = [];
  for (const { target, slots } of await keyedTargets(holdfast, flags))
    kits.push({
      target,
      kit: await slots.recoveryKit({ where: locationOf(holdfast.session.target(target)), signal: context.signal }),
    });
  if (context.json) await context.printJson({ kits });
  else await context.print(kits.map(({ kit }) => kit.replace(/\n*$/, "\n")).join("\f"));
  await context.note("Print it and keep it with the password or key file, away from this machine.");
}
