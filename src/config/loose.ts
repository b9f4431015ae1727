import type { HoldfastFile } from "./schema-types.ts";

/** A value of which mistakes were taken out: any key may be missing, any item undefined. What is there has the right type. */
export type Loose<T> = T extends readonly (infer Item)[]
  ? (Loose<Item> | undefined)[]
  : T extends object
    ? { [Key in keyof T]?: Loose<T[Key]> }
    : T;

export type LooseFile = Loose<HoldfastFile>;

/** Entries of a map that may be missing, without those that were taken out. */
export function entriesOf<Item>(map: { [key: string]: Item | undefined } | undefined): [string, NonNullable<Item>][] {
  return Object.entries(map ?? {}).filter(
    (entry): entry is [string, NonNullable<Item>] => entry[1] !== undefined && entry[1] !== null,
  );
}
