/**
 * What is in a token: lifetimes, ids, which claims pass from a refresh token to its access tokens, and what a token
 * must say to be good (RFC 7519 §4.1; token types, `jti` and `user_id` as Simple JWT writes them).
 */
import { md5 } from "@noble/hashes/legacy.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { fail } from "../errors.ts";
import type { Settings } from "../settings/types.ts";
import type { User } from "../stores/store.ts";

export type TokenType = "access" | "refresh" | "sliding";
export type Claims = Record<string, unknown>;

/** The time in seconds, with its fraction. Taken before the user is read: what ends sessions meanwhile counts as later. */
export const nowOf = (settings: Settings): number => settings.now() / 1000;

/** 128 random bits as 32 lower-case hex digits, as Python's `uuid4().hex`. */
export const newJti = (): string => crypto.randomUUID().replaceAll("-", "");

/** What an endpoint gives a new token. */
export interface Issue {
  jti: string;
  /** `iat` and `exp`, in seconds. */
  iat: number;
  exp: number;
}

/** Whether a user's mark was set by a clock that was ahead: then the time alone does not tell new tokens from old ones. */
const isMarkAhead = (now: number, user: User): boolean => (user.tokensValidFrom ?? 0) >= now + 0.999;

/**
 * `iat` of a user's new token: whole seconds, but in the very second in which the user's earlier tokens were voided, where
 * only the fraction tells new ones from them. It may lie ahead of the clock then, by less than a second.
 */
export function issueTime(now: number, user: User): number {
  const whole = Math.floor(now);
  const mark = user.tokensValidFrom ?? 0;
  return whole > mark || isMarkAhead(now, user) ? whole : Math.max(now, mark + 0.0005); // marks are whole milliseconds
}

/** Names the mark that a login knew of, where that lies ahead: the login was later, whatever the clocks said. */
const seenMarkClaim = "tokens_valid_from";

/**
 * Whether the login of a token was before the user's tokens were voided, or at that very moment, when its request may have
 * been under way already. The login's time decides, since a process that has not heard of the mark yet may go on issuing.
 */
export function isIssuedTooEarly(claims: Claims, user: User): boolean {
  const mark = user.tokensValidFrom ?? null;
  return mark !== null && loginTime(claims) <= mark && !((claims[seenMarkClaim] as number) >= mark);
}

/** Whether a claim says what a token is: a new token gets its own. */
const isOwn = ({ tokenTypeClaim, jtiClaim }: Settings, name: string): boolean =>
  name === tokenTypeClaim || name === "exp" || name === "iat" || name === "jti" || name === jtiClaim;

/**
 * When the login of a token was, in seconds (`auth_time`, as in OpenID Connect). Tokens that Django makes lack it and count
 * from their own `iat`, a token without either from 0.
 */
function loginTime({ auth_time, iat = 0 }: Claims): number {
  return Number.isFinite(auth_time) ? Math.min(auth_time as number, iat as number) : (iat as number);
}

/** Until when the session of a token may last; without a cap, forever. */
export function sessionEnd({ sessionLifetime }: Settings, claims: Claims): number {
  return sessionLifetime === undefined ? Number.POSITIVE_INFINITY : loginTime(claims) + sessionLifetime;
}

/**
 * The session of a token (`sid`, as in OpenID Connect). One without it begins its own: the tokens that come from it by
 * rotation carry its id, which is why it is found under that id too.
 */
export function sessionOf(settings: Settings, claims: Claims): string {
  return typeof claims.sid === "string" && claims.sid !== "" ? claims.sid : jtiFrom(settings, claims);
}

/** The claims of a login's refresh or sliding token. A host's claims come last and never replace a reserved one. */
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
  if (settings.checkRevokeToken) claims[revokeTokenClaim] = passwordDigest(user);
  if (issuer !== undefined) claims.iss = issuer;
  if (audience !== undefined) claims.aud = audience;
  if (type === "refresh" && settings.rotateRefreshTokens) claims.sid = claims[settings.jtiClaim];
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

/** The claims of a new access token: all of its refresh token's but the type, the times and the id. */
export function accessClaims(settings: Settings, refresh: Claims, iat: number): Claims {
  const exp = Math.min(Math.floor(iat + settings.accessTokenLifetime), sessionEnd(settings, refresh));
  const claims = derivedClaims(settings, "access", refresh, { jti: newJti(), iat, exp });
  if (settings.rotateRefreshTokens) claims.sid = sessionOf(settings, refresh);
  return claims;
}

