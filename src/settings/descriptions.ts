/**
 * What each setting does, a row each. The names are the schema's: a row that is missing or has no setting does not compile.
 * Only tables and help texts read this file (`describe.ts`).
 */
import { type SettingName, auditEventNames } from "./schema.ts";

export interface Description {
  /** What the setting does, in Markdown, for the README and `--help`. */
  description: string;
  /** Simple JWT has a setting of this meaning. */
  isSimpleJwt: boolean;
  /** What the README shows as the default, where the value says too little. */
  shown?: string | undefined;
}

/**
 * Makes the row of one setting.
 * @param description what it does, in Markdown.
 * @param shown what the README shows as the default, where the value in the schema says too little.
 */
const setting = (description: string, shown?: string): Description => ({ description, isSimpleJwt: false, shown });

/** As `setting`, for one that Simple JWT has in UPPER_SNAKE. */
const simpleJwt = (description: string, shown?: string): Description => ({ description, isSimpleJwt: true, shown });

export const descriptions: Record<SettingName, Description> = {
  "hashing.preferred": setting(
    "Format of new password hashes; weakest first: `pbkdf2_sha1`, `pbkdf2_sha256`, `bcrypt_sha256`, `scrypt`, `argon2`. " +
      "Weaker hashes are replaced at the next login. `argon2` needs the package `@node-rs/argon2`, `bcrypt_sha256` " +
      "needs `@node-rs/bcrypt`.",
  ),
  "hashing.concurrency": setting("Password hashes computed at the same time.", "cores"),
  "hashing.queue": setting("Logins that may wait for a password hash. A further one gets 503."),
  "hashing.iterations": setting(
    "PBKDF2 iterations of new hashes, at most 20 million. Hashes with fewer are replaced at the next login. Fewer than " +
      "100,000 cause a warning at the start.",
  ),
  "cookies.carry": setting(
    "Tokens sent in `HttpOnly` cookies instead of bodies: `refresh`, `access`. Requests from other sites are then " +
      "refused, except from the origins of `cors`.",
    "none",
  ),
  "cookies.sameSite": setting("`SameSite` attribute of the cookies. A front end on another site needs `none`."),
  "cookies.secure": setting(
    "Whether cookies are `Secure`, with a `__Host-` name. Turn it off only for tests over http.",
  ),
  "cookies.domain": setting("`Domain` attribute of the cookies. Without it, only this host receives them."),
  signingKey: simpleJwt(
    "Secret or private key that signs tokens: text, JWK or PEM (in code also bytes). With Django's `SECRET_KEY`, tokens are " +
      "valid on both sites. Without a key, the server makes one beside the file store.",
    "required in code",
  ),
  verifyingKey: simpleJwt("Public key (PEM or JWK), where it can't be derived from `signingKey`.", "derived"),
  jwkUrl: simpleJwt(
    "URL of a JSON Web Key Set (RFC 7517) whose keys also verify tokens, signed elsewhere with `algorithm`. Without " +
      "`signingKey`, no tokens are issued here.",
  ),
  keys: setting(
    "`() => ({ active, retiring, next })`, JWKs with `kid` and `alg`: `active` signs, all of them verify. Called again " +
      "every second, so keys change without a restart. Tokens signed with `signingKey`, where it is set, stay valid.",
  ),
  algorithm: simpleJwt(
    "Signature algorithm (RFC 7518), the only one accepted, such as `HS256`, `RS256`, `ES256`, `EdDSA`.",
  ),
  accessTokenLifetime: simpleJwt("How long an access token is valid."),
  refreshTokenLifetime: simpleJwt("How long a refresh token is valid."),
  rotateRefreshTokens: simpleJwt(
    "Issue a new refresh token at each refresh. The tokens of one login form a session (`sid`).",
  ),
  blacklistAfterRotation: simpleJwt(
    "Revoke a refresh token once it is used; using it again after `refreshGrace` ends its session. With rotation and " +
      "`false`, a used token stays valid until it expires, as in Simple JWT.",
    "as `rotateRefreshTokens`",
  ),
  refreshGrace: setting(
    "Grace period after the first use of a rotated refresh token, in which it returns the same successor: a duration up " +
      "to `1h`, `0`, or `until-used`, which lasts until the successor is used (FAPI 2.0).",
  ),
  sessionLifetime: setting(
    "Absolute session lifetime, counted from the login; refreshing does not extend it.",
    "no limit",
  ),
  sessions: setting(
    "Record each login with address and agent, so that users can see and end their sessions at `/jwt/sessions/`. Every " +
      "token then carries `sid`.",
  ),
  maxSessions: setting(
    "Most sessions that a user has at once, with `sessions` on. A login beyond that ends the oldest.",
    "no limit",
  ),
  authTokenClasses: simpleJwt(
    "Token types accepted where a user is needed: `AccessToken`, `SlidingToken`. With `SlidingToken` first, create and " +
      "refresh return `{token}`, and refresh reads `token`.",
  ),
  slidingTokenLifetime: simpleJwt("How long a sliding token is valid."),
  slidingTokenRefreshLifetime: simpleJwt("How long after the login a sliding token can be refreshed."),
  slidingTokenRefreshExpClaim: simpleJwt("Claim that holds the time until which a sliding token can be refreshed."),
  leeway: simpleJwt("Clock difference tolerated in `exp`, `nbf` and `iat`, up to `10m`."),
  issuer: simpleJwt("`iss` claim, written into tokens and required in them."),
  audience: simpleJwt("`aud` claim, written into tokens and required in them."),
  authHeaderTypes: simpleJwt("Schemes accepted in the `Authorization` header."),
  authHeaderName: simpleJwt("Header that carries the access token."),
  userIdField: simpleJwt(
    "User field that `userIdClaim` holds: `id`, `username`, or another one by which the store finds users.",
  ),
  userIdClaim: simpleJwt("Claim that identifies the user."),
  tokenTypeClaim: simpleJwt("Claim that holds the token type: `access`, `refresh` or `sliding`."),
  jtiClaim: simpleJwt("Claim that holds the token's id."),
  usernameField: simpleJwt("Body field that holds the username."),
  usernameMatching: setting(
    "How usernames match: `exact`, or `case-insensitive` for `Ada` to log in as `ada`. Names are NFKC-normalized either way.",
  ),
  checkUserIsActive: simpleJwt("Refuse inactive users at login, at refresh and with an access token."),
  updateLastLogin: simpleJwt("Record the time of each login."),
  checkRevokeToken: simpleJwt(
    "Write a digest of the password hash into tokens, and refuse them once the password has changed.",
  ),
  revokeTokenClaim: simpleJwt("Claim that holds the digest of `checkRevokeToken`."),
  userAuthenticationRule: simpleJwt(
    "`(user) => boolean`: whether a user may log in and refresh. Replaces the check of `isActive`.",
  ),
  onLoginSuccess: simpleJwt("`(user, request) => void`, called after a correct password, before the response."),
  onLoginFailed: simpleJwt("`(credentials, request) => void`, called after a refused login, without the password."),
  claims: setting("`(user) => claims` to add to the tokens of a login. Reserved claims can't be overwritten."),
  me: setting("Serve `GET /users/me/`, the bearer's own fields, as Djoser does."),
  userFields: setting(
    "`(user) => fields` that `/users/me/` shows. An `id` that is a whole number is shown as a number by default, as in " +
      "Django.",
    "`email`, `id`, username",
  ),
  passwordRules: setting(
    "`(password, user) => texts` of what is wrong with a new password, at `/users/set_password/`.",
    "Django's four validators",
  ),
  setPasswordRetype: setting("Ask for the new password twice (`re_new_password`), as Djoser's `SET_PASSWORD_RETYPE`."),
  logoutOnPasswordChange: setting(
    "End the session that changed the password, too, as Djoser's `LOGOUT_ON_PASSWORD_CHANGE`. All others end in any " +
      "case, and with `checkRevokeToken` this one, too.",
  ),
  responses: setting("Response profile: `djoser` or `simplejwt`."),
  texts: setting(
    'Texts of errors by code, such as `{"token_expired":"…"}`, in place of those of the response profile; a flag names ' +
      "a JSON file. [`/docs`](../openapi/README.md) shows the codes. A text replaces all that the error says, also " +
      "seconds to wait and places in a body. Texts of single fields can't be replaced.",
    "none",
  ),
  prefix: setting("Path before `/jwt/…` and `/users/…`. Djoser sites use `/auth`.", '""'),
  openapi: setting(
    "`(api) => document` at `/openapi.json`: [`openapiDocument`](../openapi/README.md) of `jwt-endpoints/openapi`.",
    "off; on in the server",
  ),
  maxBodySize: setting("Largest request body accepted, in bytes. A larger one gets 413."),
  maxTokenLength: setting(
    "Longest token that is verified, in characters. A longer one is refused as invalid before it is hashed or parsed.",
  ),
  verifiedTokenCache: setting(
    "Number of tokens whose verified signature is cached, at most 4 KiB each. Expiry and revocation are checked on " +
      "every request. `0` turns the cache off.",
  ),
  throttle: setting(
    "Logins allowed per client address, such as `20/min`. Further ones get 429. The processes of a store count together.",
    "off; `20/min` in the server",
  ),
  throttleRefresh: setting("Refreshes allowed per client address, such as `600/min`."),
  throttleVerify: setting("Verifications allowed per client address, such as `6000/min`."),
  throttleSetPassword: setting(
    "Changes of a password allowed per client address, such as `20/min`.",
    "off; `20/min` in the server",
  ),
  throttleFailures: setting(
    "Failed logins of one account without a delay, such as `10/hour`. Each further one doubles the delay, from one " +
      "second to one minute. A client that logged in before is delayed by its own failures alone.",
    "off; `10/hour` in the server",
  ),
  throttleRotations: setting(
    "Rotations of refresh tokens allowed per session, such as `600/hour`: that many at once, and one more each six seconds. " +
      "Each leaves a fact in the store.",
    "off; `600/hour` in the server",
  ),
  cors: setting("Origins of browser front ends, or `*`. Exact origins may send credentials."),
  trustedProxies: setting(
    "Reverse proxies that are believed about the client's address, host and scheme: addresses, ranges such as " +
      "`10.0.0.0/8`, `loopback`, or the number of proxies in front.",
  ),
  forwardedHeader: setting(
    "Header that the trusted proxies write: `x-forwarded-for` or `forwarded`. The other one is not read.",
  ),
  clientAddress: setting("`(request) => address` that `throttle` and `trustedProxies` start from.", "`request.ip`"),
  now: setting("Clock: `() => milliseconds` since the epoch.", "`Date.now`"),
  log: setting("`(event) => void`, receives errors and warnings.", "JSON on standard error"),
  audit: setting("`(event) => void`, receives the events of `auditEvents`."),
  auditEvents: setting(
    `Audit events that are recorded: ${auditEventNames.map((event) => `\`${event}\``).join(", ")}.`,
    "all but `refresh`",
  ),
};
