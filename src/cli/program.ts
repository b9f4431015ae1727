import { Argument, Command, Option } from "commander";
import type { AuditFlags } from "./commands/audit.ts";
import type { BackupFlags } from "./commands/backup.ts";
import type { RunFlags } from "./commands/control.ts";
import type { DumpFlags } from "./commands/dump.ts";
import type { KeyAddFlags, KeyFlags } from "./commands/key.ts";
import type { LogsFlags } from "./commands/logs.ts";
import type { NotificationsFlags } from "./commands/notifications.ts";
import type { PruneFlags } from "./commands/prune.ts";
import type { RestoreFlags } from "./commands/restore.ts";
import type { SnapshotsFlags } from "./commands/snapshots.ts";
import type { TagFlags } from "./commands/tag.ts";
import type { VerifyFlags } from "./commands/verify.ts";
import type { NarrowFlags } from "./selectors.ts";
import type { Context } from "./context.ts";
import type { Shell } from "./shell.ts";

/** What a command does: returns its exit code, or nothing for 0. */
type Handler<Args extends unknown[]> = (context: Context, ...args: Args) => Promise<number | void>;

const MODES = ["full", "incremental", "differential"];
const collect = (value: string, previous: readonly string[] = []): string[] => [...previous, value];

/**
 * The command line's grammar: every command with its options. Commands are imported when they run, so that `--help`,
 * `--version` and mistakes answer at once. `onExit` is told the exit code of the command that ran.
 */
