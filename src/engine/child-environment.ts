import type { Config } from "../config/config.ts";
import { secretsIn } from "../config/secret-reference.ts";

/**
 * The environment of programs that a configuration names (hooks, command sources): this process's, without the variables that hold
 * one of its secrets, be it by a reference (`env: NAME`) or by a value that a `${NAME}` put into the file.
 */
export function childEnvironment(
  config: Config,
  env: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>> {
  const { variables, plain } = secretsIn(config);
  const values = new Set(plain.map((secret) => secret.reveal().toString()));
  return Object.fromEntries(
    Object.entries(env).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && !variables.has(entry[0]) && !values.has(entry[1]),
    ),
  );
}
