/**
 * Token text -> claims. The order is fixed: shape, algorithm, signature, and only then what the token claims
 * (RFC 8725 §3). Errors say which rule failed and never carry any part of the token.
 */
import { compactVerify, errors } from "jose";
import { fail } from "../errors.ts";
import type { Settings } from "../settings.ts";
import type { MaybePromise } from "../stores/store.ts";
import { type Claims, type TokenType, checkClaims } from "./claims.ts";
import type { Key, KeySet } from "./keys.ts";
import { isCanonicalBase64url, readJsonSegment } from "./strict.ts";

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
    const payload = token.slice(hmac.head.length, token.lastIndexOf("."));
    return isCanonicalBase64url(payload) ? readJsonSegment(payload) : undefined;
  }
  return undefined;
}

async function verifySlowly(settings: Settings, keys: KeySet, token: string, type?: TokenType): Promise<Claims> {
  const segments = token.split(".");
  if (segments.length !== 3 || !segments.every(isCanonicalBase64url)) throw fail("token_invalid");
  const header = readJsonSegment(segments[0]!);
  if (header === undefined || Object.hasOwn(header, "crit")) throw fail("token_invalid");
  if (!(await isSigned(keys, header, token))) throw fail("token_invalid");
  const claims = readJsonSegment(segments[1]!);
  if (claims === undefined) throw fail("token_invalid");
  if (keys.remote === undefined) keys.verified?.set(token, claims); // others may withdraw their keys
  checkClaims(settings, claims, type);
  return claims;
}

/** Longer tokens are not remembered, so that a number of tokens is a bound of memory too. */
const rememberedLength = 4096;

/** The tokens verified last, in two generations: what was not asked for while one filled up is forgotten. */
export class VerifiedTokens {
  readonly #half: number;
  #young = new Map<string, Claims>();
  #old = new Map<string, Claims>();
  /** @param size most tokens that are held. */
  constructor(size: number) {
    this.#half = Math.ceil(size / 2);
  }
  get(token: string): Claims | undefined {
    const young = this.#young.get(token);
    if (young !== undefined) return young;
    const old = this.#old.get(token);
    if (old !== undefined) this.set(token, old);
    return old;
  }
  set(token: string, claims: Claims): void {
    if (token.length > rememberedLength) return;
    if (this.#young.size >= this.#half) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(token, claims);
  }
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
    if (key.alg === alg && mayServe(key, kid) && (await signatureHolds(token, alg, key.key))) return true;
  }
  return false;
}

/** A `kid` selects among keys that have one; keys without one may serve any token. */
const mayServe = (key: Key, kid: unknown): boolean =>
  kid === undefined ? !key.needsKid : key.kid === undefined || key.kid === kid;

async function signatureHolds(token: string, alg: string, key: CryptoKey): Promise<boolean> {
  try {
    await compactVerify(token, key, { algorithms: [alg] });
    return true;
  } catch (error) {
    if (error instanceof errors.JOSEError) return false;
    throw error;
  }
}
