/**
 * The settings, a row each: schema and default, as a host would write it or a function that returns it. The row of the same
 * name in `descriptions.ts` holds the text, apart so that an application does not carry the texts of `--help`.
 */
import * as v from "valibot";
import type { MaybePromise } from "../maybe-promise.ts";
import { defaultIterations, formats, maxIterations, preferredFormats } from "../passwords/formats.ts";
import type { PasswordRules } from "../passwords/rules.ts";
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

const djangoRules: PasswordRules<User> = async (password, user) =>
  (await import("../passwords/rules.ts")).djangoPasswordRules(password, user);

const hashing = v.strictObject(
  {
    preferred: v.optional(
      v.picklist(preferredFormats, ({ input }) => {
        const accepted = `accepted: ${preferredFormats.join(", ")}`;
        if (!formats.some((format) => format === input)) return `is not known; ${accepted}`;
        return `is only verified, not made, since it ignores all of a password after 72 bytes; ${accepted}`;
      }),
      "pbkdf2_sha256",
    ),
    concurrency: v.optional(count(1), () => globalThis.navigator?.hardwareConcurrency || 4),
    queue: v.optional(count(0), 100),
    iterations: v.optional(count(1, maxIterations), defaultIterations),
  },
  objectMessage,
);

export const auditEventNames = [
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
    carry: v.optional(v.array(oneOf(["refresh", "access"]), 'is not a list; accepted: such as ["refresh"]'), []),
    sameSite: v.optional(oneOf(["strict", "lax", "none"]), "strict"),
    secure: v.optional(boolean, true),
    domain: v.optional(domain),
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
    signingKey: v.optional(key),
    verifyingKey: v.optional(key),
    jwkUrl: v.optional(keySetUrl),
    keys: v.optional(
      fn<() => MaybePromise<RotatingKeys | undefined>>("() => ({ active, retiring }) of JWKs with kid and alg"),
    ),
    algorithm: v.optional(algorithm, "HS256"),
    accessTokenLifetime: v.optional(lifetime, "5m"),
    refreshTokenLifetime: v.optional(lifetime, "1d"),
    rotateRefreshTokens: v.optional(boolean, false),
    blacklistAfterRotation: v.optional(boolean),
    refreshGrace: v.optional(gracePeriod, "10s"),
    sessionLifetime: v.optional(lifetime),
    sessions: v.optional(boolean, false),
    maxSessions: v.optional(count(1)),
    authTokenClasses: v.optional(
      v.pipe(
        v.array(oneOf(["AccessToken", "SlidingToken"]), "is not a list"),
        v.minLength(1, "is empty; accepted: AccessToken, SlidingToken"),
      ),
      ["AccessToken"],
    ),
    slidingTokenLifetime: v.optional(lifetime, "5m"),
    slidingTokenRefreshLifetime: v.optional(lifetime, "1d"),
    slidingTokenRefreshExpClaim: v.optional(name, "refresh_exp"),
    leeway: v.optional(leeway, 0),
    issuer: v.optional(name),
    audience: v.optional(nameOrNames),
    authHeaderTypes: v.optional(authSchemes, ["Bearer"]),
    authHeaderName: v.optional(headerName, "Authorization"),
    userIdField: v.optional(name, "id"),
    userIdClaim: v.optional(name, "user_id"),
    tokenTypeClaim: v.optional(name, "token_type"),
    jtiClaim: v.optional(name, "jti"),
    usernameField: v.optional(name, "username"),
    usernameMatching: v.optional(oneOf(["exact", "case-insensitive"]), "exact"),
    checkUserIsActive: v.optional(boolean, true),
    updateLastLogin: v.optional(boolean, false),
    checkRevokeToken: v.optional(boolean, false),
    revokeTokenClaim: v.optional(name, "hash_password"),
    userAuthenticationRule: v.optional(fn<UserAuthenticationRule>("(user) => true or false")),
    onLoginSuccess: v.optional(fn<LoginSuccessHook>("(user, request) => void")),
    onLoginFailed: v.optional(fn<LoginFailedHook>("(credentials, request) => void")),
    claims: v.optional(fn<ClaimsHook>("(user) => an object of claims")),
    me: v.optional(boolean, true),
    userFields: v.optional(fn<UserFieldsHook>("(user) => an object")),
    passwordRules: v.optional(fn<PasswordRules<User>>("(password, user) => a list of texts"), () => djangoRules),
    setPasswordRetype: v.optional(boolean, false),
    logoutOnPasswordChange: v.optional(boolean, false),
    responses: v.optional(oneOf(["djoser", "simplejwt"]), "djoser"),
    texts: v.optional(errorTexts, {}),
    prefix: v.optional(path, ""),
    openapi: v.optional(fn<OpenapiHook>("openapiDocument of jwt-endpoints/openapi")),
    maxBodySize: v.optional(count(1), 65_536),
    maxTokenLength: v.optional(count(256), 8192),
    verifiedTokenCache: v.optional(count(0), 10_000),
    hashing: v.optional(hashing, {}),
    throttle: v.optional(rateOrOff, false),
    throttleRefresh: v.optional(rateOrOff, false),
    throttleVerify: v.optional(rateOrOff, false),
    throttleSetPassword: v.optional(rateOrOff, false),
    throttleFailures: v.optional(rateOrOff, false),
    throttleRotations: v.optional(rateOrOff, false),
    cors: v.optional(origins, false),
    cookies: v.optional(cookies, {}),
    trustedProxies: v.optional(proxies, false),
    forwardedHeader: v.optional(oneOf(["x-forwarded-for", "forwarded"]), "x-forwarded-for"),
    clientAddress: v.optional(
      fn<(request: LoginRequest) => string | undefined>("(request) => an address"),
      () => (request: LoginRequest) => request.ip,
    ),
    now: v.optional(fn<() => number>("() => milliseconds since the epoch"), () => Date.now),
    log: v.optional(
      v.pipe(fn<(event: LogEvent) => unknown>("(event) => void"), v.transform(safeLog)),
      () => logToStandardError,
    ),
    audit: v.optional(fn<(event: AuditEvent) => unknown>("(event) => void")),
    auditEvents: v.optional(
      v.array(oneOf(auditEventNames), 'is not a list; accepted: such as ["login", "login_failed"]'),
      auditEventNames.filter((event) => event !== "refresh"),
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

type Entries = (typeof settingsSchema)["entries"];
type Nested = "hashing" | "cookies";
type NestedName = { [Group in Nested]: `${Group}.${string & keyof Entries[Group]["wrapped"]["entries"]}` }[Nested];

/** The names of all settings but `store`, as paths: `hashing.queue`. */
export type SettingName = Exclude<keyof Entries, Nested | "store"> | NestedName;
