import { fail } from "../errors.ts";
import { after } from "../maybe-promise.ts";
import { isPasswordUnchanged } from "../tokens/claims.ts";
import { verifyToken } from "../tokens/verify.ts";
import { type Answered, type Endpoint, charField, parseFields } from "./endpoint.ts";
import { findUserOf, isOrphanRevoked, isVoid } from "../sessions/rotation.ts";

const fields = { token: charField({ trim: true }) };
const nothing: Answered = Object.freeze({});

/**
 * A token of any type in, an empty object out when it is good: it says valid, not what for (Simple JWT's TokenVerify).
 * A missing user is not an error here, but the removal of one is, and all else that revokes tokens, whatever the settings.
 */
export const verify: Endpoint = (context, data) => {
  const { settings } = context;
  const { token } = parseFields(fields, data);
  return after(context.keys(), (keys) =>
    after(verifyToken(settings, keys, token), (claims) =>
      after(findUserOf(context, claims), (user) =>
        after(user === undefined ? isOrphanRevoked(context, claims) : isVoid(context, claims, user), (isRevoked) => {
          if (isRevoked) throw fail("verify_blacklisted");
          if (user !== undefined && !isPasswordUnchanged(settings, claims, user)) throw fail("password_changed");
          return nothing;
        }),
      ),
    ),
  );
};
