/**
 * Settings -> keys, imported once: with raw bytes each use would cost twice as much as with a `CryptoKey`.
 * A key's algorithm comes from the configuration and never from a token (RFC 8725 §3.1); a token's `kid` only selects among
 * the keys held here, and `jku`, `jwk`, `x5u`, `x5c` are never followed (§3.10).
 */
import type { JWK } from "jose";
import type { RotatingKeys, Settings } from "../settings/types.ts";
import { isAlgorithm, isSymmetric } from "../tokens/algorithms.ts";
import { VerifiedTokens } from "../tokens/cache.ts";
import type { Key, KeySet } from "../tokens/key.ts";
import { belongTogether, prepareKey, publicHalf, publishedJwk, verifyingPart, wrongKey } from "./import.ts";
import { remoteKeys } from "./remote.ts";
import { type OwnKeys, rotatingKeys } from "./rotating.ts";

export type { Key, KeySet } from "../tokens/key.ts";

/**
 * Checks at once what needs no promise, and returns a function for the keys: the set itself once it is imported, a promise
 * before. With the setting `keys` the set follows that key set.
 * @throws {SettingError} (also as a rejection) when a key does not fit; its message holds no part of the key.
 */
export function keysFrom(settings: Settings): () => KeySet | Promise<KeySet> {
  const { jwkUrl, keys, verifiedTokenCache: size } = settings;
  const loadOwn = ownKeys(settings);
  const remote = jwkUrl === undefined ? undefined : remoteKeys(settings, jwkUrl);
  const setOf = async (own: OwnKeys): Promise<KeySet> => {
    if (own.verifying.some(({ alg, hmac }) => alg === "HS256" && hmac === undefined)) {
      const message =
        "the built-in SHA-256 failed its known-answer test on this runtime; HS256 goes through jose, slower";
      settings.log({ level: "error", code: "hash_check_failed", message });
    }
    const published = await Promise.all(own.verifying.map(publishedJwk));
    const verified = size === 0 ? undefined : new VerifiedTokens(size);
    return { ...own, published: published.filter((jwk) => jwk !== undefined), remote, verified };
  };
  if (keys !== undefined) {
    let fixed: Promise<OwnKeys> | undefined;
    const load = async (given: RotatingKeys | undefined): Promise<OwnKeys> => {
      const own = await (fixed ??= loadOwn());
      return given === undefined ? own : loadKeySet(given, own);
    };
    return rotatingKeys(settings, keys, { load, setOf });
  }
  let set: KeySet | undefined;
  let loading: Promise<KeySet> | undefined;
  const load = async () => (set = await setOf(await loadOwn()));
  return () => set ?? (loading ??= load());
}

/** Prepares the keys of `signingKey` and `verifyingKey`. */
function ownKeys({ algorithm: alg, signingKey, verifyingKey }: Settings): () => Promise<OwnKeys> {
  if (verifyingKey !== undefined && isSymmetric(alg)) {
    throw wrongKey("verifyingKey", `is set, but ${alg} verifies with signingKey`);
  }
  const signer = signingKey === undefined ? undefined : prepareKey("signingKey", signingKey, alg, "private");
  const verifier = verifyingKey === undefined ? undefined : prepareKey("verifyingKey", verifyingKey, alg, "public");
  return async () => {
    const signing = signer && { ...(await signer()), needsKid: false };
    const given = verifier && { ...(await verifier()), needsKid: false };
    if (signing === undefined) return { signing, verifying: given === undefined ? [] : [given] };
    if (given === undefined) return { signing, verifying: [await checkedHalf("signingKey", signing)] };
    if (!(await belongTogether(signing, given))) throw wrongKey("verifyingKey", "does not belong to signingKey");
    return { signing, verifying: [{ ...given, kid: given.kid ?? signing.kid }] };
  };
}

/** Returns the public half of a key. A JWK states both halves, and where they disagree nobody could verify its tokens. */
async function checkedHalf(setting: string, signing: Key): Promise<Key> {
  const verifying = await publicHalf(signing);
  if (signing.key === verifying.key || (await belongTogether(signing, verifying))) return verifying;
  throw wrongKey(setting, "has a private and a public part that do not belong together");
}

/**
 * Imports the keys that the setting `keys` returned.
 * @param fixed the keys of `signingKey`, whose tokens stay valid.
 */
async function loadKeySet(given: RotatingKeys, fixed: OwnKeys): Promise<OwnKeys> {
  if (typeof given !== "object" || given === null) {
    throw wrongKey("keys", "returned no key set; accepted: { active, retiring } of JWKs, or undefined");
  }
  const { active, retiring = [], next = [] } = given;
  if (!Array.isArray(retiring) || !Array.isArray(next)) {
    throw wrongKey("keys", "returned retiring or next keys that are not a list; accepted: a list of JWKs");
  }
  const kids = new Set<string>();
  const load = async (setting: string, jwk: JWK, part: "private" | "public", exp?: unknown): Promise<Key> => {
    if (typeof jwk !== "object" || jwk === null) throw wrongKey(setting, "is not a JWK");
    const { alg, kid } = jwk;
    if (exp !== undefined && !Number.isFinite(exp)) {
      throw wrongKey(setting, "has an exp that is not a number; accepted: seconds since the epoch, or none");
    }
    if (!isAlgorithm(alg)) {
      throw wrongKey(setting, "has no known alg; accepted: HS256, RS256, ES256, EdDSA and the like");
    }
    if (kid !== undefined) {
      if (kids.has(kid)) throw wrongKey(setting, "has the kid of another key of the key set");
      kids.add(kid);
    }
    const key = await prepareKey(setting, part === "private" ? jwk : verifyingPart(jwk), alg, part)();
    return { ...key, needsKid: kid !== undefined, exp: exp as number | undefined };
  };
  const signing = await load("keys.active", active, "private");
  const verifying = [await checkedHalf("keys.active", signing)];
  for (const [index, jwk] of next.entries()) verifying.push(await load(`keys.next[${index}]`, jwk, "public"));
  for (const [index, jwk] of retiring.entries()) {
    const { exp } = (jwk ?? {}) as { exp?: unknown }; // the end of its use, which only a retiring key has
    verifying.push(await load(`keys.retiring[${index}]`, jwk, "public", exp));
  }
  return { signing, verifying: [...verifying, ...fixed.verifying] };
}
