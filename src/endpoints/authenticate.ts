/** Verifies an access token for a resource of the host or of ours, in the order and words of Simple JWT's JWTAuthentication. */
import { type ErrorCode, fail, isFailure } from "../errors.ts";
import type { MaybePromise } from "../maybe-promise.ts";
import { bearerError } from "../sessions/rules.ts";
import { lookUp } from "../sessions/state.ts";
import type { LoginRequest } from "../settings/types.ts";
import type { User } from "../stores/store.ts";
import type { Claims, TokenType } from "../tokens/claims.ts";
import { verifyToken } from "../tokens/verify.ts";
import type { Context } from "./endpoint.ts";

/** Whose access token a request carries, and what it says. */
export interface Authenticated {
  /** The verified claims of the token; a copy that the host may change. */
  claims: Claims;
  user: User;
}

/** What `authenticate` accepts. */
export interface AuthenticateOptions {
  /** The types of token that are accepted. Default: those of `authTokenClasses`, `["access"]`. */
  tokenTypes?: readonly TokenType[];
  /** Claims that the token must have, with their values; for a claim that is a list, one of its values. */
  claims?: Readonly<Record<string, unknown>>;
}

/** A request of an authenticated user. */
export interface UserCall extends Authenticated {
  /** The parsed body of a POST, not yet validated; an empty object for other methods. */
  readonly data: unknown;
  /** What stands in the request's path for the `{id}` of the route's, decoded; empty for a route without one. */
  readonly id: string;
  readonly request: LoginRequest;
}

/** What an endpoint returns for a 204 when it has revoked the tokens of the request itself: cookies with them are cleared. */
export const loggedOut: object = Object.freeze({});

/**
 * An endpoint for authenticated users: like `Endpoint`, but called with the bearer.
 * @returns the body of a 200; `undefined` or `loggedOut` for a 204.
 */
export type UserEndpoint = (context: Context, call: UserCall) => MaybePromise<object | undefined>;

const tokenTypesByClass = { AccessToken: "access", SlidingToken: "sliding" } as const;

/**
 * Returns the claims and the user of a token. Revoked tokens, ended sessions and changed passwords are refused, as at the
 * endpoints.
 * @throws `access_token_invalid`, `no_user_claim`, `user_not_found`, `user_inactive`, `password_changed`;
 * `insufficient_scope` when a required claim is missing or has another value.
 */
export async function authenticateToken(
  context: Context,
  token: string,
  options: AuthenticateOptions,
): Promise<Authenticated> {
  const { settings } = context;
  const { tokenTypes = settings.authTokenClasses.map((name) => tokenTypesByClass[name]) } = options;
  const claims = await verifyAs(context, token, tokenTypes);
  const state = await lookUp(context, claims, "bearer");
  const error = bearerError(settings, claims, state);
  if (error === "token_blacklisted") {
    const type = claims[settings.tokenTypeClaim] as TokenType;
    throw fail("access_token_invalid", { reasons: [[type, error]] });
  }
  if (error !== undefined) throw fail(error);
  for (const [name, value] of Object.entries(options.claims ?? {})) {
    const found = Object.hasOwn(claims, name) ? claims[name] : undefined;
    if (found === undefined || !([found].flat() as unknown[]).includes(value)) throw fail("insufficient_scope");
  }
  // A copy: the original may be in the cache of verified tokens.
  return { claims: structuredClone(claims), user: state.account.user! };
}

/** Verifies a token as each of the given types in turn, and names the reason for each in the error. */
async function verifyAs({ settings, keys }: Context, token: string, types: readonly TokenType[]): Promise<Claims> {
  const keySet = await keys();
  const reasons: [TokenType, ErrorCode][] = [];
  for (const type of types) {
    try {
      return await verifyToken(settings, keySet, token, type);
    } catch (error) {
      if (!isFailure(error) || error.output.statusCode !== 401) throw error;
      reasons.push([type, error.data!.code]);
    }
  }
  throw fail("access_token_invalid", { reasons });
}
