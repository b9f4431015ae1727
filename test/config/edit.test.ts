/** Editing one item in the text of the configuration: it says what was asked for, and nothing beside it changes by a byte. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseDocument } from "yaml";
import { HoldfastError } from "../../src/base/errors.ts";
import { editConfig, type ConfigEdit } from "../../src/config/edit.ts";
import type { Value } from "../../src/config/evaluate.ts";

const edited = (text: string, edit: ConfigEdit): string => editConfig([{ path: "/c.yaml", text }], edit).after;
const put = (text: string, place: string, value: Value): string => {
  const [section = "", name = ""] = place.split(".");
  return edited(text, { section: section as ConfigEdit["section"], name, value });
};
const remove = (text: string, place: string): string => {
  const [section = "", name = ""] = place.split(".");
  return edited(text, { section: section as ConfigEdit["section"], name, value: undefined });
};

/** Lines that went (`-`) and came (`+`), as a diff shows them. */
function diff(before: string, after: string): string[] {
  const [a, b] = [before.split("\n"), after.split("\n")];
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < Math.min(a.length, b.length) - head && a.at(-1 - tail) === b.at(-1 - tail)) tail++;
  return [
    ...a.slice(head, a.length - tail).map((line) => `-${line}`),
    ...b.slice(head, b.length - tail).map((line) => `+${line}`),
  ];
}

const FILE = `# All of it.
version: 1

schedules:
  # While nobody works.
  nightly: "0 2 * * *"   # at two
  hourly: { every: 1h }  # always

retention:
  few: { keepLast: 3 }

jobs:
  # The important one.
  docs:
    description: Documents   # ours
    sources: [documents]
    targets:
      - disk   # near
      - nas    # far
    schedule: nightly
    hooks:
      # Quiet first.
      before:
        - run: [app, quiesce]
    x-owner: kim

  photos: { sources: [photos], targets: [disk] }
# The end.
`;

