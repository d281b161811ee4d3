/**
 * The settings as a host writes them and as the code reads them. Types only: `schema.ts` holds the same settings as
 * valibot schemas, and the compiler refuses any difference between the two.
 */
import type { AlgorithmName } from "../tokens/algorithms.ts";

export type { AlgorithmName };
import type { JWK } from "jose";
import type { ErrorCode, TextCode } from "../errors.ts";
import type { MaybePromise } from "../maybe-promise.ts";
import type { PasswordOptions } from "../passwords/index.ts";
import type { PasswordRules } from "../passwords/rules.ts";
import type { MessageStore, SessionStore, StateStore, Store, User, UserStore } from "../stores/store.ts";

/**
 * The argument of `createJwtEndpoints`. Only `store` and a key are required.
 *
 * "Simple JWT" names the setting of djangorestframework-simplejwt that has the same meaning and default.
 */
export interface JwtEndpointsSettings {
  /**
   * Users and facts about tokens: `memoryStore()`, `openFileStore("./data")` or a store of the host's own. A store without
   * `putIfAbsent` and `get` can't revoke tokens.
   */
  store: EndpointsStore;

  /**
   * The secret or private key that signs tokens. HMAC secrets have at least the length of the hash (32 bytes for HS256).
   * Django's `SECRET_KEY` makes tokens valid on both sites. Required unless `verifyingKey`, `jwkUrl` or `keys` is set.
   *
   * Simple JWT: `SIGNING_KEY`.
   */
  signingKey?: KeyMaterial;
  /**
   * The public key, needed where it can't be derived from `signingKey`. Without `signingKey`, tokens are verified and none
   * are issued.
   *
   * Simple JWT: `VERIFYING_KEY`.
   */
  verifyingKey?: KeyMaterial;
  /**
   * URL of a JSON Web Key Set (RFC 7517 section 5) whose keys also verify tokens, signed elsewhere with `algorithm`. Needs an
   * algorithm with public keys.
   *
   * Simple JWT: `JWK_URL`.
   */
  jwkUrl?: string;
  /**
   * Returns the current key set, or `undefined` for `signingKey` alone. Called again at most once a second, so keys change
   * without a restart. Tokens signed with `signingKey`, where it is set, stay valid.
   */
  keys?: () => MaybePromise<RotatingKeys | undefined>;
  /**
   * The signature algorithm (RFC 7518 section 3.1) and the only one accepted; the token's header never chooses it.
   *
   * Simple JWT: `ALGORITHM`.
   * @default "HS256"
   */
  algorithm?: AlgorithmName;

  /**
   * How long an access token is valid.
   *
   * Simple JWT: `ACCESS_TOKEN_LIFETIME`.
   * @default "5m"
   */
  accessTokenLifetime?: Duration;
  /**
   * How long a refresh token is valid.
   *
   * Simple JWT: `REFRESH_TOKEN_LIFETIME`.
   * @default "1d"
   */
  refreshTokenLifetime?: Duration;
  /**
   * Issues a new refresh token at each refresh (RFC 9700 section 4.14). The tokens of one login form a session (`sid`).
   *
   * Simple JWT: `ROTATE_REFRESH_TOKENS`.
   * @default false
   */
  rotateRefreshTokens?: boolean;
  /**
   * Revokes a refresh token once it is used; using it again after `refreshGrace` ends its session. Defaults to
   * `rotateRefreshTokens`. With rotation and `false`, a used token stays valid until it expires, as in Simple JWT.
   *
   * Simple JWT: `BLACKLIST_AFTER_ROTATION`.
   */
  blacklistAfterRotation?: boolean;
  /**
   * The grace period after the first use of a rotated refresh token, in which it returns the same successor, so that a lost
   * response or a second tab logs nobody out. At most one hour; `0` is strict. `"until-used"` lasts until the successor is
   * used (FAPI 2.0).
   * @default "10s"
   */
  refreshGrace?: Duration;
  /** The absolute session lifetime, counted from the login; refreshing does not extend it. No limit by default. */
  sessionLifetime?: Duration;
  /**
   * Records each login with the client's address and agent, which are personal data, so that users can see and end their
   * sessions. Every token then carries its session's id (`sid`). Needs a store with `SessionStore`.
   * @default false
   */
  sessions?: boolean;
  /** The most sessions that a user may have with `sessions`: a login beyond that ends the oldest. No limit by default. */
  maxSessions?: number;

