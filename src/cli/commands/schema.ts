import { configSchema } from "../../index.ts";
import type { Context } from "../context.ts";

export async function schema(context: Context): Promise<void> {
  await context.print(`${JSON.stringify(configSchema, null, 2)}\n`);
}
