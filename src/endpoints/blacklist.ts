import { fail } from "../errors.ts";
import { jtiFrom } from "../tokens/claims.ts";
import { verifyToken } from "../tokens/verify.ts";
import { type Endpoint, charField, parseFields } from "./endpoint.ts";

/** The register's kind for blacklisted tokens; the id is the token's `jti`. */
export const blacklistKind = "blacklist";

/** A refresh token in, which is good for nothing from then on (Simple JWT's TokenBlacklist, its logout). */
export const blacklist: Endpoint = async ({ settings, store, keys }, data) => {
  const { refresh: token } = parseFields({ refresh: charField({ trim: true }) }, data);
  const claims = await verifyToken(settings, await keys(), token, "refresh");
  const jti = jtiFrom(settings, claims);
  if ((await store.peek(blacklistKind, jti)) !== undefined) throw fail("token_blacklisted");
  // Kept for as long as the token could be accepted: leeway included, and times are judged in whole seconds.
  await store.claim(blacklistKind, jti, "1", Math.ceil((claims.exp as number) + settings.leeway) + 1);
  return {};
};
