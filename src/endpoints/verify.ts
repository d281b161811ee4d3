import { fail } from "../errors.ts";
import { jtiFrom } from "../tokens/claims.ts";
import { verifyToken } from "../tokens/verify.ts";
import { blacklistKind } from "./blacklist.ts";
import { type Endpoint, charField, parseFields } from "./endpoint.ts";

/** A token of any type in, an empty object out when it is good: it says valid, not what for (Simple JWT's TokenVerify). */
export const verify: Endpoint = async ({ settings, store, keys }, data) => {
  const { token } = parseFields({ token: charField({ trim: true }) }, data);
  const claims = await verifyToken(settings, await keys(), token);
  if ((await store.peek(blacklistKind, jtiFrom(settings, claims))) !== undefined) throw fail("verify_blacklisted");
  return {};
};
