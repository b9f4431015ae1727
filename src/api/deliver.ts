/** Content of a snapshot on its way to a client: streamed as fast as it is taken, and never cut so that it looks whole. */
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { FastifyReply } from "fastify";
import { HoldfastError, type Download } from "../index.ts";

/** A client that takes nothing for so long is gone. */
const STALLED_MS = 120_000;
const TYPES = { file: "application/octet-stream", zip: "application/zip", tar: "application/x-tar" } as const;
const LEFT_OUT = "holdfast-left-out";

/**
 * Answers with the bytes. When anything fails after the first bytes, the connection is cut: an answer of known length is then
 * short, and another has no end. Rejects with what failed.
 */
export async function deliver(
  reply: FastifyReply,
  download: Download,
  signal: AbortSignal,
  stalledMs = STALLED_MS,
): Promise<void> {
  const response = reply.raw;
  const { kind, name, sizeBytes, bytes, leftOut } = download;
  const pieces = bytes[Symbol.asyncIterator]();
  // What cannot be read at all is answered like anything else that fails.
  let piece = await pieces.next();
  reply.hijack();
  response.writeHead(200, {
    ...(reply.getHeaders() as Record<string, string>),
    "content-type": TYPES[kind],
    "content-disposition": contentDisposition(name),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...(sizeBytes === undefined ? { trailer: LEFT_OUT } : { "content-length": String(sizeBytes) }),
  });
  try {
    let sent = 0;
    for (; piece.done !== true; piece = await pieces.next()) {
      signal.throwIfAborted();
      const chunk = piece.value;
      sent += chunk.length;
      // Bytes beyond the declared length would be read as the next answer.
      if (sizeBytes !== undefined && sent > sizeBytes) throw otherLength(name, sizeBytes);
      // What is yielded may be valid until the next piece only.
      if (!response.write(Buffer.from(chunk))) await drained(response, signal, stalledMs);
    }
    if (sizeBytes !== undefined && sent !== sizeBytes) throw otherLength(name, sizeBytes);
    if (sizeBytes === undefined) response.addTrailers({ [LEFT_OUT]: String(leftOut()) });
    response.end();
    if (!response.writableFinished)
      await once(response, "close", { signal: AbortSignal.any([signal, AbortSignal.timeout(stalledMs)]) });
  } catch (error) {
    response.destroy();
    throw error;
  } finally {
    await pieces.return?.();
  }
}

function otherLength(name: string, sizeBytes: number): HoldfastError {
  return new HoldfastError("object_damaged", `${name} has not the ${sizeBytes} bytes that its snapshot declares`);
}

async function drained(response: ServerResponse, signal: AbortSignal, stalledMs: number): Promise<void> {
  const stalled = AbortSignal.timeout(stalledMs);
  try {
    await once(response, "drain", { signal: AbortSignal.any([signal, stalled]) });
  } catch (error) {
    signal.throwIfAborted();
    if (!stalled.aborted) throw error;
    throw new HoldfastError("cancelled", "Who asked for it takes nothing any more");
  }
}

/** RFC 6266: a plain name for everybody, and the true one for those who know better. */
export function contentDisposition(name: string): string {
  // A name goes into somebody's folder of downloads: it must be one, and not a hidden one or a way up.
  const safe = name.replaceAll(/[/\\]/g, "_").replace(/^\.+/, (dots) => "_".repeat(dots.length)) || "download";
  const short = Array.from(safe).slice(-200).join("");
  const ascii = short.replaceAll(/[^\x20-\x7e]/gu, "_").replaceAll(/["%]/g, "_");
  const encoded = encodeURIComponent(short.toWellFormed()).replaceAll(
    /['()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}
