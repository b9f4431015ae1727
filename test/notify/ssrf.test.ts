/** Attempts to have something sent to where it must not go, one by one, with a server there that would take it. */
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { HoldfastError } from "../../src/base/errors.ts";
import type { WebhookConfig } from "../../src/config/config.ts";
import type { Address, Lookup } from "../../src/notify/guard.ts";
import { sendWebhook } from "../../src/notify/webhook.ts";
import { CERTIFICATE } from "../support/certificate.ts";
import { httpReceiver, type HttpReceiver } from "../support/http-receiver.ts";
import { configOf, context, event, webhook } from "./setting.ts";

let inside: HttpReceiver;
let elsewhere: HttpReceiver;
beforeAll(async () => {
  inside = await httpReceiver({ address: "0.0.0.0" });
  // The same port at another address of this machine: where a second answer of a name server would lead.
  elsewhere = await httpReceiver({ address: "127.0.0.1" });
});
afterAll(async () => {
  await inside[Symbol.asyncDispose]();
  await elsewhere[Symbol.asyncDispose]();
});
beforeEach(() => {
  inside.received.length = 0;
  elsewhere.received.length = 0;
  inside.answer = () => undefined;
});

const one = event(configOf([webhook("http://unused.example/")]));
const message = { event: one.id, payload: one.payload };
const four = (address: string): Address => ({ address, family: 4 });

/** What sending was refused with; undefined when it was sent. */
async function refusal(hook: WebhookConfig, lookup?: Lookup): Promise<HoldfastError | undefined> {
  try {
    await sendWebhook(hook, message, context({ ...(lookup && { lookup }), trust: CERTIFICATE }));
    return undefined;
  } catch (error) {
    return error as HoldfastError;
  }
}

/** Ways to write an address that URLs allow. */
const LITERALS: readonly (readonly [string, string])[] = [
  ["127.0.0.1", "loopback"],
  ["127.1", "loopback"],
  ["2130706433", "loopback"],
  ["017700000001", "loopback"],
  ["0177.0.0.1", "loopback"],
  ["0x7f000001", "loopback"],
  ["0x7f.1", "loopback"],
  ["127.0.0.1.", "loopback"],
  ["%31%32%37.0.0.1", "loopback"],
  ["１２７。０。０。１", "loopback"],
  ["[::1]", "loopback"],
  ["[::ffff:127.0.0.1]", "loopback"],
  ["[::ffff:7f00:1]", "loopback"],
  ["[0:0:0:0:0:ffff:7f00:0001]", "loopback"],
  ["[64:ff9b::127.0.0.1]", "loopback"],
  ["[2002:7f00:1::]", "loopback"],
  ["[::127.0.0.1]", "loopback"],
  ["0.0.0.0", "unspecified"],
  ["0", "unspecified"],
  ["[::]", "unspecified"],
  ["10.0.0.1", "private"],
  ["167772161", "private"],
  ["172.16.0.1", "private"],
  ["192.168.0.1", "private"],
  ["100.64.0.1", "private"],
  ["[fd00::1]", "private"],
  ["[::ffff:10.0.0.1]", "private"],
  ["169.254.1.1", "link-local"],
  ["[fe80::1]", "link-local"],
  ["169.254.169.254", "metadata"],
  ["2852039166", "metadata"],
  ["0xa9fea9fe", "metadata"],
  ["[::ffff:169.254.169.254]", "metadata"],
  ["[64:ff9b::a9fe:a9fe]", "metadata"],
  ["[fd00:ec2::254]", "metadata"],
  ["100.100.100.200", "metadata"],
  ["224.0.0.1", "multicast"],
  ["[ff02::1]", "multicast"],
  ["255.255.255.255", "reserved"],
  ["[64:ff9b:1::7f00:1]", "reserved"],
  ["[2001:0:5ef5:79fd::1]", "reserved"],
];

test.each(LITERALS)("http://%s is refused: %s", async (host, kind) => {
  const error = await refusal(webhook(`http://${host}:${inside.port}/latest/meta-data/`, { allowPrivate: false }));
  expect(error).toMatchObject({ code: "receiver_refused", data: { kind } });
  expect(error?.hint).toMatch(/./);
  expect(error?.message).not.toContain("meta-data");
  expect(inside.received).toEqual([]);
});

test.each(["localhost", "LOCALHOST"])("the name %s is refused as this machine's", async (host) => {
  expect(await refusal(webhook(`http://${host}:${inside.port}/`, { allowPrivate: false }))).toMatchObject({
    code: "receiver_refused",
    data: { kind: "loopback" },
  });
  expect(inside.received).toEqual([]);
});

