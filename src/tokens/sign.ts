/** Claims -> token text. */
import { fail } from "../errors.ts";
import type { MaybePromise } from "../maybe-promise.ts";
import { encodeBase64url, utf8 } from "./base64url.ts";
import type { Claims } from "./claims.ts";
import type { Key } from "./key.ts";

/**
 * Signs claims as a compact JWS (RFC 7515 §7.1) with the header `{"alg":…,"typ":"JWT"}`, and `kid` when the key has one.
 * @returns the token; no promise where the key has a synchronous path.
 * @throws `keys_unavailable` when there is no key to sign with.
 */
export function signToken(key: Key | undefined, claims: Claims): MaybePromise<string> {
  if (key === undefined) throw fail("keys_unavailable", { retryAfter: 1 });
  const { hmac } = key;
  const json = JSON.stringify(claims);
  if (hmac !== undefined) {
    const text = hmac.head + encodeBase64url(json);
    return `${text}.${hmac.sign(text)}`;
  }
  return signWithJose(key, json);
}

/** jose is imported when it is first needed: it is a third of what a start loads, and secrets rarely need it. */
async function signWithJose({ alg, kid, key }: Key, json: string): Promise<string> {
  const { CompactSign } = await import("jose");
  return new CompactSign(utf8.encode(json)).setProtectedHeader({ alg, typ: "JWT", kid }).sign(key);
}
