import { fail } from "../errors.ts";
import { accessClaims, jtiFrom, userIdFrom } from "../tokens/claims.ts";
import { signToken } from "../tokens/sign.ts";
import { verifyToken } from "../tokens/verify.ts";
import { blacklistKind } from "./blacklist.ts";
import { type Endpoint, charField, parseFields } from "./endpoint.ts";

/** A refresh token in, a new access token out (Simple JWT's TokenRefresh). */
export const refresh: Endpoint = async ({ settings, store, keys }, data) => {
  const { refresh: token } = parseFields({ refresh: charField({ trim: true }) }, data);
  const keySet = await keys();
  const claims = await verifyToken(settings, keySet, token, "refresh");
  if ((await store.peek(blacklistKind, jtiFrom(settings, claims))) !== undefined) throw fail("token_blacklisted");
  const userId = userIdFrom(settings, claims);
  const user = userId === undefined ? undefined : await store.findUserById(userId);
  if (user === undefined || (settings.checkUserIsActive && !user.isActive)) throw fail("no_active_account");
  return { access: await signToken(keySet.signing, accessClaims(settings, claims)) };
};
