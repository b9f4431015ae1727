// Generated from schemas/holdfast.schema.json by `npm run generate`; do not edit.

/** The JSON Schema of the configuration, as published. */
export const configSchema: Readonly<Record<string, unknown>> = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  $id: "https://holdfast.invalid/schemas/holdfast.schema.json",
  title: "HoldfastFile",
  description:
    "One YAML file (and what it includes) declares what is protected, where copies live, how they are encrypted and how long they are kept.",
  type: "object",
  additionalProperties: false,
  required: ["version"],
  patternProperties: { "^x-": {} },
  properties: {
    version: {
      description: "Version of this configuration language. Every file carries it, included ones too.",
      const: 1,
      examples: [1],
    },
    host: {
      description:
        "Name of this machine in its snapshots. Set it in containers, where the host name changes with every start. Default: the machine's host name.",
      type: "string",
      pattern: "^[A-Za-z0-9]([A-Za-z0-9._-]{0,252})$",
      examples: ["web1"],
    },
    include: {
      description:
        "More files, as paths or globs relative to this file. Their maps are merged by name; the same name twice is an error.",
      type: "array",
      items: { type: "string", minLength: 1 },
      default: [],
      examples: [["conf.d/*.yaml"]],
    },
    daemon: { $ref: "#/$defs/daemon" },
    control: { $ref: "#/$defs/control" },
    encryption: {
      description: "Named ways to encrypt a repository; targets refer to them by name.",
      type: "object",
      patternProperties: { "^x-": {} },
      propertyNames: { $ref: "#/$defs/name" },
      additionalProperties: { $ref: "#/$defs/encryption" },
    },
    sources: {
      description: "Named things to protect; jobs refer to them by name.",
      type: "object",
      patternProperties: { "^x-": {} },
      propertyNames: { $ref: "#/$defs/name" },
      additionalProperties: { $ref: "#/$defs/source" },
    },
    targets: {
      description: "Named places that keep backups; jobs refer to them by name.",
      type: "object",
      patternProperties: { "^x-": {} },
      propertyNames: { $ref: "#/$defs/name" },
      additionalProperties: { $ref: "#/$defs/target" },
    },
    compression: { $ref: "#/$defs/compression" },
    schedules: {
      description: "Named schedules; jobs, verification and maintenance refer to them by name.",
      type: "object",
      patternProperties: { "^x-": {} },
      propertyNames: { $ref: "#/$defs/name" },
      additionalProperties: { $ref: "#/$defs/namedSchedule" },
    },
    retention: {
      description: "Named retention policies; jobs and their targets refer to them by name. Without one nothing is ever deleted.",
      type: "object",
      patternProperties: { "^x-": {} },
      propertyNames: { $ref: "#/$defs/name" },
      additionalProperties: { $ref: "#/$defs/retention" },
    },
    defaults: { $ref: "#/$defs/defaults" },
    jobs: {
      description: "Named jobs, the units that run: sources, targets, schedule, mode and retention.",
      type: "object",
      patternProperties: { "^x-": {} },
      propertyNames: { $ref: "#/$defs/name" },
      additionalProperties: { $ref: "#/$defs/job" },
    },
    maintenance: { $ref: "#/$defs/maintenance" },
    guards: { $ref: "#/$defs/guards" },
    webhooks: {
      description:
        "Named receivers of events over HTTP. One whose name is an event's (`backup_failed`) gets that event; others say which in `events`. Each message is kept until it was delivered or has been tried for three days.",
      type: "object",
      patternProperties: { "^x-": {} },
      propertyNames: { $ref: "#/$defs/name" },
      additionalProperties: { $ref: "#/$defs/webhook" },
    },
    email: { $ref: "#/$defs/email" },
    probes: { $ref: "#/$defs/probes" },
    approve: {
      description:
        "Id of one held plan (`holdfast plan` prints it). The change it names may be carried out; an approval never covers another plan.",
      type: "string",
      pattern: "^[0-9a-f]{8,64}$",
      examples: ["3f9a1c2be4d0"],
    },
  },
  $defs: {
    name: {
      title: "Name",
      description: "Lower-case letters, digits, `_` and `-`; begins with a letter or digit; at most 63 characters.",
      type: "string",
      pattern: "^([a-z0-9][a-z0-9_-]{0,62}|x-.*)$",
    },
    size: { title: "Size", description: "A number and a unit: `100GB`, `64MiB`.", type: "string", format: "size" },
    duration: {
      title: "Duration",
      description: "A number and a unit, or several: `30s`, `6h`, `1h30m`, `30d`.",
      type: "string",
      format: "duration",
    },
    rate: { title: "Rate", description: "A size a second: `50MB/s`.", type: "string", format: "rate" },
    percent: { title: "Percent", description: "A percentage: `85%`.", type: "string", format: "percent" },
    path: { title: "Path", description: "Absolute, or relative to the file that names it.", type: "string", minLength: 1 },
    daemon: {
      title: "Daemon",
      description: "The process itself.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      properties: {
        stateDir: {
          description:
            "Folder of the run history. Losing it loses no backup. Default: `$STATE_DIRECTORY`, or else `/var/lib/holdfast` for root and `holdfast` in the XDG state folder for others.",
          $ref: "#/$defs/path",
          examples: ["/var/lib/holdfast"],
        },
        cacheDir: {
          description:
            "Folder of copies of small objects, which can be fetched again from the targets. One that cannot be written is not used. Default: `$CACHE_DIRECTORY`, or else `/var/cache/holdfast` for root and `holdfast` in the XDG cache folder for others.",
          $ref: "#/$defs/path",
          examples: ["/var/cache/holdfast"],
        },
        timezone: {
          description: "Time zone of every time of day in this configuration, as an IANA name. Default: the machine's own.",
          type: "string",
          format: "timezone",
          examples: ["Europe/Berlin"],
        },
        maxConcurrentJobs: { description: "How many jobs run at once.", type: "integer", minimum: 1, maximum: 64, default: 2 },
        shutdownGrace: {
          description: "How long a stopping daemon lets running work finish before it is aborted.",
          $ref: "#/$defs/duration",
          default: "30s",
        },
        log: {
          title: "Log",
          description: "The daemon's log.",
          type: "object",
          additionalProperties: false,
          patternProperties: { "^x-": {} },
          properties: {
            level: {
              description: "The least important lines that are written.",
              enum: ["debug", "info", "warn", "error"],
              default: "info",
            },
            format: {
              description: "`json` is one JSON object a line; `text` is for people.",
              enum: ["json", "text"],
              default: "json",
            },
          },
        },
      },
    },
    control: {
      title: "Control",
      description:
        "The control API for programs and other machines (docs/api.md). The control socket in the state folder is there without it. A change takes effect at once.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      properties: {
        listen: {
          description:
            "Where the API listens: `HOST:PORT`, or `unix:PATH`. It needs `tokens`, and other than a loopback address it needs `tls`. Default: nowhere.",
          type: "string",
          format: "listen",
          examples: ["127.0.0.1:9480"],
        },
        tls: { $ref: "#/$defs/tls" },
        tokens: {
          description: "Who may use the API, each by a bearer token of its own. The control socket needs none.",
          type: "array",
          items: { $ref: "#/$defs/apiToken" },
          default: [],
        },
        restoreRoots: {
          description: "Folders that the API may restore into; elsewhere it never writes. Default: none.",
          type: "array",
          items: { $ref: "#/$defs/path" },
          default: [],
          examples: [["/srv/restore"]],
        },
        allowConfigWrites: {
          description:
            "Let the API edit this file: jobs, schedules and retention, with comments and order kept. Without it, it answers with the text to write.",
          type: "boolean",
          default: false,
        },
        commitConfigWrites: {
          description: "Commit each such edit with git, where the file is in a repository.",
          type: "boolean",
          default: false,
        },
        allowedHosts: {
          description:
            "More names under which the API may be asked, such as that of a proxy. `localhost`, the host of `listen` and addresses are always allowed; any other name is refused, so that no web page can reach the API through a name of its own.",
          type: "array",
          items: { type: "string", format: "host-name" },
          default: [],
          examples: [["backup.example.com"]],
        },
        allowedOrigins: {
          description: "Other origins whose web pages may use the API, as `https://HOST[:PORT]`. Its own is always allowed.",
          type: "array",
          items: { type: "string", format: "origin" },
          default: [],
          examples: [["https://grafana.example.com"]],
        },
      },
    },
    tls: {
      title: "Tls",
      description: "Certificate and key, as PEM. They are read anew with every reload.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["cert", "key"],
      properties: {
        cert: {
          description: "File with the certificate, and those between it and the root.",
          $ref: "#/$defs/path",
          examples: ["/etc/holdfast/tls.crt"],
        },
        key: { description: "File with its private key.", $ref: "#/$defs/path", examples: ["/etc/holdfast/tls.key"] },
      },
    },
    apiToken: {
      title: "ApiToken",
      description: "One token of the API.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["name", "role", "token"],
      properties: {
        name: { description: "Who has it, for logs and the audit; unique.", $ref: "#/$defs/name", examples: ["grafana"] },
        role: {
          description:
            "`viewer` reads status, history, logs and names; `operator` also runs, pauses, cancels, verifies, prunes and restores; `admin` also deletes, manages keys, approves and changes the configuration.",
          enum: ["viewer", "operator", "admin"],
        },
        token: {
          description: "The token: 32 to 1024 letters, digits and `-._~+/=`, best made by `openssl rand -hex 32`.",
          $ref: "#/$defs/secret",
          examples: [{ file: "/run/secrets/viewer" }],
        },
      },
    },
    secret: {
      title: "Secret",
      description: "Where a secret is. A secret written here in plain text is a warning, and an error with `--strict`.",
      anyOf: [
        { title: "PlainSecret", description: "The secret itself; better: a reference.", type: "string", minLength: 1 },
        { $ref: "#/$defs/secretReference" },
      ],
    },
    secretReference: {
      title: "SecretReference",
      description: "A reference to a secret: exactly one of `file`, `env`, `command` and `credential`.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      oneOf: [{ required: ["file"] }, { required: ["env"] }, { required: ["command"] }, { required: ["credential"] }],
      properties: {
        file: {
          description: "File whose content, without one final newline, is the secret.",
          $ref: "#/$defs/path",
          examples: ["/run/secrets/holdfast"],
        },
        env: {
          description: "Environment variable that holds the secret.",
          type: "string",
          pattern: "^[A-Za-z_][A-Za-z0-9_]*$",
          examples: ["HOLDFAST_PASSWORD"],
        },
        command: {
          description: "Program and arguments that print the secret. No shell is involved.",
          type: "array",
          minItems: 1,
          items: { type: "string" },
          examples: [["pass", "show", "holdfast"]],
        },
        credential: {
          description: "Name of a systemd credential (`LoadCredential=`): a file in `$CREDENTIALS_DIRECTORY`.",
          type: "string",
          pattern: "^[A-Za-z0-9_][A-Za-z0-9._-]*$",
          examples: ["holdfast"],
        },
      },
    },
    encryption: {
      title: "Encryption",
      description: "How a repository is encrypted: by a `password`, or by a `keyFile`. The name `none` is reserved.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      oneOf: [{ required: ["password"] }, { required: ["keyFile"] }],
      dependentRequired: { previous: ["password"], keyDerivation: ["password"], generate: ["keyFile"] },
      properties: {
        password: {
          description: "The password that opens the repository.",
          $ref: "#/$defs/secret",
          examples: [{ file: "/run/secrets/holdfast" }],
        },
        previous: {
          description:
            "Passwords used before. A repository that one of them still opens gets the new one, so changing a password is an edit.",
          type: "array",
          items: { $ref: "#/$defs/secret" },
          default: [],
        },
        keyDerivation: { $ref: "#/$defs/keyDerivation" },
        keyFile: { description: "File with a key: 64 hexadecimal digits.", $ref: "#/$defs/path", examples: ["./var/key"] },
        generate: {
          description: "Make the key file (mode 0600) when it is missing. Refused when the target already holds a repository.",
          type: "boolean",
          default: false,
        },
      },
    },
    keyDerivation: {
      title: "KeyDerivation",
      description: "How a password becomes a key. Default: argon2id with 64 MiB, 3 passes and 4 lanes.",
      type: "object",
      required: ["function"],
      discriminator: { propertyName: "function" },
      oneOf: [{ $ref: "#/$defs/argon2id" }, { $ref: "#/$defs/scrypt" }, { $ref: "#/$defs/pbkdf2" }],
    },
    argon2id: {
      title: "Argon2id",
      description: "Argon2id: costs memory and time. The best choice where it can run.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["function"],
      properties: {
        function: { description: "Chooses this function.", const: "argon2id" },
        memory: { description: "Memory, from `8MiB` to `1GiB`.", $ref: "#/$defs/size", default: "64MiB" },
        passes: { description: "Passes over the memory.", type: "integer", minimum: 1, maximum: 16, default: 3 },
        parallelism: { description: "Lanes.", type: "integer", minimum: 1, maximum: 16, default: 4 },
      },
    },
    scrypt: {
      title: "Scrypt",
      description: "scrypt: costs memory and time; the memory, 128 × cost × blockSize bytes, is at most 1 GiB.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["function"],
      properties: {
        function: { description: "Chooses this function.", const: "scrypt" },
        cost: { description: "N, a power of two.", type: "integer", minimum: 1024, maximum: 8388608, default: 65536 },
        blockSize: { description: "r.", type: "integer", minimum: 1, maximum: 64, default: 8 },
        parallelism: { description: "p.", type: "integer", minimum: 1, maximum: 16, default: 1 },
      },
    },
    pbkdf2: {
      title: "Pbkdf2",
      description: "PBKDF2 with HMAC-SHA-512, for places that allow nothing else.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["function"],
      properties: {
        function: { description: "Chooses this function.", const: "pbkdf2" },
        iterations: { description: "Iterations.", type: "integer", minimum: 100000, maximum: 10000000, default: 600000 },
        saltLength: {
          description: "Length of the random salt in bytes.",
          type: "integer",
          minimum: 16,
          maximum: 64,
          default: 32,
        },
      },
    },
    source: {
      title: "Source",
      description: "Something to protect; `type` says what.",
      type: "object",
      required: ["type"],
      discriminator: { propertyName: "type" },
      oneOf: [{ $ref: "#/$defs/filesSource" }, { $ref: "#/$defs/commandSource" }],
    },
    filesSource: {
      title: "FilesSource",
      description: "Files and folders, with owners, permissions, times, links, extended attributes and holes.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["type", "paths"],
      properties: {
        type: { description: "Chooses this type.", const: "files" },
        paths: {
          description: "Files and folders to protect.",
          type: "array",
          minItems: 1,
          items: { $ref: "#/$defs/path" },
          examples: [["/srv/documents", "/etc"]],
        },
        exclude: {
          description: "What to leave out: gitignore rules, relative to each path. A later rule wins; `!` takes back in.",
          type: "array",
          items: { type: "string", minLength: 1 },
          default: [],
          examples: [["*.tmp", "**/.cache/", "!important.tmp"]],
        },
        excludeIfPresent: {
          description: "Folders that hold a file of one of these names are left out.",
          type: "array",
          items: { type: "string", minLength: 1, pattern: "^[^/]+$" },
          default: [],
          examples: [[".nobackup", "CACHEDIR.TAG"]],
        },
        excludeLargerThan: {
          description: "Files larger than this are left out. Default: no limit.",
          $ref: "#/$defs/size",
          examples: ["4GiB"],
        },
        oneFileSystem: { description: "Stay on the file system that each path lies on.", type: "boolean", default: false },
        snapshot: {
          description:
            "Read the files from read-only snapshots of their btrfs subvolumes, which are made before and removed always. Nested subvolumes and what is mounted below the paths come along, unless `oneFileSystem` is set. Needs the program `btrfs` and the right to make and remove snapshots.",
          enum: ["btrfs"],
          examples: ["btrfs"],
        },
        minimumEntries: {
          description:
            "With fewer entries than this below the paths the run fails, so that an empty mount does not become a good backup. 0 allows an empty folder.",
          type: "integer",
          minimum: 0,
          default: 1,
        },
        grouping: { $ref: "#/$defs/grouping" },
        hooks: { $ref: "#/$defs/hooks" },
      },
    },
    commandSource: {
      title: "CommandSource",
      description: "What a program prints, as one file. Nothing is committed when the program fails.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["type", "command", "filename"],
      properties: {
        type: { description: "Chooses this type.", const: "command" },
        command: {
          description:
            'Program and arguments. No shell is involved; for a pipe write `[sh, -c, "…"]`. It inherits the environment of Holdfast, without the variables that hold a secret of this configuration.',
          type: "array",
          minItems: 1,
          items: { type: "string" },
          examples: [["slapcat"]],
        },
        filename: {
          description: "Name of the file in the snapshot; no `/`.",
          type: "string",
          pattern: "^(?!\\.{1,2}$)[^/\\u0000]{1,255}$",
          examples: ["ldap.ldif"],
        },
        timeout: {
          description: "The program is stopped, and the run fails, after this long. Default: no limit.",
          $ref: "#/$defs/duration",
          examples: ["30m"],
        },
        grouping: { $ref: "#/$defs/grouping" },
        hooks: { $ref: "#/$defs/hooks" },
      },
    },
    grouping: {
      title: "GroupingChoice",
      description:
        "`frame` compresses small files together, which saves most; `file` compresses each by itself, so that sizes tell nothing of one file's likeness to another.",
      enum: ["frame", "file"],
      default: "frame",
    },
    target: {
      title: "Target",
      description: "A place that keeps backups; `type` says what.",
      type: "object",
      required: ["type"],
      discriminator: { propertyName: "type" },
      oneOf: [{ $ref: "#/$defs/localTarget" }, { $ref: "#/$defs/sftpTarget" }],
    },
    localTarget: {
      title: "LocalTarget",
      description: "A folder: a disk, or a mounted network share.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["type", "path", "encryption"],
      properties: {
        type: { description: "Chooses this type.", const: "local" },
        path: { description: "The folder. It is made when missing.", $ref: "#/$defs/path", examples: ["/backups"] },
        requireMount: {
          description: "A path that must be a mount point, so that a share that is not mounted is not filled in its place.",
          $ref: "#/$defs/path",
          examples: ["/mnt/nas"],
        },
        encryption: {
          description: "Name of an `encryption`. `none` is for archives only, which take nothing else yet.",
          $ref: "#/$defs/name",
          examples: ["main"],
        },
        archive: { $ref: "#/$defs/archive" },
        maxSize: {
          description:
            "No backup begins on this target while it holds this much or more; one that begins below may go beyond it. Default: no limit.",
          $ref: "#/$defs/size",
          examples: ["100GB"],
        },
        capacityWarning: {
          description: "Warn from this share of `maxSize`, or else of the medium.",
          $ref: "#/$defs/percent",
          default: "90%",
        },
        appendOnly: { description: "This host never deletes anything here.", type: "boolean", default: false },
        offsite: { description: "Counts as offsite for objectives.", type: "boolean", default: false },
      },
    },
    sftpTarget: {
      title: "SftpTarget",
      description: "A folder on a server, over SSH's file transfer (docs/targets/sftp.md).",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["type", "host", "user", "path", "encryption"],
      properties: {
        type: { description: "Chooses this type.", const: "sftp" },
        host: {
          description: "Name or address of the server.",
          type: "string",
          pattern: "^[A-Za-z0-9._:-]+$",
          examples: ["nas.example.com"],
        },
        port: { description: "Port of its SSH service.", type: "integer", minimum: 1, maximum: 65535, default: 22 },
        user: { description: "The account on the server.", type: "string", minLength: 1, examples: ["backup"] },
        path: {
          description:
            "The folder on the server; one without a leading slash begins where the account's sessions begin. It is made when missing.",
          type: "string",
          minLength: 1,
          examples: ["/volume1/holdfast"],
        },
        identityFile: {
          description: "A private key that lets the account in, in OpenSSH, PEM or PuTTY format.",
          $ref: "#/$defs/path",
          examples: ["/etc/holdfast/id_ed25519"],
        },
        passphrase: { description: "What the identity file is encrypted with.", $ref: "#/$defs/secret" },
        agent: {
          description: "Socket of an SSH agent that holds the key.",
          $ref: "#/$defs/path",
          examples: ["${SSH_AUTH_SOCK}"],
        },
        password: { description: "The account's password, where the server takes nothing else.", $ref: "#/$defs/secret" },
        hostKey: {
          description:
            "The server's public key, or several, as `ssh-keyscan HOST` prints them without the name. Nothing is sent to a server with another key.",
          anyOf: [{ $ref: "#/$defs/hostKey" }, { type: "array", minItems: 1, items: { $ref: "#/$defs/hostKey" } }],
        },
        knownHosts: {
          description: "A `known_hosts` file that has the server's key, in place of `hostKey`.",
          $ref: "#/$defs/path",
          examples: ["/etc/ssh/ssh_known_hosts"],
        },
        encryption: {
          description: "Name of an `encryption`. `none` is for archives only, which take nothing else yet.",
          $ref: "#/$defs/name",
          examples: ["main"],
        },
        archive: { $ref: "#/$defs/archive" },
        maxSize: {
          description:
            "No backup begins on this target while it holds this much or more; one that begins below may go beyond it. Default: no limit.",
          $ref: "#/$defs/size",
          examples: ["100GB"],
        },
        capacityWarning: {
          description: "Warn from this share of `maxSize`, or else of the medium.",
          $ref: "#/$defs/percent",
          default: "90%",
        },
        appendOnly: { description: "This host never deletes anything here.", type: "boolean", default: false },
        offsite: { description: "Counts as offsite for objectives.", type: "boolean", default: false },
      },
    },
    hostKey: {
      title: "HostKey",
      description: "A public key as OpenSSH writes it.",
      type: "string",
      pattern: "^[a-z0-9][a-z0-9@.-]* [A-Za-z0-9+/]{16,}={0,2}( .*)?$",
      examples: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA…"],
    },
    archive: {
      title: "Archive",
      description: "Keep plain archives, one full one a backup, instead of a repository.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["container"],
      properties: {
        container: { description: "Kind of archive.", enum: ["tar"] },
        compression: {
          title: "ArchiveCompression",
          description: "Compression of the archive.",
          type: "object",
          additionalProperties: false,
          patternProperties: { "^x-": {} },
          required: ["type"],
          properties: { type: { description: "`none`: the archive is not compressed.", enum: ["none"], default: "none" } },
        },
      },
    },
    compression: {
      title: "Compression",
      description: "Compression in repositories. Default: zstd, level 3.",
      type: "object",
      required: ["type"],
      discriminator: { propertyName: "type" },
      oneOf: [{ $ref: "#/$defs/zstdCompression" }, { $ref: "#/$defs/gzipCompression" }, { $ref: "#/$defs/noCompression" }],
    },
    zstdCompression: {
      title: "ZstdCompression",
      description: "zstd: fast and small.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["type"],
      properties: {
        type: { description: "Chooses zstd.", const: "zstd" },
        level: { description: "Higher is smaller and slower.", type: "integer", minimum: 1, maximum: 22, default: 3 },
      },
    },
    gzipCompression: {
      title: "GzipCompression",
      description: "gzip: every tool reads it.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["type"],
      properties: {
        type: { description: "Chooses gzip.", const: "gzip" },
        level: { description: "Higher is smaller and slower.", type: "integer", minimum: 1, maximum: 9, default: 6 },
      },
    },
    noCompression: {
      title: "NoCompression",
      description: "Nothing is compressed.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["type"],
      properties: { type: { description: "Chooses no compression.", const: "none" } },
    },
    mode: {
      title: "Mode",
      description:
        "What change detection compares with: `full` nothing, `incremental` the newest snapshot, `differential` the newest full one. A snapshot in a repository is whole in each mode.",
      enum: ["full", "incremental", "differential"],
    },
    namedSchedule: {
      title: "NamedSchedule",
      description: "When something is due: a cron string, or a map.",
      anyOf: [
        {
          title: "Cron",
          description:
            "Five cron fields, six with seconds first (`L` is the last day of the month), or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.",
          type: "string",
          format: "cron",
          examples: ["0 2 * * *"],
        },
        { $ref: "#/$defs/schedule" },
      ],
    },
    schedule: {
      title: "Schedule",
      description: "A schedule: exactly one of `cron`, `every`, `daily`, `weekly` and `monthly`, and how to keep it.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      oneOf: [
        { required: ["cron"] },
        { required: ["every"] },
        { required: ["daily"] },
        { required: ["weekly"] },
        { required: ["monthly"] },
      ],
      properties: {
        cron: {
          description: "Five cron fields, six with seconds first, or `@hourly` and the like.",
          type: "string",
          format: "cron",
          examples: ["0 2 * * *"],
        },
        every: {
          description:
            "At whole multiples of this since 1970-01-01 00:00 UTC, whenever the daemon was started: `6h` is 00:00, 06:00, 12:00 and 18:00 UTC. At least `1s`.",
          $ref: "#/$defs/duration",
          examples: ["1h"],
        },
        daily: { description: "Every day, at the time of `at`.", const: true },
        weekly: {
          description: "A day of the week, or several, at the time of `at`.",
          anyOf: [
            { $ref: "#/$defs/weekday" },
            { type: "array", minItems: 1, uniqueItems: true, items: { $ref: "#/$defs/weekday" } },
          ],
          examples: ["sunday"],
        },
        monthly: {
          description: "A day of the month from 1 to 28, or `last`, at the time of `at`.",
          anyOf: [
            { $comment: "for the last day of each month write `last`", type: "integer", minimum: 1, maximum: 28 },
            { type: "string", enum: ["last"] },
          ],
          examples: [1],
        },
        at: {
          description: "Time of day in `daemon.timezone`; with `daily`, `weekly` and `monthly`.",
          type: "string",
          format: "time-of-day",
          default: "00:00",
          examples: ["03:00"],
        },
        jitter: {
          description: "Delay each run by a random time up to this, so that many hosts do not start at once.",
          $ref: "#/$defs/duration",
          default: "0s",
        },
        catchUp: {
          description: "A run missed while the machine was off or the daemon stopped is made up for, once.",
          type: "boolean",
          default: false,
        },
        onStart: { description: "Also run when the daemon starts.", type: "boolean", default: false },
      },
    },
    weekday: {
      title: "Weekday",
      description: "A day of the week.",
      type: "string",
      enum: ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
    },
    scheduleChoice: {
      title: "ScheduleChoice",
      description: "Name of a schedule, a cron string (it has spaces or begins with `@`), or a schedule written here.",
      anyOf: [{ $ref: "#/$defs/scheduleText" }, { $ref: "#/$defs/schedule" }],
    },
    scheduleText: {
      title: "ScheduleText",
      description: "Name of a schedule, or a cron string.",
      type: "string",
      format: "schedule",
      examples: ["nightly", "0 2 * * *"],
    },
    jobSchedule: {
      title: "JobScheduleList",
      description: "Name of a schedule, a cron string, a schedule written here, or a list of these, each with its own `mode`.",
      anyOf: [
        { $ref: "#/$defs/scheduleText" },
        { $ref: "#/$defs/jobScheduleItem" },
        { type: "array", minItems: 1, items: { anyOf: [{ $ref: "#/$defs/scheduleText" }, { $ref: "#/$defs/jobScheduleItem" }] } },
      ],
      examples: ["nightly"],
    },
    jobScheduleItem: {
      title: "JobScheduleItem",
      description: "A schedule by `name`, or written here, and the `mode` of its runs.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      oneOf: [
        { required: ["name"] },
        { required: ["cron"] },
        { required: ["every"] },
        { required: ["daily"] },
        { required: ["weekly"] },
        { required: ["monthly"] },
      ],
      properties: {
        name: { description: "Name of a schedule.", $ref: "#/$defs/name" },
        mode: { $ref: "#/$defs/mode" },
        cron: { $ref: "#/$defs/schedule/properties/cron" },
        every: { $ref: "#/$defs/schedule/properties/every" },
        daily: { $ref: "#/$defs/schedule/properties/daily" },
        weekly: { $ref: "#/$defs/schedule/properties/weekly" },
        monthly: { $ref: "#/$defs/schedule/properties/monthly" },
        at: { $ref: "#/$defs/schedule/properties/at" },
        jitter: { $ref: "#/$defs/schedule/properties/jitter" },
        catchUp: { $ref: "#/$defs/schedule/properties/catchUp" },
        onStart: { $ref: "#/$defs/schedule/properties/onStart" },
      },
    },
    retention: {
      title: "Retention",
      description:
        "Which snapshots to keep, for each host, job and source. `keep*` rules unite: a snapshot that any of them wants is kept, the others are deleted. `max*` rules then trim the oldest, never the newest success; without a `keep*` rule they are the only limits.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      properties: {
        keepLast: { description: "Keep the newest ones.", type: "integer", minimum: 0, maximum: 1000000, examples: [3] },
        keepHourly: {
          description: "Keep the newest of each of the last hours that have one.",
          type: "integer",
          minimum: 0,
          maximum: 1000000,
          examples: [24],
        },
        keepDaily: {
          description: "Keep the newest of each of the last days that have one.",
          type: "integer",
          minimum: 0,
          maximum: 1000000,
          examples: [7],
        },
        keepWeekly: {
          description: "Keep the newest of each of the last weeks that have one.",
          type: "integer",
          minimum: 0,
          maximum: 1000000,
          examples: [5],
        },
        keepMonthly: {
          description: "Keep the newest of each of the last months that have one.",
          type: "integer",
          minimum: 0,
          maximum: 1000000,
          examples: [12],
        },
        keepYearly: {
          description: "Keep the newest of each of the last years that have one.",
          type: "integer",
          minimum: 0,
          maximum: 1000000,
          examples: [3],
        },
        keepWithin: { description: "Keep all that are younger than this.", $ref: "#/$defs/duration", examples: ["48h"] },
        keepTags: {
          description: "Keep those with any of these tags, as well as what the other rules keep.",
          type: "array",
          items: { type: "string", minLength: 1 },
          examples: [["hold"]],
        },
        maxAge: { description: "Delete what is older than this.", $ref: "#/$defs/duration", examples: ["30d"] },
        maxCount: {
          description: "Delete the oldest above this number.",
          type: "integer",
          minimum: 0,
          maximum: 1000000,
          examples: [10],
        },
      },
    },
    retentionChoice: {
      title: "RetentionChoice",
      description: "Name of a retention, or one written here.",
      anyOf: [{ $ref: "#/$defs/name" }, { $ref: "#/$defs/retention" }],
      examples: ["standard"],
    },
    jobTargets: {
      title: "JobTargets",
      description: "Names of targets, as a list, or as a map with settings for each. The source is read once and written to all.",
      anyOf: [
        { type: "array", minItems: 1, items: { $ref: "#/$defs/name" } },
        {
          title: "JobTargetMap",
          type: "object",
          minProperties: 1,
          patternProperties: { "^x-": {} },
          propertyNames: { $ref: "#/$defs/name" },
          additionalProperties: { $ref: "#/$defs/jobTarget" },
        },
      ],
      examples: [["disk", "share"], { disk: {}, share: { retention: "simple", required: false } }],
    },
    jobTarget: {
      title: "JobTarget",
      description: "Settings of one target in one job.",
      type: ["object", "null"],
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      properties: {
        retention: { description: "Retention on this target. Default: the job's.", $ref: "#/$defs/retentionChoice" },
        required: {
          description: "With `false` a failure here makes the run partial instead of failed.",
          type: "boolean",
          default: true,
        },
      },
    },
    defaults: {
      title: "Defaults",
      description: "What jobs take when they do not say it themselves.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      properties: {
        schedule: { $ref: "#/$defs/jobSchedule" },
        retention: { $ref: "#/$defs/retentionChoice" },
        targets: { $ref: "#/$defs/jobTargets" },
        compression: { description: "Compression of jobs, before the top-level `compression`.", $ref: "#/$defs/compression" },
      },
    },
    job: {
      title: "Job",
      description:
        "The unit that runs. A name that did not exist before begins a new history, unless `formerly` says where it comes from.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["sources"],
      properties: {
        description: { description: "For people.", type: "string", examples: ["Family documents"] },
        enabled: { description: "A disabled job is checked but never runs by itself.", type: "boolean", default: true },
        formerly: {
          description: "Earlier names of this job, so that a rename keeps its history.",
          type: "array",
          items: { $ref: "#/$defs/name" },
          default: [],
          examples: [["docs"]],
        },
        sources: {
          description: "Names of sources; each becomes a snapshot of its own.",
          type: "array",
          minItems: 1,
          items: { $ref: "#/$defs/name" },
          examples: [["documents"]],
        },
        targets: { $ref: "#/$defs/jobTargets" },
        schedule: { $ref: "#/$defs/jobSchedule" },
        notDuring: {
          description:
            "Times in which the daemon starts no backup of this job by itself: days and a time range. A range that ends before it begins crosses midnight.",
          type: "array",
          items: { type: "string", format: "window" },
          default: [],
          examples: [["Mon-Fri 08:00-18:00"]],
        },
        when: {
          title: "When",
          description:
            "What the machine must be like for the daemon to start a backup of this job by itself; until then it waits. A backup that was asked for does not.",
          type: "object",
          additionalProperties: false,
          patternProperties: { "^x-": {} },
          properties: {
            load: {
              description: "`<2`: the load average of the last minute must be below 2.",
              type: "string",
              pattern: "^<\\s*[0-9]{1,4}(\\.[0-9]{1,2})?$",
              examples: ["<2"],
            },
            power: { description: "`mains`: not on battery.", enum: ["mains"] },
            network: {
              description: "`unmetered`: not on a network that NetworkManager knows to cost by volume.",
              enum: ["unmetered"],
            },
          },
        },
        priority: {
          description: "When several jobs are due, the higher runs first.",
          type: "integer",
          minimum: -1000,
          maximum: 1000,
          default: 0,
        },
        retry: { $ref: "#/$defs/retry" },
        timeout: {
          description: "A run is aborted, and fails, after this long. Default: no limit.",
          $ref: "#/$defs/duration",
          examples: ["6h"],
        },
        maxSnapshotSize: {
          description: "A run fails when its source is larger than this. Default: no limit.",
          $ref: "#/$defs/size",
          examples: ["200GB"],
        },
        mode: {
          description:
            "Mode of a run when its schedule says nothing else. Default: `incremental`, or `full` when every target keeps archives.",
          $ref: "#/$defs/mode",
        },
        limits: { $ref: "#/$defs/jobLimits" },
        compression: {
          description: "Compression of this job. Default: that of `defaults`, or else the top-level one.",
          $ref: "#/$defs/compression",
        },
        retention: {
          description: "Retention of this job. Default: that of `defaults`; without one nothing is deleted.",
          $ref: "#/$defs/retentionChoice",
        },
        verify: { $ref: "#/$defs/jobVerify" },
        objectives: { $ref: "#/$defs/objectives" },
        hooks: { $ref: "#/$defs/hooks" },
      },
    },
    hooks: {
      title: "Hooks",
      description:
        "Programs that run around each backup of a job, or around the reading of a source: see [running programs around a backup](#running-programs-around-a-backup). Each list runs in its order, one after the other.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      properties: {
        before: {
          description:
            "Before anything is read. When one fails, those after it do not run, and the job, or the source, fails without being read; with `onError: warn` it goes on.",
          type: "array",
          items: { $ref: "#/$defs/hook" },
          examples: [[{ run: ["systemctl", "stop", "app"], timeout: "30s" }]],
        },
        after: {
          description:
            "Always, when a `before` hook or the reading has begun: also after a failure, a cancellation, a timeout, and at the next start when the process was killed. Of a source: as soon as it has been read. Of a job: last of all. Each runs, also when another fails.",
          type: "array",
          items: { $ref: "#/$defs/hook" },
          examples: [[{ run: ["systemctl", "start", "app"] }]],
        },
        onSuccess: {
          description: "When it was backed up, as a whole or in part; `HOLDFAST_STATUS` says which.",
          type: "array",
          items: { $ref: "#/$defs/hook" },
        },
        onFailure: {
          description: "When it failed. Not when somebody cancelled it.",
          type: "array",
          items: { $ref: "#/$defs/hook" },
        },
      },
    },
    hook: {
      title: "Hook",
      description: "One program.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["run"],
      properties: {
        run: {
          description:
            'Program and arguments. No shell is involved; for a pipe write `[sh, -c, "…"]`. Other users of the machine can see arguments, so put no secret there.',
          type: "array",
          minItems: 1,
          items: { type: "string", pattern: "^[^\\u0000]*$" },
          examples: [["systemctl", "stop", "app"]],
        },
        timeout: {
          description: "The program and what it started are ended, and the hook counts as failed, after this long.",
          $ref: "#/$defs/duration",
          default: "5m",
        },
        onError: {
          description:
            "What a failure does: `fail` makes the backup fail (what is committed stays), `warn` goes into the log. Default: `fail` for `before`, `warn` for the others.",
          enum: ["fail", "warn"],
        },
      },
    },
    jobLimits: {
      title: "JobLimits",
      description: "What the backups of a job into repositories may take from the machine.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      properties: {
        cpu: {
          description: "Threads that read, cut, hash, compress and encrypt. Default: one a core, at most 8.",
          type: "integer",
          minimum: 1,
          maximum: 64,
          examples: [1],
        },
        io: {
          description: "Bytes of content read from the source. Default: no limit.",
          $ref: "#/$defs/rate",
          examples: ["50MB/s"],
        },
        nice: {
          description:
            "How much the threads stand back when others want the processor, as of `nice`: 19 is the most. Linux only.",
          type: "integer",
          minimum: 0,
          maximum: 19,
          default: 0,
          examples: [10],
        },
      },
    },
    retry: {
      title: "Retry",
      description: "What happens when a run fails for a reason that may pass.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      properties: {
        attempts: { description: "Tries in total; 1 is no retry.", type: "integer", minimum: 1, maximum: 100, default: 1 },
        backoff: {
          description: "Wait before a retry: a duration, or a range in which it doubles each time.",
          type: "string",
          format: "backoff",
          default: "1m..30m",
        },
      },
    },
    jobVerify: {
      title: "JobVerify",
      description: "Proof that the snapshots of this job can be read.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      properties: {
        afterBackup: { description: "Check each new snapshot right after its backup.", type: "boolean", default: false },
        schedule: {
          description: "When all snapshots of the job are checked. Default: only when asked to.",
          $ref: "#/$defs/scheduleChoice",
        },
        readData: {
          description:
            "Share of the stored data that a check reads: a percentage, or `true` for all and `false` for the structure only.",
          anyOf: [{ $ref: "#/$defs/percent" }, { type: "boolean" }],
          default: false,
          examples: ["10%"],
        },
      },
    },
    objectives: {
      title: "Objectives",
      description:
        "Promises of this job. A configuration that cannot keep them is reported when it is read; whether they are kept is not measured in this version.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      properties: {
        rpo: { description: "The newest good snapshot is never older than this.", $ref: "#/$defs/duration", examples: ["26h"] },
        copies: { description: "On how many targets the newest snapshot is.", type: "integer", minimum: 1, examples: [2] },
        offsite: { description: "How many of these targets are `offsite`.", type: "integer", minimum: 0, examples: [1] },
        verifiedWithin: {
          description: "The last successful verification is never older than this.",
          $ref: "#/$defs/duration",
          examples: ["8d"],
        },
      },
    },
    maintenance: {
      title: "Maintenance",
      description: "When and how retention is applied and space is freed.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      properties: {
        schedule: { description: "When. Default: Sundays at 04:00.", $ref: "#/$defs/scheduleChoice", examples: ["sundays"] },
        grace: {
          description: "How long what is no longer needed stays on a target before it is deleted.",
          $ref: "#/$defs/duration",
          default: "72h",
        },
        maxUnused: {
          description: "Share of a repository that may stay unused, to save rewriting.",
          $ref: "#/$defs/percent",
          default: "5%",
        },
      },
    },
    guards: {
      title: "Guards",
      description:
        "What stops retention and prune until someone has looked. A backup that failed stops them too, until one succeeds.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      properties: {
        clock: {
          description: "Nothing is deleted while the clocks of host and target differ by more than this.",
          $ref: "#/$defs/duration",
          default: "5m",
        },
        shrink: {
          description:
            "Nothing old is deleted once a source's snapshot is smaller than the one before by more than this, until one is large enough again or someone has tagged it `accepted`. Default: no limit.",
          $ref: "#/$defs/percent",
          examples: ["30%"],
        },
        changed: {
          description:
            "Nothing old is deleted once more than this share of the bytes of a snapshot of files is new, as after their encryption by someone else, until someone has tagged it `accepted`. Default: no limit.",
          $ref: "#/$defs/percent",
          examples: ["60%"],
        },
      },
    },
    eventPatterns: {
      title: "EventPatterns",
      description: "Names of events, or patterns with `*` that fit some.",
      type: "array",
      minItems: 1,
      items: { description: "Name of an event, or a pattern with `*`.", type: "string", format: "event-pattern" },
      examples: [["*_failed", "backup_partial"]],
    },
    webhook: {
      title: "Webhook",
      description:
        "One receiver. `plain` gets the event as JSON, signed when there is a `signingSecret`; `slack`, `discord` and `ntfy` get text as these services want it; `healthchecks` is pinged at `url/start`, `url`, `url/fail` and `url/log`. Redirects are not followed.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["url"],
      properties: {
        kind: {
          description: "What the receiver is.",
          enum: ["plain", "slack", "discord", "ntfy", "healthchecks"],
          default: "plain",
        },
        url: {
          description:
            "Where to send, `https://…` or `http://…`. One that holds a token may be a reference, like any secret; what follows the host is never shown.",
          anyOf: [
            { title: "PlainUrl", description: "The URL itself.", type: "string", format: "http-url" },
            { $ref: "#/$defs/secretReference" },
          ],
          examples: ["https://chat.example.com/hook"],
        },
        events: {
          description:
            "Events that are sent; a name that is an event's is one of them already. Default for `healthchecks`: `backup_*`.",
          $ref: "#/$defs/eventPatterns",
        },
        jobs: {
          description: "Only what is about one of these jobs. Default: everything.",
          type: "array",
          minItems: 1,
          items: { $ref: "#/$defs/name" },
        },
        targets: {
          description: "Only what is about one of these targets. Default: everything.",
          type: "array",
          minItems: 1,
          items: { $ref: "#/$defs/name" },
        },
        method: { description: "HTTP method; `GET` sends no body.", enum: ["POST", "PUT", "GET"], default: "POST" },
        headers: {
          description: "More headers: text, or a reference to a secret with an optional `prefix`.",
          type: "object",
          additionalProperties: { $ref: "#/$defs/headerValue" },
          examples: [{ Authorization: { prefix: "Bearer ", file: "/run/secrets/hook" } }],
        },
        signingSecret: {
          description: "Signs each message by Standard Webhooks: `whsec_` and 24 to 64 bytes in base64. For `plain` only.",
          $ref: "#/$defs/secret",
          examples: [{ file: "/run/secrets/whsec" }],
        },
        timeout: { description: "How long one attempt may take, at most `60s`.", $ref: "#/$defs/duration", default: "10s" },
        allowPrivate: {
          description:
            "Also send to loopback, private and link-local addresses. Without it only public addresses are connected to, whatever the name resolves to.",
          type: "boolean",
          default: false,
        },
      },
    },
    headerValue: {
      title: "HeaderValue",
      description: "Value of a header: text, or a reference to a secret.",
      anyOf: [
        { title: "PlainHeader", description: "The value itself.", type: "string", format: "header-text" },
        { $ref: "#/$defs/headerReference" },
      ],
    },
    headerReference: {
      title: "HeaderReference",
      description:
        "A header whose value is a secret: exactly one of `file`, `env`, `command` and `credential`, after a `prefix`.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      oneOf: [{ required: ["file"] }, { required: ["env"] }, { required: ["command"] }, { required: ["credential"] }],
      properties: {
        prefix: {
          description: "Text before the secret.",
          type: "string",
          format: "header-text",
          default: "",
          examples: ["Bearer "],
        },
        file: { description: "File whose content, without one final newline, is the secret.", $ref: "#/$defs/path" },
        env: { description: "Environment variable that holds the secret.", type: "string", pattern: "^[A-Za-z_][A-Za-z0-9_]*$" },
        command: {
          description: "Program and arguments that print the secret. No shell is involved.",
          type: "array",
          minItems: 1,
          items: { type: "string" },
        },
        credential: {
          description: "Name of a systemd credential (`LoadCredential=`): a file in `$CREDENTIALS_DIRECTORY`.",
          type: "string",
          pattern: "^[A-Za-z0-9_][A-Za-z0-9._-]*$",
        },
      },
    },
    probes: {
      title: "Probes",
      description:
        "A listener of the daemon for scrapers and container platforms: `/livez`, `/readyz`, `/healthz` and `/metrics`, over plain HTTP and without a token. It answers nothing else, and no secret, path or error message.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["listen"],
      properties: {
        listen: {
          description:
            "Address and port, or `unix:` and the absolute path of a socket. `[::]` is every address of both families.",
          type: "string",
          format: "probe-address",
          examples: ["0.0.0.0:9481"],
        },
        metrics: { description: "Whether `/metrics` is among them: it names jobs and targets.", type: "boolean", default: true },
      },
    },
    email: {
      title: "Email",
      description: "Events by mail: those of `events` at once, and with `digest: daily` one mail a day that sums up everything.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["smtp", "to"],
      properties: {
        smtp: { $ref: "#/$defs/smtp" },
        to: {
          description: "Addresses that get every mail.",
          type: "array",
          minItems: 1,
          items: { type: "string", format: "mail-address" },
          examples: [["ops@example.com"]],
        },
        events: {
          description:
            "Events that are mailed at once. Default: `*_failed`, `backup_partial`, `backup_overdue`, `config_rejected`, `objective_missed` and `target_unreachable`; with a digest none.",
          $ref: "#/$defs/eventPatterns",
        },
        jobs: {
          description: "Only what is about one of these jobs. Default: everything.",
          type: "array",
          minItems: 1,
          items: { $ref: "#/$defs/name" },
        },
        targets: {
          description: "Only what is about one of these targets. Default: everything.",
          type: "array",
          minItems: 1,
          items: { $ref: "#/$defs/name" },
        },
        digest: {
          description: "`daily` sends one mail a day that sums up what happened since the last one; none when nothing did.",
          enum: ["none", "daily"],
          default: "none",
        },
        digestAt: {
          description: "When the digest is sent, in `daemon.timezone`.",
          type: "string",
          format: "time-of-day",
          default: "07:00",
        },
      },
    },
    smtp: {
      title: "Smtp",
      description: "The mail server that takes the mails.",
      type: "object",
      additionalProperties: false,
      patternProperties: { "^x-": {} },
      required: ["host", "from"],
      dependentRequired: { user: ["password"], password: ["user"] },
      properties: {
        host: {
          description: "Name or address of the server.",
          type: "string",
          pattern: "^[A-Za-z0-9.:_-]+$",
          examples: ["mail.example.com"],
        },
        port: {
          description: "Default: 587 with `starttls`, 465 with `tls`, 25 with `none`.",
          type: "integer",
          minimum: 1,
          maximum: 65535,
        },
        security: {
          description:
            "`starttls` asks for encryption after connecting and sends nothing without it; `tls` begins with it; `none` has none, and takes no password.",
          enum: ["starttls", "tls", "none"],
          default: "starttls",
        },
        from: {
          description: "Address the mails come from.",
          type: "string",
          format: "mail-address",
          examples: ["backup@example.com"],
        },
        user: { description: "User to log in as. Default: no login.", type: "string", minLength: 1 },
        password: { description: "Password of the user.", $ref: "#/$defs/secret", examples: [{ file: "/run/secrets/smtp" }] },
      },
    },
  },
};
