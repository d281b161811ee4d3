/**
 * Token text -> claims. The order is fixed: shape, algorithm, signature, and only then what the token claims
 * (RFC 8725 §3). Errors say which rule failed and never carry any part of the token.
 */
import { fail } from "../errors.ts";
import type { MaybePromise } from "../maybe-promise.ts";
import type { Settings } from "../settings/types.ts";
import { type Claims, type TokenType, checkClaims } from "./claims.ts";
import type { Key, KeySet } from "../keys/key-set.ts";
import { isCanonicalBase64url, readJsonSegment, readPlainSegment } from "./strict-json.ts";

/**
 * Verifies a token and answers its claims.
 * @param type the type it must have; without it any type, or none, will do (as Simple JWT's verify view).
 * @throws the contract's coded errors (`token_invalid`, `token_wrong_type`, …).
 */
export function verifyToken(settings: Settings, keys: KeySet, token: string, type?: TokenType): MaybePromise<Claims> {
  const remembered = keys.verified?.get(token);
  const claims = remembered ?? readOwn(keys, token);
  if (claims === undefined) return verifySlowly(settings, keys, token, type);
  if (remembered === undefined) keys.verified?.set(token, claims);
  checkClaims(settings, claims, type);
  return claims;
}

/** The claims of a token that one of our keys signed with the header that we write; `undefined` for all others. */
function readOwn({ verifying }: KeySet, token: string): Claims | undefined {
  for (const { hmac } of verifying) {
    if (hmac === undefined || !token.startsWith(hmac.head) || !hmac.isSigned(token)) continue;
    const [start, end] = [hmac.head.length, token.lastIndexOf(".")];
    const plain = readPlainSegment(token, start, end);
    if (plain !== undefined) return plain;
    const payload = token.slice(start, end);
    return isCanonicalBase64url(payload) ? readJsonSegment(payload) : undefined;
  }
  return undefined;
}

async function verifySlowly(settings: Settings, keys: KeySet, token: string, type?: TokenType): Promise<Claims> {
  const segments = token.split(".");
  if (segments.length !== 3 || !segments.every(isCanonicalBase64url)) throw fail("token_invalid");
  const header = readJsonSegment(segments[0]!);
  if (header === undefined || Object.hasOwn(header, "crit")) throw fail("token_invalid");
  // An unencoded payload (RFC 7797 §6), which a reader that knows `b64` signs and reads in another way.
  if (header.b64 !== undefined && header.b64 !== true) throw fail("token_invalid");
  if (!(await isSigned(keys, header, token))) throw fail("token_invalid");
  const claims = readJsonSegment(segments[1]!);
  if (claims === undefined) throw fail("token_invalid");
  if (keys.remote === undefined) keys.verified?.set(token, claims); // others may withdraw their keys
  checkClaims(settings, claims, type);
  return claims;
}

/** Longer tokens are not remembered, so that a number of tokens is a bound of memory too. */
const rememberedLength = 4096;

/**
 * Tokens verified lately, each in the one place that its signature gives it. A token gets the place when it comes for the
 * second time: those that come once, as most do where each request brings another, cost a number and no memory.
 */
export class VerifiedTokens {
  readonly #places: (Remembered | undefined)[];
  readonly #seen: Uint32Array;
  /** @param size most tokens that are held. */
  constructor(size: number) {
    this.#places = Array.from<undefined>({ length: size });
    this.#seen = new Uint32Array(size);
  }
  get(token: string): Claims | undefined {
    const remembered = this.#places[markOf(token) % this.#places.length];
    return remembered !== undefined && remembered.token === token ? remembered.claims : undefined;
  }
  set(token: string, claims: Claims): void {
    if (token.length > rememberedLength) return;
    const mark = markOf(token);
    const place = mark % this.#places.length;
    if (this.#seen[place] === mark) this.#places[place] = { token, claims };
    else this.#seen[place] = mark;
  }
}

interface Remembered {
  token: string;
  claims: Claims;
}

/** 32 bits of a token's signature, which are as good as random. */
function markOf(token: string): number {
  let mark = 0;
  for (let i = token.length - 2, last = i - 7; i > last; i--) mark = Math.imul(mark, 61) + token.charCodeAt(i);
  return mark >>> 0;
}

async function isSigned(keys: KeySet, header: Claims, token: string): Promise<boolean> {
  if (await isSignedByOneOf(keys.verifying, header, token)) return true;
  const { kid } = header;
  const { remote, newer } = keys;
  // Another process may sign with a key that was made just now.
  if (
    newer !== undefined &&
    kid !== undefined &&
    !keys.verifying.some((key) => key.kid === kid) &&
    !remote?.knows(kid)
  ) {
    const { verifying } = await newer();
    if (verifying !== keys.verifying && (await isSignedByOneOf(verifying, header, token))) return true;
  }
  for (const key of (await remote?.keysFor(header)) ?? []) {
    // A key of somebody else's that can't be used at all is no key.
    if (await signatureHolds(token, header.alg as string, key).catch(() => false)) return true;
  }
  return false;
}

async function isSignedByOneOf(keys: readonly Key[], { alg, kid }: Claims, token: string): Promise<boolean> {
  for (const key of keys) {
    if (key.alg === alg && kidMatches(key, kid) && (await signatureHolds(token, alg, key.key))) return true;
  }
  return false;
}

/** A `kid` selects among keys that have one; keys without one may serve any token. */
const kidMatches = (key: Key, kid: unknown): boolean =>
  kid === undefined ? !key.needsKid : key.kid === undefined || key.kid === kid;

async function signatureHolds(token: string, alg: string, key: CryptoKey): Promise<boolean> {
  const { compactVerify, errors } = await import("jose"); // HMAC tokens of our own never need it
  try {
    await compactVerify(token, key, { algorithms: [alg] });
    return true;
  } catch (error) {
    if (error instanceof errors.JOSEError) return false;
    throw error;
  }
}