export function buildProgram(shell: Shell, onExit: (code: number) => void): Command {
  const action =
    (isStream: boolean) =>
    <Args extends unknown[]>(handler: Handler<Args>) =>
    async (...given: [...Args, Command]): Promise<void> => {
      const command = given.at(-1) as Command;
      const { Context, explainThrown } = await import("./context.ts");
      const context = new Context(shell, command.optsWithGlobals(), isStream);
      try {
        onExit((await handler(context, ...(given.slice(0, -1) as Args))) ?? 0);
      } catch (thrown) {
        // A reader that has gone, as in `| head`, has all it wanted.
        if (shell.readerGone()) return;
        const error = explainThrown(thrown);
        await context.fail(error);
        const { ERROR_CODES } = await import("../index.ts");
        onExit(ERROR_CODES[error.code]);
      }
    };
  const query = action(false);
  const operation = action(true);

  const program = new Command("holdfast")
    .description("Declare the protection you want; Holdfast converges to it and proves it.")
    .version(shell.version, "-V, --version", "print the version")
    .helpOption("-h, --help", "show help")
    .addHelpCommand(new Command("help").argument("[COMMAND]").description("show help for a command").helpGroup("Ask:"))
    .option(
      "-c, --config <file>",
      "configuration (default: $HOLDFAST_CONFIG, ./holdfast.yaml, the user's, /etc/holdfast/config.yaml)",
    )
    .option("--json", "machine-readable output: one document, or a line each for long operations")
    .option("-q, --quiet", "errors and warnings only")
    .option("-v, --verbose", "say more")
    .option("--no-color", "no colours (also with $NO_COLOR)")
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => void shell.stdout.write(text),
      writeErr: (text) => void shell.stderr.write(text),
      // `runCli` reports it, in the form of every other error.
      outputError: () => undefined,
      getOutHelpWidth: () => Math.min(shell.stdout.columns(), 110),
      getErrHelpWidth: () => Math.min(shell.stderr.columns(), 110),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .exitOverride();

  program.commandsGroup("Declare:");
  program
    .command("init")
    .argument("[FILE]", "where to write it", "holdfast.yaml")
    .description("write a commented starter configuration and a generated key")
    .action(query(async (context, file: string) => (await import("./commands/init.ts")).init(context, file)));
  program
    .command("validate")
    .description("check the configuration: every problem with its place and what to do")
    .option("--strict", "warnings are errors")
    .option("--online", "also reach sources, secrets and targets")
    .action(
      query(async (context, options: { strict?: boolean; online?: boolean }) =>
        (await import("./commands/validate.ts")).validate(context, options),
      ),
    );
  program
    .command("schema")
    .description("print the JSON Schema of the configuration")
    .action(query(async (context) => (await import("./commands/schema.ts")).schema(context)));
  program
    .command("plan")
    .description("what would change and run: configuration, actions, next runs, what retention would delete and why")
    .option("--detailed-exitcode", "exit with 4 when there is something to do")
    .addOption(new Option("--format <format>", "how to print it").choices(["text", "markdown"]).default("text"))
    .action(
      query(async (context, options: { detailedExitcode?: boolean; format: "text" | "markdown" }) =>
        (await import("./commands/plan.ts")).plan(context, options),
      ),
    );
  program
    .command("apply")
    .description("converge once: create what is missing, run what is due, keep what is declared")
    .option("--approve <plan-id>", "let go on what this plan holds")
    .addOption(new Option("--allow <what>", "begin anew where a known repository is gone").choices(["recreate"]))
    .action(
      operation(async (context, options: { approve?: string; allow?: "recreate" }) =>
        (await import("./commands/apply.ts")).apply(context, options),
      ),
    );
  program
    .command("daemon")
    .description("converge for ever, by schedule")
    .action(operation(async (context) => (await import("./commands/daemon.ts")).daemon(context)));
  program
    .command("explain")
    .argument("<PATH>", "a path on this machine")
    .description("which job protects a path or which rule excludes it, and its newest copies")
    .action(query(async (context, path: string) => (await import("./commands/explain.ts")).explain(context, path)));
  program
    .command("doctor")
    .description("test sources, targets, tools and the clock, and say how to fix what is wrong")
    .action(query(async (context) => (await import("./commands/doctor.ts")).doctor(context)));

  program.commandsGroup("Beside a running daemon:");
  program
    .command("status")
    .description("each job's last result and next run, objectives, targets, what runs, waits and is held")
    .action(query(async (context) => (await import("./commands/status.ts")).status(context)));
  program
    .command("health")
    .description("what is not well of the daemon and of what it protects, and what to do; exits with 1 when it is critical")
    .option("--ready", "only whether the daemon can work, however backups fare: for health checks of containers")
    .action(
      query(async (context, options: { ready?: boolean }) => (await import("./commands/health.ts")).health(context, options)),
    );
  program
    .command("run")
    .argument("<JOB>", "job to run")
    .description("ask the daemon to run a job now, ahead of all that waits; without it: backup JOB")
    .addOption(new Option("--mode <mode>", "how changes are found (default: the job's)").choices(MODES))
    .option("--wait", "follow it to its end, and exit as the backup does; Ctrl-C leaves it running")
    .action(
      operation(async (context, job: string, options: RunFlags) =>
        (await import("./commands/control.ts")).run(context, job, options),
      ),
    );
  program
    .command("pause")
    .argument("<JOB>", "job to pause")
    .description("start nothing for a job by schedule or plan, until it is resumed")
    .action(query(async (context, job: string) => (await import("./commands/control.ts")).pause(context, job, true)));
  program
    .command("resume")
    .argument("<JOB>", "job to resume")
    .description("let a paused job go on; what it missed is made up for, once")
    .action(query(async (context, job: string) => (await import("./commands/control.ts")).pause(context, job, false)));
  program
    .command("cancel")
    .argument("<RUN|JOB>", "id of a run, or the beginning of it; or a job")
    .description("end a run, or all that runs and waits for a job, until its next slot")
    .action(query(async (context, what: string) => (await import("./commands/control.ts")).cancel(context, what)));
  program
    .command("reload")
    .description("have the daemon read its configuration now, and say what came of it")
    .action(query(async (context) => (await import("./commands/control.ts")).reload(context)));

  program.commandsGroup("Back up and look inside:");
  program
    .command("backup")
    .argument("<JOB>", "job to run")
    .description("run one job now")
    .addOption(new Option("--mode <mode>", "how changes are found (default: the job's)").choices(MODES))
    .option("--baseline <snapshot>", "compare with this snapshot")
    .option("--description <text>", "note on the snapshots")
    .option("--tag <tag>", "tag the snapshots (may be repeated)", collect)
    .option("--verify", "check the new snapshots afterwards")
    .option("--dry-run", "read and count; store nothing")
    .action(
      operation(async (context, job: string, options: BackupFlags) =>
        (await import("./commands/backup.ts")).backup(context, job, options),
      ),
    );
  program
    .command("snapshots")
    .argument("[JOB]", "only of this job")
    .description("one row a snapshot, with the targets that hold it")
    .option("--target <target>", "only on this target")
    .option("--source <source>", "only of this source")
    .option("--tag <tag>", "only with this tag (may be repeated)", collect)
    .option("--limit <n>", "only the newest so many")
    .action(
      query(async (context, job: string | undefined, options: SnapshotsFlags) =>
        (await import("./commands/snapshots.ts")).snapshots(context, job, options),
      ),
    );
  narrowed(program.command("show").argument("<S>", SNAPSHOT).description("everything a snapshot says of itself")).action(
    query(async (context, selector: string, options: NarrowFlags) =>
      (await import("./commands/show.ts")).show(context, selector, options),
    ),
  );
  narrowed(program.command("ls").argument("<S[:PATH]>", SNAPSHOT).description("list a folder of a snapshot")).action(
    query(async (context, selector: string, options: NarrowFlags) =>
      (await import("./commands/ls.ts")).ls(context, selector, options),
    ),
  );
  narrowed(
    program
      .command("find")
      .argument("<PATTERN>", "a name or a path, with * ** ? [ ]")
      .description("find files by name in all snapshots, newest first"),
  ).action(
    query(async (context, pattern: string, options: NarrowFlags) =>
      (await import("./commands/find.ts")).find(context, pattern, options),
    ),
  );
  narrowed(
    program
      .command("diff")
      .argument("<S1>", SNAPSHOT)
      .argument("<S2>", SNAPSHOT)
      .description("what differs between two snapshots"),
  ).action(
    query(async (context, first: string, second: string, options: NarrowFlags) =>
      (await import("./commands/diff.ts")).diff(context, first, second, options),
    ),
  );
  narrowed(
    program
      .command("dump")
      .argument("<S:PATH>", "snapshot and path")
      .description("write a file, or a folder as an archive, to standard output")
      .addOption(new Option("--as <archive>", "archive a folder").choices(["tar", "zip"])),
  ).action(
    query(async (context, selector: string, options: DumpFlags) =>
      (await import("./commands/dump.ts")).dump(context, selector, options),
    ),
  );
  narrowed(
    program
      .command("tag")
      .argument("<S>", SNAPSHOT)
      .description("annotate a snapshot; a held one is never deleted")
      .option("--add <tag>", "add a tag (may be repeated)", collect)
      .option("--remove <tag>", "remove a tag (may be repeated)", collect)
      .option("--hold [date]", "hold it, for ever or until a date; --hold=no lets go")
      .option("--description <text>", "describe it"),
  ).action(
    query(async (context, selector: string, options: TagFlags) =>
      (await import("./commands/tag.ts")).tag(context, selector, options),
    ),
  );

  program.commandsGroup("Restore and prove:");
  narrowed(
    program
      .command("restore")
      .argument("[S[:PATH]]", SNAPSHOT)
      .description("restore a snapshot, or a part of it")
      .option("--to <dir>", "restore below this folder")
      .option("--in-place", "restore to where it came from")
      .option("--include <glob>", "only what matches (may be repeated)", collect)
      .option("--exclude <glob>", "not what matches (may be repeated)", collect)
      .addOption(
        new Option("--overwrite <policy>", "which existing files give way")
          .choices(["never", "if-changed", "if-newer", "always"])
          .default("if-changed"),
      )
      .option("--delete", "remove what the snapshot does not have")
      .option("--dry-run", "only say what would be done")
      .option("--verify-first", "read everything before anything is touched")
      .option("--verify", "read the restored files back and compare")
      .option("--no-safety-snapshot", "do not take a snapshot of what is overwritten")
      .option("--rollback <run>", "return to what was there before a restore")
      .option("-y, --yes", "do not ask"),
  ).action(
    operation(async (context, selector: string | undefined, options: RestoreFlags) =>
      (await import("./commands/restore.ts")).restore(context, selector, options),
    ),
  );
  program
    .command("verify")
    .argument("[S...]", "snapshots (default: all)")
    .description("prove that snapshots can be read; name what is damaged and what it touches")
    .option("--read-data [part]", "read stored data too, all of it or a part such as =10%")
    .option("--target <target>", "only on this target")
    .action(
      operation(async (context, selectors: string[], options: VerifyFlags) =>
        (await import("./commands/verify.ts")).verify(context, selectors, options),
      ),
    );
  program
    .command("repair")
    .description("mark what is unreadable, so that the next backup stores it again")
    .option("--index", "rebuild the index from what is stored")
    .action(
      operation(async (context, options: { index?: boolean }) => (await import("./commands/repair.ts")).repair(context, options)),
    );

  program.commandsGroup("Keep:");
  program
    .command("prune")
    .argument("[JOB]", "only this job's retention and targets")
    .description("apply retention and free space")
    .option("--dry-run", "only say what would be deleted")
    .option("--keep-last <n>", "keep the newest so many of each source instead of the declared retention")
    .option("--immediate", "delete at once instead of after the grace time")
    .option("-y, --yes", "do not ask")
    .action(
      operation(async (context, job: string | undefined, options: PruneFlags) =>
        (await import("./commands/prune.ts")).prune(context, job, options),
      ),
    );
  program
    .command("delete")
    .argument("<S...>", "snapshots")
    .description("remove snapshots")
    .option("-y, --yes", "do not ask")
    .action(
      query(async (context, selectors: string[], options: { yes?: boolean }) =>
        (await import("./commands/delete.ts")).deleteSnapshots(context, selectors, options),
      ),
    );
  const key = program.command("key").description("key slots: who can open the repositories");
  const target = (command: Command): Command => command.option("--target <target>", "only on this target");
  target(key.command("list").description("the slots of each target")).action(
    query(async (context, options: KeyFlags) => (await import("./commands/key.ts")).keyList(context, options)),
  );
  target(
    key
      .command("add")
      .description("add a slot for another password or key file")
      .option("--password-file <file>", "read the new password from a file")
      .option("--key-file <file>", "use a key file; it is made when missing")
      .option("--label <text>", "name of the slot"),
  ).action(query(async (context, options: KeyAddFlags) => (await import("./commands/key.ts")).keyAdd(context, options)));
  target(
    key.command("remove").argument("<SLOT>", "id of the slot").description("remove a slot").option("-y, --yes", "do not ask"),
  ).action(
    query(async (context, slot: string, options: KeyFlags & { yes?: boolean }) =>
      (await import("./commands/key.ts")).keyRemove(context, slot, options),
    ),
  );
  const rotate = query(async (context, options: KeyFlags) => (await import("./commands/key.ts")).keyRotate(context, options));
  const rewrite = operation(async (context, options: KeyFlags) =>
    (await import("./commands/key.ts")).keyRewrite(context, options),
  );
  target(
    key
      .command("rotate")
      .description("begin a new key epoch for what is stored from now on")
      .option("--rewrite", "begin none, but store anew what lies under older epochs"),
  ).action(
    async (options: KeyFlags & { rewrite?: boolean }, command: Command) =>
      await (options.rewrite === true ? rewrite(options, command) : rotate(options, command)),
  );
  target(key.command("recovery-kit").description("one printable page: what is needed to restore without this machine")).action(
    query(async (context, options: KeyFlags) => (await import("./commands/key.ts")).keyRecoveryKit(context, options)),
  );

  program.commandsGroup("Ask:");
  formatted(program.command("stats").description("sizes and ratios by target")).action(
    query(async (context, options: FormatFlags) => (await import("./commands/stats.ts")).stats(context, options)),
  );
  formatted(program.command("runs").description("what ran, and how it ended")).action(
    query(async (context, options: FormatFlags) => (await import("./commands/runs.ts")).runs(context, options)),
  );
  formatted(
    program
      .command("logs")
      .argument("[RUN]", "id of a run, or the beginning of it (default: all)")
      .description("what runs said")
      .option("--since <time>", "from this time on, or this long ago: 2h")
      .option("--until <time>", "before this time")
      .option("--grep <re>", "lines that match a regular expression"),
  ).action(
    query(async (context, run: string | undefined, options: LogsFlags) =>
      (await import("./commands/logs.ts")).logs(context, run, options),
    ),
  );
  formatted(
    program
      .command("audit")
      .description("who changed what, from where, and what came of it")
      .option("--limit <n>", "only the newest so many (default: 100; all with --json and csv)")
      .option("--since <time>", "from this time on, or this long ago: 2h")
      .option("--verify", "check that no record was changed, taken out or moved")
      .option("--head", "print the newest record's number and hash, to be noted elsewhere")
      .option("--since-hash <head>", "verify, and that the log still holds this head"),
  ).action(query(async (context, options: AuditFlags) => (await import("./commands/audit.ts")).audit(context, options)));
  program
    .command("notifications")
    .description("who was told of what, and what could not be delivered")
    .option("--failed", "only what was given up")
    .option("--resend <event>", "send a message again to whoever it was for, under the same id")
    .option("--resend-all", "send everything again that was given up")
    .option("--test <receiver>", "send a test message to a webhook, or to email")
    .action(
      query(async (context, options: NotificationsFlags) =>
        (await import("./commands/notifications.ts")).notifications(context, options),
      ),
    );
  program
    .command("completion")
    .addArgument(new Argument("<SHELL>", "your shell").choices(["bash", "zsh", "fish"]))
    .description("print a completion script")
    .action(
      query(async (context, name: "bash" | "zsh" | "fish") =>
        context.print((await import("./completion.ts")).completionScript(name, program)),
      ),
    );
  return program;
}

const SNAPSHOT = "id, the beginning of one, or latest";

export interface FormatFlags {
  readonly format?: "text" | "csv";
}

function formatted(command: Command): Command {
  return command.addOption(new Option("--format <format>", "how to print it").choices(["text", "csv"]).default("text"));
}

/** Options that narrow `latest`, and where to look. */
function narrowed(command: Command): Command {
  return command
    .option("--job <job>", "of this job")
    .option("--source <source>", "of this source")
    .option("--host <host>", "of this host")
    .option("--target <target>", "on this target")
    .option("--at <time>", "latest: the newest at that time, or so long ago: 2d");
}
