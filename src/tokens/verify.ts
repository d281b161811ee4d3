/**
 * Token text -> claims. The order is fixed: shape, algorithm, signature, and only then what the token claims
 * (RFC 8725 §3). Errors say which rule failed and never carry any part of the token.
 */
import { compactVerify, errors } from "jose";
import { fail } from "../errors.ts";
import type { Settings } from "../settings.ts";
import { type Claims, type TokenType, checkClaims } from "./claims.ts";
import type { Key, KeySet } from "./keys.ts";
import { isCanonicalBase64url, readJsonSegment } from "./strict.ts";

/**
 * Verifies a token and answers its claims.
 * @param type the type it must have; without it any type, or none, will do (as Simple JWT's verify view).
 * @throws the contract's coded errors (`token_invalid`, `token_wrong_type`, …).
 */
export async function verifyToken(settings: Settings, keys: KeySet, token: string, type?: TokenType): Promise<Claims> {
  const segments = token.split(".");
  if (segments.length !== 3 || !segments.every(isCanonicalBase64url)) throw fail("token_invalid");
  const header = readJsonSegment(segments[0]!);
  if (header === undefined || Object.hasOwn(header, "crit")) throw fail("token_invalid");
  if (!(await isSigned(keys, header, token))) throw fail("token_invalid");
  const claims = readJsonSegment(segments[1]!);
  if (claims === undefined) throw fail("token_invalid");
  checkClaims(settings, claims, type);
  return claims;
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
    if (await signatureHolds(token, header.alg as string, key)) return true;
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
