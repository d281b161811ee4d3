/**
 * What is in a token: lifetimes, ids, which claims pass from a refresh token to its access tokens, and what a token
 * must say to be good (RFC 7519 §4.1; token types, `jti` and `user_id` as Simple JWT writes them).
 */
import { fail } from "../errors.ts";
import type { Settings } from "../settings.ts";
import type { User } from "../stores/store.ts";

export type TokenType = "access" | "refresh";
export type Claims = Record<string, unknown>;

const nowSeconds = (settings: Settings): number => Math.floor(settings.now() / 1000);

/** 128 random bits as 32 lower-case hex digits, as Python's `uuid4().hex`. */
const newJti = (): string => crypto.randomUUID().replaceAll("-", "");

/** Claims that say what a token is; a new token gets its own, and a host's hook can't set them. */
function ownClaims({ tokenTypeClaim, jtiClaim }: Settings): string[] {
  return [tokenTypeClaim, "exp", "iat", jtiClaim];
}

/** The claims of a new refresh token. A host's claims come last and never replace a reserved one. */
export async function refreshClaims(settings: Settings, user: User): Promise<Claims> {
  const { userIdClaim, issuer, audience } = settings;
  const iat = nowSeconds(settings);
  const claims: Claims = {
    [settings.tokenTypeClaim]: "refresh",
    exp: iat + settings.refreshTokenLifetime,
    iat,
    [settings.jtiClaim]: newJti(),
    [userIdClaim]: user.id,
  };
  if (issuer !== undefined) claims.iss = issuer;
  if (audience !== undefined) claims.aud = audience;
  const reserved = new Set([...Object.keys(claims), "nbf", "iss", "aud"]);
  for (const [name, value] of Object.entries((await settings.claims?.(user)) ?? {})) {
    if (!reserved.has(name)) setClaim(claims, name, value);
  }
  return claims;
}

/** The claims of a new access token: all of its refresh token's but the type, the times and the id. */
export function accessClaims(settings: Settings, refresh: Claims): Claims {
  const iat = nowSeconds(settings);
  const claims: Claims = {
    [settings.tokenTypeClaim]: "access",
    exp: iat + settings.accessTokenLifetime,
    iat,
    [settings.jtiClaim]: newJti(),
  };
  const own = new Set(ownClaims(settings));
  for (const [name, value] of Object.entries(refresh)) {
    if (!own.has(name)) setClaim(claims, name, value);
  }
  return claims;
}

/** An assignment that makes a claim of any name an own property, `__proto__` too. */
function setClaim(claims: Claims, name: string, value: unknown): void {
  Object.defineProperty(claims, name, { value, enumerable: true, configurable: true, writable: true });
}

/**
 * Judges the claims of a token whose signature holds, in Simple JWT's order: times, `iss` and `aud`, then `exp` present,
 * then `jti`, then the type.
 * @param type the type the token must have; without it any type, or none, will do.
 * @throws the coded error of the first rule that fails.
 */
export function checkClaims(settings: Settings, claims: Claims, type?: TokenType): void {
  const now = nowSeconds(settings);
  const { leeway } = settings;
  for (const name of ["exp", "nbf", "iat"]) {
    if (Object.hasOwn(claims, name) && !Number.isFinite(claims[name])) throw fail("token_invalid");
  }
  const { exp, nbf, iat } = claims as { exp?: number; nbf?: number; iat?: number };
  if (exp !== undefined && exp <= now - leeway) throw fail("token_invalid");
  if (nbf !== undefined && nbf > now + leeway) throw fail("token_invalid");
  if (iat !== undefined && iat > now + leeway) throw fail("token_invalid");
  if (settings.issuer !== undefined && claims.iss !== settings.issuer) throw fail("token_invalid");
  if (settings.audience !== undefined && !sharesAudience(claims.aud, settings.audience)) throw fail("token_invalid");

  if (exp === undefined) throw fail("token_no_exp");
  const jti = claims[settings.jtiClaim];
  if (!Object.hasOwn(claims, settings.jtiClaim)) throw fail("token_no_id");
  // State is kept by this id, so it has to be one: Simple JWT would take any JSON value.
  if (typeof jti !== "string" || jti === "") throw fail("token_invalid");
  if (type === undefined) return;
  if (!Object.hasOwn(claims, settings.tokenTypeClaim)) throw fail("token_no_type");
  if (claims[settings.tokenTypeClaim] !== type) throw fail("token_wrong_type");
}

function sharesAudience(claim: unknown, accepted: string | string[]): boolean {
  const wanted = [accepted].flat();
  return [claim].flat().some((audience) => wanted.includes(audience as string));
}

/** The user a token speaks of: a string, or a number as Simple JWT before 5.5 wrote it. */
export function userIdFrom(settings: Settings, claims: Claims): string | undefined {
  const id = claims[settings.userIdClaim];
  if (typeof id === "string" && id !== "") return id;
  return Number.isSafeInteger(id) ? String(id) : undefined;
}

export const jtiFrom = (settings: Settings, claims: Claims): string => claims[settings.jtiClaim] as string;
