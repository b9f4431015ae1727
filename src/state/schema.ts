import type { DatabaseSync } from "node:sqlite";

/** What a run counts for: its subject, or of a restore, `1a2b3c4d (docs / documents)`, the job in it. */
function countedAs(row: string): string {
  const [from, to] = [`instr(${row}.subject, '(') + 1`, `instr(${row}.subject, ' / ')`];
  return `CASE WHEN ${row}.kind = 'restore' AND ${from} > 1 AND ${to} > ${from}
    THEN substr(${row}.subject, ${from}, ${to} - (${from})) ELSE ${row}.subject END`;
}

/** Each migration once, in order; the number of those applied is the schema version. Never edit one that was released. */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    status TEXT,
    reason TEXT,
    targets TEXT,
    error TEXT,
    statistics TEXT,
    boot_id TEXT NOT NULL,
    pid_namespace TEXT NOT NULL,
    pid INTEGER NOT NULL,
    process_start TEXT NOT NULL
  ) STRICT;
  CREATE INDEX runs_by_start ON runs (started_ms);
  CREATE INDEX runs_by_subject ON runs (subject, started_ms);
  CREATE TABLE run_logs (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    time_ms INTEGER NOT NULL,
    level TEXT NOT NULL,
    text TEXT NOT NULL
  ) STRICT;
  CREATE INDEX run_logs_by_run ON run_logs (run);
  CREATE INDEX run_logs_by_time ON run_logs (time_ms);
  CREATE TABLE pins (
    target TEXT NOT NULL,
    location TEXT NOT NULL,
    repository TEXT NOT NULL,
    keyring TEXT NOT NULL,
    generation INTEGER NOT NULL,
    pinned_ms INTEGER NOT NULL,
    PRIMARY KEY (target, location)
  ) STRICT;
  CREATE TABLE configs (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL,
    accepted_ms INTEGER NOT NULL,
    text TEXT NOT NULL,
    targets TEXT NOT NULL
  ) STRICT;
  CREATE TABLE pending_approvals (
    plan TEXT PRIMARY KEY,
    since_ms INTEGER NOT NULL,
    text TEXT NOT NULL
  ) STRICT;
  CREATE TABLE pauses (
    job TEXT PRIMARY KEY,
    since_ms INTEGER NOT NULL
  ) STRICT;
  `,
  // Hooks that were promised to run after something that has begun. Only a run's own end, or its death, takes them away.
  `
  CREATE TABLE owed_hooks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    job TEXT NOT NULL,
    source TEXT,
    hook TEXT NOT NULL,
    running TEXT,
    claimed_by TEXT
  ) STRICT;
  CREATE INDEX owed_hooks_by_run ON owed_hooks (run);
  `,
  `
  CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    run TEXT,
    payload TEXT NOT NULL
  ) STRICT;
  CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event INTEGER NOT NULL REFERENCES events (sequence) ON DELETE CASCADE,
    receiver TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    error TEXT,
    lease TEXT,
    lease_owner TEXT,
    lease_until_ms INTEGER,
    UNIQUE (event, receiver)
  ) STRICT;
  CREATE INDEX deliveries_pending ON deliveries (receiver, event) WHERE state = 'pending';
  CREATE INDEX deliveries_by_state ON deliveries (state, ended_ms);
  `,
  `
  CREATE TABLE requests (
    job TEXT PRIMARY KEY,
    mode TEXT,
    asked_ms INTEGER NOT NULL
  ) STRICT;
  CREATE TABLE notes (
    name TEXT PRIMARY KEY,
    time_ms INTEGER NOT NULL,
    value TEXT NOT NULL
  ) STRICT;
  `,
  // How many runs ever ended how. Counted with the end itself, by whichever process; forgetting old runs takes none away.
  `
  CREATE TABLE run_counts (
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    status TEXT NOT NULL,
    runs INTEGER NOT NULL,
    PRIMARY KEY (kind, subject, status)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO run_counts
    SELECT kind, ${countedAs("runs")} AS counted, status, count(*) FROM runs
    WHERE ended_ms IS NOT NULL AND status IS NOT NULL GROUP BY kind, counted, status;
  CREATE TRIGGER run_ended_at_once AFTER INSERT ON runs WHEN NEW.ended_ms IS NOT NULL BEGIN
    INSERT INTO run_counts VALUES (NEW.kind, ${countedAs("NEW")}, NEW.status, 1)
      ON CONFLICT (kind, subject, status) DO UPDATE SET runs = runs + 1;
  END;
  CREATE TRIGGER run_ended AFTER UPDATE OF ended_ms ON runs WHEN OLD.ended_ms IS NULL AND NEW.ended_ms IS NOT NULL BEGIN
    INSERT INTO run_counts VALUES (NEW.kind, ${countedAs("NEW")}, NEW.status, 1)
      ON CONFLICT (kind, subject, status) DO UPDATE SET runs = runs + 1;
  END;
  `,
  // The triggers keep the program's own mistakes away; who opens the file may drop them, and the hashes show what was done.
  `
  CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY,
    time_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    origin TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL,
    code TEXT,
    detail TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
  ) STRICT;
  CREATE INDEX audit_by_time ON audit (time_ms);
  CREATE TABLE audit_head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    sequence INTEGER NOT NULL,
    hash TEXT NOT NULL,
    trimmed INTEGER NOT NULL
  ) STRICT;
  INSERT INTO audit_head (one, sequence, hash, trimmed) VALUES (1, 0, '${"0".repeat(64)}', 0);
  CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
  CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit WHEN OLD.sequence > (SELECT trimmed FROM audit_head)
  BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
  `,
];

/** The version this program writes. */
export const SCHEMA_VERSION = MIGRATIONS.length;

/** The version of an open database; 0 when it is new. */
export function schemaVersion(database: DatabaseSync): number {
  database.exec("CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL) STRICT");
  const row = database.prepare("SELECT max(version) AS version FROM schema").get();
  return Number(row?.["version"] ?? 0);
}

/** Brings a database up to this program's version, in one transaction for each step. Does nothing to a newer one. */
export function migrate(database: DatabaseSync): void {
  for (;;) {
    database.exec("BEGIN IMMEDIATE");
    try {
      const version = schemaVersion(database);
      if (version < MIGRATIONS.length) {
        database.exec(MIGRATIONS[version] as string);
        database.prepare("INSERT INTO schema (version) VALUES (?)").run(version + 1);
      }
      database.exec("COMMIT");
      if (version >= MIGRATIONS.length - 1) return;
    } catch (error) {
      if (database.isTransaction) database.exec("ROLLBACK");
      throw error;
    }
  }
}
