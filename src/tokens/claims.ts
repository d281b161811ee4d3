/**
 * The claims of a token: how new ones are made, which pass from a refresh token to its access tokens, and which a valid
 * token must have (RFC 7519 section 4.1; token types, `jti` and `user_id` as in Simple JWT).
 */
import { fail } from "../errors.ts";
import { type MaybePromise, after, onDemand } from "../maybe-promise.ts";
import type { Settings } from "../settings/types.ts";
import type { User } from "../stores/store.ts";

export type TokenType = "access" | "refresh" | "sliding";
export type Claims = Record<string, unknown>;

/**
 * The time in seconds, with its fraction. Read it before the user is looked up, so that a revocation in between counts as
 * later.
 */
export const nowOf = (settings: Settings): number => settings.now() / 1000;

/** Returns a random version 4 UUID as 32 lower-case hex digits, like Python's `uuid4().hex`. */
export const newJti = (): string => crypto.randomUUID().replaceAll("-", "");

/** The id and times of a new token. */
export interface Issue {
  readonly jti: string;
  /** In seconds. */
  readonly iat: number;
  /** In seconds. */
  readonly exp: number;
}

/**
 * Whether a user's issued-before mark lies ahead of the clock, because the clock that set it was wrong. Times alone can't
 * tell new tokens from old ones then.
 */
export const isMarkAhead = (now: number, user: User): boolean => (user.tokensValidFrom ?? 0) >= now + 0.999;

/**
 * Returns the `iat` of a user's new token, in whole seconds. Within the second of the user's issued-before mark it has a
 * fraction, which tells new tokens from revoked ones, and may lie ahead of the clock by less than a second.
 */
export function issueTime(now: number, user: User): number {
  const whole = Math.floor(now);
  const mark = user.tokensValidFrom ?? 0;
  return whole > mark || isMarkAhead(now, user) ? whole : Math.max(now, mark + 0.0005); // marks are whole milliseconds
}

/**
 * Holds an issued-before mark that does not revoke the token: the one known at login when it lay ahead of the clock, or the
 * one that the token's session was kept past.
 */
const seenMarkClaim = "tokens_valid_from";

/**
 * Whether the login of a token was not later than the user's issued-before mark. The time of the login decides and not
 * `iat`, since a process that has not read the mark yet may still issue tokens. A login at the same instant counts as
 * earlier: its request may have been under way already.
 */
export function isIssuedBeforeMark(claims: Claims, user: Pick<User, "tokensValidFrom">): boolean {
  const mark = user.tokensValidFrom ?? null;
  return mark !== null && loginTime(claims) <= mark && !((claims[seenMarkClaim] as number) >= mark);
}

/** Adds the user's present issued-before mark as one that does not revoke the token. */
export const withKnownMark = (claims: Claims, user: User): Claims => ({
  ...claims,
  [seenMarkClaim]: user.tokensValidFrom,
});

/**
 * Returns the time of a token's login in seconds (`auth_time`, OpenID Connect Core section 2). Tokens made by Django lack
 * it and count from their own `iat`; a token without either counts from 0.
 */
export function loginTime({ auth_time, iat = 0 }: Claims): number {
  return Number.isFinite(auth_time) ? Math.min(auth_time as number, iat as number) : (iat as number);
}

/** Returns the end of a token's session in seconds, as `sessionLifetime` caps it; infinity without a cap. */
export function sessionEnd({ sessionLifetime }: Settings, claims: Claims): number {
  return sessionLifetime === undefined ? Number.POSITIVE_INFINITY : loginTime(claims) + sessionLifetime;
}

/**
 * Returns the id of a token's session (`sid`, as in OpenID Connect). A token without one begins a session under its own
 * `jti`, which its successors carry as `sid`.
 */
export function sessionOf(settings: Settings, claims: Claims): string {
  return typeof claims.sid === "string" && claims.sid !== "" ? claims.sid : jtiFrom(settings, claims);
}

/**
 * Returns when a refresh or sliding token is of no use any more, in seconds: it is expired and, for a sliding token, so is
 * the last one that could be made of it.
 */
