/** Keys as signing and verifying take them; `keys/` makes them from settings. */
import type { JWK } from "jose";
import type { VerifiedTokens } from "./cache.ts";
import type { Claims } from "./claims.ts";
import type { Hmac } from "./hmac.ts";

/** WebCrypto's `CryptoKey`, by a name that the types of Node, Deno and Bun all have. */
export type CryptoKey = Parameters<typeof crypto.subtle.exportKey>[1];

export interface Key {
  /** Comes from the configuration, never from a token (RFC 8725 §3.1). */
  readonly alg: string;
  readonly kid: string | undefined;
  readonly key: CryptoKey;
  /** The same secret for the synchronous path, where the runtime has one. */
  readonly hmac?: Hmac | undefined;
  /** Whether it verifies only tokens that name it, as do named keys of the setting `keys`. */
  readonly needsKid: boolean;
  /** The end of its use, in seconds since the epoch. */
  readonly exp?: number | undefined;
}

export interface KeySet {
  /** Signs new tokens; `undefined` where tokens are only verified. */
  readonly signing: Key | undefined;
  /** Verify tokens, in the order in which they are tried. */
  readonly verifying: readonly Key[];
  /** The public keys among them as JWKs, with `kid`, `alg` and `use`, and no private member. */
  readonly published: readonly JWK[];
  /** Claims of tokens whose signatures were valid, for as long as this set is in use. */
  readonly verified?: VerifiedTokens | undefined;
  /** The keys of `jwkUrl`. */
  readonly remote: RemoteKeys | undefined;
  /** Reads the key set again, for a token that names an unknown key. */
  readonly newer?: () => Promise<KeySet>;
}

export interface RemoteKeys {
  /** Whether a key of that name is held at the moment. */
  knows(kid: unknown): boolean;
  /**
   * Returns the keys that may have signed a token, by its header: one at most, unless the token or the keys have no `kid`.
   * @throws `keys_unavailable` (503, with `retryAfter`) when the keys are needed and can't be fetched.
   */
  keysFor(header: Claims): Promise<readonly CryptoKey[]>;
}
