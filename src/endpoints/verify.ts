import { fail } from "../errors.ts";
import { isPasswordUnchanged } from "../tokens/claims.ts";
import { verifyToken } from "../tokens/verify.ts";
import { type Endpoint, charField, parseFields } from "./endpoint.ts";
import { findUserOf, isRevoked, isUsedUp } from "./session.ts";

const fields = { token: charField({ trim: true }) };

/**
 * A token of any type in, an empty object out when it is good: it says valid, not what for (Simple JWT's TokenVerify).
 * A user that is not there is no matter here, but what voids tokens always counts, whatever the settings.
 */
export const verify: Endpoint = async (context, data) => {
  const { settings } = context;
  const { token } = parseFields(fields, data);
  const claims = await verifyToken(settings, await context.keys(), token);
  const user = await findUserOf(context, claims);
  if ((await isRevoked(context, claims, user)) || (await isUsedUp(context, claims))) throw fail("verify_blacklisted");
  if (user !== undefined && !isPasswordUnchanged(settings, claims, user)) throw fail("password_changed");
  return {};
};