  /**
   * Token types that `authenticate` accepts. With `SlidingToken` first, create and refresh return `{token}`, and refresh
   * reads `token`.
   *
   * Simple JWT: `AUTH_TOKEN_CLASSES`.
   * @default ["AccessToken"]
   */
  authTokenClasses?: ("AccessToken" | "SlidingToken")[];
  /**
   * How long a sliding token is valid.
   *
   * Simple JWT: `SLIDING_TOKEN_LIFETIME`.
   * @default "5m"
   */
  slidingTokenLifetime?: Duration;
  /**
   * How long after the login a sliding token can be refreshed.
   *
   * Simple JWT: `SLIDING_TOKEN_REFRESH_LIFETIME`.
   * @default "1d"
   */
  slidingTokenRefreshLifetime?: Duration;
  /**
   * The claim that holds the time until which a sliding token can be refreshed.
   *
   * Simple JWT: `SLIDING_TOKEN_REFRESH_EXP_CLAIM`.
   * @default "refresh_exp"
   */
  slidingTokenRefreshExpClaim?: string;

  /**
   * The clock difference tolerated in `exp`, `nbf` and `iat`, at most ten minutes.
   *
   * Simple JWT: `LEEWAY`.
   * @default 0
   */
  leeway?: Duration;
  /**
   * The `iss` claim (RFC 7519 section 4.1.1): written into tokens and required in them.
   *
   * Simple JWT: `ISSUER`.
   */
  issuer?: string;
  /**
   * The `aud` claim (RFC 7519 section 4.1.3): written into tokens and required in them; of several, one is enough.
   *
   * Simple JWT: `AUDIENCE`.
   */
  audience?: string | string[];
  /**
   * Authentication schemes (RFC 9110 section 11.1) accepted in the header, in any case.
   *
   * Simple JWT: `AUTH_HEADER_TYPES`.
   * @default ["Bearer"]
   */
  authHeaderTypes?: string[];
  /**
   * The request header that carries the access token. Simple JWT writes Django's form of it, `HTTP_AUTHORIZATION`.
   *
   * Simple JWT: `AUTH_HEADER_NAME`.
   * @default "Authorization"
   */
  authHeaderName?: string;
  /**
   * The field of the user that `userIdClaim` holds: `id`, `username`, or one that the store's `findUserBy` can look up.
   *
   * Simple JWT: `USER_ID_FIELD`.
   * @default "id"
   */
  userIdField?: string;
  /**
   * The claim that identifies the user.
   *
   * Simple JWT: `USER_ID_CLAIM`.
   * @default "user_id"
   */
  userIdClaim?: string;
  /**
   * The claim that holds the token type: `access`, `refresh` or `sliding`.
   *
   * Simple JWT: `TOKEN_TYPE_CLAIM`.
   * @default "token_type"
   */
  tokenTypeClaim?: string;
  /**
   * The claim that holds the token's id.
   *
   * Simple JWT: `JTI_CLAIM`.
   * @default "jti"
   */
  jtiClaim?: string;

