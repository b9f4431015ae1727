import * as crypto from "node:crypto";
import type { Randomness } from "../base/random.ts";

/** The operating system's randomness, for everything but tests. */
export const systemRandom: Randomness = { bytes: (length) => crypto.randomBytes(length) };
