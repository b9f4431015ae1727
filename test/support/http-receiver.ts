/** A real HTTP or HTTPS server that keeps what it was sent and answers as it is told, also badly. */
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { CERTIFICATE, CERTIFICATE_KEY } from "./certificate.ts";

export interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
  /** What TLS was asked for; false without. */
  readonly servername: unknown;
}

export type Answer =
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string }
  /** Never answers; closes before, or in the middle of, an answer. */
  | "hang"
  | "close"
  | "break";

export interface HttpReceiver extends AsyncDisposable {
  readonly port: number;
  /** `http://127.0.0.1:port`. */
  readonly origin: string;
  readonly received: Received[];
  /** How the nth request (from 0) is answered; 200 where it says nothing. */
  answer: (n: number, request: Received) => Answer | undefined;
  /** Resolves when so many requests have come in all. */
  arrived(count: number): Promise<void>;
}

export async function httpReceiver(
  options: { readonly tls?: boolean; readonly address?: string; readonly port?: number } = {},
): Promise<HttpReceiver> {
  const { tls = false, address = "127.0.0.1" } = options;
  const received: Received[] = [];
  const waiting = new Set<() => void>();
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (text: string) => (body += text));
    request.on("error", () => undefined);
    request.on("end", () => {
      const one: Received = {
        method: request.method ?? "",
        path: request.url ?? "",
        headers: request.headers,
        body,
        servername: "servername" in request.socket ? request.socket.servername : false,
      };
      const answer = receiver.answer(received.push(one) - 1, one) ?? { status: 200 };
      for (const look of waiting) look();
      if (answer === "hang") return;
      if (answer === "close") return void request.socket.destroy();
      if (answer === "break") {
        response.writeHead(500, { "content-length": "1000" }).write("half an ans");
        setImmediate(() => request.socket.destroy());
        return;
      }
      response.writeHead(answer.status, answer.headers).end(answer.body ?? "");
    });
  };
  const server = tls ? createHttpsServer({ cert: CERTIFICATE, key: CERTIFICATE_KEY }, handle) : createHttpServer(handle);
  server.on("tlsClientError", () => undefined);
  server.listen(options.port ?? 0, address);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const receiver: HttpReceiver = {
    port,
    origin: `http${tls ? "s" : ""}://${address}:${port}`,
    received,
    answer: () => undefined,
    arrived: (count) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (received.length < count) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      }),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return receiver;
}
