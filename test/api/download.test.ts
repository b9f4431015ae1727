/** Content on its way to a client: what it is called, and how it ends. */
import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { contentDisposition } from "../../src/api/deliver.ts";
import { serveControl } from "../../src/api/server.ts";
import { HoldfastError } from "../../src/base/errors.ts";
import type { Download } from "../../src/engine/browse/download.ts";
import { temporaryTree } from "../support/tree-literal.ts";
import { fakeControl, type FakeControl } from "./fake-control.ts";

const CHUNK = Buffer.alloc(64 * 1024, "x");

/** Serves `bytes` as a file of `size` bytes, or as a zip. */
async function served(
  size: number | undefined,
  bytes: (signal: AbortSignal) => AsyncGenerator<Uint8Array, void, undefined>,
): Promise<{ control: FakeControl; head: () => Promise<IncomingMessage> } & AsyncDisposable> {
  const folder = temporaryTree({});
  const control = fakeControl();
  let signal = new AbortController().signal;
  const query = control.query.bind(control);
  control.query = (own, act) => {
    signal = own;
    return query(own, act);
  };
  control.queries.download = async (_query, deliver) => {
    const download: Download = {
      name: "big",
      kind: size === undefined ? "zip" : "file",
      sizeBytes: size,
      bytes: bytes(signal),
      leftOut: () => 3,
    };
    await deliver(download);
  };
  const server = await serveControl(control, folder.path);
  return {
    control,
    head: async () => {
      const path = "/api/v1/snapshots/ab/content?path=/big&as=zip";
      const asked = request({ socketPath: join(folder.path, "control.sock"), path }).end();
      const [response] = (await once(asked, "response")) as [IncomingMessage];
      return response;
    },
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      folder[Symbol.dispose]();
    },
  };
}

async function received(response: IncomingMessage): Promise<number | string> {
  let count = 0;
  try {
    for await (const part of response) count += (part as Buffer).length;
    return response.complete ? count : "cut";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "cut";
  }
}

async function* broken(): AsyncGenerator<Uint8Array, void, undefined> {
  for (let i = 0; i < 20; i++) yield CHUNK;
  throw new HoldfastError("object_damaged", "It is damaged");
}

test.each([
  ["a file", 100 * CHUNK.length],
  ["an archive", undefined],
])("%s that cannot be read to its end has none", async (_what, size) => {
  await using on = await served(size, broken);
  const response = await on.head();
  expect(response.statusCode).toBe(200);
  expect(await received(response)).toBe("ECONNRESET");
  expect(on.control.complaints).toEqual(["a download of /big from snapshot ab ended: It is damaged"]);
});

test("a file that is shorter or longer than it said is cut", async () => {
  for (const size of [5, CHUNK.length * 2]) {
    await using on = await served(size, async function* () {
      yield CHUNK;
    });
    expect(await on.head().then(received, (error: NodeJS.ErrnoException) => error.code)).toBe("ECONNRESET");
    expect(on.control.complaints).toHaveLength(1);
  }
});

test("what cannot be read at all is a problem", async () => {
  await using on = await served(100, async function* () {
    yield* [];
    throw new HoldfastError("object_damaged", "It is damaged");
  });
  const response = await on.head();
  expect([response.statusCode, response.headers["content-type"]]).toEqual([500, "application/problem+json; charset=utf-8"]);
  response.destroy();
});

test("a slow reader holds little, and one that leaves ends the work", async () => {
  let given = 0;
  const ended = Promise.withResolvers<void>();
  await using on = await served(undefined, async function* (signal) {
    try {
      for (;;) {
        signal.throwIfAborted();
        given++;
        yield CHUNK;
        await new Promise(setImmediate);
      }
    } finally {
      ended.resolve();
    }
  });
  const response = await on.head();
  await once(response, "readable");
  // Nothing is taken: what is given stops where buffers are full.
  let before: number;
  do {
    before = given;
    for (let i = 0; i < 50; i++) await new Promise(setImmediate);
  } while (given > before);
  expect(given).toBeLessThan(100);
  response.destroy();
  await ended.promise;
});

test("an archive says at its end what it lacks", async () => {
  await using on = await served(undefined, async function* () {
    yield CHUNK;
  });
  const response = await on.head();
  expect(await received(response)).toBe(CHUNK.length);
  expect([response.headers["content-type"], response.headers["x-content-type-options"], response.trailers]).toEqual([
    "application/zip",
    "nosniff",
    { "holdfast-left-out": "3" },
  ]);
});

test.each([
  ["plain.txt", `attachment; filename="plain.txt"; filename*=UTF-8''plain.txt`],
  ["grün.txt", `attachment; filename="gr_n.txt"; filename*=UTF-8''gr%C3%BCn.txt`],
  [`a"b%c\\d/e`, `attachment; filename="a_b_c_d_e"; filename*=UTF-8''a%22b%25c_d_e`],
  ["..", `attachment; filename="__"; filename*=UTF-8''__`],
  [".bashrc", `attachment; filename="_bashrc"; filename*=UTF-8''_bashrc`],
  ["", `attachment; filename="download"; filename*=UTF-8''download`],
])("a name %j in a header", (name, header) => expect(contentDisposition(name)).toBe(header));

test("no name breaks out of its header, whatever it is", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 300 }), (name) => {
      const header = contentDisposition(name);
      expect(header).toMatch(/^attachment; filename="[ !#-$&-[\]-~]+"; filename\*=UTF-8''[\w!%&*+.^`|~$#-]+$/);
      expect(decodeURIComponent(header.split("''")[1] as string)).not.toMatch(/[/\\]|^\./);
    }),
  );
});