describe("what is edited", () => {
  test("is the value alone: the comment in its line stays", () => {
    expect(diff(FILE, put(FILE, "schedules.nightly", "0 3 * * *"))).toEqual([
      '-  nightly: "0 2 * * *"   # at two',
      '+  nightly: "0 3 * * *"   # at two',
    ]);
    expect(diff(FILE, put(FILE, "schedules.hourly", { every: "2h", jitter: "5m" }))).toEqual([
      "-  hourly: { every: 1h }  # always",
      "+  hourly: { every: 2h, jitter: 5m }  # always",
    ]);
    expect(diff(FILE, put(FILE, "schedules.nightly", { daily: "03:00" }))).toEqual([
      '-  nightly: "0 2 * * *"   # at two',
      '+  nightly: { daily: "03:00" }   # at two',
    ]);
  });

  test("is nothing when the file says so already", () => {
    expect(put(FILE, "schedules.hourly", { every: "1h" })).toBe(FILE);
  });

  const DOCS = {
    description: "Documents",
    sources: ["documents"],
    targets: ["disk", "nas"],
    schedule: "nightly",
    hooks: { before: [{ run: ["app", "quiesce"] }] },
  };

  test.each<[string, Value, string[]]>([
    ["one key of a block", { ...DOCS, schedule: "hourly" }, ["-    schedule: nightly", "+    schedule: hourly"]],
    ["a list that grows", { ...DOCS, targets: ["disk", "nas", "cloud"] }, ["+      - cloud"]],
    ["a list that shrinks", { ...DOCS, targets: ["nas"] }, ["-      - disk   # near"]],
    ["a list that begins otherwise", { ...DOCS, targets: ["tape", "disk", "nas"] }, ["+      - tape"]],
    [
      "a list that is another",
      { ...DOCS, targets: ["tape"] },
      ["-    targets:", "-      - disk   # near", "-      - nas    # far", "+    targets: [tape]    # far"],
    ],
    ["a key that is new", { ...DOCS, priority: 5 }, ["+    priority: 5"]],
    [
      "a list in brackets",
      { ...DOCS, sources: ["documents", "a b: c"] },
      ["-    sources: [documents]", '+    sources: [documents, "a b: c"]'],
    ],
  ])("is %s", (_name, value, lines) => {
    expect(diff(FILE, put(FILE, "jobs.docs", value))).toEqual(lines);
  });

  test("is a key that goes, with its lines alone", () => {
    const { description: _, ...rest } = DOCS;
    expect(diff(FILE, put(FILE, "jobs.docs", rest))).toEqual(["-    description: Documents   # ours"]);
    const { hooks: _hooks, ...without } = DOCS;
    expect(diff(FILE, put(FILE, "jobs.docs", without))).toEqual([
      "-    hooks:",
      "-      # Quiet first.",
      "-      before:",
      "-        - run: [app, quiesce]",
    ]);
  });

  test("is added in the style of its neighbour, behind the last of its section", () => {
    expect(diff(FILE, put(FILE, "schedules.weekly", { weekly: "sunday", at: "03:00" }))).toEqual([
      '+  weekly: { weekly: sunday, at: "03:00" }',
    ]);
    const block = "version: 1\njobs:\n    one:\n        sources: [a]\n# end\n";
    expect(diff(block, put(block, "jobs.two", { sources: ["b"], priority: 1 }))).toEqual([
      "+    two:",
      "+        sources: [b]",
      "+        priority: 1",
    ]);
  });

  test("is added with its section where there is none, or an empty one", () => {
    const bare = "version: 1\nhost: a";
    expect(put(bare, "schedules.nightly", "@daily")).toBe('version: 1\nhost: a\nschedules:\n  nightly: "@daily"');
    expect(put("version: 1\nschedules:\nhost: a\n", "schedules.n", { every: "1h" })).toBe(
      "version: 1\nschedules: { n: { every: 1h } }\nhost: a\n",
    );
    expect(put("version: 1\nschedules: {} # none\n", "schedules.n", { every: "1h" })).toBe(
      "version: 1\nschedules: { n: { every: 1h } } # none\n",
    );
    expect(put("{ version: 1 }\n", "schedules.n", { every: "1h" })).toBe("{ version: 1, schedules: { n: { every: 1h } } }\n");
    expect(put("---\nversion: 1\n...\n", "schedules.n", { every: "1h" })).toBe(
      "---\nversion: 1\nschedules:\n  n: { every: 1h }\n...\n",
    );
  });

  test("is deleted with its lines, and an empty section stays one", () => {
    expect(diff(FILE, remove(FILE, "schedules.nightly"))).toEqual(['-  nightly: "0 2 * * *"   # at two']);
    expect(diff(FILE, remove(FILE, "retention.few"))).toEqual(["-retention:", "-  few: { keepLast: 3 }", "+retention: {}"]);
    const flow = "version: 1\nschedules: { a: { every: 1h }, b: '@daily', c: '@weekly' } # all\n";
    expect(remove(flow, "schedules.a")).toBe("version: 1\nschedules: { b: '@daily', c: '@weekly' } # all\n");
    expect(remove(flow, "schedules.c")).toBe("version: 1\nschedules: { a: { every: 1h }, b: '@daily' } # all\n");
  });

  test("is in the file that declares it, a new one in the main file", () => {
    const texts = [
      { path: "/main.yaml", text: "version: 1\ninclude: [b.yaml]\n" },
      { path: "/b.yaml", text: "version: 1\nschedules: { n: '@daily' }\n" },
    ];
    expect(editConfig(texts, { section: "schedules", name: "n", value: "@weekly" })).toMatchObject({
      path: "/b.yaml",
      after: 'version: 1\nschedules: { n: "@weekly" }\n',
      isNew: false,
    });
    expect(editConfig(texts, { section: "schedules", name: "m", value: "@weekly" })).toMatchObject({
      path: "/main.yaml",
      isNew: true,
    });
  });

  test("keeps variables and references as they are written", () => {
    const text = "version: 1\njobs:\n  a:\n    priority: ${PRIORITY} # set outside\n    sources: [b]\n";
    expect(diff(text, put(text, "jobs.a", { priority: "${PRIORITY}", sources: ["c"] }))).toEqual([
      "-    sources: [b]",
      "+    sources: [c]",
    ]);
    expect(put(text, "jobs.a", { priority: "${OTHER:-3}", sources: ["b"] })).toContain("priority: ${OTHER:-3} # set outside");
  });
});

