/**
 * The settings, a row each: schema, default and text. Everything else follows from a row: flag, environment variable,
 * Simple JWT's name, help text and the README's table (`describe.ts`).
 */
import * as v from "valibot";
import type { MaybePromise } from "../maybe-promise.ts";
import { defaultIterations, formats, maxIterations, preferredFormats } from "../passwords/formats.ts";
import { type PasswordRules, djangoPasswordRules } from "../passwords/rules.ts";
import type { User } from "../stores/store.ts";
import { logToStandardError, safeLog } from "./log.ts";
import type {
  AuditEvent,
  ClaimsHook,
  EndpointsStore,
  JwtEndpointsSettings,
  LogEvent,
  LoginFailedHook,
  LoginRequest,
  LoginSuccessHook,
  OpenapiHook,
  RotatingKeys,
  Settings,
  UserAuthenticationRule,
  UserFieldsHook,
} from "./types.ts";
import {
  algorithm,
  authSchemes,
  boolean,
  count,
  domain,
  errorTexts,
  fn,
  gracePeriod,
  headerName,
  key,
  keySetUrl,
  leeway,
  lifetime,
  name,
  nameOrNames,
  oneOf,
  origins,
  path,
  proxies,
  rateOrOff,
} from "./values.ts";

/** What a row says beside its schema and default. */
export interface SettingInfo {
  /** What the setting does, in Markdown, for the README and `--help`. */
  description: string;
  /** Simple JWT has a setting of this meaning. */
  isSimpleJwt: boolean;
  /** What the README shows as the default, where the value says too little. */
  shown?: string | undefined;
  [key: string]: unknown;
}

const row =
  ({ isSimpleJwt }: Pick<SettingInfo, "isSimpleJwt">) =>
  <const S extends v.GenericSchema, const D extends v.Default<S, undefined>>(
    schema: S,
    fallback: D,
    description: string,
    shown?: string,
  ) =>
    v.optional(
      v.pipe(schema, v.metadata<v.InferOutput<S>, SettingInfo>({ description, isSimpleJwt, shown })),
      fallback,
    );

/**
 * Makes the row of one setting.
 * @param schema the form of its value, from `values.ts`.
 * @param fallback its default as a host would write it; `undefined` for none, or a function that returns it.
 * @param description what it does, in Markdown.
 * @param shown what the README shows as the default, where `fallback` says too little.
 */
const setting = row({ isSimpleJwt: false });

/** As `setting`, for one that Simple JWT has in UPPER_SNAKE. */
const simpleJwt = row({ isSimpleJwt: true });

const hashing = v.strictObject(
  {
    preferred: setting(
      v.picklist(preferredFormats, ({ input }) => {
        const accepted = `accepted: ${preferredFormats.join(", ")}`;
        if (!formats.some((format) => format === input)) return `is not known; ${accepted}`;
        return `is only verified, not made, since it ignores all of a password after 72 bytes; ${accepted}`;
      }),
      "pbkdf2_sha256",
      "Format of new password hashes; weakest first: `pbkdf2_sha1`, `pbkdf2_sha256`, `bcrypt_sha256`, `scrypt`, `argon2`. " +
        "Weaker hashes are replaced at the next login. `argon2` needs the package `@node-rs/argon2`, `bcrypt_sha256` " +
        "needs `@node-rs/bcrypt`.",
    ),
    concurrency: setting(
      count(1),
      () => globalThis.navigator?.hardwareConcurrency || 4,
      "Password hashes computed at the same time.",
      "cores",
    ),
    queue: setting(count(0), 100, "Logins that may wait for a password hash. A further one gets 503."),
    iterations: setting(
      count(1, maxIterations),
      defaultIterations,
      "PBKDF2 iterations of new hashes, at most 20 million. Hashes with fewer are replaced at the next login. Fewer than " +
        "100,000 cause a warning at the start.",
    ),
  },
  objectMessage,
);

const auditEventNames = [
  "login",
  "login_failed",
  "refresh",
  "refresh_reuse",
  "logout",
  "password_changed",
  "throttled",
  "user_added",
  "user_disabled",
  "user_enabled",
  "user_removed",
  "users_imported",
  "keys_rotated",
  "key_retired",
] as const;

