import { readFile } from "node:fs/promises";
import { errnoOf, HoldfastError } from "../base/errors.ts";
import type { SftpTargetConfig, TargetConfig } from "../config/config.ts";
import type { SftpTargetSpec, TargetSpec } from "../targets/registry.ts";
import { knownHostKeys, parseHostKey, type HostKey } from "../targets/sftp/host-key.ts";
import { resolveSecret, type SecretContext } from "./secrets.ts";

/**
 * What a driver needs for a target: its secrets are read here, and nowhere before. `create`: whether the first put makes a missing
 * folder. Rejects with `secret_unavailable`, or `config_unreadable` and `config_invalid` for what the configuration names.
 */
export async function targetSpec(target: TargetConfig, create: boolean, secrets: SecretContext): Promise<TargetSpec> {
  if (target.type === "sftp") return await sftpSpec(target, create, secrets);
  const { path, requireMount } = target;
  return { driver: "local", path, create, ...(requireMount !== undefined && { requireMount }) };
}

async function sftpSpec(target: SftpTargetConfig, create: boolean, secrets: SecretContext): Promise<SftpTargetSpec> {
  const { host, port, user, path, agent, identityFile } = target;
  const [password, passphrase, privateKey, hostKeys] = await Promise.all([
    textOf(target.password, secrets),
    textOf(target.passphrase, secrets),
    textOf(identityFile === undefined ? undefined : { file: identityFile }, secrets),
    hostKeysOf(target),
  ]);
  return { driver: "sftp", host, port, user, path, create, password, passphrase, privateKey, agent, hostKeys };
}

async function textOf(
  reference: Parameters<typeof resolveSecret>[0] | undefined,
  secrets: SecretContext,
): Promise<string | undefined> {
  return reference === undefined ? undefined : (await resolveSecret(reference, secrets)).reveal().toString("utf8");
}

async function hostKeysOf({ name, host, port, hostKeys, knownHosts }: SftpTargetConfig): Promise<HostKey[]> {
  const keys = hostKeys.map((text) => {
    const key = parseHostKey(text);
    if (key !== undefined) return key;
    throw new HoldfastError("config_invalid", `A \`hostKey\` of target ${name} is no public key`, {
      hint: `\`ssh-keyscan ${host}\` prints the server's keys, each after its name: take the two words behind it whole.`,
    });
  });
  if (knownHosts === undefined) return keys;
  let text: string;
  try {
    text = await readFile(knownHosts, "utf8");
  } catch (error) {
    throw new HoldfastError("config_unreadable", `The file of known hosts of target ${name} cannot be read: ${knownHosts}`, {
      hint:
        errnoOf(error) === "ENOENT"
          ? "Correct the path, or give the key as `hostKey`."
          : "Let the user that runs Holdfast read it.",
      cause: error,
    });
  }
  keys.push(...knownHostKeys(text, host, port));
  if (keys.length === 0)
    throw new HoldfastError("target_untrusted", `${knownHosts} has no key of ${port === 22 ? host : `[${host}]:${port}`}`, {
      hint: `Nothing was sent. \`ssh-keyscan${port === 22 ? "" : ` -p ${port}`} ${host}\` prints its keys; compare them with what whoever runs the server says, and add them.`,
    });
  return keys;
}
