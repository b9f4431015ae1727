/** A real SMTP server in this process, that keeps what it was sent and refuses as it is told. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import { CERTIFICATE, CERTIFICATE_KEY } from "./certificate.ts";

export interface ReceivedMail {
  readonly from: string;
  readonly to: readonly string[];
  /** Headers and body, lines ended by LF. */
  readonly text: string;
  readonly secure: boolean;
  readonly user: string | undefined;
}

export interface MailServer extends AsyncDisposable {
  readonly port: number;
  readonly mails: ReceivedMail[];
  /** What a recipient or a message is refused with: an SMTP status. */
  refuse: (what: { readonly recipient?: string; readonly n: number }) => number | undefined;
}

export async function mailServer(options: Partial<SMTPServerOptions> & { readonly password?: string } = {}): Promise<MailServer> {
  const { password, ...rest } = options;
  const mails: ReceivedMail[] = [];
  const problem = (status: number): Error => Object.assign(new Error("canary words of the server"), { responseCode: status });
  const server = new SMTPServer({
    cert: CERTIFICATE,
    key: CERTIFICATE_KEY,
    authOptional: password === undefined,
    logger: false,
    ...rest,
    onAuth: (auth, _session, done) => (auth.password === password ? done(null, { user: auth.username }) : done(problem(535))),
    onRcptTo: ({ address }, _session, done) => {
      const status = receiver.refuse({ recipient: address, n: mails.length });
      done(status === undefined ? null : problem(status));
    },
    onData: (stream, session, done) => {
      let text = "";
      stream.setEncoding("utf8").on("data", (part: string) => (text += part));
      stream.on("end", () => {
        const status = receiver.refuse({ n: mails.length });
        if (status !== undefined) return done(problem(status));
        const { mailFrom, rcptTo } = session.envelope;
        mails.push({
          from: mailFrom === false ? "" : mailFrom.address,
          to: rcptTo.map(({ address }) => address),
          text: text.replaceAll("\r\n", "\n"),
          secure: session.secure,
          user: session.user,
        });
        return done();
      });
    },
  });
  server.on("error", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server.server, "listening");
  const receiver: MailServer = {
    port: (server.server.address() as AddressInfo).port,
    mails,
    refuse: () => undefined,
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
  return receiver;
}
