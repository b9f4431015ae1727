/** What docs/deploy and docs/monitoring ship is what this version takes and exports. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { metricFamilies } from "../../src/daemon/metric-families.ts";
import { loadText } from "../config/load-fixture.ts";
import { facts } from "../daemon/monitor-facts.ts";
import { metricNamesIn } from "../support/metric-names.ts";

const IN_CONTAINER = { container: "oci" };
type Tree = { readonly [key: string]: Tree } & readonly Tree[];

const documents = (file: string): Tree[] =>
  parseAllDocuments(readFileSync(`docs/deploy/${file}`, "utf8")).map((document) => {
    expect(document.errors).toEqual([]);
    return document.toJS() as Tree;
  });
const ofKind = (all: readonly Tree[], kind: string): Tree => all.find((one) => String(one["kind"]) === kind) as Tree;

/** The configurations that are embedded in what is shipped. */
const CONFIGS: readonly (readonly [string, () => string])[] = [
  ["compose.yaml", () => String(documents("compose.yaml")[0]?.["configs"]?.["holdfast"]?.["content"])],
  ...["kubernetes/daemon.yaml", "kubernetes/cronjob.yaml"].map(
    (file) => [file, () => String(ofKind(documents(file), "ConfigMap")["data"]?.["config.yaml"])] as const,
  ),
];

describe.each(CONFIGS)("the configuration in %s", (file, read) => {
  test("is valid, without a warning, in a container", () => {
    const { config, problems } = loadText(read(), { env: IN_CONTAINER, strict: true });
    expect(problems).toEqual([]);
    expect(config?.jobs.size).toBe(1);
    const listens = !file.includes("cronjob");
    expect(config?.probes?.listen).toEqual(listens ? { kind: "tcp", host: "0.0.0.0", port: 9481 } : undefined);
  });

  test("would not be without its host", () => {
    const { problems } = loadText(read().replace(/^host: .*$/m, ""), { env: IN_CONTAINER });
    expect(problems.map(({ code }) => code)).toEqual(["missing_key"]);
  });
});

/** Absolute paths that a configuration names: each must be mounted, or the container has it not. */
const pathsIn = (config: string): string[] => [...config.matchAll(/[ [](\/[\w./-]+)/g)].map(([, path = ""]) => path);

test("what the configurations name is mounted, and what the image writes is, too", () => {
  const compose = documents("compose.yaml")[0]?.["services"]?.["backup"] as Tree;
  const mounts: Record<string, string[]> = {
    "compose.yaml": [
      ...[...(compose["volumes"] as Tree)].map((text) => String(text).split(":")[1] as string),
      ...[...(compose["secrets"] as Tree)].map((name) => `/run/secrets/${String(name)}`),
    ],
  };
  for (const [file, kind] of [
    ["kubernetes/daemon.yaml", "StatefulSet"],
    ["kubernetes/cronjob.yaml", "CronJob"],
  ] as const) {
    const spec = ofKind(documents(file), kind)["spec"] as Tree;
    const pod = (spec["template"] ?? spec["jobTemplate"]?.["spec"]?.["template"])?.["spec"] as Tree;
    const [container] = [...(pod["containers"] as Tree)];
    const volumes = new Set(
      [...(pod["volumes"] as Tree), ...((spec["volumeClaimTemplates"] ?? []) as Tree)].map((one) =>
        String(one["name"] ?? one["metadata"]?.["name"]),
      ),
    );
    const mounted = [...((container as Tree)["volumeMounts"] as Tree)];
    expect(mounted.filter((one) => !volumes.has(String(one["name"])))).toEqual([]);
    mounts[file] = mounted.map((one) => String(one["mountPath"]));
    expect(container?.["securityContext"]).toMatchObject({ readOnlyRootFilesystem: true, allowPrivilegeEscalation: false });
    expect(pod["securityContext"]).toMatchObject({ runAsNonRoot: true, runAsUser: 10001 });
    expect(mounts[file]).toEqual(expect.arrayContaining(["/etc/holdfast", "/var/lib/holdfast", "/var/cache/holdfast", "/tmp"]));
  }
  for (const [file, read] of CONFIGS) {
    const paths = pathsIn(read());
    expect(paths.length).toBeGreaterThan(2);
    const bare = paths.filter((path) => mounts[file]?.some((mount) => path === mount || path.startsWith(`${mount}/`)) !== true);
    expect({ file, bare }).toEqual({ file, bare: [] });
  }
});

test("the probes of the StatefulSet are pages that there are, on the port that is declared", () => {
  const pod = ofKind(documents("kubernetes/daemon.yaml"), "StatefulSet")["spec"]?.["template"]?.["spec"] as Tree;
  const [container] = [...(pod["containers"] as Tree)];
  const paths = ["startupProbe", "livenessProbe", "readinessProbe"].map((name) =>
    String(container?.[name]?.["httpGet"]?.["path"]),
  );
  expect(paths).toEqual(["/livez", "/livez", "/readyz"]);
  expect(container?.["ports"]).toEqual([{ name: "probes", containerPort: 9481 }]);
});

test("the image is for a user who is not root, checks its health through the program, and copies what there is", () => {
  const text = readFileSync("Dockerfile", "utf8");
  expect(text.match(/^USER .*$/gm)?.at(-1)).toBe("USER 10001:10001");
  expect(text).toContain('CMD ["holdfast", "health", "--ready"]');
  const ignored = readFileSync(".dockerignore", "utf8").split("\n");
  const copied = [...text.matchAll(/^COPY (?!--from)(.+) \S+$/gm)].flatMap(([, names = ""]) => names.split(" "));
  expect(copied.length).toBeGreaterThan(8);
  expect(copied.filter((name) => !ignored.includes(`!${name.replace("./", "")}`))).toEqual([]);
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  expect(text).toContain(`ARG VERSION=${version}`);
});

test("the page of operations lists every metric, and no other", () => {
  const exported = metricFamilies(facts()).map(({ name }) => name);
  const page = readFileSync("docs/operations.md", "utf8");
  const section = /### Metrics\n([\s\S]*?)\n##+ /.exec(page)?.[1] ?? "";
  expect(metricNamesIn(section)).toEqual(exported.toSorted());
});

test("alert rules and dashboard ask for metrics that there are", () => {
  const exported = new Set(metricFamilies(facts()).map(({ name }) => name));
  const dashboard = JSON.parse(readFileSync("docs/monitoring/holdfast.dashboard.json", "utf8")) as {
    panels: { title: string; targets: { expr: string }[] }[];
    templating: { list: { name: string; type: string }[] };
  };
  expect(dashboard.templating.list.map(({ name, type }) => `${name} ${type}`)).toContain("datasource datasource");
  for (const { title, targets } of dashboard.panels)
    for (const { expr } of targets) {
      const names = metricNamesIn(expr);
      expect({ title, names: names.length > 0, unknown: names.filter((name) => !exported.has(name)) }).toEqual({
        title,
        names: true,
        unknown: [],
      });
    }
  const rules = parse(readFileSync("docs/monitoring/holdfast.rules.yaml", "utf8")) as {
    groups: { rules: { alert: string; expr: string }[] }[];
  };
  for (const { alert, expr } of rules.groups.flatMap((group) => group.rules)) {
    if (alert === "HoldfastDaemonDown") continue;
    const names = metricNamesIn(expr);
    expect({ alert, names: names.length > 0, unknown: names.filter((name) => !exported.has(name)) }).toEqual({
      alert,
      names: true,
      unknown: [],
    });
  }
});
