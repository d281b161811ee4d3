import { fail } from "../errors.ts";
import { type MaybePromise, after } from "../maybe-promise.ts";
import { touchSession } from "../sessions/recorded.ts";
import { planRotation, rotate } from "../sessions/rotation.ts";
import { type TokenState, refreshError } from "../sessions/rules.ts";
import { type RotationPlan, lookUp } from "../sessions/state.ts";
import type { LoginRequest, Settings } from "../settings/types.ts";
import type { User } from "../stores/store.ts";
import {
  type Claims,
  accessClaims,
  issueTime,
  nowOf,
  sessionOf,
  slidingClaims,
  successorClaims,
  withKnownMark,
} from "../tokens/claims.ts";
import { type Context, type Endpoint, type Result, readToken, sign } from "./endpoint.ts";
import { charField, parseFields } from "./fields.ts";

const refreshFields = { refresh: charField({ trim: true }) };
const slidingFields = { token: charField({ trim: true }) };

/**
 * Returns a new access token for a refresh token, and with rotation the next refresh token too (Simple JWT's TokenRefresh).
 */
export const refresh: Endpoint = (context, data, request) => {
  const { settings } = context;
  const { refresh: token } = parseFields(refreshFields, data);
  const now = nowOf(settings);
  return after(readToken(context, token, "refresh"), (claims) =>
    after(planRotation(context, claims, now), (plan) =>
      after(lookUp(context, claims, "refresh", plan), (state) => {
        const user = requireUser(context, claims, state, now);
        return issueTokens(context, knowingMark(claims, state, user), user, now, request, plan);
      }),
    ),
  );
};

/** Signs the access token and, with rotation, records and signs the successor of the refresh token. */
function issueTokens(
  context: Context,
  claims: Claims,
  user: User,
  now: number,
  request: LoginRequest,
  plan: RotationPlan | undefined,
): MaybePromise<Result> {
  const { settings } = context;
  const iat = issueTime(now, user);
  const access = sign(context, accessClaims(settings, claims, iat));
  if (!settings.rotateRefreshTokens) {
    return after(access, (token) => {
      audit(context, "refresh", request, claims, user);
      return after(touchSession(context, claims, now), () => ({ access: token }));
    });
  }
  return after(access, async (token) => {
    // Rotated once the access token is signed: a client that gets an error for want of a key can try again at any time.
    const onReuse = () => audit(context, "refresh_reuse", request, claims, user);
    const successor = successorClaims(settings, claims, await rotate(context, claims, user, iat, now, plan, onReuse));
    const refreshToken = await sign(context, successor);
    audit(context, "refresh", request, claims, user);
    await touchSession(context, successor, now);
    return { access: token, refresh: refreshToken };
  });
}

/** Returns a sliding token with a later `exp` for a sliding token (Simple JWT's TokenRefreshSliding). */
export const refreshSliding: Endpoint = async (context, data, request) => {
  const { settings } = context;
  const { token } = parseFields(slidingFields, data);
  const now = nowOf(settings);
  const claims = await readToken(context, token, "sliding");
  checkRefreshExp(settings, claims, now);
  const state = await lookUp(context, claims, "refresh");
  const user = requireUser(context, claims, state, now);
  const renewed = slidingClaims(settings, knowingMark(claims, state, user), issueTime(now, user));
  const renewedToken = await sign(context, renewed);
  audit(context, "refresh", request, claims, user);
  await touchSession(context, renewed, now);
  return { token: renewedToken };
};

function audit(
  { record, settings }: Context,
  event: "refresh" | "refresh_reuse",
  request: LoginRequest,
  claims: Claims,
  user: User,
): void {
  record?.(event, request, { userId: user.id, sessionId: sessionOf(settings, claims) });
}

/** Returns the claims to derive new tokens from: in a kept session these hold the mark as known, so that they outlive it. */
const knowingMark = (claims: Claims, { account }: TokenState, user: User): Claims =>
  account.isKept ? withKnownMark(claims, user) : claims;

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
