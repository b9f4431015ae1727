import { HoldfastError } from "../../../base/errors.ts";
import type { ObjectId } from "../../../base/ids.ts";
import type { VerifyCheck, VerifyDamage } from "../../format.ts";
import { parseSlot } from "../keys/slot.ts";
import { decodeLease } from "../objects/lease-object.ts";
import { inParallel, readRepositoryId, type ObjectFolder, type Repository } from "../repository.ts";

const CONFIG_NAME = "holdfast.json";
const FETCHES = 16;

/** What the checks gather as they go. */
export class Findings {
  readonly checks: VerifyCheck[] = [];
  readonly damage: VerifyDamage[] = [];

  check(name: string, checked: number, failed: number, note?: string): void {
    this.checks.push({ name, checked, failed, note });
  }

  add(damage: Partial<VerifyDamage> & Pick<VerifyDamage, "kind" | "id" | "message">): void {
    this.damage.push({ snapshots: [], paths: [], ...damage });
  }
}

/** Checks `holdfast.json`, key slots, keyrings and leases. Rejects when the target fails for another reason than damage. */
export async function checkSmallObjects(repository: Repository, findings: Findings, signal: AbortSignal): Promise<void> {
  await checkConfig(repository, findings, signal);
  await checkSlots(repository, findings, signal);
  await checkFolder(repository, "keyring", "keyring", (id) => repository.readKeyring(id, signal, true), findings, signal);
  await checkFolder(
    repository,
    "leases",
    "lease",
    async (id) => decodeLease(await repository.readObject("leases", id, signal, true)),
    findings,
    signal,
  );
}

async function checkConfig(repository: Repository, findings: Findings, signal: AbortSignal): Promise<void> {
  const problem = await damageOf(async () => {
    const id = await readRepositoryId(repository.target, repository.name, signal);
    if (id === undefined) throw new HoldfastError("repository_missing", "it is missing");
    if (id !== repository.id) throw new HoldfastError("object_foreign", `it names repository ${id}, not ${repository.id}`);
  });
  if (problem !== undefined) findings.add({ kind: "repository", id: CONFIG_NAME, message: problem });
  findings.check("repository file", 1, problem === undefined ? 0 : 1);
}

async function checkSlots(repository: Repository, findings: Findings, signal: AbortSignal): Promise<void> {
  const stats = (await repository.target.list("keys/", { signal })).filter(({ name }) => /^keys\/[0-9a-f]{32}$/.test(name));
  let failed = 0;
  for (const { name } of stats) {
    const problem = await damageOf(async () => {
      const slot = parseSlot(await repository.target.get(name, { signal }));
      if (`keys/${slot.id}` !== name) throw new HoldfastError("object_malformed", `it says that it is slot ${slot.id}`);
    });
    if (problem === undefined) continue;
    failed++;
    findings.add({ kind: "key", id: name.slice("keys/".length), message: problem });
  }
  if (stats.length === 0)
    findings.add({ kind: "key", id: "keys/", message: "There is no key slot: no secret opens this repository any more" });
  findings.check("key slots", stats.length, failed, "a slot's wrapped key is proven when a secret opens it");
}

async function checkFolder(
  repository: Repository,
  folder: ObjectFolder,
  kind: string,
  read: (id: ObjectId) => Promise<unknown>,
  findings: Findings,
  signal: AbortSignal,
): Promise<void> {
  const stats = await repository.listObjects(folder, signal);
  let failed = 0;
  await inParallel(stats, Math.min(FETCHES, repository.target.capabilities.concurrency), async ({ id }) => {
    const problem = await damageOf(() => read(id));
    if (problem === undefined) return;
    failed++;
    findings.add({ kind, id, message: problem });
  });
  findings.check(`${folder}/`, stats.length, failed);
}

/** Why `read` failed, when that is the object's fault. What vanished meanwhile is no damage. */
async function damageOf(read: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await read();
    return undefined;
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.transient) throw error;
    if (error.code === "target_missing_object") return undefined;
    if (/^(object_|repository_)/.test(error.code)) return error.message;
    throw error;
  }
}