test.each([
  ["loopback", "127.0.0.1"],
  ["private", "10.1.2.3"],
  ["link-local", "fe80::1"],
  ["metadata", "169.254.169.254"],
  ["metadata", "::ffff:a9fe:a9fe"],
  ["unspecified", "0.0.0.0"],
])("a name of the outside that leads to a %s address (%s) is refused, also beside a public one", async (kind, address) => {
  const found = { address, family: address.includes(":") ? 6 : 4 } as const;
  for (const answers of [[found], [four("93.184.216.34"), found]])
    expect(
      await refusal(webhook(`http://rebind.example:${inside.port}/`, { allowPrivate: false }), async () => answers),
    ).toMatchObject({
      code: "receiver_refused",
      data: { kind, address },
    });
  expect(inside.received).toEqual([]);
});

test.each([
  ["http://169.254.169.254/", "metadata"],
  ["http://[fd00:ec2::254]/", "metadata"],
  ["http://0.0.0.0/", "unspecified"],
  ["http://[ff02::1]/", "multicast"],
  ["http://240.0.0.1/", "reserved"],
])("allowPrivate does not let %s through", async (url, kind) => {
  expect(await refusal(webhook(url, { allowPrivate: true }))).toMatchObject({ code: "receiver_refused", data: { kind } });
});

test.each(["ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/", "data:text/plain,x", "not a url"])(
  "%s is no place to send to, allowed or not",
  async (url) => {
    expect(await refusal(webhook(url, { allowPrivate: true }))).toMatchObject({ code: "receiver_refused" });
  },
);

test("a user and password in a URL are refused, and said nowhere", async () => {
  const error = await refusal(webhook(`http://user:canary@127.0.0.1:${inside.port}/`));
  expect(error).toMatchObject({ code: "receiver_refused" });
  expect(JSON.stringify(error?.toWire())).not.toContain("canary");
  expect(inside.received).toEqual([]);
});

test("a name is resolved once, and what is connected to is the answer that was checked", async () => {
  const answers = [[four("127.0.0.1")], [four("127.0.0.2")]];
  let asked = 0;
  const lookup: Lookup = async (host) => {
    expect(host).toBe("hooks.test");
    return answers[asked++] ?? [];
  };
  // Nothing resolves hooks.test but this lookup: it is reached only through the address it gave.
  expect(await refusal(webhook(`http://hooks.test:${elsewhere.port}/path?q=1`), lookup)).toBeUndefined();
  expect(asked).toBe(1);
  expect(elsewhere.received).toMatchObject([{ path: "/path?q=1", headers: { host: `hooks.test:${elsewhere.port}` } }]);
});

test("over TLS the name stays what is asked for and what the certificate must be for", async () => {
  await using secure = await httpReceiver({ tls: true });
  const lookup: Lookup = async () => [four("127.0.0.1")];
  expect(await refusal(webhook(`https://hooks.test:${secure.port}/`), lookup)).toBeUndefined();
  expect(secure.received).toMatchObject([{ servername: "hooks.test", headers: { host: `hooks.test:${secure.port}` } }]);
  const other = await refusal(webhook(`https://other.test:${secure.port}/`), lookup);
  expect(other).toMatchObject({ code: "receiver_failed" });
  expect(other?.message).toContain("ERR_TLS_CERT_ALTNAME_INVALID");
  expect(secure.received).toHaveLength(1);
});

test("a certificate that nobody vouches for is not accepted", async () => {
  await using secure = await httpReceiver({ tls: true });
  const sending = sendWebhook(webhook(`https://127.0.0.1:${secure.port}/`), message, context());
  await expect(sending).rejects.toMatchObject({ code: "receiver_failed" });
  expect(secure.received).toEqual([]);
});

test.each([301, 302, 303, 307, 308])("a redirect with %i is not followed", async (status) => {
  inside.answer = () => ({ status, headers: { location: `http://127.0.0.1:${elsewhere.port}/` } });
  const error = await refusal(webhook(`http://127.0.0.1:${inside.port}/hook-canary`));
  expect(error).toMatchObject({ code: "receiver_failed", transient: true });
  expect(error?.message).toContain(String(status));
  expect(error?.hint).toContain("redirect");
  expect(inside.received).toHaveLength(1);
  expect(elsewhere.received).toEqual([]);
});