describe("files of all kinds", () => {
  test("lines that end in CR LF go on doing so", () => {
    const text = FILE.replaceAll("\n", "\r\n");
    const after = put(put(text, "jobs.new", { sources: ["a"] }), "jobs.docs", { sources: ["documents"], targets: ["disk"] });
    expect(after.replaceAll("\r\n", "")).not.toContain("\n");
    expect(after).toContain("\r\n  new: { sources: [a] }\r\n# The end.\r\n");
  });

  test("a byte order mark stays", () => {
    expect(put(`\uFEFFversion: 1\nschedules: { a: "@daily" }\n`, "schedules.a", "@weekly")).toBe(
      `\uFEFFversion: 1\nschedules: { a: "@weekly" }\n`,
    );
    expect(put(`\uFEFFversion: 1\n`, "schedules.a", "@weekly")).toBe(`\uFEFFversion: 1\nschedules:\n  a: "@weekly"\n`);
  });

  test("tabs before comments and between values stay", () => {
    const text = "version: 1\nschedules:\n  a:\t'@daily'\t# tab\n  b: '@daily'\n";
    expect(diff(text, put(text, "schedules.a", "@weekly"))).toEqual(["-  a:\t'@daily'\t# tab", `+  a:\t"@weekly"\t# tab`]);
  });

  test("block texts keep their last lines when something comes behind them", () => {
    const text = "version: 1\njobs:\n  a:\n    description: |+\n      two lines\n\n\nhost: b\n";
    const after = put(text, "jobs.a", { description: "two lines\n\n\n", priority: 3 });
    expect(after).toBe("version: 1\njobs:\n  a:\n    description: |+\n      two lines\n\n\n    priority: 3\nhost: b\n");
  });

  test.each([
    ["several documents", "version: 1\n---\nversion: 1\n", /several YAML documents/],
    ["broken YAML", "version: 1\njobs: [\n", /not valid/],
    ["no map", "- version\n", /not a map/],
    ["a section that is a list", "version: 1\nschedules: [a]\n", /schedules is not a map/],
    ["an item given twice", "version: 1\nschedules:\n  a: '@daily'\n  a: '@weekly'\n", /given twice/],
    ["a section that is an alias", "version: 1\nx-s: &s { a: '@daily' }\nschedules: *s\n", /alias/],
    ["an item that others mean too", "version: 1\nschedules:\n  a: &a { every: 1h }\n  b: *a\n", /alias/],
    ["an item that others merge", "version: 1\nschedules:\n  a: &a { every: 1h }\n  b: { <<: *a, jitter: 1m }\n", /alias/],
    ["an anchor inside that others use", "version: 1\nschedules:\n  a: { every: &d 1h }\n  b: { every: *d }\n", /depends on it/],
    ["a tag that would no longer fit", "version: 1\nschedules:\n  a: !!map { every: 1h }\n", /has a tag/],
  ])("a file with %s is refused, not guessed at", (_name, text, why) => {
    const attempt = (): string => put(text, "schedules.a", "@monthly");
    expect(attempt).toThrow(why);
    expect(attempt).toThrow(expect.objectContaining({ code: "config_write_refused" }));
  });

  test("an anchored item that others mean is not deleted", () => {
    const text = "version: 1\nschedules:\n  a: &a { every: 1h }\n  b: *a\n";
    expect(() => remove(text, "schedules.a")).toThrow(/depends on it/);
    expect(remove(text, "schedules.b")).toBe("version: 1\nschedules:\n  a: &a { every: 1h }\n");
  });

  test("an item that is an alias gets a value of its own, and one that merges keeps what it merges", () => {
    const text = "version: 1\nschedules:\n  a: &a { every: 1h }\n  b: *a # the same\n  c: { <<: *a, jitter: 1m }\n";
    expect(diff(text, put(text, "schedules.b", { every: "2h" }))).toEqual([
      "-  b: *a # the same",
      "+  b: { every: 2h } # the same",
    ]);
    expect(diff(text, put(text, "schedules.c", { every: "1h", jitter: "2m" }))).toEqual([
      "-  c: { <<: *a, jitter: 1m }",
      "+  c: { <<: *a, jitter: 2m }",
    ]);
    expect(diff(text, put(text, "schedules.c", { every: "3h", jitter: "1m" }))).toEqual([
      "-  c: { <<: *a, jitter: 1m }",
      "+  c: { <<: *a, jitter: 1m, every: 3h }",
    ]);
    expect(diff(text, put(text, "schedules.c", { jitter: "1m" }))).toEqual([
      "-  c: { <<: *a, jitter: 1m }",
      "+  c: { jitter: 1m }",
    ]);
  });

  test("names of prototypes are names like others", () => {
    for (const name of ["__proto__", "constructor", "toString"]) {
      const after = edited("version: 1\njobs: {}\n", { section: "jobs", name, value: { priority: 1 } });
      expect(after).toBe(`version: 1\njobs: { ${name}: { priority: 1 } }\n`);
      expect(edited(after, { section: "jobs", name, value: undefined })).toBe("version: 1\njobs: {}\n");
      expect(() => remove(FILE, `jobs.${name}`)).toThrow(/no jobs/);
    }
  });

  test("a value that no file may hold is refused", () => {
    let deep: Value = 1;
    for (let level = 0; level < 100_000; level++) deep = [deep];
    expect(() => put(FILE, "jobs.docs", deep)).toThrow(/nests deeper/);
    expect(() => put(FILE, "jobs.docs", { "x-owner": "me" })).toThrow(/for people/);
    expect(() => put(FILE, "jobs.docs", { "<<": "me" })).toThrow(/for people/);
  });
});

