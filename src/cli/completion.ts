import type { Argument, Command, Option } from "commander";

interface CommandWords {
  /** `backup`, or `key add`. */
  readonly path: string;
  readonly name: string;
  readonly description: string;
  readonly options: readonly Option[];
  readonly arguments: readonly Argument[];
  readonly children: readonly CommandWords[];
}

/** A completion script made from the program's own grammar, so that it cannot lag behind. */
export function completionScript(shell: "bash" | "zsh" | "fish", program: Command): string {
  const commands = program.commands.map((command) => wordsOf(command, ""));
  const globals = program.options;
  return { bash, zsh, fish }[shell](commands, globals);
}

function wordsOf(command: Command, parent: string): CommandWords {
  const path = `${parent}${command.name()}`;
  return {
    path,
    name: command.name(),
    description: command.description(),
    options: command.options,
    arguments: command.registeredArguments,
    children: command.commands.map((child) => wordsOf(child, `${path} `)),
  };
}

const all = (commands: readonly CommandWords[]): CommandWords[] =>
  commands.flatMap((command) => [command, ...all(command.children)]);
const longs = (options: readonly Option[]): string[] =>
  options.flatMap(({ long }) => (long === undefined || long === null ? [] : [long]));
const takesValue = (option: Option): boolean => option.required;

function bash(commands: readonly CommandWords[], globals: readonly Option[]): string {
  const cases = all(commands).map(({ path, options, children, arguments: parameters }) => {
    const words = [
      ...children.map(({ name }) => name),
      ...parameters.flatMap(({ argChoices = [] }) => argChoices),
      ...longs([...options, ...globals]),
      "--help",
    ];
    return `    "${path}") words="${words.join(" ")}" ;;`;
  });
  const options = all(commands).flatMap((command) => command.options);
  const valued = longs([...options, ...globals].filter(takesValue));
  const choices = new Map(
    options.flatMap(({ long, argChoices }) => (long && argChoices ? [[long, argChoices.join(" ")] as const] : [])),
  );
  const nested = commands.filter(({ children }) => children.length > 0).map(({ name }) => name);
  return `# bash completion for holdfast: source <(holdfast completion bash)
_holdfast() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" command="" words="" word skip=0 i
  case "$previous" in
${[...choices].map(([long, values]) => `    ${long}) COMPREPLY=($(compgen -W "${values}" -- "$current")); return ;;`).join("\n")}
    ${[...new Set(valued)].filter((long) => !choices.has(long)).join("|")}|-c) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    if ((skip)); then skip=0; continue; fi
    case "$word" in
      ${[...new Set(valued)].join("|")}|-c) skip=1 ;;
      -*) ;;
      *) if [ -z "$command" ]; then command="$word"; elif [[ " ${nested.join(" ")} " == *" $command "* ]]; then command="$command $word"; fi ;;
    esac
  done
  case "$command" in
    "") words="${[...commands.map(({ name }) => name), ...longs(globals), "--help"].join(" ")}" ;;
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _holdfast holdfast
`;
}

function zsh(commands: readonly CommandWords[], globals: readonly Option[]): string {
  const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
  const plain = (text: string): string => text.replaceAll(/[[\]:]/g, (char) => `\\${char}`);
  const spec = (option: Option): string[] => {
    if (option.long === undefined || option.long === null) return [];
    const value = !takesValue(option) ? "" : option.argChoices ? `:value:(${option.argChoices.join(" ")})` : ":value:_files";
    return [quote(`${option.variadic || isRepeatable(option) ? "*" : ""}${option.long}[${plain(option.description)}]${value}`)];
  };
  const globalSpecs = globals.flatMap(spec);
  const body = (command: CommandWords): string => {
    const specs = [...command.options.flatMap(spec), ...globalSpecs, "'--help[show help]'"].join(" \\\n        ");
    if (command.children.length === 0) {
      const choices = command.arguments.flatMap(({ argChoices }) => argChoices ?? []);
      return `_arguments ${specs} \\\n        ${choices.length > 0 ? `'1: :(${choices.join(" ")})'` : "'*: :_files'"}`;
    }
    return `_arguments '1: :((${command.children.map(({ name, description }) => `${name}\\:${quote(plain(description)).replaceAll("'", '"')}`).join(" ")}))' '*:: :_files'`;
  };
  return `#compdef holdfast
# zsh completion for holdfast: holdfast completion zsh > "\${fpath[1]}/_holdfast"
_holdfast() {
  local -a commands
  commands=(
${commands.map(({ name, description }) => `    ${quote(`${name}:${plain(description)}`)}`).join("\n")}
  )
  _arguments -C ${globalSpecs.join(" ")} '1: :->command' '*:: :->rest'
  case $state in
    command) _describe command commands ;;
    rest)
      case $words[1] in
${commands.map((command) => `      ${command.name})\n        ${body(command)} ;;`).join("\n")}
      esac ;;
  esac
}
if [ "$funcstack[1]" = _holdfast ]; then _holdfast "$@"; else compdef _holdfast holdfast; fi
`;
}

function fish(commands: readonly CommandWords[], globals: readonly Option[]): string {
  const quote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const option = (condition: string, one: Option): string => {
    const names = [one.short ? `-s ${one.short.slice(1)}` : "", one.long ? `-l ${one.long.slice(2)}` : ""]
      .filter((text) => text !== "")
      .join(" ");
    const value = !takesValue(one) ? "" : one.argChoices ? ` -x -a ${quote(one.argChoices.join(" "))}` : " -r";
    return `complete -c holdfast${condition} ${names}${value} -d ${quote(one.description)}`;
  };
  const lines = globals.map((one) => option("", one));
  for (const { name, description, options, children, arguments: parameters } of commands) {
    const inside = ` -n '__fish_seen_subcommand_from ${name}'`;
    lines.push(`complete -c holdfast -n __fish_use_subcommand -f -a ${name} -d ${quote(description)}`);
    for (const one of options) lines.push(option(inside, one));
    for (const child of children) lines.push(`complete -c holdfast${inside} -f -a ${child.name} -d ${quote(child.description)}`);
    for (const one of new Map(children.flatMap((child) => child.options.map((each) => [each.long, each] as const))).values())
      lines.push(option(inside, one));
    for (const { argChoices } of parameters)
      if (argChoices) lines.push(`complete -c holdfast${inside} -f -a ${quote(argChoices.join(" "))}`);
  }
  return `# fish completion for holdfast: holdfast completion fish > ~/.config/fish/completions/holdfast.fish\n${lines.join("\n")}\n`;
}

/** An option with a parser of its own collects values. */
function isRepeatable(option: Option): boolean {
  return option.parseArg !== undefined && option.argChoices === undefined;
}
