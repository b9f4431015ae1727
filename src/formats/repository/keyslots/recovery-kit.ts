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
  const node = /"function":"argon2id"/.test(text) ? "Node 24.7" : "Node 22.15";
  return `HOLDFAST RECOVERY KIT
${"=".repeat(LINE)}

Repository  ${repository.id}
Target      ${repository.name}: ${options.where}
Printed     ${isoTime(repository.options.clock.now())} on ${repository.options.host}
Key slot    ${id}

What you need:

  - a copy of the target's folder
  - ${secret} of this slot. It is NOT on this page: keep ${keyfile ? "a copy of it" : "it"}
    somewhere else, where you find it when this machine is gone
  - recover.mjs, one file, which comes with Holdfast: keep a copy of it too
  - ${node} or newer (https://nodejs.org), nothing else

To get files back:

  1. Bring the target's folder to a machine, as FOLDER. Its file holdfast.json
     names the repository above.
  2. Only if its folder keys/ is lost or damaged: write the lines of the slot
     below to the file slot.txt, then join and fill them:

       mkdir -p FOLDER/keys
       printf '%-4096s' "$(tr -d '\\n' < slot.txt)" > slot
       mv slot FOLDER/keys/${id}
       sha256sum FOLDER/keys/${id}

     The last command must print
     ${sha256}
  3. node recover.mjs FOLDER ${option}list
  4. node recover.mjs FOLDER ${option}restore latest --to RESTORED
     The id of a snapshot, from the list, stands in for latest.

Key slot (${text.length} characters, then spaces):

${wrapped(text)}

The bytes are described in docs/format.md, completely: with it, any programmer
can write another reader.
`;
}

function wrapped(text: string): string {
  const lines: string[] = [];
  for (let at = 0; at < text.length;) {
    let end = Math.min(at + LINE, text.length);
    // On paper nobody sees a space at the end of a line, or half of a character.
    const cuts = (place: number): boolean =>
      /\s/.test(text.slice(place - 1, place + 1)) || /^[\uDC00-\uDFFF]/.test(text.slice(place));
    while (end > at && end < text.length && cuts(end)) end--;
    // Hardly anything but spaces: the checksum has to tell.
    if (end === at) end = Math.min(at + LINE, text.length);
    lines.push(text.slice(at, end));
    at = end;
  }
  return lines.join("\n");
}
