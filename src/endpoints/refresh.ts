import { fail } from "../errors.ts";
import { after } from "../maybe-promise.ts";
import { accessClaims, issueTime, nowOf, slidingClaims, successorClaims } from "../tokens/claims.ts";
import { signToken } from "../tokens/sign.ts";
import { verifyToken } from "../tokens/verify.ts";
import { type Endpoint, charField, parseFields } from "./endpoint.ts";
import { requireUser, rotate } from "../sessions/rotation.ts";

const refreshFields = { refresh: charField({ trim: true }) };
const slidingFields = { token: charField({ trim: true }) };

/** A refresh token in, a new access token out, and with rotation the next refresh token (Simple JWT's TokenRefresh). */
export const refresh: Endpoint = (context, data) => {
  const { settings } = context;
  const { refresh: token } = parseFields(refreshFields, data);
  const now = nowOf(settings);
  return after(context.keys(), (keys) =>
    after(verifyToken(settings, keys, token, "refresh"), (claims) =>
      after(requireUser(context, claims, now), (user) => {
        const iat = issueTime(now, user);
        return after(signToken(keys.signing, accessClaims(settings, claims, iat)), (access) => {
          if (!settings.rotateRefreshTokens) return { access };
          return after(rotate(context, claims, user, iat, now), (issue) =>
            after(signToken(keys.signing, successorClaims(settings, claims, issue)), (next) => ({
              access,
              refresh: next,
            })),
          );
        });
      }),
    ),
  );
};

/** A sliding token in, the same with a later `exp` out (Simple JWT's TokenRefreshSliding). */
export const refreshSliding: Endpoint = async (context, data) => {
  const { settings } = context;
  const { token } = parseFields(slidingFields, data);
  const now = nowOf(settings);
  const keys = await context.keys();
  const claims = await verifyToken(settings, keys, token, "sliding");
  const until = claims[settings.slidingTokenRefreshExpClaim];
  if (until === undefined) throw fail("token_no_refresh_exp", { text: refreshExpText(settings, "has no '%' claim") });
  if (!((until as number) > Math.floor(now) - settings.leeway)) {
    throw fail("token_refresh_expired", { text: refreshExpText(settings, "'%' claim has expired") });
  }
  const user = await requireUser(context, claims, now);
  return { token: await signToken(keys.signing, slidingClaims(settings, claims, issueTime(now, user))) };
};

const refreshExpText = (
  { slidingTokenRefreshExpClaim: claim }: { slidingTokenRefreshExpClaim: string },
  text: string,
) => `Token ${text.replace("%", claim)}`;
