/**
 * Token text -> claims. The order is fixed: shape, algorithm, signature, then claims (RFC 8725 §3). Errors name the rule that
 * failed and never hold any part of the token.
 */
import { fail } from "../errors.ts";
import type { MaybePromise } from "../maybe-promise.ts";
import type { Settings } from "../settings/types.ts";
import { isCanonicalBase64url } from "./base64url.ts";
import { type Claims, type TokenType, checkClaims } from "./claims.ts";
import type { CryptoKey, Key, KeySet } from "./key.ts";
import { messageOf } from "./sha256.ts";
import { readJsonSegment, readPlainSegment } from "./strict-json.ts";

/**
 * Verifies a token and returns its claims.
 * @param type the type it must have; without it any type, or none, is accepted, as in Simple JWT's verify view.
 * @returns the claims; no promise where a cached token or a synchronous path allows it.
 * @throws the contract's coded errors (`token_invalid`, `token_wrong_type`, …).
 */
export function verifyToken(settings: Settings, keys: KeySet, token: string, type?: TokenType): MaybePromise<Claims> {
  if (token.length > settings.maxTokenLength) throw fail("token_invalid");
  const cached = keys.verified?.get(token);
  const claims = cached ?? readSynchronously(keys, token);
  if (claims === undefined) return verifyWithJose(settings, keys, token, type);
  if (cached === undefined) keys.verified?.set(token, claims);
  checkClaims(settings, claims, type);
  return claims;
}

/**
 * Reads a token with the header that we write for one of our secrets.
 * @returns its claims; `undefined` where jose has to judge it: another header, or a key that is not here or not for this path.
 * @throws `token_invalid` at once: jose would refuse the token as well, in three times the time.
 */
function readSynchronously(keys: KeySet, token: string): Claims | undefined {
  for (const key of keys.verifying) {
    if (key.hmac !== undefined && token.startsWith(key.hmac.head))
      return readOwn(keys, key, key.hmac.head.length, token);
  }
  return undefined;
}

/**
 * Does so for a token whose header, of `start` characters, is that of a key. Other keys may have signed it too: each without a
 * name, and each with one where the header has none.
 */
function readOwn({ verifying, remote }: KeySet, named: Key, start: number, token: string): Claims | undefined {
  const message = messageOf(token);
  if (message === undefined) throw fail("token_invalid");
  let isDecided = remote === undefined;
  for (const key of verifying) {
    if (key.alg !== named.alg || !kidMatches(key, named.kid)) continue;
    const end = key.hmac?.signedLength(message, token.length);
    if (end === undefined) isDecided = false;
    else if (end > 0) return readPayload(message.bytes, token, start, end);
  }
  if (isDecided) throw fail("token_invalid");
  return undefined;
}

/** Reads the payload of a token whose signature is valid. */
function readPayload(bytes: Uint8Array, token: string, start: number, end: number): Claims {
  const plain = readPlainSegment(bytes, start, end);
  if (plain !== undefined) return plain;
  const payload = token.slice(start, end);
  const claims = isCanonicalBase64url(payload) ? readJsonSegment(payload) : undefined;
  if (claims === undefined) throw fail("token_invalid");
  return claims;
}

async function verifyWithJose(settings: Settings, keys: KeySet, token: string, type?: TokenType): Promise<Claims> {
  const segments = token.split(".");
  if (segments.length !== 3 || !segments.every(isCanonicalBase64url)) throw fail("token_invalid");
  const header = readJsonSegment(segments[0]!);
  if (header === undefined || Object.hasOwn(header, "crit")) throw fail("token_invalid");
  // RFC 7797 §6: an unencoded payload, which a reader that knows `b64` would read in another way.
  if (header.b64 !== undefined && header.b64 !== true) throw fail("token_invalid");
  if (!(await isSigned(keys, header, token))) throw fail("token_invalid");
  const claims = readJsonSegment(segments[1]!);
  if (claims === undefined) throw fail("token_invalid");
  if (keys.remote === undefined) keys.verified?.set(token, claims); // a remote key may be withdrawn at any time
  checkClaims(settings, claims, type);
  return claims;
}

async function isSigned(keys: KeySet, header: Claims, token: string): Promise<boolean> {
  if (await isSignedByOneOf(keys.verifying, header, token)) return true;
  const { kid } = header;
  const { remote, newer } = keys;
  const isUnknown = kid !== undefined && !keys.verifying.some((key) => key.kid === kid) && !remote?.knows(kid);
  if (isUnknown && newer !== undefined) {
    // Another process may sign with a key that was made a moment ago.
    const { verifying } = await newer();
    if (verifying !== keys.verifying && (await isSignedByOneOf(verifying, header, token))) return true;
  }
  for (const key of (await remote?.keysFor(header)) ?? []) {
    // A published key that can't be used at all is passed over.
    if (await isSignatureValid(token, header.alg as string, key).catch(() => false)) return true;
  }
  return false;
}

async function isSignedByOneOf(keys: readonly Key[], { alg, kid }: Claims, token: string): Promise<boolean> {
  for (const key of keys) {
    if (key.alg === alg && kidMatches(key, kid) && (await isSignatureValid(token, alg, key.key))) return true;
  }
  return false;
}

/** Whether a token's `kid` selects a key. A key without a name is tried for every token. */
const kidMatches = (key: Key, kid: unknown): boolean =>
  kid === undefined ? !key.needsKid : key.kid === undefined || key.kid === kid;

async function isSignatureValid(token: string, alg: string, key: CryptoKey): Promise<boolean> {
  const { compactVerify, errors } = await import("jose"); // imported on demand: our own HMAC tokens never need it
  try {
    await compactVerify(token, key, { algorithms: [alg] });
    return true;
  } catch (error) {
    if (error instanceof errors.JOSEError) return false;
    throw error;
  }
}
