import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { Secret } from "../../src/base/secret.ts";
import { systemRandom } from "../../src/codec/system-random.ts";
import { archiveFormat } from "../../src/formats/archive/archive-format.ts";
import type { Format, KdfChoice, StoreOptions, Unlocking } from "../../src/formats/format.ts";
import { repositoryFormat } from "../../src/formats/repository/repository-format.ts";
import { createSystemClock } from "../../src/state/system-clock.ts";
import { accessByPort, accessBySpec, type TargetAccess } from "../../src/targets/access.ts";
import { formatConformance, type FormatFixture } from "../conformance/format.ts";
import { MemoryTarget } from "../support/memory-target.ts";

interface Keys {
  readonly unlocking: Unlocking;
  readonly kdf: KdfChoice;
}

const KEYS: Keys = {
  unlocking: { kind: "password", secret: new Secret("correct horse") },
  kdf: { function: "pbkdf2", hash: "sha512", iterations: 1000 },
};

async function create(
  format: Format,
  keys: Keys | undefined,
  access: () => Promise<TargetAccess>,
): Promise<Pick<FormatFixture, "format" | "open">> {
  const options = async (): Promise<StoreOptions> => ({
    name: "test",
    access: await access(),
    clock: createSystemClock(),
    random: systemRandom,
    host: "host",
    appendOnly: false,
    packBytes: 2 ** 20,
  });
  await using _ = await format.create(await options(), keys?.unlocking, keys?.kdf, []);
  return { format, open: async () => await format.open(await options(), keys === undefined ? [] : [keys.unlocking]) };
}

async function inMemory(format: Format, keys: Keys | undefined): Promise<FormatFixture> {
  const target = new MemoryTarget();
  return {
    ...(await create(format, keys, async () => accessByPort(target))),
    objects: () => new Map([...target.objects].map(([name, { bytes }]) => [name, Uint8Array.from(bytes)])),
    replace: (name, bytes) => {
      const object = target.objects.get(name);
      if (object === undefined) throw new Error(`No object ${name}`);
      object.bytes = bytes;
    },
    release: () => undefined,
  };
}

async function inFolder(format: Format, keys: Keys | undefined): Promise<FormatFixture> {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-format-"));
  const files = (): string[] =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
      .filter((name) => !name.startsWith("tmp/"))
      .toSorted();
  return {
    ...(await create(format, keys, async () => await accessBySpec({ driver: "local", path: folder, create: true }))),
    objects: () => new Map(files().map((name) => [name, Uint8Array.from(readFileSync(join(folder, name)))])),
    replace: (name, bytes) => {
      chmodSync(join(folder, name), 0o600);
      writeFileSync(join(folder, name), bytes);
    },
    release: () => rmSync(folder, { recursive: true, force: true }),
  };
}

formatConformance("archive in memory", () => inMemory(archiveFormat, undefined));
formatConformance("archive in a folder", () => inFolder(archiveFormat, undefined));
formatConformance("repository in memory", () => inMemory(repositoryFormat, KEYS));
formatConformance("repository in a folder", () => inFolder(repositoryFormat, KEYS));
