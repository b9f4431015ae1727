// `npm test`: types, lint, format, build, then every suite; ends with one line that counts. Arguments go to vitest.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = new URL("..", import.meta.url).pathname;
const bin = (name) => join(root, "node_modules/.bin", name);
const env = { ...process.env, PATH: `${join(root, "node_modules/.bin")}:${process.env.PATH}` };

/** Programs that suites use beside the project's own, and the Debian package that brings each. */
const TOOLS = {
  git: "git",
  getfattr: "attr",
  setfacl: "acl",
  strace: "strace",
  unshare: "util-linux",
  tar: "tar",
  btrfs: "btrfs-progs",
  promtool: "prometheus",
  "/usr/sbin/sshd": "openssh-server",
  "ssh-keygen": "openssh-client",
};

function installTools() {
  const missing = Object.keys(TOOLS).filter((tool) => spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0);
  if (missing.length === 0) return;
  const packages = missing.map((tool) => TOOLS[tool]);
  if (process.getuid?.() !== 0 || !existsSync("/usr/bin/apt-get")) {
    console.log(`Not installed, and this user may not: ${packages.join(", ")}. Suites that need them are listed as skipped.`);
    return;
  }
  console.log(`Installing ${packages.join(", ")}`);
  execFileSync("apt-get", ["update", "-qq"], { stdio: "inherit" });
  execFileSync("apt-get", ["install", "-y", "-qq", ...packages], {
    stdio: "inherit",
    env: { ...env, DEBIAN_FRONTEND: "noninteractive" },
  });
}

function step(name, command, args) {
  const started = Date.now();
  const { status } = spawnSync(command, args, { cwd: root, stdio: "inherit", env });
  console.log(`${status === 0 ? "ok" : "FAILED"}  ${name}  ${((Date.now() - started) / 1000).toFixed(1)} s`);
  if (status !== 0) process.exitCode = 1;
  return status === 0;
}

installTools();
const node = bin("node");
step("types", node, [join(root, "node_modules/typescript/bin/tsc"), "--noEmit", "-p", "tsconfig.json"]);
step("lint", bin("oxlint"), ["--type-aware", "--deny-warnings", "src", "test", "scripts"]);
step("format", bin("oxfmt"), ["--check", "src", "test", "scripts", "recover.mjs"]);
step("build", node, ["scripts/build.mjs"]);

const folder = mkdtempSync(join(tmpdir(), "holdfast-test-"));
const report = join(folder, "report.json");
step("suites", node, [
  join(root, "node_modules/vitest/vitest.mjs"),
  "run",
  "--reporter=dot",
  "--reporter=json",
  `--outputFile.json=${report}`,
  ...process.argv.slice(2),
]);

let counts;
try {
  counts = JSON.parse(readFileSync(report, "utf8"));
} catch {
  console.log("The suites wrote no report.");
  process.exitCode = 1;
}
rmSync(folder, { recursive: true, force: true });
if (counts !== undefined) {
  const skipped = counts.testResults.flatMap((file) =>
    file.assertionResults.filter(({ status }) => status === "skipped" || status === "pending"),
  );
  for (const { fullName } of skipped) console.log(`skipped: ${fullName}`);
  if (skipped.length > 0 && process.env.CI === "true") {
    console.log("With CI=true a skipped test is a failure.");
    process.exitCode = 1;
  }
  const failed = counts.numFailedTests + (process.exitCode === 1 && counts.numFailedTests === 0 ? 1 : 0);
  if (counts.numPassedTests === 0) process.exitCode = 1;
  console.log(`${counts.numPassedTests} passed, ${failed} failed, ${skipped.length} skipped`);
}
