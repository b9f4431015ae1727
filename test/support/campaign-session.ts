/** A session on a campaign's configuration, opened like any command would open it, with what a campaign does there. */
import { randomHex } from "../../src/base/random.ts";
import { Secret } from "../../src/base/secret.ts";
import { systemRandom } from "../../src/codec/system-random.ts";
import type { Config } from "../../src/config/config.ts";
import { applyNow, performAction, planNow, runBackup } from "../../src/engine/apply.ts";
import { readConfigFile } from "../../src/engine/config-file.ts";
import { performRun, type RunOutcome } from "../../src/engine/runs.ts";
import { Session, type Surroundings } from "../../src/engine/session.ts";
import type { VerifyReport } from "../../src/formats/format.ts";
import { encodeCondemned } from "../../src/formats/repository/objects/condemned-object.ts";
import type { RewriteBoundary } from "../../src/formats/repository/prune/old-epochs.ts";
import { pruneRepository, type PruneBoundary } from "../../src/formats/repository/prune/prune.ts";
import type { Repository } from "../../src/formats/repository/repository.ts";
import { RepositoryStore } from "../../src/formats/repository/repository-format.ts";
import { repairRepository } from "../../src/formats/repository/repair/repair.ts";
import { addSlot, listSlots, newEpoch, removeSlot } from "../../src/formats/repository/keyslots/keyslots.ts";
import { verifyRepository } from "../../src/formats/repository/verify/verify.ts";
import type { CommitBoundary } from "../../src/formats/repository/write/commit-boundaries.ts";
import { openState, type State } from "../../src/state/state.ts";
import { createSystemClock } from "../../src/state/system-clock.ts";

/** Names of the only job and the only target. */
export const JOB = "tree";
export const TARGET = "disk";

/** The configuration of a campaign in `folder`: `tree` to `repository`, with nothing kept longer than needed. */
export function campaignConfig(folder: string, tree = `${folder}/tree`): string {
  const quoted = (name: string): string => JSON.stringify(`${folder}/${name}`);
  return [
    "version: 1",
    "host: campaign",
    `daemon: { stateDir: ${quoted("state")}, cacheDir: ${quoted("cache")} }`,
    `encryption: { main: { keyFile: ${quoted("key")}, generate: true } }`,
    `sources: { tree: { type: files, paths: [${JSON.stringify(tree)}] } }`,
    `targets: { ${TARGET}: { type: local, path: ${quoted("repository")}, encryption: main } }`,
    "retention: { few: { keepLast: 3 } }",
    `jobs: { ${JOB}: { sources: [tree], targets: [${TARGET}], retention: few } }`,
    "maintenance: { grace: 0s, maxUnused: 5% }",
    "",
  ].join("\n");
}

/** Marks the slots that `changeKeys` adds beside the key file's. */
const ADDED_SLOT = "campaign";
const CHEAP_KDF = { function: "pbkdf2", hash: "sha512", iterations: 1000, saltBytes: 16 } as const;
const signal = new AbortController().signal;

export class CampaignSession implements AsyncDisposable {
  readonly session: Session;
  readonly state: State;

  static load(path: string): { readonly config: Config } {
    const { config, problems } = readConfigFile(
      path,
      { env: {}, cwd: "/", hostName: "campaign", home: "/", isRoot: false, timezone: "UTC" },
      false,
    );
    if (config === undefined) throw new Error(`The campaign's configuration is not valid: ${JSON.stringify(problems)}`);
    return { config };
  }

  constructor(path: string, packBytes: number | undefined, surroundings: Partial<Surroundings> = {}) {
    const { config } = CampaignSession.load(path);
    this.state = openState(config.daemon.stateDir);
    this.session = new Session(config, this.state, {
      env: {},
      credentialsDirectory: undefined,
      clock: createSystemClock(),
      random: systemRandom,
      toolVersion: "0.0.0",
      configText: "",
      gitCommit: undefined,
      listener: () => undefined,
      packBytes,
      ...surroundings,
    });
  }

  async repository(): Promise<Repository> {
    const store = await this.session.store(TARGET);
    if (!(store instanceof RepositoryStore)) throw new Error("Not a repository");
    return store.repository;
  }

