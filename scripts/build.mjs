// Emits dist/ with the project's own compiler, whatever Node runs this, and copies what the code reads at run time.
import { execFileSync } from "node:child_process";
import { cpSync, rmSync } from "node:fs";

const root = new URL("..", import.meta.url).pathname;
rmSync(`${root}dist`, { recursive: true, force: true });
execFileSync(process.execPath, [`${root}node_modules/typescript/bin/tsc`, "-p", `${root}tsconfig.build.json`], {
  stdio: "inherit",
  cwd: root,
});
cpSync(`${root}schemas`, `${root}dist/schemas`, { recursive: true });