  /**
   * The body field that holds the username, as `USERNAME_FIELD` of Django's user model.
   *
   * Simple JWT: `USERNAME_FIELD`.
   * @default "username"
   */
  usernameField?: string;
  /**
   * Whether names that differ by case alone are one name. Names are NFKC-normalized either way, as in Django.
   * @default "exact"
   */
  usernameMatching?: "exact" | "case-insensitive";
  /**
   * Refuses inactive users at login, refresh and `authenticate`.
   *
   * Simple JWT: `CHECK_USER_IS_ACTIVE`.
   * @default true
   */
  checkUserIsActive?: boolean;
  /**
   * Records the time of each login in the user's `lastLogin`. Costs one write for each login.
   *
   * Simple JWT: `UPDATE_LAST_LOGIN`.
   * @default false
   */
  updateLastLogin?: boolean;
  /**
   * Writes a digest of the password hash into tokens, and refuses them once the password has changed.
   *
   * Simple JWT: `CHECK_REVOKE_TOKEN`.
   * @default false
   */
  checkRevokeToken?: boolean;
  /**
   * The claim that holds the digest of `checkRevokeToken`.
   *
   * Simple JWT: `REVOKE_TOKEN_CLAIM`.
   * @default "hash_password"
   */
  revokeTokenClaim?: string;

  /**
   * Decides whether a user may log in and refresh. Replaces the check of `isActive`.
   *
   * Simple JWT: `USER_AUTHENTICATION_RULE`.
   */
  userAuthenticationRule?: UserAuthenticationRule;
  /**
   * Called after a correct password, before the response.
   *
   * Simple JWT: `ON_LOGIN_SUCCESS`.
   */
  onLoginSuccess?: LoginSuccessHook;
  /**
   * Called after a refused login, without the password.
   *
   * Simple JWT: `ON_LOGIN_FAILED`.
   */
  onLoginFailed?: LoginFailedHook;
  /** Adds claims to the tokens of a login; they survive refresh. */
  claims?: ClaimsHook;

  /**
   * Serves `GET /users/me/`, the bearer's own fields, as Djoser does.
   * @default true
   */
  me?: boolean;
  /**
   * Returns what `/users/me/` shows of a user, in place of `email`, `id` and the username. An `id` that is a whole number is
   * shown as a number by default, as in Django.
   */
  userFields?: UserFieldsHook;

  /**
   * What a new password must be, at `/users/set_password/`: returns what is wrong with it, one sentence each. Django's four
   * validators by default.
   */
  passwordRules?: PasswordRules<User>;
  /**
   * Asks for the new password twice at `/users/set_password/` (`re_new_password`), as Djoser's `SET_PASSWORD_RETYPE`.
   * @default false
   */
  setPasswordRetype?: boolean;
  /**
   * Ends the session that changed the password, too, as Djoser's `LOGOUT_ON_PASSWORD_CHANGE`. All others end in any case, and
   * with `checkRevokeToken` this one, too.
   * @default false
   */
  logoutOnPasswordChange?: boolean;

  /**
   * The form of error responses: Djoser's documented one, or that of a live Simple JWT 5.5.
   * @default "djoser"
   */
  responses?: "djoser" | "simplejwt";
  /**
   * Texts of errors by their code, such as `{ token_expired: "…" }`, in place of those of either profile: for a translation,
   * or for the texts of another version of Simple JWT. A text replaces the whole of its error's, with what that says of times
   * and places. Texts of fields stay.
   * @default {}
   */
  texts?: Partial<Record<TextCode, string>>;
  /**
   * The path before `/jwt/…` and `/users/…`. Djoser sites use `/auth`.
   * @default ""
   */
  prefix?: string;
  /**
   * Makes the OpenAPI document that `/openapi.json` serves: `openapiDocument` of `jwt-endpoints/openapi`, or a function that
   * adds to it. Called once, at the first request. Without it, there is no such path.
   */
  openapi?: OpenapiHook;
  /**
   * The largest request body accepted, in bytes. A larger one gets 413.
   * @default 65536
   */
  maxBodySize?: number;
  /**
   * The longest token that is verified, in characters. A longer one is refused as invalid before it is hashed or parsed, so
   * raise the limit when `claims` adds a lot to every token.
   * @default 8192
   */
  maxTokenLength?: number;
  /**
   * The number of tokens whose verified signature is cached, at most 4 KiB each. Expiry and revocation are checked on every
   * request. `0` turns the cache off.
   * @default 10000
   */
  verifiedTokenCache?: number;
  /** Password hashing: the format and cost of new hashes, and how many logins are worked on or wait. */
  hashing?: PasswordOptions;
  /**
   * Logins allowed per client address, as DRF writes a rate: `"5/s"`, `"20/min"`, `"100/hour"`. Further ones get 429.
   * @default false
   */
  throttle?: false | string;
  /** Refreshes allowed per client address, written as `throttle`.
   * @default false
   */
  throttleRefresh?: false | string;
  /** Verifications allowed per client address, written as `throttle`.
   * @default false
   */
  throttleVerify?: false | string;
  /** Changes of a password allowed per client address, written as `throttle`.
   * @default false
   */
  throttleSetPassword?: false | string;
  /**
   * Failed logins of one account that cost nothing, such as `"10/hour"`. Each further one doubles a delay, from a second to
   * a minute. A client that logged in before is delayed by its own failures alone.
   * @default false
   */
  throttleFailures?: false | string;
  /**
   * Rotations allowed per session, such as `"600/hour"`: that many at once, and one more each six seconds. Each leaves a
   * fact in the store. A retry that gets the same successor does not count.
   * @default false
   */
  throttleRotations?: false | string;
  /**
   * Origins (RFC 6454) of browser front ends, such as `["https://app.example.org"]`, or `"*"`. Exact origins may send
   * credentials.
   * @default false
   */
  cors?: false | "*" | string[];
  /** Tokens in cookies, for browsers. Off while `carry` is empty. */
  cookies?: CookieSettings;

