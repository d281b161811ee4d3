import { fail } from "../errors.ts";
import { after } from "../maybe-promise.ts";
import { verifyError } from "../sessions/rules.ts";
import { lookUp } from "../sessions/state.ts";
import { type Endpoint, type Result, readToken } from "./endpoint.ts";
import { charField, parseFields } from "./fields.ts";

const fields = { token: charField({ trim: true }) };
const empty: Result = Object.freeze({});

/**
 * Returns an empty object for a valid token of any type (Simple JWT's TokenVerify). Revoked tokens are refused whatever the
 * settings, and so are those of removed users. A user who never existed here is not an error, except by a `userIdField` that
 * only the host can look up.
 */
export const verify: Endpoint = (context, data) => {
  const { token } = parseFields(fields, data);
  return after(readToken(context, token), (claims) =>
    after(lookUp(context, claims, "verify"), (state) => {
      const error = verifyError(context.settings, claims, state);
      if (error !== undefined) throw fail(error);
      return empty;
    }),
  );
};
