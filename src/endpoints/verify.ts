import { fail } from "../errors.ts";
import { after } from "../maybe-promise.ts";
import { isPasswordUnchanged } from "../tokens/claims.ts";
import { verifyToken } from "../tokens/verify.ts";
import { type Answered, type Endpoint, charField, parseFields } from "./endpoint.ts";
import { findUserOf, isVoid } from "./session.ts";

const fields = { token: charField({ trim: true }) };
const nothing: Answered = Object.freeze({});

/**
 * A token of any type in, an empty object out when it is good: it says valid, not what for (Simple JWT's TokenVerify).
 * A user that is not there is no matter here, but what voids tokens always counts, whatever the settings.
 */
export const verify: Endpoint = (context, data) => {
  const { settings } = context;
  const { token } = parseFields(fields, data);
  return after(context.keys(), (keys) =>
    after(verifyToken(settings, keys, token), (claims) =>
      after(findUserOf(context, claims), (user) =>
        after(isVoid(context, claims, user), (isNoLongerGood) => {
          if (isNoLongerGood) throw fail("verify_blacklisted");
          if (user !== undefined && !isPasswordUnchanged(settings, claims, user)) throw fail("password_changed");
          return nothing;
        }),
      ),
    ),
  );
};