  /**
   * The reverse proxies whose word on the client counts: addresses, CIDR ranges and `loopback`, or the number of proxies in
   * front. The client's address is read from `forwardedHeader` only as far as they vouch for it, and the host and scheme
   * that cookies are checked against come with it. `false` trusts none.
   * @default false
   */
  trustedProxies?: false | number | string[];
  /**
   * The header that the trusted proxies write. They leave the other one as the client sent it, so only one is read.
   * @default "x-forwarded-for"
   */
  forwardedHeader?: "x-forwarded-for" | "forwarded";
  /** Returns the address that `throttle` and `trustedProxies` start from. Returns `request.ip` by default. */
  clientAddress?: (request: LoginRequest) => string | undefined;
  /** The clock, in milliseconds since the epoch. `Date.now` by default. */
  now?: () => number;
  /** Receives errors and warnings. Writes JSON lines to standard error by default. */
  log?: (event: LogEvent) => unknown;
  /**
   * Receives the events of `auditEvents`. With it, a sane `X-Request-Id` of a request is sent back, and an event of a
   * request without one gets a new id, which is sent back, too.
   */
  audit?: (event: AuditEvent) => unknown;
  /**
   * The events that `audit` receives. A refresh is the most frequent event by far, so it is left out by default.
   * @default ["login","login_failed","refresh_reuse","logout","password_changed","throttled","user_added","user_disabled","user_enabled","user_removed","users_imported","keys_rotated","key_retired"]
   */
  auditEvents?: AuditEventName[];
}

/** Tokens in cookies (RFC 6265bis). */
export interface CookieSettings {
  /**
   * Tokens sent in `HttpOnly` cookies instead of bodies. Requests from other sites are then refused, except from the origins
   * of `cors`.
   * @default []
   */
  carry?: ("refresh" | "access")[];
  /**
   * The `SameSite` attribute. A front end on another site needs `none`.
   * @default "strict"
   */
  sameSite?: "strict" | "lax" | "none";
  /**
   * Whether cookies are `Secure`, with a `__Host-` name where no `domain` is set. Turn it off only for tests over http.
   * @default true
   */
  secure?: boolean;
  /** The `Domain` attribute. Without it, only this host receives the cookies. */
  domain?: string;
}

/** Members of the settings that stay `undefined` unless they are set. */
type Unset =
  | "signingKey"
  | "verifyingKey"
  | "jwkUrl"
  | "keys"
  | "blacklistAfterRotation"
  | "issuer"
  | "audience"
  | "maxSessions"
  | "userAuthenticationRule"
  | "onLoginSuccess"
  | "onLoginFailed"
  | "claims"
  | "userFields"
  | "openapi"
  | "audit";