/** What a text says, read by the library alone. */
const meaning = (text: string): Record<string, Record<string, unknown>> =>
  JSON.parse(JSON.stringify(parseDocument(text, { schema: "core", version: "1.2", merge: true }).toJS())) as never;

const withoutNotes = (value: unknown): unknown =>
  typeof value !== "object" || value === null
    ? value
    : Array.isArray(value)
      ? value.map(withoutNotes)
      : Object.fromEntries(
          Object.entries(value).flatMap(([key, item]) => (key.startsWith("x-") ? [] : [[key, withoutNotes(item)]])),
        );

const word = fc.oneof(
  fc.constantFrom(
    "a",
    "b",
    "c",
    "disk",
    "*.tmp",
    "0 2 * * *",
    "1h",
    "5",
    "yes",
    "null",
    "~",
    "",
    " ",
    "${X}",
    "a: b",
    "a #b",
    "- a",
    "é",
    "1e3",
    "0x1F",
    ".inf",
    "\u2028",
    "'",
    '"',
    "@daily",
    "2026-01-01",
    "{",
    "]",
    "&a",
    "*a",
    "!t",
    "|",
    ">",
    "%",
    "`",
    "?",
    "line\nbreak",
    "tab\t",
    "\u0000",
    "=",
    "<<x",
    "#",
    "1_000",
    "0o7",
    "+1",
    "-",
    ".",
    "..",
    "---",
    "...",
    "a ",
    "true",
  ),
  fc.string({ unit: "binary", maxLength: 12 }),
);
const key = fc
  .oneof(fc.constantFrom("sources", "targets", "schedule", "description", "hooks", "before", "priority", "a", "b"), word)
  .filter((name) => !name.startsWith("x-") && name !== "<<" && name !== "__proto__");
const { value } = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    word,
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => (Object.is(number, -0) ? 0 : number)),
    fc.boolean(),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(key, tie("value"), { maxKeys: 5, noNullPrototype: true }),
  ),
}));

test("for any value, any place and any sequence of edits: the file then says so, and all else is the same to the byte", () => {
  const place = fc.tuple(
    fc.constantFrom("jobs", "schedules", "retention"),
    fc.constantFrom("docs", "photos", "nightly", "hourly", "few", "new"),
  );
  const steps = fc.array(fc.tuple(place, fc.option(value, { nil: undefined, freq: 4 })), { minLength: 1, maxLength: 5 });
  const counts = { edits: 0, missing: 0 };
  fc.assert(
    fc.property(steps, fc.boolean(), (edits, crlf) => {
      let text = crlf ? FILE.replaceAll("\n", "\r\n") : FILE;
      for (const [[section, name], wanted] of edits) {
        const before = meaning(text);
        let after: string;
        try {
          after = edited(text, { section: section as ConfigEdit["section"], name, value: wanted });
        } catch (error) {
          if (!(error instanceof HoldfastError)) throw error;
          if (error.code === "name_unknown") counts.missing++;
          else throw error;
          continue;
        }
        counts.edits++;
        const expected = structuredClone(before);
        expected[section] ??= {};
        if (wanted === undefined) delete expected[section][name];
        else expected[section][name] = wanted;
        expect(withoutNotes(meaning(after))).toEqual(withoutNotes(expected));
        // Outside of the lines of the item nothing changes.
        const pair = (
          parseDocument(text).get(section) as {
            items?: { key: { value: string; range: number[] }; value: { range: number[] } | null }[];
          } | null
        )?.items;
        const at = pair?.findIndex(({ key: { value: own } }) => own === name) ?? -1;
        const found = pair?.[at];
        if (found !== undefined && (wanted !== undefined || pair!.length > 1)) {
          const start = text.lastIndexOf("\n", found.key.range[0]! - 1) + 1;
          expect(after.slice(0, start)).toBe(text.slice(0, start));
          const end = found.value?.range[2] ?? found.key.range[1]!;
          const tail = text.slice(text.indexOf("\n", end) < 0 ? text.length : text.indexOf("\n", end));
          expect(after.endsWith(tail)).toBe(true);
        }
        for (const comment of ["# All of it.", "# While nobody works.", "# The important one.", "# The end."])
          expect(after).toContain(comment);
        text = after;
      }
    }),
    { numRuns: 400 },
  );
  expect(counts.edits).toBeGreaterThan(500);
});

