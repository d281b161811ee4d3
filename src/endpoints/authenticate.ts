import { type ErrorCode, fail, isFailure } from "../errors.ts";
import type { User } from "../stores/store.ts";
import { type Claims, jtiFrom, userIdFrom } from "../tokens/claims.ts";
import { verifyToken } from "../tokens/verify.ts";
import { blacklistKind } from "./blacklist.ts";
import type { Context } from "./endpoint.ts";

export interface Authenticated {
  /** The verified claims of the access token. */
  claims: Claims;
  user: User;
}

/** Whom an `Authorization` header speaks for (RFC 6750 §2.1), in the order and words of Simple JWT's JWTAuthentication. */
export async function authenticate(context: Context, header: string | null): Promise<Authenticated> {
  const { settings, store, keys } = context;
  const [scheme = "", token, ...rest] = (header ?? "").trim().split(/[ \t]+/);
  // Schemes are case-insensitive (RFC 9110 §11.1).
  const isOurs = settings.authHeaderTypes.some((type) => type.toLowerCase() === scheme.toLowerCase());
  if (!isOurs) throw fail("not_authenticated");
  if (token === undefined || rest.length > 0) throw fail("bad_authorization_header");

  const claims = await verifyToken(settings, await keys(), token, "access").catch((error: unknown) => {
    if (!isFailure(error)) throw error;
    throw invalidAccessToken(error.data!.code);
  });
  if ((await store.peek(blacklistKind, jtiFrom(settings, claims))) !== undefined) {
    throw invalidAccessToken("token_blacklisted");
  }
  const userId = userIdFrom(settings, claims);
  if (userId === undefined) throw fail("no_user_claim");
  const user = await store.findUserById(userId);
  if (user === undefined) throw fail("user_not_found");
  if (settings.checkUserIsActive && !user.isActive) throw fail("user_inactive");
  return { claims, user };
}

const invalidAccessToken = (reason: ErrorCode) => fail("access_token_invalid", { reason });
