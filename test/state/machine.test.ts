import { expect, test } from "vitest";
import { isOnBattery, Machine } from "../../src/state/machine.ts";
import { temporaryTree, type TreeLiteral } from "../support/tree-literal.ts";

const battery = (status: string, more: TreeLiteral = {}): TreeLiteral => ({ type: "Battery\n", status: `${status}\n`, ...more });
const mains = (online: string): TreeLiteral => ({ type: "Mains\n", online: `${online}\n` });

test.each([
  ["a machine that shows no supply", {}, false],
  ["a laptop that is plugged in", { AC: mains("1"), BAT0: battery("Charging") }, false],
  ["a laptop that is not", { AC: mains("0"), BAT0: battery("Discharging") }, true],
  ["one whose battery rests without mains", { AC: mains("0"), BAT0: battery("Not charging") }, true],
  ["one that is charged by USB", { usb: { type: "USB", online: "1" }, BAT0: battery("Charging") }, false],
  ["one that shows no adapter, discharging", { BAT0: battery("Discharging") }, true],
  ["one that shows no adapter, full", { BAT0: battery("Full") }, false],
  ["a desktop with a mouse", { hidpp: battery("Discharging", { scope: "Device" }) }, false],
  ["an adapter alone", { AC: mains("0") }, false],
] as const)("%s", (_, supplies, expected) => {
  using folder = temporaryTree(supplies as TreeLiteral);
  expect(isOnBattery(folder.path)).toBe(expected);
});

test("where the kernel lists no supplies it is on mains; the machine can always be looked at", () => {
  expect(isOnBattery("/nowhere")).toBe(false);
  expect(new Machine().state()).toEqual({
    load: expect.any(Number) as number,
    onBattery: expect.any(Boolean) as boolean,
    metered: false,
  });
});
