import { expect, test } from "vitest";
import { isAllowed, kindOfAddress, type AddressKind } from "../../src/notify/addresses.ts";

const CASES: readonly (readonly [AddressKind, readonly string[]])[] = [
  [
    "public",
    [
      "1.1.1.1",
      "8.8.8.8",
      "172.15.255.255",
      "172.32.0.1",
      "100.63.255.255",
      "100.128.0.0",
      "198.17.255.255",
      "198.20.0.0",
      "223.255.255.255",
      "192.0.1.1",
    ],
  ],
  ["public", ["2606:4700::1111", "2a00:1450::1", "::ffff:1.1.1.1", "::ffff:808:808", "64:ff9b::1.1.1.1"]],
  [
    "loopback",
    [
      "127.0.0.1",
      "127.255.255.255",
      "::1",
      "0:0:0:0:0:0:0:1",
      "::ffff:127.0.0.1",
      "::ffff:7f00:1",
      "64:ff9b::7f00:1",
      "2002:7f00:1::",
      "::127.0.0.1",
      "::ffff:0:127.0.0.1",
    ],
  ],
  [
    "private",
    [
      "10.0.0.1",
      "172.16.0.0",
      "172.31.255.255",
      "192.168.1.1",
      "100.64.0.1",
      "fc00::1",
      "fd12:3456::1",
      "fec0::1",
      "::ffff:10.0.0.1",
      "64:ff9b::a00:1",
      "2002:c0a8:101::5",
    ],
  ],
  ["link-local", ["169.254.1.1", "fe80::1", "fe80::1%eth0", "febf::1", "::ffff:169.254.0.1"]],
  [
    "metadata",
    [
      "169.254.169.254",
      "169.254.170.2",
      "100.100.100.200",
      "192.0.0.192",
      "fd00:ec2::254",
      "fd20:ce::254",
      "::ffff:169.254.169.254",
      "::ffff:a9fe:a9fe",
      "64:ff9b::a9fe:a9fe",
      "2002:a9fe:a9fe::",
    ],
  ],
  ["unspecified", ["0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0", "2002::1"]],
  ["multicast", ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1", "::ffff:224.0.0.1"]],
  [
    "reserved",
    [
      "192.0.0.1",
      "192.0.2.1",
      "192.88.99.1",
      "198.18.0.1",
      "198.19.255.255",
      "198.51.100.1",
      "203.0.113.9",
      "240.0.0.1",
      "255.255.255.255",
    ],
  ],
  [
    "reserved",
    [
      "2001::1",
      "2001:db8::1",
      "3fff::1",
      "100::1",
      "64:ff9b:1::101:101",
      "5f00::1",
      "4000::1",
      "2002:101:101::1",
      "::101:101",
      "::ffff:0:1.1.1.1",
    ],
  ],
  ["not an address", ["", "localhost", "127.1", "1.2.3", "0x7f.0.0.1", "2130706433", "1.2.3.4.5", "::g", "[::1]"]],
];

test.each(CASES)("%s: %j", (kind, addresses) => {
  expect(addresses.map((address) => [address, kindOfAddress(address)])).toEqual(addresses.map((address) => [address, kind]));
});

test("only public addresses may be sent to, and when it is allowed those nearby; never the others", () => {
  const all = [...new Set(CASES.map(([kind]) => kind))];
  expect(all.filter((kind) => isAllowed(kind, false))).toEqual(["public"]);
  expect(all.filter((kind) => isAllowed(kind, true))).toEqual(["public", "loopback", "private", "link-local"]);
});
