import { fail } from "../errors.ts";
import type { MaybePromise } from "../maybe-promise.ts";
import type { Claims } from "./claims.ts";
import { base64url } from "./hmac.ts";
import type { Key } from "../keys/key-set.ts";

const utf8 = new TextEncoder();

/**
 * Signs claims as a compact JWS whose header is `{"alg":…,"typ":"JWT"}`, with `kid` when the key has one; at once where
 * the key can.
 * @throws `keys_unavailable` where there is no key to sign with.
 */
export function signToken(key: Key | undefined, claims: Claims): MaybePromise<string> {
  if (key === undefined) throw fail("keys_unavailable", { retryAfter: 1 });
  const { hmac } = key;
  const json = JSON.stringify(claims);
  if (hmac !== undefined) {
    const text = hmac.head + base64url(json);
    return `${text}.${hmac.sign(text)}`;
  }
  return signWithJose(key, json);
}

/** jose is loaded when it is first needed: with secrets it hardly ever is, and it is a third of what a start loads. */
async function signWithJose({ alg, kid, key }: Key, json: string): Promise<string> {
  const { CompactSign } = await import("jose");
  const header = { alg, typ: "JWT", ...(kid !== undefined && { kid }) };
  return new CompactSign(utf8.encode(json)).setProtectedHeader(header).sign(key);
}
