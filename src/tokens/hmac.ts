/**
 * The synchronous path: tokens whose header is byte for byte the one we write are signed and verified without a promise, and
 * without waiting behind password hashes in the thread pool as WebCrypto's calls do. All others go through jose, and both
 * agree on every token (`test/tokens/agreement.test.ts`).
 */
import { bunSha256, nodeCrypto } from "../native.ts";
import { algorithms } from "./algorithms.ts";
import { encodeBase64url, sixBits } from "./base64url.ts";
import { type Mac, hmacSha256, sha256 } from "./sha256.ts";

export interface Hmac {
  /** The first segment of our tokens, with its dot. */
  readonly head: string;
  /** Returns the base64url signature of ASCII text, a token's first two segments. */
  sign(text: string): string;
  /** Whether a token that begins with {@link head} has a valid signature, in canonical base64url. */
  isSigned(token: string): boolean;
}

/**
 * Makes the synchronous path for a secret.
 * @returns `undefined` for other algorithms than HMAC, and where this runtime has no implementation: jose serves then.
 */
export function hmacOf(alg: string, kid: string | undefined, secret: Uint8Array): Hmac | undefined {
  const { importing } = algorithms[alg] ?? {};
  if (importing?.name !== "HMAC") return undefined;
  const macOf = importing.hash === "SHA-256" ? macSha256(secret) : nativeMac(importing.hash!, secret);
  if (macOf === undefined) return undefined;
  const signatureLength = Math.ceil((algorithms[alg]!.leastBytes! * 4) / 3);
  return {
    head: `${encodeBase64url(JSON.stringify({ alg, typ: "JWT", kid }))}.`,
    sign: (text) => encodeBase64url(macOf(text, text.length)!),
    isSigned(token) {
      const dot = token.lastIndexOf(".");
      if (token.length - dot - 1 !== signatureLength) return false;
      const mac = macOf(token, dot);
      return mac !== undefined && isEncodedAt(dot + 1, token, mac);
    },
  };
}

/** By our own hash. Bun's own takes a quarter less of a whole verification there than `createHmac`. */
function macSha256(secret: Uint8Array): Mac | undefined {
  const mac = hmacSha256(secret);
  return mac === undefined || bunSha256 === undefined ? mac : bunMac(bunSha256, secret, mac);
}

/** Most texts are shorter, in characters. */
const bunRoom = 4096;

/** HMAC (RFC 2104) by two hashes of bytes that lie ready, except for the text. */
function bunMac({ hash }: NonNullable<typeof bunSha256>, secret: Uint8Array, macOfLong: Mac): Mac {
  const inner = new Uint8Array(64 + bunRoom).fill(0x36, 0, 64);
  const outer = new Uint8Array(64 + 32).fill(0x5c, 0, 64);
  for (const [i, byte] of (secret.length > 64 ? sha256(secret) : secret).entries()) {
    inner[i]! ^= byte;
    outer[i]! ^= byte;
  }
  const [innerText, innerHash] = [inner.subarray(64), outer.subarray(64)];
  const messages: Uint8Array[] = []; // beginnings of `inner`, by the length of the text
  const mac = new Uint8Array(32);
  return (text, length) => {
    if (text.length > bunRoom) return macOfLong(text, length);
    const { read, written } = utf8.encodeInto(text, innerText);
    if (read !== text.length || written !== read) return undefined; // not ASCII
    hash((messages[length] ??= inner.subarray(0, 64 + length)), innerHash);
    hash(outer, mac);
    return mac;
  };
}

const utf8 = new TextEncoder();

/** @param hash WebCrypto's name of it. */
function nativeMac(hash: string, secret: Uint8Array): Mac | undefined {
  if (nodeCrypto === undefined) return undefined;
  const { createHmac, createSecretKey } = nodeCrypto;
  const [name, key] = [hash.replace("-", "").toLowerCase(), createSecretKey(secret)];
  return (text, length) => createHmac(name, key).update(text.slice(0, length)).digest();
}

/**
 * Whether a MAC stands at the end of a token in canonical base64url. Constant time: the token, which is public, is decoded
 * by a table; the MAC is only compared.
 */
function isEncodedAt(start: number, token: string, mac: Uint8Array): boolean {
  let difference = 0;
  let held = 0;
  let bits = 0;
  for (let i = start, at = 0; i < token.length; i++) {
    const code = token.charCodeAt(i);
    const six = code < 128 ? sixBits[code]! : 64;
    if (six === 64) return false;
    held = (held << 6) | six;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    difference |= ((held >>> bits) & 0xff) ^ mac[at++]!;
  }
  return (difference | (held & ((1 << bits) - 1))) === 0;
}