  /** Makes the repository when there is none, and takes the first snapshot. Rejects when an action fails. */
  async apply(): Promise<void> {
    const { outcomes } = await applyNow(this.session, { signal });
    for (const { status, error, summary } of outcomes) if (status !== "done") throw error ?? new Error(`${status}: ${summary}`);
    if (!outcomes.some(({ action }) => action.kind === "backup")) await this.backup();
  }

  /** One backup. `condemn` has packs condemned behind its back before it commits, as a prune elsewhere would. */
  async backup(onBoundary?: (name: CommitBoundary) => void, condemn = false): Promise<void> {
    if (onBoundary !== undefined) {
      const repository = await this.repository();
      const onCommitBoundary = async (name: CommitBoundary): Promise<void> => {
        if (name === "after index" && condemn) await condemnSome(repository);
        onBoundary(name);
      };
      Object.assign(repository.options, { onCommitBoundary });
    }
    expectSuccess(await runBackup(this.session, JOB, { signal }));
  }

  /** Applies the retention, then prunes. */
  async prune(onBoundary?: (name: PruneBoundary | RewriteBoundary) => void, immediate = false): Promise<void> {
    const plan = await planNow(this.session, { signal });
    for (const action of plan.actions) {
      if (action.kind !== "retention") continue;
      const { status, error, summary } = await performAction(this.session, action, signal);
      if (status !== "done") throw error ?? new Error(`${status}: ${summary}`);
    }
    const repository = await this.repository();
    const { graceMs, maxUnused } = this.session.config.maintenance;
    const options = {
      dryRun: false,
      immediate,
      graceMs,
      maxUnused,
      compression: { type: "zstd", level: 3 },
      onProgress: () => undefined,
      signal,
    } as const;
    expectSuccess(
      await performRun(this.session, { kind: "prune", subject: TARGET, targets: [TARGET] }, signal, async () => ({
        status: "success",
        result: await pruneRepository(repository, options, { ...(onBoundary && { onBoundary }) }),
      })),
    );
  }

  /** Makes the index anew and examines every pack. */
  async repair(): Promise<void> {
    const repository = await this.repository();
    const { status, result, error } = await performRun(
      this.session,
      { kind: "repair", subject: TARGET, targets: [TARGET] },
      signal,
      async () => ({
        status: "success",
        result: await repairRepository(repository, { index: true, packs: "all", onProgress: () => undefined, signal }),
      }),
    );
    expectSuccess({ status, error } as RunOutcome<unknown>);
    if (result !== undefined && (result.marked.length > 0 || (result.rebuilt?.unreadable.length ?? 0) > 0))
      throw new Error(`A repair found damaged packs: ${JSON.stringify(result)}`);
  }

  /** Adds a slot for a password, starts an epoch, and removes the slots that earlier changes added. */
  async changeKeys(): Promise<void> {
    const repository = await this.repository();
    const before = await listSlots(repository, signal);
    const unlocking = { kind: "password", secret: new Secret("of the campaign") } as const;
    await addSlot(repository, unlocking, { kdf: CHEAP_KDF, label: ADDED_SLOT, signal });
    await newEpoch(repository, signal);
    for (const { id, label } of before) if (label === ADDED_SLOT) await removeSlot(repository, id, unlocking, { signal });
  }

  /** Slots that cannot be read. */
  async brokenSlots(): Promise<number> {
    return (await listSlots(await this.repository(), signal)).filter(({ problem }) => problem !== undefined).length;
  }

  /** Every check there is, over every byte. */
  async verify(): Promise<VerifyReport> {
    return await verifyRepository(await this.repository(), { snapshots: [], readData: 1, onProgress: () => undefined, signal });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.session[Symbol.asyncDispose]();
    this.state[Symbol.dispose]();
  }
}

function expectSuccess({ status, error }: RunOutcome<unknown>): void {
  if (status !== "success") throw error ?? new Error(`The run ended as ${status}`);
}

async function condemnSome(repository: Repository): Promise<void> {
  const indexed = repository.activeIndexObjects().flatMap(({ packs }) => packs);
  const packs = indexed.filter((pack) => repository.index.packState(pack) === "ok").slice(0, 3);
  const owner = randomHex(systemRandom, 16);
  await repository.putObject("condemned", encodeCondemned({ reason: "prune", time: new Date().toISOString(), packs, owner }));
}
