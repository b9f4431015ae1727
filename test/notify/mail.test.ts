import { afterEach, describe, expect, test } from "vitest";
import type { HoldfastError } from "../../src/base/errors.ts";
import { Secret } from "../../src/base/secret.ts";
import { checkMail, sendDigest, sendMail } from "../../src/notify/mail.ts";
import { CERTIFICATE } from "../support/certificate.ts";
import { mailServer, type MailServer } from "../support/mail-server.ts";
import { configOf, context, email, event } from "./setting.ts";

const config = configOf([], { email: email(1) });
const stored = (changes: Parameters<typeof event>[2] = {}, type: Parameters<typeof event>[1] = "backup_failed") => {
  const { id, payload } = event(config, type, changes);
  return { event: id, payload };
};
const login = (password: string) => ({ user: "backup", password: { plain: new Secret(password) } });
const trusting = context({ trust: CERTIFICATE });

async function failure(sending: Promise<unknown>): Promise<HoldfastError> {
  try {
    await sending;
  } catch (error) {
    return error as HoldfastError;
  }
  throw new Error("it was sent");
}

let server: MailServer;
const open = async (...options: Parameters<typeof mailServer>): Promise<MailServer> => (server = await mailServer(...options));
afterEach(async () => await server[Symbol.asyncDispose]());

describe("a mail", () => {
  test("goes to everybody, as plain text, under an id that is the event's", async () => {
    await open();
    const one = stored();
    await sendMail(email(server.port, { to: ["ops@example.com", "boss@example.com"] }), one, context());
    expect(server.mails).toMatchObject([
      { from: "backup@example.com", to: ["ops@example.com", "boss@example.com"], secure: false },
    ]);
    const [mail] = server.mails;
    expect(mail!.text).toContain(`Message-ID: <${one.event}@web1>`);
    expect(mail!.text).toContain("Subject: [holdfast] backup failed: docs (web1)");
    expect(mail!.text).toContain("Content-Type: text/plain");
    expect(mail!.text).toContain("Auto-Submitted: auto-generated");
    expect(mail!.text).toMatch(/\n\nBackup of docs failed on web1: number \d+\ntime: 2026-01-01 00:00 UTC\nhost: web1\n/);
  });

  test("names and errors put nothing into its headers, and no line into its text", async () => {
    await open();
    const evil = "docs\r\nBcc: evil@example.com\r\n\r\nbody\u2028line";
    await sendMail(email(server.port), stored({ jobs: [evil], summary: evil, targets: [evil] }), context());
    const [mail] = server.mails;
    expect(mail!.to).toEqual(["ops@example.com"]);
    const [head = "", ...body] = mail!.text.split("\n\n");
    expect(head).not.toMatch(/^Bcc:/im);
    expect(body.join("\n\n")).not.toMatch(/^(?:Bcc|body|line)/m);
  });

  test("is encrypted by STARTTLS and logs in", async () => {
    await open({ password: "right" });
    await sendMail(email(server.port, {}, { security: "starttls", login: login("right") }), stored(), trusting);
    expect(server.mails).toMatchObject([{ secure: true, user: "backup" }]);
  });

  test("is encrypted from the beginning with tls", async () => {
    await open({ secure: true, password: "right" });
    await sendMail(email(server.port, {}, { security: "tls", login: login("right") }), stored(), trusting);
    expect(server.mails).toMatchObject([{ secure: true, user: "backup" }]);
  });

  test("is not sent without the encryption that was asked for, nor is the password", async () => {
    await open({ disabledCommands: ["STARTTLS"], allowInsecureAuth: true, password: "canary" });
    const error = await failure(
      sendMail(email(server.port, {}, { security: "starttls", login: login("canary") }), stored(), trusting),
    );
    expect(error.code).toBe("receiver_failed");
    expect(JSON.stringify(error.toWire())).not.toContain("canary");
    expect(server.mails).toEqual([]);
  });

  test("is not sent to a server whose certificate nobody vouches for", async () => {
    await open({ password: "right" });
    const error = await failure(
      sendMail(email(server.port, {}, { security: "starttls", login: login("right") }), stored(), context()),
    );
    expect(error.code).toBe("receiver_failed");
    expect(server.mails).toEqual([]);
  });

  test("a wrong password, a refused recipient and a refused mail are failures with the status, and without the server's words", async () => {
    await open({ password: "right", secure: true });
    const of = (password: string) => email(server.port, {}, { security: "tls", login: login(password) });
    const errors = [await failure(sendMail(of("canary-wrong"), stored(), trusting))];
    server.refuse = ({ recipient }) => (recipient === undefined ? undefined : 550);
    errors.push(await failure(sendMail(of("right"), stored(), trusting)));
    server.refuse = ({ recipient }) => (recipient === undefined ? 452 : undefined);
    errors.push(await failure(sendMail(of("right"), stored(), trusting)));
    const label = `email (127.0.0.1:${server.port})`;
    expect(errors.map(({ message }) => message)).toEqual([
      `${label} does not accept the login (535)`,
      `${label} answered with 550`,
      `${label} answered with 452`,
    ]);
    expect(JSON.stringify(errors.map((one) => one.toWire()))).not.toContain("canary");
    expect(server.mails).toEqual([]);
  });

  test("who is refused while others are not is named, and the others have it", async () => {
    await open();
    server.refuse = ({ recipient }) => (recipient === "gone@example.com" ? 550 : undefined);
    const sent = await sendMail(email(server.port, { to: ["ops@example.com", "gone@example.com"] }), stored(), context());
    expect(sent.rejected).toEqual(["gone@example.com"]);
    expect(server.mails).toMatchObject([{ to: ["ops@example.com"] }]);
  });

  test("nobody at the port is a failure", async () => {
    await open();
    expect((await failure(sendMail(email(1), stored(), context()))).message).toBe(
      "email (127.0.0.1:1) cannot be reached (ESOCKET)",
    );
  });

  test("checking a server logs in and sends nothing", async () => {
    await open({ secure: true, password: "right" });
    const of = (password: string) => email(server.port, {}, { security: "tls", login: login(password) });
    expect(await checkMail(of("right"), trusting)).toContain(String(server.port));
    expect((await failure(checkMail(of("wrong"), trusting))).message).toContain("does not accept the login");
    expect(server.mails).toEqual([]);
  });
});

test("a digest counts what happened, and says first what needs a look", async () => {
  await open();
  const events = [
    ...Array.from({ length: 300 }, (_, n) => stored({ summary: `Backup of docs completed: ${n}` }, "backup_completed")),
    stored({ summary: "Backup of docs failed: broken" }),
    stored({ summary: "The configuration was reloaded", jobs: [] }, "config_reloaded"),
  ];
  await sendDigest(email(server.port), events, context());
  await sendDigest(email(server.port), events, context());
  const [mail, again] = server.mails;
  expect(mail!.text.replaceAll("=\n", "")).toMatch(
    /\n\n {3}300 {2}backup_completed\n {5}1 {2}backup_failed\n {5}1 {2}config_reloaded\n\nWhat needs a look:\n {2}2026-01-01 00:00 {2}Backup of docs failed: broken\n\nWhat went well:\n {2}2026-01-01 00:00 {2}Backup of docs completed: 0\n/,
  );
  expect(mail!.text).toContain("and 101 more");
  expect(mail!.text).toContain("Subject: [holdfast] daily summary: 1 to look at, 302 events (web1)");
  const idOf = (text: string): string | undefined => /^Message-ID: (.*)$/m.exec(text)?.[1];
  expect(idOf(mail!.text)).toBe(idOf(again!.text));
});
