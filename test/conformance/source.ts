/** What every Source promises, proved for each of them; see `src/sources/source.ts`. */
import { strict as assert } from "node:assert";
import { createHash } from "node:crypto";
import { closeSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { openFileForRead } from "../../src/sources/files/read-file.ts";
import { walkFiles } from "../../src/sources/files/walk.ts";
import type { Entry, EntryStream, OpenSource, Source, SourceProblem, WalkEvent } from "../../src/sources/source.ts";

export interface SourceSubject {
  /** A source that can be opened more than once and yields the same each time. */
  readonly source: Source;
  /** Paths of files that must be there, with their content. */
  readonly files: Readonly<Record<string, string>>;
  dispose(): void;
}

/** A path of the stream, latin1, with its entry and the digest of its content. */
export interface ReadEntry {
  readonly path: string;
  readonly entry: Entry;
  readonly digest: string | undefined;
}

/** Every event of a stream. */
export async function eventsOf(stream: EntryStream, onProblem?: (problem: SourceProblem) => void): Promise<WalkEvent[]> {
  if (stream.kind === "files") return [...walkFiles(stream.options, { onProblem: onProblem ?? (() => undefined) })];
  const events: WalkEvent[] = [];
  for await (const batch of stream.events) events.push(...batch);
  return events;
}

/** Reads an opened source to its end, as a backup does, and checks the order of its events. */
export async function readSource(open: OpenSource): Promise<ReadEntry[]> {
  const found: ReadEntry[] = [];
  const path: string[] = [];
  for (const event of await eventsOf(open.stream)) {
    if (event.step === "leave") {
      path.pop();
      continue;
    }
    const name = Buffer.from(event.entry.name).toString("latin1");
    const digest = await digestOf(open.stream, event.entry);
    found.push({ path: [...path, name].join("/"), entry: event.entry, digest });
    if (event.step === "enter") path.push(name);
  }
  return found;
}

async function digestOf(stream: EntryStream, entry: Entry): Promise<string | undefined> {
  if (entry.content === undefined) return undefined;
  const hash = createHash("sha256");
  if ("open" in entry.content) {
    const { fd } = openFileForRead(entry.content.open, entry.meta);
    hash.update(readFileSync(fd));
    closeSync(fd);
  } else {
    assert(stream.kind === "events");
    for await (const chunk of stream.openOnce(entry.content.once)) hash.update(chunk);
  }
  return hash.digest("hex");
}

/** Runs the suite against fresh subjects. */
export function sourceConformance(name: string, make: () => SourceSubject): void {
  describe(`${name} keeps the contract of a source`, () => {
    const withSubject = async (act: (subject: SourceSubject) => Promise<void>): Promise<void> => {
      const subject = make();
      try {
        await act(subject);
      } finally {
        subject.dispose();
      }
    };
    const openIt = (subject: SourceSubject): Promise<OpenSource> => subject.source.open({ signal: new AbortController().signal });

    test("begins with the root, and every folder that is entered is left", () =>
      withSubject(async (subject) => {
        await using open = await openIt(subject);
        const events = await eventsOf(open.stream);
        const [first] = events;
        assert(first?.step === "enter");
        expect(first.entry.name.length).toBe(0);
        let depth = 0;
        for (const [index, event] of events.entries()) {
          if (event.step === "enter") {
            expect(event.entry.type).toBe("directory");
            depth++;
          } else if (event.step === "leave") depth--;
          else expect(event.entry.type).not.toBe("directory");
          expect(depth === 0).toBe(index === events.length - 1);
        }
      }));

    test("sorts the entries of a folder by raw name, each once", () =>
      withSubject(async (subject) => {
        await using open = await openIt(subject);
        const last: (Uint8Array | undefined)[] = [];
        for (const event of await eventsOf(open.stream)) {
          if (event.step === "leave") {
            last.pop();
            continue;
          }
          const { name } = event.entry;
          if (last.length > 0) {
            expect(name.length).toBeGreaterThan(0);
            expect(Buffer.from(name).includes(0x2f) || Buffer.from(name).includes(0)).toBe(false);
            const before = last[last.length - 1];
            if (before !== undefined) expect(Buffer.compare(before, name)).toBe(-1);
            last[last.length - 1] = name;
          }
          if (event.step === "enter") last.push(undefined);
        }
      }));

    test("yields entries that are whole and survive a thread boundary", () =>
      withSubject(async (subject) => {
        await using open = await openIt(subject);
        for (const event of await eventsOf(open.stream)) {
          // Compared without prototypes: a Buffer arrives as a Uint8Array.
          expect(plain(structuredClone(event))).toEqual(plain(event));
          if (event.step === "leave") continue;
          const { entry } = event;
          expect(entry.meta.mode & ~0o7777).toBe(0);
          expect(entry.content !== undefined).toBe(entry.type === "file");
          expect(entry.linkTarget !== undefined).toBe(entry.type === "symlink");
          if (entry.type !== "file") expect(entry.size).toBe(0);
        }
      }));

    test("yields the files with their bytes, and finishes", () =>
      withSubject(async (subject) => {
        await using open = await openIt(subject);
        const found = new Map((await readSource(open)).map((read) => [read.path, read.digest]));
        for (const [path, content] of Object.entries(subject.files))
          expect([path, found.get(path)]).toEqual([path, createHash("sha256").update(content).digest("hex")]);
        await open.finish();
        expect(structuredClone(open.facts())).toEqual(open.facts());
      }));

    test("read twice gives the same", () =>
      withSubject(async (subject) => {
        const read = async (): Promise<unknown> => {
          await using open = await openIt(subject);
          const entries = await readSource(open);
          await open.finish();
          return entries;
        };
        expect(await read()).toEqual(await read());
      }));

    test("does not open after an abort", () =>
      withSubject(async (subject) => {
        const reason = new Error("changed my mind");
        await expect(subject.source.open({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      }));

    test("can be disposed at any time, and again", () =>
      withSubject(async (subject) => {
        const unread = await openIt(subject);
        await unread[Symbol.asyncDispose]();
        await unread[Symbol.asyncDispose]();
        const read = await openIt(subject);
        await readSource(read);
        await read.finish();
        await read[Symbol.asyncDispose]();
        await read[Symbol.asyncDispose]();
      }));

    test("says what it is", () =>
      withSubject(async (subject) => {
        expect(subject.source.type).toMatch(/^[a-z]+$/);
        expect(["files", "stream", "pages64", "pages16"]).toContain(subject.source.profile);
      }));
  });
}

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString("hex")}`;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}
