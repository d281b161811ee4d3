/**
 * HMAC-SHA256 (RFC 2104, FIPS 180-4) of the short texts that tokens are. A call of Node's own hash costs a server more than
 * the hash itself, on Deno twice the whole of this, and WebCrypto, which `test/tokens/fuzz.test.ts` holds it to, answers by a
 * promise. Bun has a hash that makes no objects, and takes a fifth of the time.
 */
import { bunSha256 } from "../native.ts";

/** What the algorithm begins with, and its rounds' constants: of the first primes' roots the first 32 bits of the fraction. */
const [initial, constants] = [new Int32Array(8), new Int32Array(64)];
for (let found = 0, candidate = 2; found < 64; candidate++) {
  let divisor = 2;
  while (candidate % divisor !== 0) divisor++;
  if (divisor < candidate) continue;
  if (found < 8) initial[found] = (Math.sqrt(candidate) % 1) * 2 ** 32;
  constants[found++] = (Math.cbrt(candidate) % 1) * 2 ** 32;
}

/** The block that is hashed next, in its first 16 words; the others are for {@link compress}. */
const words = new Int32Array(64);

/** Takes {@link words} into a state of eight words. Not by array patterns, which take most engines twice the time. */
function compress(state: Int32Array): void {
  for (let i = 16; i < 64; i++) {
    const x = words[i - 15]!;
    const y = words[i - 2]!;
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    words[i] = words[i - 16]! + words[i - 7]! + s0 + s1;
  }
  let a = state[0]!;
  let b = state[1]!;
  let c = state[2]!;
  let d = state[3]!;
  let e = state[4]!;
  let f = state[5]!;
  let g = state[6]!;
  let h = state[7]!;
  for (let i = 0; i < 64; i++) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const first = (h + s1 + (g ^ (e & (f ^ g))) + constants[i]! + words[i]!) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const second = (s0 + ((a & b) | (c & (a | b)))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + first) | 0;
    d = c;
    c = b;
    b = a;
    a = (first + second) | 0;
  }
  state[0]! += a;
  state[1]! += b;
  state[2]! += c;
  state[3]! += d;
  state[4]! += e;
  state[5]! += f;
  state[6]! += g;
  state[7]! += h;
}

/**
 * Hashes a text, or its beginning, as the last that comes.
 * @param text in Latin-1: of each character the low byte counts.
 * @param length how much of it.
 * @param state after all that came before.
 * @param before how many bytes those were, a multiple of 64.
 */
function finish(state: Int32Array, text: string, length: number, before: number): void {
  let at = 0;
  for (; at + 64 <= length; compress(state)) {
    for (let i = 0; i < 16; i++, at += 4) {
      const high = ((text.charCodeAt(at) & 0xff) << 8) | (text.charCodeAt(at + 1) & 0xff);
      words[i] = (high << 16) | ((text.charCodeAt(at + 2) & 0xff) << 8) | (text.charCodeAt(at + 3) & 0xff);
    }
  }
  words.fill(0, 0, 16);
  for (let i = 0; at < length; i++, at++) words[i >> 2]! |= (text.charCodeAt(at) & 0xff) << (24 - 8 * (i & 3));
  end(state, length % 64, before + length);
}

/** @param rest how many bytes of {@link words} are taken, the others being 0. */
function end(state: Int32Array, rest: number, bytes: number): void {
  words[rest >> 2]! |= 0x80 << (24 - 8 * (rest & 3));
  if (rest >= 56) {
    compress(state);
    words.fill(0, 0, 16);
  }
  words[14] = bytes / 2 ** 29;
  words[15] = bytes << 3;
  compress(state);
}

/** Of the 32 bytes that a state is. */
const byteOf = (state: Int32Array, i: number): number => (state[i >> 2]! >>> (24 - 8 * (i & 3))) & 0xff;

function sha256(bytes: Uint8Array): Uint8Array {
  const state = initial.slice();
  finish(state, Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""), bytes.length, 0);
  return Uint8Array.from({ length: 32 }, (_, i) => byteOf(state, i));
}

/**
 * The MAC of a text's beginning, 32 bytes in an array that the next call overwrites. The text is ASCII: of another one, which
 * no token is, some bytes count.
 */
export type Mac = (text: string, length: number) => Uint8Array;

/** @param key in bytes, of any length. */
export function hmacSha256(key: Uint8Array): Mac {
  const short = key.length > 64 ? sha256(key) : key;
  const padded = (pad: number) => Uint8Array.from({ length: 64 }, (_, i) => (short[i] ?? 0) ^ pad);
  const [inner, outer] = [padded(0x36), padded(0x5c)];
  const mac = macInJs(inner, outer);
  return bunSha256 === undefined ? mac : macOnBun(bunSha256, inner, outer, mac);
}

function macInJs(innerPad: Uint8Array, outerPad: Uint8Array): Mac {
  const stateAfter = (pad: Uint8Array): Int32Array => {
    const state = initial.slice();
    for (let i = 0; i < 64; i += 4) words[i / 4] = new DataView(pad.buffer).getInt32(i);
    compress(state);
    return state;
  };
  const [inner, outer] = [stateAfter(innerPad), stateAfter(outerPad)];
  const state = new Int32Array(8);
  const mac = new Uint8Array(32);
  return (text, length) => {
    state.set(inner);
    finish(state, text, length, 64);
    words.set(state);
    words.fill(0, 8, 16);
    state.set(outer);
    end(state, 32, 96);
    for (let i = 0; i < 32; i++) mac[i] = byteOf(state, i);
    return mac;
  };
}

const utf8 = new TextEncoder();
/** Most tokens are shorter; in bytes. */
const room = 4096;

/** By two hashes of bytes that lie ready, but for the text. */
function macOnBun(
  { hash }: NonNullable<typeof bunSha256>,
  innerPad: Uint8Array,
  outerPad: Uint8Array,
  macOfLong: Mac,
): Mac {
  const [inner, outer] = [new Uint8Array(64 + room), new Uint8Array(64 + 32)];
  inner.set(innerPad);
  outer.set(outerPad);
  const [itsText, itsHash] = [inner.subarray(64), outer.subarray(64)];
  const beginnings: Uint8Array[] = []; // of `inner`, by the length of the text
  const mac = new Uint8Array(32);
  return (text, length) => {
    if (length > room || utf8.encodeInto(text, itsText).written < length) return macOfLong(text, length);
    hash((beginnings[length] ??= inner.subarray(0, 64 + length)), itsHash);
    hash(outer, mac);
    return mac;
  };
}
