export interface StarterOptions {
  /** Name of this machine in its snapshots. */
  readonly host: string;
  /** Folder to protect. */
  readonly sourcePath: string;
  /** Folder that keeps the backups. */
  readonly repositoryPath: string;
  /** File for the generated key. */
  readonly keyPath: string;
}

const quoted = (text: string): string => JSON.stringify(text).replaceAll("$", "$$$$");

/** The commented configuration that `holdfast init` writes. It is valid, without warnings, for any options that are not nested. */
export function starterConfig(options: StarterOptions): string {
  return `# yaml-language-server: $schema=./schemas/holdfast.schema.json
# Edit this file, then ask: holdfast validate, holdfast plan, holdfast backup files, holdfast daemon
version: 1
host: ${quoted(options.host)}

# The key was made together with this file. Keep a copy elsewhere: without it nothing can be restored.
encryption:
  main: { keyFile: ${quoted(options.keyPath)}, generate: true }

# What to protect.
sources:
  files:
    type: files
    paths: [${quoted(options.sourcePath)}]
    exclude: ["*.tmp", "**/.cache/"] # gitignore rules

# Where copies live. A second target on another disk or machine is a good next step.
targets:
  local: { type: local, path: ${quoted(options.repositoryPath)}, encryption: main }

schedules:
  nightly: { daily: true, at: "02:00", jitter: 10m, catchUp: true }
  weekly: { weekly: sunday, at: "04:00", catchUp: true }

# How long snapshots are kept. Without a retention nothing is ever deleted.
retention:
  standard: { keepLast: 3, keepDaily: 7, keepWeekly: 5, keepMonthly: 12 }

# What runs when.
jobs:
  files:
    sources: [files]
    targets: [local]
    schedule: nightly
    retention: standard
    verify: { afterBackup: true, schedule: weekly, readData: 10% }

# When space is freed.
maintenance: { schedule: weekly }
`;
}