export function lastUse({ slidingTokenLifetime, slidingTokenRefreshExpClaim }: Settings, claims: Claims): number {
  const exp = claims.exp as number;
  const refreshExp = claims[slidingTokenRefreshExpClaim];
  return Number.isFinite(refreshExp) ? Math.max(exp, (refreshExp as number) + slidingTokenLifetime) : exp;
}

/**
 * Makes the claims of a login's refresh or sliding token. The host's claims come last and never replace a reserved one.
 * @param now when the login began, in seconds.
 * @throws {TypeError} when the user lacks the field named by `userIdField`.
 */
export async function loginClaims(
  settings: Settings,
  user: User,
  type: "refresh" | "sliding",
  now: number,
): Promise<Claims> {
  const { issuer, audience, slidingTokenRefreshExpClaim, revokeTokenClaim } = settings;
  const iat = issueTime(now, user);
  const id = (user as unknown as Record<string, unknown>)[settings.userIdField];
  if (typeof id !== "string" && typeof id !== "number") {
    throw new TypeError(`the store's user has no ${settings.userIdField} (setting userIdField)`);
  }
  const claims: Claims = {
    [settings.tokenTypeClaim]: type,
    exp: Math.floor(iat + (type === "sliding" ? settings.slidingTokenLifetime : settings.refreshTokenLifetime)),
    iat,
    [settings.jtiClaim]: newJti(),
  };
  if (type === "sliding") claims[slidingTokenRefreshExpClaim] = Math.floor(iat + settings.slidingTokenRefreshLifetime);
  claims[settings.userIdClaim] = String(id);
  if (settings.checkRevokeToken) claims[revokeTokenClaim] = await passwordDigest(user.passwordHash);
  if (issuer !== undefined) claims.iss = issuer;
  if (audience !== undefined) claims.aud = audience;
  if (settings.sessions || (type === "refresh" && settings.rotateRefreshTokens)) claims.sid = claims[settings.jtiClaim];
  claims.auth_time = iat;
  if (isMarkAhead(now, user)) claims[seenMarkClaim] = user.tokensValidFrom;
  claims.exp = Math.min(claims.exp as number, sessionEnd(settings, claims));
  const others = ["jti", "nbf", "iss", "aud", "sid", "auth_time", seenMarkClaim];
  others.push(revokeTokenClaim, slidingTokenRefreshExpClaim);
  const reserved = new Set([...Object.keys(claims), ...others]);
  for (const [name, value] of Object.entries((await settings.claims?.(user)) ?? {})) {
    if (!reserved.has(name)) setClaim(claims, name, value);
  }
  return claims;
}

/**
 * Makes the claims of a new access token: those of its refresh token except type, times and id.
 * @param iat in seconds.
 */
export function accessClaims(settings: Settings, refresh: Claims, iat: number): Claims {
  const exp = Math.min(Math.floor(iat + settings.accessTokenLifetime), sessionEnd(settings, refresh));
  const claims = derivedClaims(settings, "access", refresh, { jti: newJti(), iat, exp });
  if (settings.rotateRefreshTokens || settings.sessions) claims.sid = sessionOf(settings, refresh);
  return claims;
}

/** Makes the claims of a rotated refresh token's successor, in the same session. */
export function successorClaims(settings: Settings, refresh: Claims, issue: Issue): Claims {
  const claims = derivedClaims(settings, "refresh", refresh, issue);
  claims.sid = sessionOf(settings, refresh);
  return claims;
}

/** Makes the claims of a refreshed sliding token: later times, the same id. */
export function slidingClaims(settings: Settings, sliding: Claims, iat: number): Claims {
  const exp = Math.min(Math.floor(iat + settings.slidingTokenLifetime), sessionEnd(settings, sliding));
  const claims = derivedClaims(settings, "sliding", sliding, { jti: jtiFrom(settings, sliding), iat, exp });
  if (settings.sessions) claims.sid = sessionOf(settings, sliding);
  return claims;
}

