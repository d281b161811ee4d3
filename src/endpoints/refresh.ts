import { fail } from "../errors.ts";
import { type MaybePromise, after } from "../maybe-promise.ts";
import { rotate } from "../sessions/rotation.ts";
import { type TokenState, refreshError } from "../sessions/rules.ts";
import { lookUp } from "../sessions/state.ts";
import type { Settings } from "../settings/types.ts";
import type { User } from "../stores/store.ts";
import { type Claims, accessClaims, issueTime, nowOf, slidingClaims, successorClaims } from "../tokens/claims.ts";
import { type Context, type Endpoint, type Result, readToken, sign } from "./endpoint.ts";
import { charField, parseFields } from "./fields.ts";

const refreshFields = { refresh: charField({ trim: true }) };
const slidingFields = { token: charField({ trim: true }) };

/**
 * Returns a new access token for a refresh token, and with rotation the next refresh token too (Simple JWT's TokenRefresh).
 */
export const refresh: Endpoint = (context, data) => {
  const { settings } = context;
  const { refresh: token } = parseFields(refreshFields, data);
  const now = nowOf(settings);
  return after(readToken(context, token, "refresh"), (claims) =>
    after(lookUp(context, claims, "refresh"), (state) =>
      issueTokens(context, claims, requireUser(context, claims, state, now), now),
    ),
  );
};

/** Signs the access token and, with rotation, records and signs the successor of the refresh token. */
function issueTokens(context: Context, claims: Claims, user: User, now: number): MaybePromise<Result> {
  const { settings } = context;
  const iat = issueTime(now, user);
  const access = sign(context, accessClaims(settings, claims, iat));
  if (!settings.rotateRefreshTokens) return after(access, (token) => ({ access: token }));
  return after(access, async (token) => {
    // Rotated once the access token is signed: a client that gets an error for want of a key can try again at any time.
    const successor = await rotate(context, claims, user, iat, now);
    return { access: token, refresh: await sign(context, successorClaims(settings, claims, successor)) };
  });
}

/** Returns a sliding token with a later `exp` for a sliding token (Simple JWT's TokenRefreshSliding). */
export const refreshSliding: Endpoint = async (context, data) => {
  const { settings } = context;
  const { token } = parseFields(slidingFields, data);
  const now = nowOf(settings);
  const claims = await readToken(context, token, "sliding");
  checkRefreshExp(settings, claims, now);
  const user = requireUser(context, claims, await lookUp(context, claims, "refresh"), now);
  return { token: await sign(context, slidingClaims(settings, claims, issueTime(now, user))) };
};

/** Returns the user of a token that may be refreshed, or throws the first rule that it breaks. */
function requireUser({ settings }: Context, claims: Claims, state: TokenState, now: number): User {
  const error = refreshError(settings, claims, state, now);
  if (error !== undefined) throw fail(error);
  return state.account.user!;
}

function checkRefreshExp(settings: Settings, claims: Claims, now: number): void {
  const name = settings.slidingTokenRefreshExpClaim;
  const until = claims[name];
  if (until === undefined) throw fail("token_no_refresh_exp", { text: `Token has no '${name}' claim` });
  if (!((until as number) > Math.floor(now) - settings.leeway)) {
    throw fail("token_refresh_expired", { text: `Token '${name}' claim has expired` });
  }
}
