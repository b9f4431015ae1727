import * as zlib from "node:zlib";
import { HoldfastError } from "../base/errors.ts";

/** Name of a compression method, as the configuration writes it. */
export type CodecName = "none" | "zstd" | "gzip";

/** The number a header or a directory holds for each codec. */
export const CODEC_NUMBER: Readonly<Record<CodecName, number>> = { none: 0, zstd: 1, gzip: 2 };

const CODEC_NAMES: readonly CodecName[] = ["none", "zstd", "gzip"];

/** 16 MiB: what a reader may be made to keep for one zstd frame. */
const MAX_WINDOW_LOG = 24;

/**
 * Level 3, the default, with search tables of 320 KiB instead of 768 KiB, which stay in a core's own cache beside what is
 * compressed, and without matches of 5 bytes: a tenth less time, 2.5 to 4 % more bytes (docs/performance.md).
 */
const DEFAULT_LEVEL_TABLES: Readonly<Record<number, number>> = {
  [zlib.constants.ZSTD_c_hashLog]: 16,
  [zlib.constants.ZSTD_c_chainLog]: 14,
  [zlib.constants.ZSTD_c_minMatch]: 6,
};

const SAMPLE_BYTES = 16 * 1024;
const SAMPLED_FROM_BYTES = 128 * 1024;
const MAX_SAMPLES = 8;
/** Compression is kept when it saves at least 3 %: below that, reading costs more than the space is worth. */
const WORTHWHILE = 0.97;
/** A sample sees fewer repetitions than the whole, so only a hopeless one decides. */
const HOPELESS = 0.99;

/** The codec of a stored number. Throws `object_malformed` for one this version does not know. */
export function codecName(number: number): CodecName {
  const name = CODEC_NAMES[number];
  if (name === undefined) throw new HoldfastError("object_malformed", `Codec number ${number} is unknown`);
  return name;
}

/** True for a codec number this version can read. */
export function isCodecNumber(number: number): boolean {
  return number < CODEC_NAMES.length;
}

/**
 * Compresses `raw` in one go: a single zstd frame that states its content size, without checksum and with a window of at
 * most 16 MiB, or a single gzip member. `none` copies nothing. Equal input gives equal output for one version of Node.
 */
export function compress(codec: CodecName, level: number, raw: Uint8Array): Buffer {
  // One output block that fits the worst case: untouched pages of it cost nothing, joining blocks would.
  const chunkSize = raw.length + (raw.length >>> 8) + 1024;
  switch (codec) {
    case "none":
      return Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
    case "gzip":
      return zlib.gzipSync(raw, { level, chunkSize });
    case "zstd": {
      const params: Record<number, number> = {
        [zlib.constants.ZSTD_c_compressionLevel]: level,
        [zlib.constants.ZSTD_c_contentSizeFlag]: 1,
        [zlib.constants.ZSTD_c_checksumFlag]: 0,
      };
      if (level === 3) Object.assign(params, DEFAULT_LEVEL_TABLES);
      // Only these levels choose a larger window; naming it for the others would change what they cost.
      if (level >= 20) params[zlib.constants.ZSTD_c_windowLog] = MAX_WINDOW_LOG;
      return zlib.zstdCompressSync(raw, { params, pledgedSrcSize: raw.length, chunkSize });
    }
  }
}

/**
 * Compresses `raw` unless it is not worth it: then `codec` is `none` and `bytes` is `raw` itself. Large inputs are judged by
 * a few spread samples first, so that media files cost almost nothing; not where `sampled` is false, because what came
 * before compressed well.
 */
export function compressIfWorthwhile(
  codec: CodecName,
  level: number,
  raw: Uint8Array,
  sampled = true,
): { codec: CodecName; bytes: Uint8Array } {
  if (codec === "none" || raw.length === 0) return { codec: "none", bytes: raw };
  if (sampled && raw.length >= SAMPLED_FROM_BYTES && looksHopeless(codec, raw)) return { codec: "none", bytes: raw };
  const bytes = compress(codec, level, raw);
  return bytes.length <= raw.length * WORTHWHILE ? { codec, bytes } : { codec: "none", bytes: raw };
}

function looksHopeless(codec: CodecName, raw: Uint8Array): boolean {
  const count = Math.min(MAX_SAMPLES, Math.floor(raw.length / (2 * SAMPLE_BYTES)));
  const sample = Buffer.allocUnsafe(count * SAMPLE_BYTES);
  const stride = (raw.length - SAMPLE_BYTES) / (count - 1);
  for (let i = 0; i < count; i++) {
    const start = Math.floor(i * stride);
    sample.set(raw.subarray(start, start + SAMPLE_BYTES), i * SAMPLE_BYTES);
  }
  return compress(codec, 1, sample).length > sample.length * HOPELESS;
}