/** Files as nobody should write them, each of them valid. */
const ODD = [
  `version: 1
x-common: &common { targets: [disk], priority: 5 }
x-list: &list
  - a
  - b
schedules: { nightly: &n "0 2 * * *", hourly: *n, few: { every: &e 1h, jitter: *e } }
jobs:
  docs: { <<: *common, sources: *list }
  photos:
    <<: [*common, { schedule: nightly }]
    # in between
    sources: &photos
    - a   # one

    - b
    hooks: &hooks
      before: [{ run: [a, b] }]
  new: { hooks: *hooks, sources: *photos }
`,
  `{
  version: 1, # one
  "jobs": {
    "docs": { sources: [a, # first
      b], targets: [disk], }, # trailing
    photos: {
      sources: [a],
    },
  },
  schedules: {}, 'retention': { few: {keepLast: 3}, new: },
}
`,
  `%YAML 1.2
--- # begins
version: 1
? jobs
: docs:
    ? sources
    : - a
      - - b
        - c
    description: >-
      folded

      text
  photos: !!map
    sources: [a]
schedules:
    nightly: |
        0 2 * * *
    hourly:
        "0 3
        * * *"
    few:    # nothing
    new: ~
retention: !!map { few: !!map { keepLast: 3 } }
... # ends
`,
  `version: 1
jobs: {docs: {sources: [a]}, photos: {sources: [b]}
  }
schedules:
- 1
retention:
  few: &few
    keepLast: 3
  new:
    <<: *few`,
];

test("in odd files every edit is either right or refused", () => {
  const place = fc.tuple(
    fc.constantFrom("jobs", "schedules", "retention"),
    fc.constantFrom("docs", "photos", "nightly", "hourly", "few", "new", "other"),
  );
  const near = fc.record(
    {
      sources: fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 3 }),
      targets: fc.constant(["disk"]),
      priority: fc.constant(5),
      keepLast: fc.nat(4),
    },
    { requiredKeys: [], noNullPrototype: true },
  );
  const counts = { right: 0, refused: 0 };
  const kinds = fc.tuple(
    fc.constantFrom(...ODD),
    fc.boolean(),
    place,
    fc.option(fc.oneof(near as fc.Arbitrary<Value>, value), { nil: undefined }),
  );
  fc.assert(
    fc.property(kinds, ([odd, crlf, [section, name], wanted]) => {
      const text = crlf ? odd.replaceAll("\n", "\r\n") : odd;
      let after: string;
      try {
        after = edited(text, { section: section as ConfigEdit["section"], name, value: wanted });
      } catch (error) {
        if (!(error instanceof HoldfastError) || error.code === "internal") throw error;
        counts.refused++;
        return;
      }
      const expected = meaning(text);
      expected[section] = { ...expected[section] };
      if (wanted === undefined) delete expected[section][name];
      else expected[section][name] = wanted;
      expect(withoutNotes(meaning(after))).toEqual(withoutNotes(expected));
      counts.right++;
    }),
    { numRuns: 1500 },
  );
  expect(counts.right).toBeGreaterThan(500);
  expect(counts.refused).toBeGreaterThan(50);
});
