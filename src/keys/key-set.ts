/**
 * Settings -> keys, imported once: with raw bytes each use would cost twice as much as with a `CryptoKey`.
 * A key's algorithm comes from the configuration and never from a token (RFC 8725 §3.1); a token's `kid` only selects among
 * the keys held here, and `jku`, `jwk`, `x5u`, `x5c` are never followed (§3.10).
 */
import { type MaybePromise, after, onDemand } from "../maybe-promise.ts";
import type { RotatingKeys, Settings } from "../settings/types.ts";
import { isSymmetric } from "../tokens/algorithms.ts";
import { VerifiedTokens } from "../tokens/cache.ts";
import type { KeySet } from "../tokens/key.ts";
import { belongTogether, checkedHalf, prepareKey, publishedJwk, wrongKey } from "./import.ts";
import type { OwnKeys } from "./rotating.ts";

export type { Key, KeySet } from "../tokens/key.ts";

/**
 * Checks at once what needs no promise, and returns a function for the keys: the set itself once it is imported, a promise
 * before. With the setting `keys` the set follows that key set.
 * @throws {SettingError} (also as a rejection) when a key does not fit; its message holds no part of the key.
 */
export function keysFrom(settings: Settings): () => MaybePromise<KeySet> {
  const { jwkUrl, keys, verifiedTokenCache: size } = settings;
  const loadOwn = ownKeys(settings);
  const loadRemote = onDemand(async () => (await import("./remote.ts")).remoteKeys(settings, jwkUrl!));
  const setOf = async (own: OwnKeys): Promise<KeySet> => {
    if (own.verifying.some(({ alg, hmac }) => alg === "HS256" && hmac === undefined)) {
      const message =
        "the built-in SHA-256 failed its known-answer test on this runtime; HS256 goes through jose, slower";
      settings.log({ level: "error", code: "hash_check_failed", message });
    }
    const published = await Promise.all(own.verifying.map(publishedJwk));
    const verified = size === 0 ? undefined : new VerifiedTokens(size);
    const remote = jwkUrl === undefined ? undefined : await loadRemote();
    return { ...own, published: published.filter((jwk) => jwk !== undefined), remote, verified };
  };
  if (keys !== undefined) {
    const loadFixed = onDemand(loadOwn);
    const loadRotating = onDemand(async () => {
      const { loadKeySet, rotatingKeys } = await import("./rotating.ts");
      const load = async (given: RotatingKeys | undefined): Promise<OwnKeys> => {
        const own = await loadFixed();
        return given === undefined ? own : loadKeySet(given, own);
      };
      return rotatingKeys(settings, keys, { load, setOf });
    });
    return () => after(loadRotating(), (current) => current());
  }
  return onDemand(async () => setOf(await loadOwn()));
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