/** Members of the settings that are converted when they are parsed. */
type Converted =
  | "accessTokenLifetime"
  | "refreshTokenLifetime"
  | "refreshGrace"
  | "sessionLifetime"
  | "slidingTokenLifetime"
  | "slidingTokenRefreshLifetime"
  | "leeway"
  | "hashing"
  | "throttle"
  | "throttleRefresh"
  | "throttleVerify"
  | "throttleSetPassword"
  | "throttleFailures"
  | "throttleRotations"
  | "cookies"
  | "log";

type Given = JwtEndpointsSettings;

/** The settings with every default filled in, as the code reads them. Durations are in seconds. */
export interface Settings extends Readonly<Pick<Given, Unset>>, Readonly<Required<Omit<Given, Unset | Converted>>> {
  readonly accessTokenLifetime: number;
  readonly refreshTokenLifetime: number;
  readonly refreshGrace: number | "until-used";
  readonly sessionLifetime?: number;
  readonly slidingTokenLifetime: number;
  readonly slidingTokenRefreshLifetime: number;
  readonly leeway: number;
  readonly hashing: Required<PasswordOptions>;
  readonly throttle: false | Rate;
  readonly throttleRefresh: false | Rate;
  readonly throttleVerify: false | Rate;
  readonly throttleSetPassword: false | Rate;
  readonly throttleFailures: false | Rate;
  readonly throttleRotations: false | Rate;
  readonly cookies: Required<Omit<CookieSettings, "domain">> & Pick<CookieSettings, "domain">;
  readonly log: (event: LogEvent) => void;
}

/** A number of seconds, or text such as `"30s"`, `"5m"`, `"1h30m"`, `"1d"` (units `ms`, `s`, `m`, `h`, `d`, `w`). */
export type Duration = string | number;

/** `limit` requests in `seconds`. */
export interface Rate {
  limit: number;
  seconds: number;
}

/** A public or secret key: text (a secret, or PEM), raw bytes, or a JWK (RFC 7517). */
export type KeyMaterial = string | Uint8Array | JWK;

/**
 * A key set of one's own (RFC 7517), of which one key signs. Each key has `alg`, its algorithm, and `kid`, its name. A key
 * that was used as `signingKey` before may lack `kid`, as its tokens do.
 */
export interface RotatingKeys {
  /** The key that signs, hence a private or secret one. */
  active: JWK;
  /**
   * Keys that signed until lately, whose tokens are still valid; public keys are enough. A key with `exp` (seconds since the
   * epoch) is refused from then on, even while the key set can't be read.
   */
  retiring?: readonly (JWK & { exp?: number })[];
  /** Keys that will sign soon, published beforehand so that other servers know them in time. */
  next?: readonly JWK[];
}

/**
 * What the endpoints need of a store: the two look-ups, and as much of {@link Store} as the settings in use require. A store
 * without `putIfAbsent` and `get` can't revoke tokens, so there is no `/jwt/blacklist/`. Without `wasRemoved`, verify judges
 * the tokens of removed users by the token alone. The methods of `SessionStore` are for `sessions` alone. With those of
 * `MessageStore`, processes count together what throttles limit. A combination that can't work stops the start.
 */
export interface EndpointsStore
  extends
    Pick<UserStore, "findUserByUsername" | "findUserById">,
    Partial<Pick<Store, "updateUser" | "wasRemoved" | "putIfAbsent" | "get" | "ping" | "passwordHashes">>,
    Partial<StateStore>,
    Partial<SessionStore>,
    Partial<MessageStore> {
  /**
   * Returns the user whose `userIdField` has this value. Needed when that field is neither `id` nor `username`. A token that
   * finds no user is then refused at verify, too. A value that one user had and the next one gets needs a `tokensValidFrom`
   * of that moment, or the next user inherits valid tokens.
   */
  findUserBy?(field: string, value: string): MaybePromise<User | undefined>;
}