/** The claims of the refresh token that follows a rotated one; its session stays the same. */
export function successorClaims(settings: Settings, refresh: Claims, issue: Issue): Claims {
  const claims = derivedClaims(settings, "refresh", refresh, issue);
  claims.sid = sessionOf(settings, refresh);
  return claims;
}

/** A sliding token that has been refreshed: later times, the same id. */
export function slidingClaims(settings: Settings, sliding: Claims, iat: number): Claims {
  const exp = Math.min(Math.floor(iat + settings.slidingTokenLifetime), sessionEnd(settings, sliding));
  return derivedClaims(settings, "sliding", sliding, { jti: jtiFrom(settings, sliding), iat, exp });
}

/** The claims of a token that comes from another: those of the other but the type, times and id, and when its login was. */
function derivedClaims(settings: Settings, type: TokenType, from: Claims, { jti, iat, exp }: Issue): Claims {
  const claims: Claims = { [settings.tokenTypeClaim]: type, exp, iat, [settings.jtiClaim]: jti };
  for (const name of Object.keys(from)) {
    if (!isOwn(settings, name)) setClaim(claims, name, from[name]);
  }
  claims.auth_time = loginTime(from);
  if (settings.issuer !== undefined) claims.iss = settings.issuer;
  if (settings.audience !== undefined) claims.aud = settings.audience;
  return claims;
}

/** MD5 in upper-case hex of the stored hash: what Simple JWT writes and compares for `CHECK_REVOKE_TOKEN`. */
function passwordDigest(user: User): string {
  return bytesToHex(md5(utf8ToBytes(user.passwordHash))).toUpperCase();
}

/** Whether the password is still the one that a token was issued under, where tokens tell (`checkRevokeToken`). */
export function isPasswordUnchanged(settings: Settings, claims: Claims, user: User): boolean {
  return !settings.checkRevokeToken || claims[settings.revokeTokenClaim] === passwordDigest(user);
}

/** An assignment that makes a claim of any name an own property, `__proto__` too. */
function setClaim(claims: Claims, name: string, value: unknown): void {
  if (name !== "__proto__") claims[name] = value;
  else Object.defineProperty(claims, name, { value, enumerable: true, configurable: true, writable: true });
}

/**
 * Judges the claims of a token whose signature holds, in Simple JWT's order: times, `iss` and `aud`, then `exp` present,
 * then `jti`, then the type.
 * @param type the type the token must have; without it any type, or none, will do.
 * @throws the coded error of the first rule that fails.
 */
export function checkClaims(settings: Settings, claims: Claims, type?: TokenType): void {
  const now = nowOf(settings);
  const { leeway } = settings;
  const { exp, nbf, iat } = claims as { exp?: number; nbf?: number; iat?: number };
  if (!isTimeOrNone(exp) || !isTimeOrNone(nbf) || !isTimeOrNone(iat)) throw fail("token_invalid");
  if (exp !== undefined && exp <= Math.floor(now) - leeway) throw fail("token_invalid");
  if (nbf !== undefined && nbf > now + leeway) throw fail("token_invalid");
  const ahead = Number.isInteger(iat) ? 0 : 1; // see issueTime
  if (iat !== undefined && iat > now + leeway + ahead) throw fail("token_invalid");
  if (settings.issuer !== undefined && claims.iss !== settings.issuer) throw fail("token_invalid");
  if (settings.audience !== undefined && !sharesAudience(claims.aud, settings.audience)) throw fail("token_invalid");

  if (exp === undefined) throw fail("token_no_exp");
  const jti = claims[settings.jtiClaim];
  // State is kept by this id, so it has to be one: Simple JWT would take any JSON value.
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

/** The user a token speaks of: a string, or a number as Simple JWT before 5.5 wrote it. */
export function userIdFrom(settings: Settings, claims: Claims): string | undefined {
  const id = claims[settings.userIdClaim];
  if (typeof id === "string" && id !== "") return id;
  return Number.isSafeInteger(id) ? String(id) : undefined;
}

export const jtiFrom = (settings: Settings, claims: Claims): string => claims[settings.jtiClaim] as string;
