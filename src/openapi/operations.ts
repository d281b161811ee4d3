/** What the document says of each route and the route table does not: its responses. One row per method of a route. */
import type { ErrorCode } from "../errors.ts";
import { cookiePrefix } from "../http/cookies.ts";
import type { Settings } from "../settings/types.ts";

export type Schema = Readonly<Record<string, unknown>>;

export interface Operation {
  readonly method: "get" | "post" | "delete";
  /** The name that generated clients give the method. */
  readonly id: string;
  /** What one call does, in a few words. */
  readonly summary: string;
  readonly tag: "Tokens" | "Users" | "Sessions" | "Server";
  /** Whether it takes an access token. */
  readonly isForUser?: boolean;
  /** Whether a cookie may carry the token of the body. */
  readonly readsCookie?: boolean;
  /** Whether the response may set cookies. */
  readonly setsCookies?: boolean;
  /** Returns the schema of a 200; without it, the response is a 204. */
  readonly result?: (settings: Settings) => Schema;
  /** The media type of a 200. Default: JSON. */
  readonly mediaType?: string;
  /** Why it fails, besides what any request may fail for. */
  readonly errors: readonly ErrorCode[];
}

export const isSliding = ({ authTokenClasses }: Settings): boolean => authTokenClasses[0] === "SlidingToken";

/** Returns the tokens that cookies carry, each with the name of its cookie. */
export function cookieNames(settings: Settings): Map<string, string> {
  const { carry } = settings.cookies;
  const carried = carry.length > 0 && isSliding(settings) ? ["token"] : carry;
  return new Map(carried.map((field) => [field, cookiePrefix(settings.cookies) + field]));
}

/** The schema of an object all of whose members are there. */
export const objectOf = (properties: Record<string, Schema>): Schema => ({
  type: "object",
  ...(Object.keys(properties).length > 0 && { required: Object.keys(properties) }),
  properties,
});

const empty = (): Schema => ({ type: "object", additionalProperties: false });

/** Returns an object of tokens, without those that cookies carry. */
function tokensOf(settings: Settings, names: readonly string[]): Schema {
  const carried = cookieNames(settings);
  const inBody = isSliding(settings) ? ["token"] : names;
  const properties = inBody.filter((name) => !carried.has(name)).map((name) => [name, { type: "string" }]);
  return { ...objectOf(Object.fromEntries(properties)), additionalProperties: false };
}

const text: Schema = { type: "string" };
const time: Schema = { type: "string", format: "date-time" };
const nullable: Schema = { type: ["string", "null"] };

const userOf = ({ userFields, usernameField }: Settings): Schema => {
  if (userFields !== undefined) return { type: "object" };
  const id = { type: ["integer", "string"] };
  return objectOf(usernameField === "email" ? { id, email: text } : { email: text, id, [usernameField]: text });
};

const sessionList = (): Schema => ({
  type: "array",
  items: {
    ...objectOf({ id: text, current: { type: "boolean" }, created_at: time, last_used_at: time, expires_at: time }),
    properties: {
      id: text,
      current: { type: "boolean", description: "Whether the access token belongs to it." },
      created_at: time,
      last_used_at: time,
      expires_at: time,
      ip: nullable,
      user_agent: nullable,
    },
  },
});

const statusOk = (): Schema => objectOf({ status: { const: "ok" } });

const tokenErrors = ["token_invalid", "token_expired", "token_no_id", "token_no_exp"] as const;
const typedErrors = [...tokenErrors, "token_wrong_type", "token_no_type"] as const;

const logout = {
  method: "post",
  tag: "Tokens",
  readsCookie: true,
  setsCookies: true,
  result: empty,
  errors: typedErrors,
} as const;

/** By the path of the route, without the prefix. */
export const operations: Readonly<Record<string, readonly Operation[]>> = {
  "/jwt/create": [
    {
      method: "post",
      id: "logIn",
      summary: "Log in",
      tag: "Tokens",
      setsCookies: true,
      result: (settings) => tokensOf(settings, ["refresh", "access"]),
      errors: ["invalid_credentials"],
    },
  ],
  "/jwt/refresh": [
    {
      method: "post",
      id: "refreshToken",
      summary: "Get a new access token",
      tag: "Tokens",
      readsCookie: true,
      setsCookies: true,
      result: (settings) => tokensOf(settings, settings.rotateRefreshTokens ? ["access", "refresh"] : ["access"]),
      errors: [...typedErrors, "token_blacklisted", "no_active_account", "password_changed"],
    },
  ],
  "/jwt/verify": [
    {
      method: "post",
      id: "verifyToken",
      summary: "Check a token of any type",
      tag: "Tokens",
      result: empty,
      errors: [...tokenErrors, "verify_blacklisted", "password_changed"],
    },
  ],
  "/jwt/blacklist": [{ ...logout, id: "blacklistToken", summary: "Log out, by Simple JWT's name" }],
  "/jwt/logout": [{ ...logout, id: "logOut", summary: "Log out" }],
  "/jwt/sessions": [
    {
      method: "get",
      id: "listSessions",
      summary: "List the user's sessions",
      tag: "Sessions",
      isForUser: true,
      result: sessionList,
      errors: [],
    },
    {
      method: "delete",
      id: "endOtherSessions",
      summary: "End all sessions but the current one",
      tag: "Sessions",
      isForUser: true,
      errors: [],
    },
  ],
  "/jwt/sessions/{id}": [
    {
      method: "delete",
      id: "endSession",
      summary: "End a session",
      tag: "Sessions",
      isForUser: true,
      errors: ["not_found"],
    },
  ],
  "/users/me": [
    {
      method: "get",
      id: "getMe",
      summary: "Show the user",
      tag: "Users",
      isForUser: true,
      result: userOf,
      errors: [],
    },
  ],
  "/users/set_password": [
    {
      method: "post",
      id: "setPassword",
      summary: "Change the password",
      tag: "Users",
      isForUser: true,
      errors: ["user_not_found"],
    },
  ],
  "/healthz": [
    { method: "get", id: "isAlive", summary: "Is the process alive?", tag: "Server", result: statusOk, errors: [] },
  ],
  "/readyz": [
    {
      method: "get",
      id: "isReady",
      summary: "Is the server ready?",
      tag: "Server",
      result: statusOk,
      errors: ["store_unavailable", "keys_unavailable", "login_queue_full"],
    },
  ],
  "/.well-known/jwks.json": [
    {
      method: "get",
      id: "getPublicKeys",
      summary: "Get the public keys (RFC 7517)",
      tag: "Server",
      result: () => objectOf({ keys: { type: "array", items: { type: "object", required: ["kty"] } } }),
      mediaType: "application/jwk-set+json",
      errors: ["keys_unavailable"],
    },
  ],
};
