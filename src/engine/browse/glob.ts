/**
 * Globs without a way to make them slow: patterns come from whoever may search, names from whoever wrote a file, so a pattern is
 * matched as a set of states, in time of its length times the length of the text.
 */

type Token =
  /** One character; undefined: any but a slash. */
  | { readonly kind: "one"; readonly test: ((char: string) => boolean) | undefined }
  /** Any number of characters, slashes among them when `deep`. */
  | { readonly kind: "many"; readonly deep: boolean }
  /** What follows, or `by` tokens further. */
  | { readonly kind: "fork"; readonly by: number };

/** A test for whole texts: `*` and `?` within a name, `**` across folders, `[a-z]`, `\` before what shall mean itself. */
export function compileGlobText(pattern: string, ignoreCase: boolean): (text: string) => boolean {
  // A path pattern that does not begin at the root may begin at any folder.
  const whole = pattern.includes("/") && !pattern.startsWith("/") ? `/**/${pattern.replace(/^\*\*\//, "")}` : pattern;
  const tokens = parse(whole, ignoreCase);
  return (text) => matches(tokens, text);
}

function matches(tokens: readonly Token[], text: string): boolean {
  const end = tokens.length;
  let now = new Set<number>();
  const add = (states: Set<number>, at: number): void => {
    if (states.has(at)) return;
    states.add(at);
    const token = tokens[at];
    if (token === undefined || token.kind === "one") return;
    add(states, at + 1);
    if (token.kind === "fork") add(states, at + token.by);
  };
  add(now, 0);
  for (const char of text) {
    const next = new Set<number>();
    for (const at of now) {
      const token = tokens[at];
      if (token === undefined || token.kind === "fork") continue;
      if (token.kind === "many") {
        if (token.deep || char !== "/") add(next, at);
      } else if (token.test === undefined ? char !== "/" : token.test(char)) add(next, at + 1);
    }
    if (next.size === 0) return false;
    now = next;
  }
  return now.has(end);
}

function parse(pattern: string, ignoreCase: boolean): Token[] {
  const tokens: Token[] = [];
  const literal = (char: string): void => {
    const folded = fold(char);
    tokens.push({ kind: "one", test: ignoreCase ? (other) => fold(other) === folded : (other) => other === char });
  };
  for (let i = 0; i < pattern.length;) {
    const rest = pattern.slice(i);
    const set = /^\[([!^]?)(\]?[^\]]*)\]/.exec(rest);
    if (rest.startsWith("/**/")) {
      literal("/");
      tokens.push({ kind: "fork", by: 3 }, { kind: "many", deep: true });
      literal("/");
      i += 4;
    } else if (rest === "/**") {
      literal("/");
      tokens.push({ kind: "many", deep: true });
      i += 3;
    } else if (rest.startsWith("**")) {
      tokens.push({ kind: "many", deep: true });
      i += 2;
    } else if (rest.startsWith("*")) {
      tokens.push({ kind: "many", deep: false });
      i++;
    } else if (rest.startsWith("?")) {
      tokens.push({ kind: "one", test: undefined });
      i++;
    } else if (set !== null && set[2] !== "") {
      const chars = new RegExp(`^[${set[1] === "" ? "" : "^"}${setSource(set[2] as string)}]$`, ignoreCase ? "isu" : "su");
      tokens.push({ kind: "one", test: (char) => char !== "/" && chars.test(char) });
      i += set[0].length;
    } else {
      const at = rest.startsWith("\\") && rest.length > 1 ? 1 : 0;
      const char = String.fromCodePoint(rest.codePointAt(at) as number);
      literal(char);
      i += at + char.length;
    }
  }
  return tokens;
}

/** A character as it counts where case does not. */
const fold = (char: string): string => char.toUpperCase().toLowerCase();

/** A range that runs backwards is its three characters. */
function setSource(set: string): string {
  const escaped = (char: string): string => char.replace(/[\\\]^[\-&~|()/{}.]/, "\\$&");
  const chars = Array.from(set);
  let source = "";
  for (let i = 0; i < chars.length; i++) {
    const [from, dash, to] = [chars[i] as string, chars[i + 1], chars[i + 2]];
    if (dash === "-" && to !== undefined && (from.codePointAt(0) as number) <= (to.codePointAt(0) as number)) {
      source += `${escaped(from)}-${escaped(to)}`;
      i += 2;
    } else source += escaped(from);
  }
  return source;
}
