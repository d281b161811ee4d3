/**
 * The synchronous path: tokens whose header is byte for byte the one we write are signed and verified without a promise, and
 * without waiting behind password hashes in the thread pool as WebCrypto's calls do. All others go through jose, and both
 * agree on every token (`test/tokens/agreement.test.ts`).
 */
import { type Sha256, nativeSha256, nodeCrypto } from "../native.ts";
import { algorithms } from "./algorithms.ts";
import { decodeSegment, decoded, encodeBase64url } from "./base64url.ts";
import { type Mac, type Message, computesKnownMac, hmacSha256, keyBlock, messageOf, shared } from "./sha256.ts";

export interface Hmac {
  /** The first segment of our tokens, with its dot. */
  readonly head: string;
  /** Returns the base64url signature of ASCII text, a token's first two segments. */
  sign(text: string): string;
  /**
   * Checks the signature of a token that begins with {@link head}. Only the canonical base64url of it is valid.
   * @param length of the token, in bytes.
   * @returns the length of the signed text, its first two segments; 0 when the signature is invalid.
   */
  signedLength(token: Message, length: number): number;
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
    sign: (text) => encodeBase64url(macOf(messageOf(text)!, text.length)),
    signedLength(token, length) {
      const dot = length - signatureLength - 1;
      // A dot within the signature is no base64url.
      return token.bytes[dot] === 0x2e && isEncodedAt(dot + 1, length, token.bytes, macOf(token, dot)) ? dot : 0;
    },
  };
}

/** By the runtime's hash where it is faster than our own and right. Our own shortens long keys for both. */
function macSha256(secret: Uint8Array): Mac | undefined {
  const own = hmacSha256(secret);
  const native = nativeSha256;
  if (own === undefined || native === undefined) return own;
  const macOf = (key: Uint8Array) => macBy(native, key);
  return computesKnownMac(macOf) ? macOf(secret) : own;
}

/** Beginnings of the shared message, by the length of the text: to make one takes as long as to hash a block. */
const beginnings: Uint8Array[] = [];

/** HMAC (RFC 2104) by two hashes. */
function macBy(hash: Sha256, secret: Uint8Array): Mac {
  const block = keyBlock(secret, 0x36);
  const outer = new Uint8Array(64 + 32);
  outer.set(keyBlock(secret, 0x5c));
  const innerHash = outer.subarray(64);
  const mac = new Uint8Array(32);
  return (message, length) => {
    message.whole.set(block);
    hash(message === shared ? (beginnings[length] ??= begin(message, length)) : begin(message, length), innerHash);
    hash(outer, mac);
    return mac;
  };
}

const begin = ({ whole }: Message, length: number): Uint8Array => whole.subarray(0, 64 + length);

/** @param hash WebCrypto's name of it. */
function nativeMac(hash: string, secret: Uint8Array): Mac | undefined {
  if (nodeCrypto === undefined) return undefined;
  const { createHmac, createSecretKey } = nodeCrypto;
  const [name, key] = [hash.replace("-", "").toLowerCase(), createSecretKey(secret)];
  return ({ bytes }, length) => createHmac(name, key).update(bytes.subarray(0, length)).digest();
}

/**
 * Whether a MAC stands at the end of a token in canonical base64url. Constant time: the token, which is public, is decoded
 * by a table; the MAC is only compared.
 */
function isEncodedAt(start: number, end: number, token: Uint8Array, mac: Uint8Array): boolean {
  let difference = decodeSegment(token, start, end) >> 31; // -1 or 0
  for (let i = 0; i < mac.length; i++) difference |= decoded[i]! ^ mac[i]!;
  return difference === 0;
}