/** Something the operator should know. Holds no secret, password or token. */
export interface LogEvent {
  level: "error" | "warn";
  /** Stable, for alerts. */
  code:
    | ErrorCode
    | "rehash_failed"
    | "password_format_unknown"
    | "password_work_refused"
    | "client_address_unknown"
    | "proxy_undeclared"
    | "refresh_reuse"
    | "password_formats_unread"
    | "session_use_unrecorded"
    | "setting_without_effect"
    | "log_failed"
    | "path_stripped"
    | "path_prefixed"
    | "hash_check_failed"
    | "weak_setting"
    | "secret_on_command_line"
    | "open_config_file"
    | "open_without_proxy"
    | "limit_not_supported"
    | "more_hashes_than_cores";
  message: string;
  userId?: string;
  error?: unknown;
}

/** The name of an audit event. Names are stable; the last six come from the commands. */
export type AuditEventName =
  | "login"
  | "login_failed"
  | "refresh"
  | "refresh_reuse"
  | "logout"
  | "password_changed"
  | "throttled"
  | "user_added"
  | "user_disabled"
  | "user_enabled"
  | "user_removed"
  | "users_imported"
  | "keys_rotated"
  | "key_retired";

/** Something that a user, a client or an operator did. Holds no username, password, token, hash or key. */
export interface AuditEvent {
  /** ISO 8601, in UTC. */
  time: string;
  event: AuditEventName;
  /** The request's `X-Request-Id`, or a new one. Absent for what a host or a command did. */
  requestId?: string | undefined;
  /** The client's address, by `clientAddress`. */
  client?: string | undefined;
  /** The user's `id` in the store; for the logout of one session what its token names (`userIdField`). */
  userId?: string | undefined;
  /** The session: what the tokens of a login share, or the id of the only one. */
  sessionId?: string | undefined;
  /** Why a login failed. The client is never told. */
  reason?: "unknown_user" | "wrong_password" | "not_allowed" | "unusable_hash" | "changed_meanwhile" | undefined;
  /** The name of the key, for `keys_rotated` and `key_retired`. */
  keyId?: string | undefined;
  /** How many users, for `users_imported`. */
  count?: number | undefined;
}

/** What hooks see of a request. A Fetch `Request` has all of it but `ip`, which servers add. */
export interface LoginRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: { get(name: string): string | null };
  readonly ip?: string | undefined;
  isGone?(): boolean;
}

/** Returns whether a user may log in and refresh. */
export type UserAuthenticationRule = (user: User) => MaybePromise<boolean>;

/** Called for a login before the response. The login fails with whatever it throws. */
export type LoginSuccessHook = (user: User, request: LoginRequest) => unknown;

/** Called for a refused login. `credentials` holds the username field, never the password. */
export type LoginFailedHook = (credentials: Record<string, string>, request: LoginRequest) => unknown;

/**
 * Returns claims to add to the tokens of a login. Reserved claims (type, times, ids, user, issuer, audience) can't be
 * overwritten.
 */
export type ClaimsHook = (user: User) => Record<string, unknown> | Promise<Record<string, unknown>>;

/** Returns what `/users/me/` shows of a user. */
export type UserFieldsHook = (user: User) => MaybePromise<Record<string, unknown>>;

/** Returns an OpenAPI document. */
export type OpenapiHook = (api: ApiDescription) => MaybePromise<object>;

/** What there is to document. */
export interface ApiDescription {
  readonly settings: Settings;
  /** The routes that are on. */
  readonly routes: readonly ApiRoute[];
}

/** What a route tells of itself. */
export interface ApiRoute {
  /** The whole path, without its last slash, which is optional. It may end in `{id}`, which stands for any one segment. */
  readonly path: string;
  readonly name: string;
  readonly description: string;
  /** The fields of the body of a POST. */
  readonly fields?: readonly string[];
  /** Whether a POST checks a password. */
  readonly checksPassword?: boolean;
  /** The setting that limits how often a client may POST. */
  readonly throttledBy?: "throttle" | "throttleRefresh" | "throttleVerify" | "throttleSetPassword";
}
