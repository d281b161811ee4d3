import { CompactSign } from "jose";
import type { Claims } from "./claims.ts";
import type { Key } from "./keys.ts";

const utf8 = new TextEncoder();

/** Signs claims as a compact JWS whose header is `{"alg":…,"typ":"JWT"}`, with `kid` when the key has one. */
export function signToken(key: Key, claims: Claims): Promise<string> {
  const kid = key.kid === undefined ? {} : { kid: key.kid };
  return new CompactSign(utf8.encode(JSON.stringify(claims)))
    .setProtectedHeader({ alg: key.alg, typ: "JWT", ...kid })
    .sign(key.key);
}
