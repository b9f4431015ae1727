/** Where an operation is done: in the daemon that serves this configuration, or here. */
import { auditedOperations, HoldfastError, operationsAt, ownWorkplace, type OperationHooks, type Operations } from "../index.ts";
import type { Context, Opened } from "./context.ts";
import { daemonFor, operationsIn } from "./daemon-client.ts";
import type { Reporter } from "./reporter.ts";

export interface BesideOptions {
  /** Do it here when the daemon does not answer, or serves something else: it disturbs nobody. */
  readonly orHere: boolean;
}

/** Rejects with `daemon_differs` or `daemon_unreachable` where it must not be done beside the daemon. */
export async function operationsFor(
  context: Context,
  opened: Opened,
  reporter: Reporter,
  { orHere }: BesideOptions = { orHere: false },
): Promise<Operations> {
  try {
    const client = await daemonFor(context, opened.loaded);
    if (client !== undefined)
      return operationsIn(client, { listener: reporter.listener, onWarning: (text) => void context.warn(text) });
  } catch (error) {
    const isDaemons = error instanceof HoldfastError && (error.code === "daemon_differs" || error.code === "daemon_unreachable");
    if (!orHere || !isDaemons) throw error;
    await context.warn(`${error.message}; it is done without the daemon`);
  }
  return operationsHere(opened);
}

export function operationsHere({ holdfast }: Opened): Operations {
  return auditedOperations(operationsAt(ownWorkplace(holdfast.session)), holdfast.session);
}

export function hooksFor(
  context: Context,
  reporter: Reporter,
  onPart: OperationHooks["onPart"] = () => undefined,
): OperationHooks {
  return { signal: context.signal, onNotice: (text) => reporter.notice(text), onPart };
}
