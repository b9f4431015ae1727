/** Who may not set owners: a root without the right to, as in a container; and everybody else. */
import { spawnSync } from "node:child_process";
import { lstatSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { readManifest, repositoryFolder } from "../golden/manifest.ts";
import { scratch } from "../golden/opened.ts";

const PROGRAM = fileURLToPath(new URL("../../recover.mjs", import.meta.url));
const isRoot = process.getuid?.() === 0;
// As root: with root as the only user there is, every other owner is refused.
const alone = isRoot ? ["unshare", "-Ur"] : [];

it.runIf(!isRoot || spawnSync("unshare", ["-Ur", "true"]).status === 0)(
  "recover.mjs gives set-user-id and set-group-id to no other owner than theirs",
  () => {
    using out = scratch();
    const { snapshots, secrets } = readManifest("v1/entries");
    const secret = join(out.path, "secret");
    writeFileSync(secret, secrets[0]?.secret ?? "");
    const to = join(out.path, "to");
    const args = [
      PROGRAM,
      repositoryFolder("v1/entries"),
      "--password-file",
      secret,
      "restore",
      snapshots[0]?.id ?? "",
      "--to",
      to,
      "modes",
    ];
    const [command = "", ...rest] = [...alone, process.execPath, ...args];
    const { status, stderr } = spawnSync(command, rest, { encoding: "utf8", env: { PATH: process.env["PATH"] } });
    expect({ status, stderr }).toMatchObject({ status: 0 });
    const modeOf = (name: string): string => (lstatSync(join(to, "modes", name)).mode & 0o7777).toString(8);
    expect(["file-4755", "file-2755", "file-6711", "folder-2775", "folder-1777", "file-0777"].map(modeOf)).toEqual([
      "755",
      "755",
      "711",
      "775",
      "1777",
      "777",
    ]);
    expect(stderr).toContain("4 modes lack set-user-id or set-group-id, because their owner or group could not be set.");
  },
);
