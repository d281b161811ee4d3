import { type ErrorCode, fail, isFailure } from "../errors.ts";
import type { User } from "../stores/store.ts";
import { type Claims, type TokenType, isPasswordUnchanged, userIdFrom } from "../tokens/claims.ts";
import { verifyToken } from "../tokens/verify.ts";
import type { Context } from "./endpoint.ts";
import { findUserOf, isVoid } from "../sessions/rotation.ts";

export interface Authenticated {
  /** The verified claims of the token. */
  claims: Claims;
  user: User;
}

export interface AuthenticateOptions {
  /** Types of token that are let in. Default: what `authTokenClasses` names, `["access"]`. */
  tokenTypes?: readonly TokenType[];
  /** Claims the token must have, with these values; of a claim that is a list, one of its values. */
  claims?: Readonly<Record<string, unknown>>;
}

/**
 * Whom an `Authorization` header speaks for (RFC 6750 §2.1), in the order and words of Simple JWT's JWTAuthentication.
 * Revoked tokens, ended sessions and changed passwords count as at the endpoints.
 */
export async function authenticate(
  context: Context,
  header: string | null,
  {
    tokenTypes = context.settings.authTokenClasses.map((name) => tokenTypesByClass[name]),
    claims: wanted = {},
  }: AuthenticateOptions,
): Promise<Authenticated> {
  const { settings, keys } = context;
  const [scheme = "", token, ...rest] = (header ?? "").trim().split(/[ \t]+/);
  // Schemes are case-insensitive (RFC 9110 §11.1).
  const isOurs = settings.authHeaderTypes.some((type) => type.toLowerCase() === scheme.toLowerCase());
  if (!isOurs) throw fail("not_authenticated");
  if (token === undefined || rest.length > 0) throw fail("bad_authorization_header");

  const keySet = await keys();
  const reasons: [TokenType, ErrorCode][] = [];
  let claims: Claims | undefined;
  for (const type of tokenTypes) {
    try {
      claims = await verifyToken(settings, keySet, token, type);
      break;
    } catch (error) {
      if (!isFailure(error) || error.output.statusCode !== 401) throw error;
      reasons.push([type, error.data!.code]);
    }
  }
  if (claims === undefined) throw fail("access_token_invalid", { reasons });
  const user = await findUserOf(context, claims);
  if (await isVoid(context, claims, user)) {
    const type = claims[settings.tokenTypeClaim] as TokenType;
    throw fail("access_token_invalid", { reasons: [[type, "token_blacklisted"]] });
  }
  if (userIdFrom(settings, claims) === undefined) throw fail("no_user_claim");
  if (user === undefined) throw fail("user_not_found");
  if (settings.checkUserIsActive && !user.isActive) throw fail("user_inactive");
  if (!isPasswordUnchanged(settings, claims, user)) throw fail("password_changed");
  for (const [name, value] of Object.entries(wanted)) {
    const found = Object.hasOwn(claims, name) ? claims[name] : undefined;
    if (found === undefined || !([found].flat() as unknown[]).includes(value)) throw fail("insufficient_scope");
  }
  return { claims: structuredClone(claims), user }; // the host's to change; these may be remembered
}

const tokenTypesByClass = { AccessToken: "access", SlidingToken: "sliding" } as const;
