import type { ErrorWire } from "./errors.ts";
import type { RunId, SnapshotId } from "./ids.ts";

/** How a run ended. */
export type RunStatus = "success" | "partial" | "failed" | "cancelled" | "skipped" | "interrupted";

export type RunKind = "backup" | "restore" | "verify" | "prune" | "repair" | "apply";

/** Where a long operation is. Bytes and files of the source (backup) or of the result (restore, verify). */
export interface Progress {
  readonly phase: string;
  readonly filesDone: number;
  readonly filesTotal: number | undefined;
  readonly bytesDone: number;
  readonly bytesTotal: number | undefined;
  /** Bytes put on targets so far. */
  readonly storedBytes: number;
  /** What is being worked on, for people; never raw bytes. */
  readonly current: string | undefined;
}

/** What a run tells those who listen. Serialisable. */
export type RunEvent =
  | { readonly type: "started"; readonly run: RunId; readonly kind: RunKind; readonly subject: string; readonly time: number }
  | { readonly type: "progress"; readonly run: RunId; readonly progress: Progress }
  | { readonly type: "message"; readonly run: RunId; readonly level: "info" | "warn" | "error"; readonly text: string }
  | {
      readonly type: "snapshot";
      readonly run: RunId;
      readonly snapshot: SnapshotId;
      readonly source: string;
      readonly targets: readonly string[];
    }
  | {
      readonly type: "ended";
      readonly run: RunId;
      readonly status: RunStatus;
      readonly time: number;
      readonly error?: ErrorWire;
    };

export type RunListener = (event: RunEvent) => void;

/** What people may be told of, by name. `docs/operations.md` says which of them this version sends. */
export const EVENT_TYPES = [
  "backup_started",
  "backup_completed",
  "backup_partial",
  "backup_failed",
  "backup_overdue",
  "verify_completed",
  "verify_failed",
  "prune_completed",
  "prune_failed",
  "restore_completed",
  "restore_failed",
  "drill_completed",
  "drill_failed",
  "target_unreachable",
  "target_recovered",
  "target_capacity_low",
  "config_reloaded",
  "config_rejected",
  "objective_missed",
  "objective_met",
] as const;

export type EventType = (typeof EVENT_TYPES)[number];

/** Whether `pattern`, a name in which `*` stands for any text, fits an event. */
export function fitsEvent(pattern: string, type: string): boolean {
  const parts = pattern.split("*").map((part) => part.replace(/[^a-z0-9_]/g, "\\$&"));
  return new RegExp(`^${parts.join("[a-z_]*")}$`).test(type);
}
