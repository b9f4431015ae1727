/**
 * Options whose value is optional take it after `=` only, so that what follows them stays an argument. A percentage or a
 * date after a space can mean nothing else, and is taken.
 */
export function joinOptionalValues(args: readonly string[]): string[] {
  const joined: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] as string;
    const next = args[i + 1] ?? "";
    if (arg === "--") return [...joined, ...args.slice(i)];
    if (arg === "--read-data") joined.push(/^\d+(\.\d+)?%$/.test(next) ? `${arg}=${args[++i]}` : `${arg}=100%`);
    else if (arg === "--hold") joined.push(/^(\d{4}-\d\d-\d\d.*|yes|no)$/.test(next) ? `${arg}=${args[++i]}` : `${arg}=yes`);
    else joined.push(arg);
  }
  return joined;
}
