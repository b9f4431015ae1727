import { HoldfastError } from "../base/errors.ts";

/** Name of a chunking profile, as `sources/` use it. */
export type ProfileName = "files" | "stream" | "pages64" | "pages16";

/** How content is cut. Sizes in bytes; a fixed profile has `min === target === max`. */
export interface ProfileParameters {
  readonly number: number;
  readonly name: ProfileName;
  readonly min: number;
  readonly target: number;
  readonly max: number;
  /** `hash >>> shift === 0` cuts: harder before the target size … */
  readonly shiftBefore: number;
  /** … and easier after it, which pulls sizes towards the target. */
  readonly shiftAfter: number;
}

function content(number: number, name: ProfileName, min: number, target: number, max: number): ProfileParameters {
  const bits = Math.log2(target);
  return { number, name, min, target, max, shiftBefore: 32 - (bits + 2), shiftAfter: 32 - (bits - 2) };
}

/** Every profile by name; the numbers are recorded in trees and never reused. */
export const PROFILES: Readonly<Record<ProfileName, ProfileParameters>> = {
  files: content(1, "files", 262_144, 1_048_576, 4_194_304),
  stream: content(2, "stream", 32_768, 65_536, 262_144),
  pages64: content(3, "pages64", 65_536, 65_536, 65_536),
  pages16: content(4, "pages16", 16_384, 16_384, 16_384),
};

const BY_NUMBER: readonly (ProfileParameters | undefined)[] = [
  undefined,
  PROFILES.files,
  PROFILES.stream,
  PROFILES.pages64,
  PROFILES.pages16,
];

/** The number a tree holds for a file without content. */
export const NO_PROFILE = 0;

export function profileNumber(name: ProfileName): number {
  return PROFILES[name].number;
}

/** True for 0 (no content) and every number this version can cut. */
export function isProfileNumber(number: number): boolean {
  return number === NO_PROFILE || BY_NUMBER[number] !== undefined;
}

/** The name of a recorded number; undefined for 0. Throws `object_malformed` for an unknown one. */
export function profileName(number: number): ProfileName | undefined {
  return number === NO_PROFILE ? undefined : profileByNumber(number).name;
}

/** The parameters of a recorded number. Throws `object_malformed` for 0 and unknown ones. */
export function profileByNumber(number: number): ProfileParameters {
  const profile = BY_NUMBER[number];
  if (profile === undefined) throw new HoldfastError("object_malformed", `Chunk profile ${number} is unknown`);
  return profile;
}

/** Largest chunk of a recorded number, bytes: a buffer of this size always holds a cut. */
export function maxChunk(number: number): number {
  return profileByNumber(number).max;
}
