import { CompactSign } from "jose";
import { fail } from "../errors.ts";
import type { Claims } from "./claims.ts";
import type { Key } from "./keys.ts";

const utf8 = new TextEncoder();

/**
 * Signs claims as a compact JWS whose header is `{"alg":…,"typ":"JWT"}`, with `kid` when the key has one.
 * @throws `keys_unavailable` where there is no key to sign with.
 */
export function signToken(key: Key | undefined, claims: Claims): Promise<string> {
  if (key === undefined) throw fail("keys_unavailable", { retryAfter: 1 });
  const kid = key.kid === undefined ? {} : { kid: key.kid };
  return new CompactSign(utf8.encode(JSON.stringify(claims)))
    .setProtectedHeader({ alg: key.alg, typ: "JWT", ...kid })
    .sign(key.key);
}
