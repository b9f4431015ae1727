/** The page of `key recovery-kit`, followed to the letter in an empty folder by somebody who has nothing else. */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { expect, test } from "vitest";
import { CONFIG, playground } from "./cli-runner.ts";

const PASSWORD = "correct horse battery";
/** What a machine of somebody else may have: an older Node, where there is one. gzip and PBKDF2 are all it needs. */
const OLDER = ["/usr/bin/node", "/usr/local/bin/node"].find((path) => existsSync(path)) ?? process.execPath;

const ways = [
  {
    name: "a password",
    encryption: "{ password: { file: ./secret }, keyDerivation: { function: pbkdf2, iterations: 100000 } }",
    option: "",
    node: "22.15",
  },
  { name: "a key file", encryption: "{ keyFile: ./secret, generate: true }", option: "--key-file KEY-FILE ", node: "22.15" },
];

test.each(ways)(
  "$name, the page and recover.mjs bring the files back, without the slot on the target",
  async (way) => {
    using place = playground({
      config: CONFIG.replace("{ keyFile: ./key, generate: true }", way.encryption).replace(
        "targets: [disk]",
        "targets: [disk], compression: { type: gzip }",
      ),
    });
    if (way.option === "") place.write("secret", `${PASSWORD}\n`, 0o600);
    expect((await place.run("apply")).code).toBe(0);
    expect((await place.run("backup", "docs")).code).toBe(0);
    const page = (await place.run("key", "recovery-kit")).out;
    expect(page).toContain(`Node ${way.node} or newer`);
    expect(page).not.toContain(PASSWORD);
    // Where the target is may be a long path; anything else fits a page.
    expect(page.split("\n").filter((line) => line.length > 80 && !line.startsWith("Target "))).toEqual([]);
    expect(page.split("\n").length).toBeLessThan(66);

    const away = join(place.path, "away");
    mkdirSync(join(away, "bin"), { recursive: true });
    cpSync(join(place.path, "repository"), join(away, "FOLDER"), { recursive: true });
    rmSync(join(away, "FOLDER/keys"), { recursive: true });
    cpSync(resolve("recover.mjs"), join(away, "recover.mjs"));
    if (way.option !== "") cpSync(join(place.path, "secret"), join(away, "KEY-FILE"));
    symlinkSync(OLDER, join(away, "bin/node"));
    const [, slot = ""] = /then spaces\):\n\n([\s\S]*?)\n\n/.exec(page) ?? [];
    writeFileSync(join(away, "slot.txt"), `${slot}\n`);

    const env = { PATH: `${join(away, "bin")}:/usr/bin:/bin`, HOME: away, LANG: "C.UTF-8" };
    const commands = page
      .match(/^ +(?:[34]\. )?(?:mkdir|printf|mv|sha256sum|node) .*$/gm)
      ?.map((line) => line.replace(/^ +(?:\d\. )?/, ""));
    expect(commands).toHaveLength(6);
    let out = "";
    for (const command of commands ?? []) {
      const asks = way.option === "" && command.startsWith("node");
      // A password is asked for on a terminal, which `script` is.
      const [program, args] = asks ? ["script", ["-qec", command, "/dev/null"]] : ["sh", ["-c", command]];
      const ran = spawnSync(program as string, args as string[], {
        cwd: away,
        env,
        encoding: "utf8",
        input: asks ? `${PASSWORD}\n` : "",
      });
      expect([command, ran.status, ran.stderr]).toEqual([command, 0, expect.any(String)]);
      if (command.startsWith("sha256sum")) expect(page).toContain(ran.stdout.split(" ")[0]);
      out += ran.stdout;
    }
    expect(out).toContain("docs");
    const restored = join(away, "RESTORED", place.path, "data/a.txt");
    expect(readFileSync(restored, "utf8")).toBe("first\n");
    expect(dirname(restored)).toContain("RESTORED");
  },
  120_000,
);
