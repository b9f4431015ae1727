import { Secret } from "../base/secret.ts";

/** A Map that cannot be changed after it is made, and prints as an object in JSON. */
class FrozenMap<Value> extends Map<string, Value> {
  constructor(entries: Iterable<readonly [string, Value]>) {
    super();
    for (const [key, value] of entries) super.set(key, value);
    Object.freeze(this);
  }

  override set(): this {
    throw new TypeError("The configuration cannot be changed");
  }

  override delete(): boolean {
    throw new TypeError("The configuration cannot be changed");
  }

  override clear(): void {
    throw new TypeError("The configuration cannot be changed");
  }

  toJSON(): Record<string, Value> {
    return Object.fromEntries(this);
  }
}

export function frozenMap<Value>(entries: Iterable<readonly [string, Value]>): ReadonlyMap<string, Value> {
  return new FrozenMap(entries);
}

/** Freezes plain objects, arrays and the values of Maps, all the way down; returns its argument. */
export function deepFreeze<Value>(value: Value): Value {
  if (typeof value !== "object" || value === null || value instanceof Secret) return value;
  if (value instanceof Map) {
    for (const item of value.values()) deepFreeze(item);
    return value;
  }
  if (Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const item of Object.values(value)) deepFreeze(item);
  return value;
}
