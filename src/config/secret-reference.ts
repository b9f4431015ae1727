import { Secret } from "../base/secret.ts";

/**
 * Where a secret is, never the secret itself: `engine/secrets.ts` reads it when it is needed.
 * `plain` is a secret written into the configuration (a warning, an error under `--strict`); it prints as `***`.
 */
export type SecretReference =
  /** Absolute path of a file whose content, without one final newline, is the secret. */
  | { readonly file: string }
  /** Name of an environment variable. */
  | { readonly env: string }
  /** Program and arguments; the secret is what it prints, without one final newline. No shell. */
  | { readonly command: readonly string[] }
  /** Name of a file in `$CREDENTIALS_DIRECTORY` (systemd `LoadCredential=`). */
  | { readonly credential: string }
  | { readonly plain: Secret };

/** The reference for people and logs: `file /run/secrets/x`, `environment variable X`, …; never a secret. */
export function describeSecretReference(reference: SecretReference): string {
  if ("file" in reference) return `file ${reference.file}`;
  if ("env" in reference) return `environment variable ${reference.env}`;
  if ("command" in reference) return `output of ${reference.command[0] ?? "a command"}`;
  if ("credential" in reference) return `credential ${reference.credential}`;
  return "written in the configuration";
}

/** What is secret in a configuration, or a part of it: names of environment variables, and secrets written into it. */
export function secretsIn(value: unknown): { readonly variables: ReadonlySet<string>; readonly plain: readonly Secret[] } {
  const variables = new Set<string>();
  const plain: Secret[] = [];
  const seen = new Set<object>();
  const look = (item: unknown): void => {
    if (typeof item !== "object" || item === null || seen.has(item)) return;
    seen.add(item);
    if (item instanceof Secret) plain.push(item);
    else if ("env" in item && typeof item.env === "string") variables.add(item.env);
    else for (const inner of item instanceof Map || Array.isArray(item) ? item.values() : Object.values(item)) look(inner);
  };
  look(value);
  return { variables, plain };
}
