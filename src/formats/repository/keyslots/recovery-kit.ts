import { isoTime } from "../objects/json-object.ts";
import type { Repository } from "../repository.ts";
import { readSlotText } from "./keyslots.ts";

/** Characters of one printed line: what a typewriter font fits on a page's width. */
const LINE = 76;

/**
 * One page of text to print and keep apart from the machine: the repository's id, a key slot to the letter, and how to get
 * files back with `recover.mjs` and plain Node. The slot is useless without its secret, which is not on the page.
 */
export async function recoveryKit(
  repository: Repository,
  options: { readonly slot?: string | undefined; readonly where: string; readonly signal?: AbortSignal | undefined },
): Promise<string> {
  const id = options.slot ?? repository.openedBy;
  const { text, sha256 } = await readSlotText(repository, id, options.signal);
  const keyfile = /"function":"keyfile"/.test(text);
  const secret = keyfile ? "the key file" : "the password";
  const option = keyfile ? "--key-file KEY-FILE " : "";
  return `HOLDFAST RECOVERY KIT
${"=".repeat(LINE)}

Repository  ${repository.id}
Target      ${repository.name}: ${options.where}
Printed     ${isoTime(repository.options.clock.now())} on ${repository.options.host}
Key slot    ${id}

What you need: a copy of the target's folder, this page, recover.mjs, Node 24.7
or newer, and ${secret} of this slot. It is NOT on this page: keep ${keyfile ? "a copy of it" : "it"}
somewhere else, where you find it when this machine is gone.

To get files back:

  1. Bring the target's folder to a machine. Its file holdfast.json names the
     repository above.
  2. Only if its folder keys/ is lost or damaged: write the slot below, joined
     to one line without spaces between the lines, to the file
     keys/${id}
     and fill it with spaces to exactly 4096 bytes. Then
     sha256sum keys/${id} must print
     ${sha256}
  3. node recover.mjs FOLDER ${option}list
  4. node recover.mjs FOLDER ${option}restore latest --to EMPTY-FOLDER

Key slot (${text.length} characters, then spaces):

${wrapped(text)}

The bytes are described in docs/format.md, completely: with it, any programmer
can write another reader.
`;
}

function wrapped(text: string): string {
  const lines: string[] = [];
  for (let at = 0; at < text.length; at += LINE) lines.push(text.slice(at, at + LINE));
  return lines.join("\n");
}
