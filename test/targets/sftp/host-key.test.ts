import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { fingerprint, keyType, knownHostKeys, parseHostKey } from "../../../src/targets/sftp/host-key.ts";
import { keygen } from "../../support/sftp-server.ts";

const folder = mkdtempSync(join(tmpdir(), "holdfast-host-key-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function publicKey(type: string): string {
  const file = join(folder, `${type}-${Math.random()}`);
  keygen(file, type);
  return readFileSync(`${file}.pub`, "utf8").trim();
}
const one = publicKey("ed25519");
const two = publicKey("ecdsa");
const blobOf = (key: string): string => key.split(" ")[1] as string;

test.each(["ed25519", "ecdsa", "rsa"])(
  "a key of type %s is read as OpenSSH writes it, and has the fingerprint it shows",
  (type) => {
    const text = publicKey(type);
    const key = parseHostKey(text);
    expect(key).toEqual({ type: text.split(" ")[0], blob: blobOf(text) });
    const file = join(folder, "shown.pub");
    writeFileSync(file, text);
    expect(execFileSync("ssh-keygen", ["-l", "-f", file], { encoding: "utf8" })).toContain(
      ` ${fingerprint(Buffer.from(blobOf(text), "base64"))} `,
    );
  },
);

test.each([
  "",
  "ssh-ed25519",
  `ssh-rsa ${blobOf(one)}`,
  `ssh-ed25519 ${blobOf(one).slice(0, 4)}`,
  "ssh-ed25519 AAAA====",
  "x y z",
])("%j is no key", (text) => {
  expect(parseHostKey(text)).toBeUndefined();
});

test("bytes that say no type are no key", () => {
  for (const bytes of [[], [0, 0, 0, 0, 1], [0, 0, 0, 9, 1], [255, 255, 255, 255, 1, 2]])
    expect(keyType(Uint8Array.from(bytes))).toBeUndefined();
});

test("known hosts: names, patterns, exclusions, ports, comments, and what is revoked", () => {
  const text = [
    "# a comment",
    "",
    `nas.example.com,10.0.0.* ${one} and a comment`,
    `*.lab,!old.lab\t${two}`,
    `[nas.example.com]:2222 ${two}`,
    `@cert-authority * ${two}`,
    `gone.example.com ${one}`,
    `@revoked * ${publicKey("ed25519")}`,
    `@revoked gone.example.com ${one}`,
    "broken.example.com ssh-ed25519 not-a-key",
    "nothing-behind-it",
  ].join("\n");
  const found = (host: string, port = 22): string[] => knownHostKeys(text, host, port).map(({ blob }) => blob);
  expect(found("nas.example.com")).toEqual([blobOf(one)]);
  expect(found("NAS.example.com")).toEqual([blobOf(one)]);
  expect(found("10.0.0.7")).toEqual([blobOf(one)]);
  expect(found("10.0.1.7")).toEqual([]);
  expect(found("new.lab")).toEqual([blobOf(two)]);
  expect(found("old.lab")).toEqual([]);
  expect(found("nas.example.com", 2222)).toEqual([blobOf(two)]);
  expect(found("10.0.0.7", 2222)).toEqual([]);
  expect(found("gone.example.com")).toEqual([]);
  expect(found("broken.example.com")).toEqual([]);
  expect(found("nasXexample.com")).toEqual([]);
});

test("names that OpenSSH hashed are found", () => {
  const file = join(folder, "known_hosts");
  writeFileSync(file, `nas.example.com ${one}\n[nas.example.com]:2222 ${two}\n`);
  execFileSync("ssh-keygen", ["-q", "-H", "-f", file]);
  const text = readFileSync(file, "utf8");
  expect(text).not.toContain("nas");
  expect(knownHostKeys(text, "nas.example.com", 22).map(({ blob }) => blob)).toEqual([blobOf(one)]);
  expect(knownHostKeys(text, "nas.example.com", 2222).map(({ blob }) => blob)).toEqual([blobOf(two)]);
  expect(knownHostKeys(text, "other.example.com", 22)).toEqual([]);
});
