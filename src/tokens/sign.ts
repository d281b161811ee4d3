import { CompactSign } from "jose";
import { fail } from "../errors.ts";
import type { MaybePromise } from "../maybe-promise.ts";
import type { Claims } from "./claims.ts";
import { base64url } from "./hmac.ts";
import type { Key } from "./keys.ts";

const utf8 = new TextEncoder();

/**
 * Signs claims as a compact JWS whose header is `{"alg":…,"typ":"JWT"}`, with `kid` when the key has one; at once where
 * the key can.
 * @throws `keys_unavailable` where there is no key to sign with.
 */
export function signToken(key: Key | undefined, claims: Claims): MaybePromise<string> {
  if (key === undefined) throw fail("keys_unavailable", { retryAfter: 1 });
  const { alg, kid, hmac } = key;
  const json = JSON.stringify(claims);
  if (hmac !== undefined) {
    const text = hmac.head + base64url(json);
    return `${text}.${hmac.sign(text)}`;
  }
  return new CompactSign(utf8.encode(json))
    .setProtectedHeader({ alg, typ: "JWT", ...(kid !== undefined && { kid }) })
    .sign(key.key);
}
