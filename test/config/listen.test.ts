import { describe, expect, test } from "vitest";
import { FORMATS, isLoopback, parseListen } from "../../src/config/format.ts";
import { loadText } from "./load-fixture.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const FILE = (control: string): string => `version: 1
encryption: { main: { password: { file: pw } } }
sources: { docs: { type: files, paths: [/srv/docs] } }
targets: { disk: { type: local, path: /backups, encryption: main } }
defaults: { targets: [disk], schedule: { daily: true } }
jobs: { docs: { sources: [docs] } }
control: ${control}
`;
const problemsOf = (control: string): string[] => loadText(FILE(control)).problems.map(({ code, path }) => `${code} ${path}`);

describe("where the API listens", () => {
  test.each([
    ["127.0.0.1:9480", "127.0.0.1", true],
    ["127.9.9.9:1", "127.9.9.9", true],
    ["[::1]:9480", "::1", true],
    ["[0:0:0:0:0:0:0:1]:9480", "0:0:0:0:0:0:0:1", true],
    ["localhost:65535", "localhost", true],
    ["0.0.0.0:9480", "0.0.0.0", false],
    ["[::]:9480", "::", false],
    ["[::ffff:127.0.0.1]:9480", "::ffff:127.0.0.1", false],
    ["192.168.1.2:80", "192.168.1.2", false],
    ["127.example.com:9480", "127.example.com", false],
    ["backup.example.com:9480", "backup.example.com", false],
    ["[fe80::11]:9480", "fe80::11", false],
  ])("%s is one place, loopback or not", (text, host, loopback) => {
    const listen = parseListen(text)!;
    expect(listen).toMatchObject({ kind: "tcp", host });
    expect(isLoopback(listen)).toBe(loopback);
  });

  test.each([
    "",
    "9480",
    ":9480",
    "127.0.0.1",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "256.0.0.1:80",
    "::1:9480",
    "[x]:80",
    "a b:80",
    "-a:80",
    "unix:",
    "/run/x",
  ])("%j is none", (text) => {
    expect(parseListen(text)).toBeUndefined();
    expect(FORMATS["listen"]!.explain(text)?.reason).toMatch(/^it /);
  });

  test("a Unix socket needs no TLS, and its path is relative to the file", () => {
    const { config, problems } = loadText(
      FILE(`{ listen: "unix:api.sock", tokens: [{ name: a, role: viewer, token: { env: T } }] }`),
    );
    expect(problems).toEqual([]);
    expect(config?.control.listen).toEqual({ kind: "unix", path: expect.stringMatching(/^\/.*\/api\.sock$/) });
  });

  test("other than loopback needs TLS, and no token is no API", () => {
    const tokens = "tokens: [{ name: a, role: viewer, token: { env: T } }]";
    expect(problemsOf(`{ listen: "0.0.0.0:1", ${tokens} }`)).toEqual(["missing_key control.listen"]);
    expect(problemsOf(`{ listen: "0.0.0.0:1", tls: { cert: c, key: k }, ${tokens} }`)).toEqual([]);
    expect(problemsOf(`{ listen: "[::1]:1", ${tokens} }`)).toEqual([]);
    expect(problemsOf(`{ listen: "127.0.0.1:1" }`)).toEqual(["missing_key control.listen"]);
    expect(problemsOf(`{ listen: "127.0.0.1:1", tokens: [] }`)).toEqual(["missing_key control.listen"]);
  });

  test("a token in the file is a warning, one that is too short an error; neither is shown, but its name is", () => {
    const at = (token: string): string => `{ tokens: [{ name: grafana, role: viewer, token: ${token} }] }`;
    expect(problemsOf(at(TOKEN))).toEqual(["plain_secret control.tokens[0].token"]);
    expect(problemsOf(at(TOKEN.slice(1)))).toEqual([
      "plain_secret control.tokens[0].token",
      "wrong_value control.tokens[0].token",
    ]);
    const shown = JSON.stringify(loadText(FILE(at(`"${TOKEN} "`))).problems);
    expect(shown).not.toContain(TOKEN);
    expect(shown).toContain("name: grafana, role: viewer");
    expect(JSON.stringify(loadText(FILE(`{ tokens: [${TOKEN}] }`)).problems)).not.toContain(TOKEN);
    expect(JSON.stringify(loadText(FILE(at(TOKEN))).config)).not.toContain(TOKEN);
  });
});