const cookies = v.strictObject(
  {
    carry: setting(
      v.array(oneOf(["refresh", "access"]), 'is not a list; accepted: such as ["refresh"]'),
      [],
      "Tokens sent in `HttpOnly` cookies instead of bodies: `refresh`, `access`. Requests from other sites are then " +
        "refused, except from the origins of `cors`.",
      "none",
    ),
    sameSite: setting(
      oneOf(["strict", "lax", "none"]),
      "strict",
      "`SameSite` attribute of the cookies. A front end on another site needs `none`.",
    ),
    secure: setting(
      boolean,
      true,
      "Whether cookies are `Secure`, with a `__Host-` name. Turn it off only for tests over http.",
    ),
    domain: setting(domain, undefined, "`Domain` attribute of the cookies. Without it, only this host receives them."),
  },
  objectMessage,
);

export const settingsSchema = v.strictObject(
  {
    // An object of code, so it has no row; the server has a flag of its own for it.
    store: v.custom<EndpointsStore>(
      (value) =>
        ["findUserByUsername", "findUserById"].every(
          (method) => typeof (value as Record<string, unknown> | null | undefined)?.[method] === "function",
        ),
      'is missing or not a store; make one with memoryStore(), openFileStore("./data") or your own',
    ),
    signingKey: simpleJwt(
      key,
      undefined,
      "Secret or private key that signs tokens: text, bytes, JWK or PEM. Django's `SECRET_KEY` makes tokens valid on both " +
        "sites. Without it, the server makes a key beside the file store.",
      "required in code",
    ),
    verifyingKey: simpleJwt(
      key,
      undefined,
      "Public key (PEM or JWK), where it can't be derived from `signingKey`.",
      "derived",
    ),
    jwkUrl: simpleJwt(
      keySetUrl,
      undefined,
      "URL of a JSON Web Key Set (RFC 7517) whose keys also verify tokens, signed elsewhere with `algorithm`. Without " +
        "`signingKey`, no tokens are issued here.",
    ),
    keys: setting(
      fn<() => MaybePromise<RotatingKeys | undefined>>("() => ({ active, retiring }) of JWKs with kid and alg"),
      undefined,
      "`() => ({ active, retiring, next })`, JWKs with `kid` and `alg`: `active` signs, all of them verify. Called again " +
        "every second, so keys change without a restart. Tokens signed with `signingKey`, where it is set, stay valid.",
    ),
    algorithm: simpleJwt(algorithm, "HS256", "Signature algorithm (RFC 7518), the only one accepted."),
    accessTokenLifetime: simpleJwt(lifetime, "5m", "How long an access token is valid."),
    refreshTokenLifetime: simpleJwt(lifetime, "1d", "How long a refresh token is valid."),
    rotateRefreshTokens: simpleJwt(
      boolean,
      false,
      "Issue a new refresh token at each refresh. The tokens of one login form a session (`sid`).",
    ),
    blacklistAfterRotation: simpleJwt(
      boolean,
      undefined,
      "Revoke a refresh token once it is used; using it again after `refreshGrace` ends its session. With rotation and " +
        "`false`, a used token stays valid until it expires, as in Simple JWT.",
      "as `rotateRefreshTokens`",
    ),
    refreshGrace: setting(
      gracePeriod,
      "10s",
      "Grace period after the first use of a rotated refresh token, in which it returns the same successor: a duration up " +
        "to `1h`, `0`, or `until-used`, which lasts until the successor is used (FAPI 2.0).",
    ),
    sessionLifetime: setting(
      lifetime,
      undefined,
      "Absolute session lifetime, counted from the login; refreshing does not extend it.",
      "no limit",
    ),
    sessions: setting(
      boolean,
      false,
      "Record each login with address and agent, so that users can see and end their sessions at `/jwt/sessions/`. Every " +
        "token then carries `sid`.",
    ),
    maxSessions: setting(
      count(1),
      undefined,
      "Most sessions of a user with `sessions`. A login beyond that ends the oldest.",
      "no limit",
    ),
    authTokenClasses: simpleJwt(
      v.pipe(
        v.array(oneOf(["AccessToken", "SlidingToken"]), "is not a list"),
        v.minLength(1, "is empty; accepted: AccessToken, SlidingToken"),
      ),
      ["AccessToken"],
      "Token types that `authenticate` accepts. With `SlidingToken` first, create and refresh return `{token}`, and " +
        "refresh reads `token`.",
    ),
    slidingTokenLifetime: simpleJwt(lifetime, "5m", "How long a sliding token is valid."),
    slidingTokenRefreshLifetime: simpleJwt(
      lifetime,
      "1d",
      "How long after the login a sliding token can be refreshed.",
    ),
    slidingTokenRefreshExpClaim: simpleJwt(
      name,
      "refresh_exp",
      "Claim that holds the time until which a sliding token can be refreshed.",
    ),
    leeway: simpleJwt(leeway, 0, "Clock difference tolerated in `exp`, `nbf` and `iat`, up to `10m`."),
    issuer: simpleJwt(name, undefined, "`iss` claim, written into tokens and required in them."),
    audience: simpleJwt(nameOrNames, undefined, "`aud` claim, written into tokens and required in them."),
    authHeaderTypes: simpleJwt(authSchemes, ["Bearer"], "Schemes accepted in the `Authorization` header."),
    authHeaderName: simpleJwt(headerName, "Authorization", "Header that carries the access token."),
    userIdField: simpleJwt(
      name,
      "id",
      "User field that `userIdClaim` holds: `id`, `username`, or one that the store's `findUserBy` can look up.",
    ),
    userIdClaim: simpleJwt(name, "user_id", "Claim that identifies the user."),
    tokenTypeClaim: simpleJwt(name, "token_type", "Claim that holds the token type: `access`, `refresh` or `sliding`."),
    jtiClaim: simpleJwt(name, "jti", "Claim that holds the token's id."),
    usernameField: simpleJwt(name, "username", "Body field that holds the username."),
    usernameMatching: setting(
      oneOf(["exact", "case-insensitive"]),
      "exact",
      "`exact`, or `case-insensitive` for `Ada` to log in as `ada`. Names are NFKC-normalized either way.",
    ),
    checkUserIsActive: simpleJwt(boolean, true, "Refuse inactive users at login, refresh and `authenticate`."),
    updateLastLogin: simpleJwt(boolean, false, "Record the time of each login."),
    checkRevokeToken: simpleJwt(
      boolean,
      false,
      "Write a digest of the password hash into tokens, and refuse them once the password has changed.",
    ),
    revokeTokenClaim: simpleJwt(name, "hash_password", "Claim that holds the digest of `checkRevokeToken`."),
    userAuthenticationRule: simpleJwt(
      fn<UserAuthenticationRule>("(user) => true or false"),
      undefined,
      "`(user) => boolean`: whether a user may log in and refresh. Replaces the check of `isActive`.",
    ),
    onLoginSuccess: simpleJwt(
      fn<LoginSuccessHook>("(user, request) => void"),
      undefined,
      "`(user, request) => void`, called after a correct password, before the response.",
    ),
    onLoginFailed: simpleJwt(
      fn<LoginFailedHook>("(credentials, request) => void"),
      undefined,
      "`(credentials, request) => void`, called after a refused login, without the password.",
    ),
    claims: setting(
      fn<ClaimsHook>("(user) => an object of claims"),
      undefined,
      "`(user) => claims` to add to the tokens of a login. Reserved claims can't be overwritten.",
    ),
    me: setting(boolean, true, "Serve `GET /users/me/`, the bearer's own fields, as Djoser does."),
    userFields: setting(
      fn<UserFieldsHook>("(user) => an object"),
      undefined,
      "`(user) => fields` that `/users/me/` shows. An `id` that is a whole number is shown as a number by default, as in " +
        "Django.",
      "`email`, `id`, username",
    ),
    passwordRules: setting(
      fn<PasswordRules<User>>("(password, user) => a list of texts"),
      () => djangoPasswordRules,
      "`(password, user) => texts` of what is wrong with a new password, at `/users/set_password/`.",
      "Django's four validators",
    ),
    setPasswordRetype: setting(
      boolean,
      false,
      "Ask for the new password twice (`re_new_password`), as Djoser's `SET_PASSWORD_RETYPE`.",
    ),
    logoutOnPasswordChange: setting(
      boolean,
      false,
      "End the session that changed the password, too, as Djoser's `LOGOUT_ON_PASSWORD_CHANGE`. All others end in any " +
        "case, and with `checkRevokeToken` this one, too.",
    ),
    responses: setting(oneOf(["djoser", "simplejwt"]), "djoser", "Response profile: `djoser` or `simplejwt`."),
    texts: setting(
      errorTexts,
      {},
      'Texts of errors by code, such as `{ token_expired: "…" }`, in place of those of either profile. A flag names a JSON ' +
        "file. A text replaces the whole of its error's, with what that says of times and places; the codes are in " +
        "[errors.ts](../errors.ts). Texts of fields stay.",
      "none",
    ),
    prefix: setting(path, "", "Path before `/jwt/…` and `/users/…`. Djoser sites use `/auth`.", '""'),
    openapi: setting(
      fn<OpenapiHook>("openapiDocument of jwt-endpoints/openapi"),
      undefined,
      "`(api) => document` at `/openapi.json`: [`openapiDocument`](../openapi/README.md) of `jwt-endpoints/openapi`.",
      "off; on in the server",
    ),
    maxBodySize: setting(count(1), 65_536, "Largest request body accepted, in bytes. A larger one gets 413."),
    maxTokenLength: setting(
      count(256),
      8192,
      "Longest token that is verified, in characters. A longer one is refused as invalid before it is hashed or parsed.",
    ),
    verifiedTokenCache: setting(
      count(0),
      10_000,
      "Number of tokens whose verified signature is cached, at most 4 KiB each. Expiry and revocation are checked on " +
        "every request. `0` turns the cache off.",
    ),
    hashing: v.optional(hashing, {}),
    throttle: setting(
      rateOrOff,
      false,
      "Logins allowed per client address, such as `20/min`. Further ones get 429. Each process counts for itself.",
      "off; `20/min` in the server",
    ),
    throttleRefresh: setting(rateOrOff, false, "Refreshes allowed per client address, such as `600/min`."),
    throttleVerify: setting(rateOrOff, false, "Verifications allowed per client address, such as `6000/min`."),
    throttleSetPassword: setting(
      rateOrOff,
      false,
      "Changes of a password allowed per client address, such as `20/min`.",
      "off; `20/min` in the server",
    ),
    throttleFailures: setting(
      rateOrOff,
      false,
      "Failed logins of one account that cost nothing, such as `10/hour`. Each further one doubles a delay, from one second " +
        "to one minute. A client that logged in before is delayed by its own failures alone.",
      "off; `10/hour` in the server",
    ),
    cors: setting(origins, false, "Origins of browser front ends, or `*`. Exact origins may send credentials."),
    cookies: v.optional(cookies, {}),
    trustedProxies: setting(
      proxies,
      false,
      "Reverse proxies whose word on the client's address, host and scheme counts: addresses, ranges such as " +
        "`10.0.0.0/8`, `loopback`, or the number of proxies in front.",
    ),
    forwardedHeader: setting(
      oneOf(["x-forwarded-for", "forwarded"]),
      "x-forwarded-for",
      "Header that the trusted proxies write; the other one is not read.",
    ),
    clientAddress: setting(
      fn<(request: LoginRequest) => string | undefined>("(request) => an address"),
      () => (request: LoginRequest) => request.ip,
      "`(request) => address` that `throttle` and `trustedProxies` start from.",
      "`request.ip`",
    ),
    now: setting(
      fn<() => number>("() => milliseconds since the epoch"),
      () => Date.now,
      "Clock: `() => milliseconds` since the epoch.",
      "`Date.now`",
    ),
    log: setting(
      v.pipe(fn<(event: LogEvent) => unknown>("(event) => void"), v.transform(safeLog)),
      () => logToStandardError,
      "`(event) => void`, receives errors and warnings.",
      "JSON on standard error",
    ),
    audit: setting(
      fn<(event: AuditEvent) => unknown>("(event) => void"),
      undefined,
      "`(event) => void`, receives the events of `auditEvents`.",
    ),
    auditEvents: setting(
      v.array(oneOf(auditEventNames), 'is not a list; accepted: such as ["login", "login_failed"]'),
      auditEventNames.filter((event) => event !== "refresh"),
      `Audit events that are recorded: ${auditEventNames.map((event) => `\`${event}\``).join(", ")}.`,
      "all but `refresh`",
    ),
  },
  objectMessage,
);

/** A key that is not in the schema has `expected: "never"`. */
function objectMessage(issue: { expected: string | null; received: string }): string {
  if (issue.expected === "never") return "is not a setting";
  return issue.received === "undefined" ? "is required" : "is not an object";
}

type Keys<T> = keyof NonNullable<T>;

/** The names of the members in which two types differ, or whose own members have other names; `never` for none. */
type Differences<A, B> = {
  [K in keyof A | keyof B]: K extends keyof A & keyof B
    ? [A[K], B[K], Keys<A[K]>, Keys<B[K]>] extends [B[K], A[K], Keys<B[K]>, Keys<A[K]>]
      ? never
      : K
    : K;
}[keyof A | keyof B];

type None<T extends never> = T;

/** Compiles only while schema and hand-written types agree, in both directions; else the error names the setting. */
export type DifferencesFromTypes = [
  None<Differences<v.InferInput<typeof settingsSchema>, JwtEndpointsSettings>>,
  None<Differences<v.InferOutput<typeof settingsSchema>, Settings>>,
];
