/** What main thread and archive thread say to each other. Content never passes the main thread, except a once-stream's. */
import type { ErrorWire } from "../../base/errors.ts";
import type { SnapshotId } from "../../base/ids.ts";
import type { Progress } from "../../base/events.ts";
import type { FilesWalkOptions, SourceProblem, WalkEvent } from "../../sources/source.ts";
import type { TargetSpec } from "../../targets/registry.ts";
import type { VerifyReport } from "../format.ts";
import type { ArchiveCounts } from "./archive-builder.ts";
import type { NodeRef, PartRecord } from "./manifest.ts";

export interface WriteSetup {
  readonly type: "write";
  readonly uid: SnapshotId;
  /** Empty for a dry run. */
  readonly targets: readonly TargetSpec[];
  readonly partBytes: number;
  /** Walked by the thread, or undefined: it asks for events. */
  readonly walk: FilesWalkOptions | undefined;
}

export interface VerifySetup {
  readonly type: "verify";
  readonly target: TargetSpec;
  readonly name: string;
  readonly snapshots: readonly SnapshotId[];
  readonly readData: number;
}

export type ToArchive =
  | WriteSetup
  | VerifySetup
  | { readonly type: "events"; readonly events: readonly WalkEvent[]; readonly last: boolean }
  /** The next bytes of the once-stream that was asked for; undefined: it has ended. */
  | { readonly type: "bytes"; readonly bytes: Uint8Array | undefined }
  /** Nothing else will come: the thread has answered with its result. */
  | { readonly type: "stop" };

export type FromArchive =
  | { readonly type: "wantEvents" }
  | { readonly type: "wantStream"; readonly once: number }
  /** A `bytes` message was used up. */
  | { readonly type: "taken" }
  | { readonly type: "problems"; readonly problems: readonly SourceProblem[] }
  | { readonly type: "progress"; readonly progress: Progress }
  /** A target failed; the others go on. */
  | { readonly type: "lost"; readonly target: number; readonly error: ErrorWire }
  | {
      readonly type: "written";
      readonly counts: ArchiveCounts;
      readonly tar: readonly PartRecord[];
      readonly entries: readonly PartRecord[];
      readonly root: NodeRef;
    }
  | { readonly type: "verified"; readonly report: VerifyReport }
  | { readonly type: "failed"; readonly error: ErrorWire };