/** Makes the claims of a token derived from another: new type, times and id, the same login time, all else passed on. */
function derivedClaims(settings: Settings, type: TokenType, from: Claims, { jti, iat, exp }: Issue): Claims {
  const { tokenTypeClaim, jtiClaim, issuer, audience } = settings;
  const claims: Claims = {};
  setClaim(claims, tokenTypeClaim, type); // a literal with computed names takes several times as long
  claims.exp = exp;
  claims.iat = iat;
  setClaim(claims, jtiClaim, jti);
  for (const name of Object.keys(from)) {
    // What belongs to one token alone is not passed on.
    if (name !== tokenTypeClaim && name !== "exp" && name !== "iat" && name !== "jti" && name !== jtiClaim) {
      setClaim(claims, name, from[name]);
    }
  }
  claims.auth_time = loginTime(from);
  if (issuer !== undefined) claims.iss = issuer;
  if (audience !== undefined) claims.aud = audience;
  return claims;
}

const loadDigest = onDemand(() => import("./password-digest.ts"));

/** Returns the digest of a stored hash that Simple JWT compares for `CHECK_REVOKE_TOKEN`. */
export const passwordDigest = (passwordHash: string): MaybePromise<string> =>
  after(loadDigest(), ({ digestOf }) => digestOf(passwordHash));

/** Sets a claim as an own property, whatever its name: assignment to `__proto__` would set the prototype. */
function setClaim(claims: Claims, name: string, value: unknown): void {
  if (name !== "__proto__") claims[name] = value;
  else Object.defineProperty(claims, name, { value, enumerable: true, configurable: true, writable: true });
}

/**
 * Checks the claims of a token whose signature is valid, in the order of PyJWT and Simple JWT: `iat` and `nbf`, `exp`, `iss`
 * and `aud`, then the presence of `exp`, then `jti`, then the type.
 * @param type the type the token must have; without it, any type or none is accepted.
 * @throws `token_invalid`, `token_expired`, `token_no_exp`, `token_no_id`, `token_no_type` or `token_wrong_type`: the first rule
 * that fails.
 * @see RFC 7519 section 4.1
 */
export function checkClaims(settings: Settings, claims: Claims, type?: TokenType): void {
  const now = nowOf(settings);
  const { leeway } = settings;
  const { exp, nbf, iat } = claims as { exp?: number; nbf?: number; iat?: number };
  if (!isTimeOrNone(exp) || !isTimeOrNone(nbf) || !isTimeOrNone(iat)) throw fail("token_invalid");
  const ahead = Number.isInteger(iat) ? 0 : 1; // see issueTime
  if (iat !== undefined && iat > now + leeway + ahead) throw fail("token_invalid");
  if (nbf !== undefined && nbf > now + leeway) throw fail("token_invalid");
  if (exp !== undefined && exp <= Math.floor(now) - leeway) throw fail("token_expired");
  if (settings.issuer !== undefined && claims.iss !== settings.issuer) throw fail("token_invalid");
  if (settings.audience !== undefined && !sharesAudience(claims.aud, settings.audience)) throw fail("token_invalid");

  if (exp === undefined) throw fail("token_no_exp");
  const jti = claims[settings.jtiClaim];
  // Stricter than Simple JWT, which takes any JSON value: state is kept under this id.
  if (typeof jti !== "string" || jti === "") {
    throw fail(Object.hasOwn(claims, settings.jtiClaim) ? "token_invalid" : "token_no_id");
  }
  if (type === undefined) return;
  if (!Object.hasOwn(claims, settings.tokenTypeClaim)) throw fail("token_no_type");
  if (claims[settings.tokenTypeClaim] !== type) throw fail("token_wrong_type");
}

const isTimeOrNone = (time: unknown): boolean => time === undefined || Number.isFinite(time);

function sharesAudience(claim: unknown, accepted: string | string[]): boolean {
  const wanted = [accepted].flat();
  const given = [claim].flat();
  return given.every((one) => typeof one === "string") && given.some((one) => wanted.includes(one as string));
}

/** Returns the id of the user named by a token: a string, or a number as Simple JWT before 5.5 wrote it. */
export function userIdFrom(settings: Settings, claims: Claims): string | undefined {
  const id = claims[settings.userIdClaim];
  if (typeof id === "string" && id !== "") return id;
  return Number.isSafeInteger(id) ? String(id) : undefined;
}

/** Returns the id of a token whose claims have been checked. */
export const jtiFrom = (settings: Settings, claims: Claims): string => claims[settings.jtiClaim] as string;
