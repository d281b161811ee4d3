/**
 * SHA-256 (FIPS 180-4) and HMAC (RFC 2104) for texts as short as tokens. Own code, because a call of `createHmac` costs a
 * server several times what the hash itself costs, and WebCrypto returns promises; Node and Bun have a faster hash
 * (`native.ts`). It stands under the published vectors of FIPS 180-4, RFC 4231 and Wycheproof
 * (`test/tokens/sha256.test.ts`), and {@link hmacSha256} computes a known answer before it hands out a function.
 *
 * Constant time: no branch and no index depends on the key or on the hash, only on lengths and on how a text begins.
 */
import { encodeBase64url, utf8 } from "./base64url.ts";

/** H(0), the initial hash value (FIPS 180-4 §5.3.3). */
const initial = new Int32Array([
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
]);

/** K, the constants of the 64 rounds (FIPS 180-4 §4.2.2). */
const constants = new Int32Array([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98,
  0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
  0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
  0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
  0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819,
  0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
  0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
  0xc67178f2,
]);

/** The message schedule (FIPS 180-4 §6.2.2); the next block goes into its first 16 words. */
const words = new Int32Array(64);

/** Hashes the block in {@link words} into a state. Array patterns instead of eight variables take most engines twice the time. */
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
    const t1 = (h + s1 + (g ^ (e & (f ^ g))) + constants[i]! + words[i]!) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (s0 + ((a & b) | (c & (a | b)))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
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

/** A text of ASCII as bytes: to copy it once takes less time than to read its characters for the hash and for decoding. */
export interface Message {
  /** 64 bytes for the block of a key, in front of the text. */
  readonly whole: Uint8Array<ArrayBuffer>;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView;
}

/** @param room for the text, in bytes. A block more is added, because {@link load} reads whole blocks. */
function newMessage(room: number): Message {
  const whole = new Uint8Array(64 + room + 64);
  return { whole, bytes: whole.subarray(64), view: new DataView(whole.buffer, 64) };
}

/** Returns a message of any bytes, whatever their values. */
export function messageOfBytes(data: Uint8Array): Message {
  const message = newMessage(data.length);
  message.bytes.set(data);
  return message;
}

/** Holds one text after the other; most are shorter. */
export const shared = newMessage(4096);

/** Returns a text as bytes until the next call, or `undefined` when not all of it is ASCII: UTF-8 has other bytes for it. */
export function messageOf(text: string): Message | undefined {
  const message = text.length > 4096 ? newMessage(text.length) : shared;
  // A character beyond ASCII takes more than one byte, and there is room for more bytes than characters.
  return utf8.encodeInto(text, message.bytes).written === text.length ? message : undefined;
}

/** Reads a block of a message into {@link words}. */
function load(view: DataView, at: number): void {
  for (let i = 0; i < 16; i++) words[i] = view.getInt32(at + 4 * i);
}

/**
 * Hashes the last part of a message: whole blocks, then the padding.
 * @param state the state after all parts before.
 * @param at index of the part's first byte.
 * @param end index after its last.
 * @param before how many bytes were hashed before index 0, a multiple of 64.
 */
function finish(state: Int32Array, view: DataView, at: number, end: number, before: number): void {
  for (; at + 64 <= end; at += 64) {
    load(view, at);
    compress(state);
  }
  load(view, at); // past the end too, which `pad` clears
  pad(state, end - at, before + end);
}

/**
 * Pads and hashes the last block (FIPS 180-4 §5.1.1).
 * @param rest how many bytes of {@link words} are message.
 * @param bytes length of the whole message.
 */
function pad(state: Int32Array, rest: number, bytes: number): void {
  const last = rest >> 2;
  const bits = 8 * (rest & 3);
  words[last] = (words[last]! & ~(-1 >>> bits)) | (0x80 << (24 - bits));
  words.fill(0, last + 1, 16);
  if (rest >= 56) {
    compress(state);
    words.fill(0, 0, 16);
  }
  words[14] = bytes / 2 ** 29;
  words[15] = bytes << 3;
  compress(state);
}

/** Writes the 32 bytes that a state consists of. */
function store(state: Int32Array, into: Uint8Array): Uint8Array {
  for (let i = 0; i < 32; i++) into[i] = state[i >> 2]! >>> (24 - 8 * (i & 3));
  return into;
}

/** Returns the SHA-256 hash of some bytes. */
export function sha256(data: Uint8Array): Uint8Array {
  const state = initial.slice();
  finish(state, messageOfBytes(data).view, 0, data.length, 0);
  return store(state, new Uint8Array(32));
}

/**
 * Computes the HMAC of the first `length` bytes of a message.
 * @returns the bytes of the MAC, in an array that the next call may overwrite.
 */
export type Mac = (message: Message, length: number) => Uint8Array;

/** RFC 4231 §4.8, test case 7: key and text are both longer than a block, so every line above takes part. */
const known = {
  key: new Uint8Array(131).fill(0xaa),
  text:
    "This is a test using a larger than block-size key and a larger than block-size data. " +
    "The key needs to be hashed before being used by the HMAC algorithm.",
  mac: "mwn_pxuUL8snY1-81bDpRL_cY2RPBxOTin9RU1w6NeI",
};

/**
 * Returns whether MACs of a kind are right.
 * @param macOf makes the function for a key.
 */
export function computesKnownMac(macOf: (key: Uint8Array) => Mac): boolean {
  return encodeBase64url(macOf(known.key)(messageOf(known.text)!, known.text.length)) === known.mac;
}

/**
 * Makes the function that computes HMAC-SHA256 under a key.
 * @param key bytes of any length.
 * @returns `undefined` where this runtime does not compute the known answer; the caller must use another implementation.
 */
export function hmacSha256(key: Uint8Array): Mac | undefined {
  return computesKnownMac(macWith) ? macWith(key) : undefined;
}

/** Returns the block that a key makes for the inner (0x36) or the outer (0x5c) hash. */
export function keyBlock(key: Uint8Array, padding: number): Uint8Array<ArrayBuffer> {
  const short = key.length > 64 ? sha256(key) : key;
  return Uint8Array.from({ length: 64 }, (_, i) => (short[i] ?? 0) ^ padding);
}

function macWith(key: Uint8Array): Mac {
  const stateAfter = (padding: number): Int32Array => {
    const state = initial.slice();
    load(new DataView(keyBlock(key, padding).buffer), 0);
    compress(state);
    return state;
  };
  const [inner, outer] = [stateAfter(0x36), stateAfter(0x5c)];
  const state = new Int32Array(8);
  const mac = new Uint8Array(32);
  /** First blocks of texts, each with the state after it: tokens of one type begin alike, with their header and type. */
  const begun = Array.from({ length: 8 }, () => new Int32Array(16 + 8));

  /** Hashes the first block of a text, or takes over the state after it. Returns the length of the block. */
  function hashFirst(view: DataView): number {
    load(view, 0);
    const kept = begun[Math.imul(words[15]!, 0x9e3779b1) >>> 29]!;
    let difference = words[0] === 0 ? 1 : 0; // as in a place that is still empty
    for (let i = 0; i < 16; i++) difference |= kept[i]! ^ words[i]!;
    if (difference === 0) for (let i = 0; i < 8; i++) state[i] = kept[16 + i]!;
    else {
      compress(state);
      kept.set(words.subarray(0, 16));
      kept.set(state, 16);
    }
    return 64;
  }

  return ({ view }, length) => {
    state.set(inner);
    finish(state, view, length < 64 ? 0 : hashFirst(view), length, 64);
    words.set(state);
    state.set(outer);
    pad(state, 32, 96);
    return store(state, mac);
  };
}
