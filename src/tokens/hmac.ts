/**
 * The hot path: tokens whose header is byte for byte the one we write are signed and verified at once, without a promise
 * and without waiting behind password hashes in a thread pool, as WebCrypto's calls do. All others go through jose, and
 * both agree on every token (`test/tokens/fuzz.test.ts`).
 */
import { nodeCrypto } from "../native.ts";
import { hmacSha256 } from "./sha256.ts";
import { base64urlCodes } from "./strict-json.ts";

export interface Hmac {
  /** The first segment of our tokens, with its dot. */
  readonly head: string;
  /** The base64url signature of the first two segments, which are ASCII. */
  sign(text: string): string;
  /** Whether a token that begins with {@link head} carries its signature, in the one spelling that we write. */
  isSigned(token: string): boolean;
}

/** @returns `undefined` where the algorithm needs `node:crypto` and there is none. */
export function hmacOf(alg: string, kid: string | undefined, secret: Uint8Array): Hmac | undefined {
  const signature = alg === "HS256" ? hs256(secret) : nodeCrypto && longerHmac(nodeCrypto, alg, secret);
  if (signature === undefined) return undefined;
  return {
    head: `${base64url(headerOf(alg, kid))}.`,
    sign: (text) => String.fromCharCode.apply(undefined, signature(text, text.length) as unknown as number[]),
    isSigned(token) {
      const dot = token.lastIndexOf(".");
      return isEndOf(token, dot + 1, signature(token, dot));
    },
  };
}

/** The base64url signature of a text's beginning, as codes of its characters in an array that the next call may overwrite. */
type Signature = (text: string, length: number) => Uint8Array;

function longerHmac(
  { createHmac, createSecretKey }: NonNullable<typeof nodeCrypto>,
  alg: string,
  secret: Uint8Array,
): Signature {
  const [hash, key] = [`sha${alg.slice(2)}`, createSecretKey(secret)];
  return (text, length) =>
    utf8.encode(createHmac(hash, key).update(text.slice(0, length), "latin1").digest("base64url"));
}

function hs256(secret: Uint8Array): Signature {
  const mac = hmacSha256(secret);
  const codes = new Uint8Array(43);
  return (text, length) => {
    const bytes = mac(text, length);
    for (let i = 0, at = 0; at < 43; i += 3) {
      const three = (bytes[i]! << 16) | (bytes[i + 1]! << 8) | (bytes[i + 2] ?? 0); // the last are two
      for (let shift = 18; shift >= 0 && at < 43; shift -= 6) codes[at++] = base64urlCodes[(three >>> shift) & 63]!;
    }
    return codes;
  };
}

/** The header of our tokens, as JSON. */
export const headerOf = (alg: string, kid: string | undefined): string =>
  JSON.stringify(kid === undefined ? { alg, typ: "JWT" } : { alg, typ: "JWT", kid });

const utf8 = new TextEncoder();

/** UTF-8 text as unpadded base64url (RFC 7515 §2). */
export function base64url(text: string): string {
  const binary = /[^ -~]/.test(text) ? String.fromCharCode(...utf8.encode(text)) : text;
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Whether a text is these codes from a place on to its end. In a time that depends on the lengths alone. */
function isEndOf(text: string, start: number, codes: Uint8Array): boolean {
  if (text.length - start !== codes.length) return false;
  let difference = 0;
  for (let i = 0; i < codes.length; i++) difference |= codes[i]! ^ text.charCodeAt(start + i);
  return difference === 0;
}
