/**
 * The hot path: tokens whose header is byte for byte the one we write are signed and verified at once, without a promise
 * and without waiting behind password hashes in a thread pool, as WebCrypto's calls do. All others go through jose, and
 * both agree on every token (`test/fuzz.test.ts`).
 */
import { nodeCrypto } from "../native.ts";

export interface Hmac {
  /** The first segment of our tokens, with its dot. */
  readonly head: string;
  /** The base64url signature of the first two segments. */
  sign(text: string): string;
  /** Whether a token that begins with {@link head} carries its signature, in the one spelling that we write. */
  isSigned(token: string): boolean;
}

/** @returns `undefined` where there is no `node:crypto`. */
export function hmacOf(alg: string, kid: string | undefined, secret: Uint8Array): Hmac | undefined {
  if (nodeCrypto === undefined) return undefined;
  const { createHmac, createSecretKey } = nodeCrypto;
  const hash = `sha${alg.slice(2)}`;
  const key = createSecretKey(secret);
  const sign = (text: string): string => createHmac(hash, key).update(text).digest("base64url");
  return {
    head: `${base64url(headerOf(alg, kid))}.`,
    sign,
    isSigned(token) {
      const dot = token.lastIndexOf(".");
      return sameText(sign(token.slice(0, dot)), token.slice(dot + 1));
    },
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

/** In a time that depends on the length alone. */
function sameText(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return difference === 0;
}