/**
 * The inverse of `compress`: exactly `rawLength` bytes from exactly one frame or member. Never allocates much more than
 * `rawLength`. Throws `object_damaged` when the data does not decode, decodes to another length, asks for a larger window,
 * or is followed by anything; `object_malformed` for an unknown codec. For `none` the result is a view of `stored`.
 */
export function decompress(codecNumber: number, stored: Uint8Array, rawLength: number): Buffer {
  const codec = codecName(codecNumber);
  const raw =
    codec === "none" ? Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength) : inflate(codec, stored, rawLength);
  if (raw.length !== rawLength) throw damaged(codec, `it has ${raw.length} bytes instead of ${rawLength}`);
  return raw;
}

function inflate(codec: "zstd" | "gzip", stored: Uint8Array, rawLength: number): Buffer {
  const options = { maxOutputLength: Math.max(1, rawLength), chunkSize: Math.max(64, rawLength) };
  try {
    if (codec === "gzip") return gunzip(stored, options);
    // Decoders go on to a second frame by themselves, so the end of the first is found before.
    if (zstdFrameLength(stored) !== stored.length) throw damaged(codec, "something follows its frame");
    return zlib.zstdDecompressSync(stored, { ...options, params: { [zlib.constants.ZSTD_d_windowLogMax]: MAX_WINDOW_LOG } });
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    throw damaged(codec, error instanceof Error ? error.message : String(error), error);
  }
}

const GZIP_HEADER_BYTES = 10;
const GZIP_TRAILER_BYTES = 8;

/** One member with a plain header. Done by hand because zlib's own reader joins members and ignores what follows. */
function gunzip(stored: Uint8Array, options: zlib.ZlibOptions): Buffer {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
  if (bytes.length < GZIP_HEADER_BYTES + GZIP_TRAILER_BYTES) throw damaged("gzip", "it ends early");
  if (bytes.readUInt32BE(0) !== 0x1f8b0800) throw damaged("gzip", "its header is not a plain gzip header");
  const body = bytes.subarray(GZIP_HEADER_BYTES, -GZIP_TRAILER_BYTES);
  // `info` is what tells how much input was used; the typings know only the plain result.
  const { buffer, engine } = zlib.inflateRawSync(body, { ...options, info: true }) as unknown as {
    buffer: Buffer;
    engine: { bytesWritten: number };
  };
  if (engine.bytesWritten !== body.length) throw damaged("gzip", "something follows its member");
  const trailer = bytes.length - GZIP_TRAILER_BYTES;
  if (bytes.readUInt32LE(trailer) !== zlib.crc32(buffer)) throw damaged("gzip", "its checksum does not fit");
  if (bytes.readUInt32LE(trailer + 4) !== buffer.length) throw damaged("gzip", "its length does not fit");
  return buffer;
}

/** Length of the zstd frame that `stored` begins with (RFC 8878, section 3.1.1), found from its block headers alone. */
function zstdFrameLength(stored: Uint8Array): number {
  const bytes = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength);
  if (bytes.length < 6 || bytes.readUInt32LE(0) !== 0xfd2fb528) throw damaged("zstd", "it does not begin with a frame");
  const descriptor = bytes[4] as number;
  const singleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >>> 6;
  if ((descriptor & 0x03) !== 0) throw damaged("zstd", "it names a dictionary");
  if (!singleSegment) {
    const window = bytes[5] as number;
    const base = 2 ** (10 + (window >>> 3));
    if (base + (base / 8) * (window & 7) > 2 ** MAX_WINDOW_LOG) throw damaged("zstd", "its window exceeds 16 MiB");
  }
  let at = 5 + (singleSegment ? 0 : 1) + (sizeFlag === 0 ? (singleSegment ? 1 : 0) : 1 << sizeFlag);
  for (;;) {
    if (at + 3 > bytes.length) throw damaged("zstd", "it ends early");
    const header = bytes.readUIntLE(at, 3);
    const type = (header >>> 1) & 3;
    if (type === 3) throw damaged("zstd", "it has a block of an unknown type");
    at += 3 + (type === 1 ? 1 : header >>> 3);
    if ((header & 1) !== 0) break;
  }
  return at + ((descriptor & 0x04) !== 0 ? 4 : 0);
}

function damaged(codec: CodecName, what: string, cause?: unknown): HoldfastError {
  return new HoldfastError("object_damaged", `Data stored as ${codec} cannot be used: ${what}`, { cause });
}
