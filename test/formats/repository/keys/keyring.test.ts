import { expect, test } from "vitest";
import { asObjectId } from "../../../../src/base/ids.ts";
import { KeySet } from "../../../../src/formats/repository/keys/key-set.ts";
import {
  checkFeatures,
  chooseKeyring,
  decodeKeyring,
  encodeKeyring,
  keyMaterial,
  newKeyring,
  withNewEpoch,
} from "../../../../src/formats/repository/keys/keyring.ts";
import { code, MATERIAL } from "./fixtures.ts";

const CREATED = "2026-01-02T03:04:05.006Z";
const FIRST = newKeyring({ master: Buffer.alloc(32, 1), lineageSecret: Buffer.alloc(32, 2), created: CREATED });

test("a keyring reads back", () => {
  const second = withNewEpoch(FIRST, { master: Buffer.alloc(32, 3), created: CREATED });
  for (const keyring of [FIRST, second]) expect(decodeKeyring(encodeKeyring(keyring))).toEqual(keyring);
});

test("fixed vector", () => {
  const key = (byte: string): string => Buffer.alloc(32, byte, "hex").toString("base64");
  expect(encodeKeyring(FIRST).toString()).toBe(
    `{"generation":1,"features":{"compatible":[],"readOnly":[],"incompatible":[]},` +
      `"epochs":[{"epoch":1,"master":"${key("01")}","created":"${CREATED}"}],"lineage":{"secret":"${key("02")}"}}`,
  );
});

test("a new epoch is the one new data uses, and old data stays readable", () => {
  const second = withNewEpoch(FIRST, { master: Buffer.alloc(32, 3), created: CREATED });
  expect(second.generation).toBe(2);
  expect(second.epochs.map((each) => each.epoch)).toEqual([1, 2]);
  const before = new KeySet(keyMaterial(MATERIAL.repositoryId, MATERIAL.root, FIRST));
  const after = new KeySet(keyMaterial(MATERIAL.repositoryId, MATERIAL.root, second));
  expect(after.current.epoch).toBe(2);
  expect(after.epochByKeyId(before.current.keyId)?.epoch).toBe(1);
  expect(after.lineage.id).toEqual(before.lineage.id);
});

test("members of later versions are kept in a new generation", () => {
  const later = { escrow: { a: 1 } };
  const first = JSON.parse(encodeKeyring(FIRST).toString()) as { features: object; epochs: [object]; lineage: object };
  const { features, epochs, lineage } = first;
  const text = JSON.stringify({
    ...first,
    ...later,
    features: { ...features, ...later },
    epochs: [{ ...epochs[0], ...later }],
    lineage: { ...lineage, ...later },
  });
  const next = withNewEpoch(decodeKeyring(Buffer.from(text)), { master: Buffer.alloc(32, 3), created: CREATED });
  expect(JSON.parse(encodeKeyring(next).toString())).toMatchObject({
    ...later,
    generation: 2,
    features: { ...features, ...later },
    epochs: [{ ...epochs[0], ...later }, { epoch: 2 }],
    lineage: { ...lineage, ...later },
  });
});

test("the highest generation counts, of equal ones the smaller id", () => {
  const candidate = (id: string, generation: number): { id: ReturnType<typeof asObjectId>; keyring: typeof FIRST } => ({
    id: asObjectId(id),
    keyring: { ...FIRST, generation },
  });
  expect(chooseKeyring([])).toBeUndefined();
  const list = [candidate("aa", 1), candidate("cc", 3), candidate("bb", 3), candidate("dd", 2)];
  expect(chooseKeyring(list)?.id).toBe("bb");
  expect(chooseKeyring(list.toReversed())?.id).toBe("bb");
});

test("features are ignored, or refuse writing, or refuse everything", () => {
  const none = { compatible: [], readOnly: [], incompatible: [] };
  const check = (features: object, use: "read" | "write"): string => code(() => checkFeatures({ ...none, ...features }, use));
  expect(check({}, "write")).toBe("no error");
  expect(check({ compatible: ["x"] }, "write")).toBe("no error");
  expect(check({ readOnly: ["x"] }, "read")).toBe("no error");
  expect(check({ readOnly: ["x"] }, "write")).toBe("repository_feature");
  expect(check({ incompatible: ["x"] }, "read")).toBe("repository_feature");
  expect(check({ incompatible: ["x"] }, "write")).toBe("repository_feature");
  expect(() => checkFeatures({ ...none, incompatible: ["parity"] }, "read")).toThrow("parity");
});

test("a keyring with wrong members is refused, by their names", () => {
  const members = (): Record<string, unknown> => JSON.parse(encodeKeyring(FIRST).toString()) as Record<string, unknown>;
  const refused = (change: (members: Record<string, unknown>) => void, message: string): void => {
    const value = members();
    change(value);
    const bytes = Buffer.from(JSON.stringify(value));
    expect(code(() => decodeKeyring(bytes))).toBe("object_malformed");
    expect(() => decodeKeyring(bytes)).toThrow(message);
  };
  const epoch = (members().epochs as object[])[0] as object;
  refused((value) => delete value.generation, "generation");
  refused((value) => (value.generation = 0), "generation");
  refused((value) => (value.generation = 1.5), "generation");
  refused((value) => (value.epochs = []), "no epoch");
  refused((value) => (value.epochs = [epoch, epoch]), "twice");
  refused((value) => (value.epochs = [{ ...epoch, epoch: 0 }]), "epoch");
  refused((value) => (value.epochs = [{ ...epoch, master: "AAAA" }]), "master");
  refused((value) => (value.epochs = [7]), "epochs");
  refused((value) => (value.features = {}), "compatible");
  refused((value) => (value.lineage = null), "lineage");
  expect(code(() => decodeKeyring(Buffer.from("[]")))).toBe("object_malformed");
  expect(code(() => decodeKeyring(Buffer.from("{")))).toBe("object_malformed");
  expect(code(() => decodeKeyring(Buffer.of(0x22, 0xff, 0x22)))).toBe("object_malformed");
});
