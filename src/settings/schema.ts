/**
 * Every setting in one place: its schema, default, meaning and Simple JWT twin. Parsed once, frozen, passed down.
 * The server's flags and environment (`program/options.ts`) and the README's table are made from this same schema.
 */
import type { JWK } from "jose";
import * as v from "valibot";
import type { ErrorCode } from "../errors.ts";
import type { MaybePromise } from "../maybe-promise.ts";
import { defaultIterations, formats, maxIterations, preferredFormats } from "../passwords/formats.ts";
import type { Store, User, UserStore } from "../stores/store.ts";

/** How a setting is written as a flag or an environment variable; `none` when it only makes sense in code. */
export type SettingForm = "text" | "number" | "duration" | "boolean" | "list" | "none";

export interface SettingInfo {
  form: SettingForm;
  /** Simple JWT's name for it, where it has one. */
  simpleJwtName?: string;
  /** What the README shows as the default, where the value itself says too little. */
  shown?: string;
  [key: string]: unknown;
}

/** Something the operator should know; `code` is stable. Holds no secret, password or token. */
export interface LogEvent {
  level: "error" | "warn";
  code:
    | ErrorCode
    | "rehash_failed"
    | "password_format_unknown"
    | "client_address_unknown"
    | "refresh_reuse"
    | "password_formats_unread"
    | "setting_without_effect"
    | "log_failed"
    | "path_stripped"
    | "path_prefixed"
    | "weak_setting";
  message: string;
  userId?: string;
  error?: unknown;
}

/**
 * What the endpoints ask of a store: the two look-ups, and as much of {@link Store} as the settings in use need. One
 * without `putIfAbsent` and `get` can't revoke, so it has no `/jwt/blacklist/`; one without `wasRemoved` leaves verify to judge
 * a removed user's tokens by themselves. A wrong combination stops the start.
 */
export interface EndpointsStore
  extends
    Pick<UserStore, "findUserByUsername" | "findUserById">,
    Partial<Pick<Store, "updateUser" | "wasRemoved" | "putIfAbsent" | "get" | "ping" | "passwordHashes">> {
  /** The user whose `userIdField` has a value; needed when that field is neither `id` nor `username`. */
  findUserBy?(field: string, value: string): MaybePromise<User | undefined>;
}

/** A public or secret key: text (a secret, or PEM), raw bytes, or a JWK (RFC 7517). */
export type KeyMaterial = string | Uint8Array | JWK;

/**
 * Several keys of one's own (RFC 7517), of which one signs. Each has `alg`, its algorithm, and `kid`, its name; a key that
 * was in use before there was a ring may lack `kid`, as its tokens do.
 */
export interface RotatingKeys {
  /** Signs, and so is private or secret. */
  active: JWK;
  /**
   * Signed until lately: their tokens are still good. Public keys will do. From `exp` on (seconds since the epoch) a key
   * is out of use, even where the ring can't be read any more.
   */
  retiring?: readonly (JWK & { exp?: number })[];
  /** Are to sign soon: published beforehand, so that others know them by then. */
  next?: readonly JWK[];
}

const doc = <T>(description: string, info: SettingInfo) =>
  v.metadata<T, SettingInfo & { description: string }>({ ...info, description });

const unitSeconds: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400, w: 604800 };

/** Reads `"5m"`, `"1h30m"` or a number of seconds; `undefined` when it is neither. */
export function parseDuration(value: unknown): number | undefined {
  if (typeof value === "number") return Number.isFinite(value) && value >= 0 ? value : undefined;
  if (typeof value !== "string") return undefined;
  if (/^\d+(\.\d+)?$/.test(value)) return Number(value);
  if (!/^(\d+(\.\d+)?(ms|s|m|h|d|w))+$/.test(value)) return undefined;
  let seconds = 0;
  for (const [, amount, unit] of value.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d|w)/g)) {
    seconds += Number(amount) * unitSeconds[unit!]!;
  }
  return seconds;
}

const isDuration = (value: unknown): boolean => parseDuration(value) !== undefined;
const durationText = v.custom<string | number>(
  isDuration,
  'is not a duration; accepted: seconds, or text such as "30s", "5m", "1h30m", "1d"',
);
const duration = v.pipe(
  durationText,
  v.transform((value) => parseDuration(value)!),
);
/** In seconds: for as long a used token still passes, or an expired one. */
const [mostGrace, mostLeeway] = [3600, 600];
const lifetime = v.pipe(duration, v.minValue(1, "is too short; accepted: one second or more"));
const text = v.string("is not text");
const name = v.pipe(text, v.nonEmpty("is empty; accepted: a name"));
/** A token of RFC 9110 §5.6.2. */
const headerToken = /^[\w!#$%&'*+.^`|~-]+$/;
const boolean = v.boolean("is not a boolean; accepted: true or false");
const count = (least: number, most = Number.MAX_SAFE_INTEGER) =>
  v.pipe(
    v.number("is not a number"),
    v.check(
      (n) => Number.isSafeInteger(n) && n >= least && n <= most,
      `is out of range; accepted: a whole number from ${least}${most < Number.MAX_SAFE_INTEGER ? ` to ${most}` : ""}`,
    ),
  );
const fn = <F>(message: string) => v.custom<F>((value) => typeof value === "function", message);
const oneOf = <const T extends readonly string[]>(options: T) =>
  v.picklist(options, `is not known; accepted: ${options.join(", ")}`);

const key = v.custom<KeyMaterial>(
  (value) =>
    (typeof value === "string" && value !== "") ||
    value instanceof Uint8Array ||
    (typeof value === "object" && value !== null && typeof (value as JWK).kty === "string"),
  "is not a key; accepted: text, bytes, a JWK or PEM text",
);

/** Requests per time for one client address, as in DRF's `"20/min"`. */
const rate = v.pipe(
  text,
  v.regex(/^[1-9]\d{0,8}\/(s|sec|m|min|h|hour|d|day)$/, 'is not a rate; accepted: such as "5/s", "20/min", "100/hour"'),
  v.transform((value) => {
    const [limit, unit] = value.split("/") as [string, string];
    return { limit: Number(limit), seconds: unitSeconds[unit[0]!]! };
  }),
);

const originsAccepted = 'accepted: false, "*", or exact origins such as ["https://app.example.org"]';
const origins = v.union(
  [
    v.literal(false),
    v.literal("*"),
    v.array(v.pipe(v.string(), v.regex(/^https?:\/\/[^/\s]+$/, `is not an origin; ${originsAccepted}`))),
  ],
  `is not a list of origins; ${originsAccepted}`,
);

const jwkUrl = v.custom<string>((value) => {
  if (typeof value !== "string" || !URL.canParse(value)) return false;
  const { protocol, username, password } = new URL(value);
  return /^https?:$/.test(protocol) && username === "" && password === "";
}, "is not an address of keys; accepted: an http:// or https:// URL without a user name or password");

const algorithms = [
  "HS256",
  "HS384",
  "HS512",
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
] as const;

const hashing = v.strictObject(
  {
    preferred: v.optional(
      v.pipe(
        v.picklist(preferredFormats, ({ input }) => {
          const accepted = `accepted: ${preferredFormats.join(", ")}`;
          if (!formats.some((format) => format === input)) return `is not known; ${accepted}`;
          return `is only verified, not made, since it ignores all of a password after 72 bytes; ${accepted}`;
        }),
        doc(
          "Format of new password hashes: `pbkdf2_sha1`, `pbkdf2_sha256`, `bcrypt_sha256`, `scrypt` or `argon2`, weakest " +
            "first; weaker hashes are replaced at the next login. `argon2` needs the package `@node-rs/argon2`, " +
            "`bcrypt_sha256` needs `@node-rs/bcrypt`.",
          { form: "text" },
        ),
      ),
      "pbkdf2_sha256",
    ),
    concurrency: v.optional(
      v.pipe(count(1), doc("Password hashes computed at the same time.", { form: "number", shown: "cores" })),
      () => globalThis.navigator?.hardwareConcurrency || 4,
    ),
    queue: v.optional(
      v.pipe(count(0), doc("Logins that may wait for a hash; beyond it the answer is 503.", { form: "number" })),
      100,
    ),
    iterations: v.optional(
      v.pipe(
        count(1, maxIterations),
        doc(
          "PBKDF2 iterations of new hashes, at most 20 million; weaker ones are upgraded at login. Fewer than 100,000 are a warning at the start.",
          {
            form: "number",
          },
        ),
      ),
      defaultIterations,
    ),
  },
  objectMessage,
);

/** Tokens in cookies, for browsers; off while `carry` is empty. */
const cookies = v.strictObject(
  {
    carry: v.optional(
      v.pipe(
        v.array(oneOf(["refresh", "access"]), 'is not a list; accepted: such as ["refresh"]'),
        doc(
          "Tokens that travel in `HttpOnly` cookies instead of bodies: `refresh`, `access`. Requests from other sites are " +
            "then refused, but for the origins of `cors`.",
          { form: "list", shown: "none" },
        ),
      ),
      [],
    ),
    sameSite: v.optional(
      v.pipe(
        oneOf(["strict", "lax", "none"]),
        doc("`SameSite` of the cookies; `none` for a front end on another site.", { form: "text" }),
      ),
      "strict",
    ),
    secure: v.optional(
      v.pipe(
        boolean,
        doc("`Secure` cookies with a `__Host-` name. Off only for tests over http.", { form: "boolean" }),
      ),
      true,
    ),
    domain: v.optional(
      v.pipe(
        text,
        v.regex(
          /^\.?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/i,
          'is not a domain; accepted: such as "example.org"',
        ),
        doc("`Domain` of the cookies; without it they are this host's alone.", { form: "text" }),
      ),
    ),
  },
  objectMessage,
);

/** Whether a user may log in and refresh; in place of the check of `isActive`. */
export type UserAuthenticationRule = (user: User) => MaybePromise<boolean>;
/** What hooks see of a request; a Fetch `Request` has it all but `ip`, which servers add. */
export interface LoginRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: { get(name: string): string | null };
  readonly ip?: string | undefined;
}
/** Told of a login, before it is answered; what it throws fails the login. */
export type LoginSuccessHook = (user: User, request: LoginRequest) => unknown;
/** Told of a refused login: the name that was given, never the password. */
export type LoginFailedHook = (credentials: Record<string, string>, request: LoginRequest) => unknown;

/** Claims a host adds to a login's tokens. Reserved ones (type, times, ids, user, issuer, audience) can't be overwritten. */
export type ClaimsHook = (user: User) => Record<string, unknown> | Promise<Record<string, unknown>>;

export const settingsSchema = v.strictObject(
  {
    store: v.custom<EndpointsStore>(
      (value) =>
        ["findUserByUsername", "findUserById"].every(
          (method) => typeof (value as Record<string, unknown> | null | undefined)?.[method] === "function",
        ),
      'is missing or not a store; make one with memoryStore(), openFileStore("./data") or your own',
    ),
    signingKey: v.optional(
      v.pipe(
        key,
        doc(
          "Secret or private key that signs; Django's `SECRET_KEY` for a shared site. Text, bytes, JWK or PEM. " +
            "The server makes one beside the file store.",
          { form: "text", simpleJwtName: "SIGNING_KEY", shown: "required in code" },
        ),
      ),
    ),
    verifyingKey: v.optional(
      v.pipe(
        key,
        doc("Public key, PEM or JWK, when it can't be derived from `signingKey`.", {
          form: "text",
          simpleJwtName: "VERIFYING_KEY",
          shown: "derived",
        }),
      ),
    ),
    jwkUrl: v.optional(
      v.pipe(
        jwkUrl,
        doc(
          "URL of a JSON Web Key Set (RFC 7517): tokens that others signed with `algorithm` are good too. Without " +
            "`signingKey` nothing is signed here.",
          { form: "text", simpleJwtName: "JWK_URL" },
        ),
      ),
    ),
    keys: v.optional(
      v.pipe(
        fn<() => MaybePromise<RotatingKeys | undefined>>(
          "is not a function; accepted: () => ({ active, retiring }) of JWKs with kid and alg",
        ),
        doc(
          "`() => ({ active, retiring, next })`, JWKs with `kid` and `alg`: `active` signs, all of them verify. Asked again " +
            "every second, so keys change without a restart. Tokens of `signingKey`, if there is one, stay good.",
          { form: "none" },
        ),
      ),
    ),
    algorithm: v.optional(
      v.pipe(
        oneOf(algorithms),
        doc("Signature algorithm (RFC 7518), the only one accepted.", { form: "text", simpleJwtName: "ALGORITHM" }),
      ),
      "HS256",
    ),
    accessTokenLifetime: v.optional(
      v.pipe(
        lifetime,
        doc("How long an access token is good.", { form: "duration", simpleJwtName: "ACCESS_TOKEN_LIFETIME" }),
      ),
      "5m",
    ),
    refreshTokenLifetime: v.optional(
      v.pipe(
        lifetime,
        doc("How long a refresh token is good.", { form: "duration", simpleJwtName: "REFRESH_TOKEN_LIFETIME" }),
      ),
      "1d",
    ),
    rotateRefreshTokens: v.optional(
      v.pipe(
        boolean,
        doc("Answer a new refresh token at each refresh; those of one login form a session (`sid`).", {
          form: "boolean",
          simpleJwtName: "ROTATE_REFRESH_TOKENS",
        }),
      ),
      false,
    ),
    blacklistAfterRotation: v.optional(
      v.pipe(
        boolean,
        doc(
          "A used refresh token is void, and using it again after `refreshGrace` ends its session. `false` with rotation " +
            "leaves it good until it expires, as in Simple JWT.",
          { form: "boolean", simpleJwtName: "BLACKLIST_AFTER_ROTATION", shown: "as `rotateRefreshTokens`" },
        ),
      ),
    ),
    refreshGrace: v.optional(
      v.pipe(
        v.custom<string | number>(
          (value) => value === "until-used" || isDuration(value),
          'is not a duration; accepted: seconds, text such as "10s", 0 for none, or "until-used"',
        ),
        v.check(
          (value) => value === "until-used" || parseDuration(value)! <= mostGrace,
          'is too long; accepted: up to "1h", or "until-used"',
        ),
        v.transform((value): "until-used" | number => (value === "until-used" ? value : parseDuration(value)!)),
        doc(
          "For how long after its first use a rotated refresh token answers with the same successor: a duration up to " +
            "`1h`, `0`, or `until-used`, as long as the successor itself is unused (FAPI 2.0).",
          { form: "duration" },
        ),
      ),
      "10s",
    ),
    sessionLifetime: v.optional(
      v.pipe(
        lifetime,
        doc("How long after its login a session ends, however often it is refreshed.", {
          form: "duration",
          shown: "no limit",
        }),
      ),
    ),
    authTokenClasses: v.optional(
      v.pipe(
        v.array(oneOf(["AccessToken", "SlidingToken"]), "is not a list"),
        v.minLength(1, "is empty; accepted: AccessToken, SlidingToken"),
        doc(
          "Tokens that `authenticate` takes. With `SlidingToken` first, create and refresh answer `{token}`, and refresh " +
            "reads `token`.",
          { form: "list", simpleJwtName: "AUTH_TOKEN_CLASSES" },
        ),
      ),
      ["AccessToken"],
    ),
    slidingTokenLifetime: v.optional(
      v.pipe(
        lifetime,
        doc("How long a sliding token is good.", { form: "duration", simpleJwtName: "SLIDING_TOKEN_LIFETIME" }),
      ),
      "5m",
    ),
    slidingTokenRefreshLifetime: v.optional(
      v.pipe(
        lifetime,
        doc("How long after its login a sliding token can be refreshed.", {
          form: "duration",
          simpleJwtName: "SLIDING_TOKEN_REFRESH_LIFETIME",
        }),
      ),
      "1d",
    ),
    slidingTokenRefreshExpClaim: v.optional(
      v.pipe(
        name,
        doc("Claim with the time until which a sliding token can be refreshed.", {
          form: "text",
          simpleJwtName: "SLIDING_TOKEN_REFRESH_EXP_CLAIM",
        }),
      ),
      "refresh_exp",
    ),
    leeway: v.optional(
      v.pipe(
        durationText,
        v.check((value) => parseDuration(value)! <= mostLeeway, 'is too long; accepted: up to "10m"'),
        v.transform((value) => parseDuration(value)!),
        doc("Clock difference forgiven in `exp`, `nbf` and `iat`, up to `10m`.", {
          form: "duration",
          simpleJwtName: "LEEWAY",
        }),
      ),
      0,
    ),
    issuer: v.optional(
      v.pipe(name, doc("`iss` claim, written and required.", { form: "text", simpleJwtName: "ISSUER" })),
    ),
    audience: v.optional(
      v.pipe(
        v.union([name, v.array(name)], "is not text or a list of text"),
        doc("`aud` claim, written and required.", { form: "list", simpleJwtName: "AUDIENCE" }),
      ),
    ),
    authHeaderTypes: v.optional(
      v.pipe(
        v.array(
          v.pipe(text, v.regex(headerToken, 'is not an authentication scheme; accepted: one word, such as "Bearer"')),
          "is not a list",
        ),
        v.minLength(1, "is empty"),
        doc("Schemes accepted in `Authorization`.", { form: "list", simpleJwtName: "AUTH_HEADER_TYPES" }),
      ),
      ["Bearer"],
    ),
    authHeaderName: v.optional(
      v.pipe(
        text,
        v.regex(headerToken, 'is not the name of a header; accepted: such as "Authorization"'),
        doc("Header that carries an access token.", { form: "text", simpleJwtName: "AUTH_HEADER_NAME" }),
      ),
      "Authorization",
    ),
    userIdField: v.optional(
      v.pipe(
        name,
        doc(
          "Field of the user that `userIdClaim` holds: `id`, `username`, or one that the store's `findUserBy` knows.",
          {
            form: "text",
            simpleJwtName: "USER_ID_FIELD",
          },
        ),
      ),
      "id",
    ),
    userIdClaim: v.optional(
      v.pipe(name, doc("Claim that names the user.", { form: "text", simpleJwtName: "USER_ID_CLAIM" })),
      "user_id",
    ),
    tokenTypeClaim: v.optional(
      v.pipe(name, doc("Claim that holds `access` or `refresh`.", { form: "text", simpleJwtName: "TOKEN_TYPE_CLAIM" })),
      "token_type",
    ),
    jtiClaim: v.optional(
      v.pipe(name, doc("Claim with the token's id.", { form: "text", simpleJwtName: "JTI_CLAIM" })),
      "jti",
    ),
    usernameField: v.optional(
      v.pipe(name, doc("Body field that carries the user name.", { form: "text", simpleJwtName: "USERNAME_FIELD" })),
      "username",
    ),
    usernameMatching: v.optional(
      v.pipe(
        oneOf(["exact", "case-insensitive"]),
        doc("Whether `Ada` logs in as `ada`. Names are NFKC-normalized either way.", { form: "text" }),
      ),
      "exact",
    ),
    checkUserIsActive: v.optional(
      v.pipe(
        boolean,
        doc("Refuse inactive users at login, refresh and `authenticate`.", {
          form: "boolean",
          simpleJwtName: "CHECK_USER_IS_ACTIVE",
        }),
      ),
      true,
    ),
    updateLastLogin: v.optional(
      v.pipe(boolean, doc("Record the time of each login.", { form: "boolean", simpleJwtName: "UPDATE_LAST_LOGIN" })),
      false,
    ),
    checkRevokeToken: v.optional(
      v.pipe(
        boolean,
        doc("Write a digest of the password hash into tokens, and refuse them once the password has changed.", {
          form: "boolean",
          simpleJwtName: "CHECK_REVOKE_TOKEN",
        }),
      ),
      false,
    ),
    revokeTokenClaim: v.optional(
      v.pipe(name, doc("Claim that holds that digest.", { form: "text", simpleJwtName: "REVOKE_TOKEN_CLAIM" })),
      "hash_password",
    ),
    userAuthenticationRule: v.optional(
      v.pipe(
        fn<UserAuthenticationRule>("is not a function; accepted: (user) => true or false"),
        doc("`(user) => boolean`: who may log in and refresh, in place of the check of `isActive`.", {
          form: "none",
          simpleJwtName: "USER_AUTHENTICATION_RULE",
        }),
      ),
    ),
    onLoginSuccess: v.optional(
      v.pipe(
        fn<LoginSuccessHook>("is not a function; accepted: (user, request) => void"),
        doc("`(user, request)` after a login's password was found right.", {
          form: "none",
          simpleJwtName: "ON_LOGIN_SUCCESS",
        }),
      ),
    ),
    onLoginFailed: v.optional(
      v.pipe(
        fn<LoginFailedHook>("is not a function; accepted: (credentials, request) => void"),
        doc("`(credentials, request)` after a refused login; without the password.", {
          form: "none",
          simpleJwtName: "ON_LOGIN_FAILED",
        }),
      ),
    ),
    claims: v.optional(
      v.pipe(
        fn<ClaimsHook>("is not a function; accepted: (user) => an object of claims"),
        doc("`(user) => claims` added to a login's tokens; reserved claims are kept.", { form: "none" }),
      ),
    ),
    responses: v.optional(
      v.pipe(oneOf(["djoser", "simplejwt"]), doc("Response profile: `djoser` or `simplejwt`.", { form: "text" })),
      "djoser",
    ),
    prefix: v.optional(
      v.pipe(
        text,
        v.regex(/^\/?[\w\-./~]*$/, 'is not a path; accepted: such as "/auth"'),
        v.transform((path) => path.replace(/^\/*(?=.)/, "/").replace(/\/+$/, "")),
        doc("Path in front of `/jwt/…`; Djoser sites use `/auth`.", { form: "text", shown: '""' }),
      ),
      "",
    ),
    maxBodySize: v.optional(
      v.pipe(count(1), doc("Largest request body, in bytes; beyond it 413.", { form: "number" })),
      65_536,
    ),
    verifiedTokenCache: v.optional(
      v.pipe(
        count(0),
        doc(
          "Tokens whose signature is remembered as good, at most 4 KiB each; expiry and revocation are checked each time. `0` is off.",
          { form: "number" },
        ),
      ),
      10_000,
    ),
    hashing: v.optional(hashing, {}),
    throttle: v.optional(
      v.pipe(
        v.union([v.literal(false), rate], 'is not a rate; accepted: false, or such as "5/s", "20/min", "100/hour"'),
        doc("Logins allowed per client address, such as `20/min`; beyond it 429.", { form: "text" }),
      ),
      false,
    ),
    cors: v.optional(
      v.pipe(origins, doc("Origins of browser front ends, or `*`. Exact ones may send credentials.", { form: "list" })),
      false,
    ),
    cookies: v.optional(cookies, {}),
    clientAddress: v.optional(
      v.pipe(
        fn<(request: LoginRequest) => string | undefined>("is not a function; accepted: (request) => an address"),
        doc("`(request) => address` for `throttle`.", { form: "none", shown: "`request.ip`" }),
      ),
      () => (request: LoginRequest) => request.ip,
    ),
    now: v.optional(
      v.pipe(
        fn<() => number>("is not a function; accepted: () => milliseconds since the epoch"),
        doc("The clock, in milliseconds.", { form: "none", shown: "`Date.now`" }),
      ),
      () => Date.now,
    ),
    log: v.optional(
      v.pipe(
        fn<(event: LogEvent) => unknown>("is not a function; accepted: (event) => void"),
        v.transform(safeLog),
        doc("Receives errors and warnings.", { form: "none", shown: "JSON on standard error" }),
      ),
      () => logToStandardError,
    ),
  },
  objectMessage,
);

/** What {@link createJwtEndpoints} takes. */
export type JwtEndpointsSettings = v.InferInput<typeof settingsSchema>;
/** The same with every default filled in; durations in seconds. */
export type Settings = Readonly<v.InferOutput<typeof settingsSchema>>;

/** A key of a strict object that is not in the schema has `expected: "never"`; the issue's path names it. */
function objectMessage(issue: { expected: string | null; received: string }): string {
  if (issue.expected === "never") return "is not a setting";
  return issue.received === "undefined" ? "is required" : "is not an object";
}

/** A hook that throws, or whose promise rejects, costs no request its answer: the event goes to standard error. */
function safeLog(log: (event: LogEvent) => unknown): (event: LogEvent) => void {
  return (event) =>
    void (async () => log(event))().catch((error: unknown) => {
      logToStandardError(event);
      logToStandardError({ level: "error", code: "log_failed", message: "the log hook failed", error });
    });
}

/** Where the server's log goes, and that of a host without its own. */
export function logToStandardError({ error, ...event }: LogEvent): void {
  const cause = error instanceof Error ? { error: error.stack ?? String(error) } : {};
  try {
    console.error(JSON.stringify({ time: new Date().toISOString(), ...event, ...cause }));
  } catch {
    // Deno throws when the disk that the log goes to is full; the request has an answer all the same
  }
}

/** A wrong or inconsistent setting. Its message is one line that names the setting, never the value of a secret. */
export class SettingError extends TypeError {
  override readonly name = "SettingError";
}

/**
 * Checks settings and fills in the defaults.
 * @throws {SettingError} naming the first wrong setting and what is accepted.
 */
export function parseSettings(input: JwtEndpointsSettings): Settings {
  const settings = parse(settingsSchema, input);
  checkTogether(settings);
  return Object.freeze(settings);
}

/**
 * The same for `hashing` alone, for a program that makes hashes and no tokens.
 * @throws {SettingError} as {@link parseSettings}.
 */
export const parseHashing = (hashing: JwtEndpointsSettings["hashing"]): Settings["hashing"] =>
  parse(v.object({ hashing: settingsSchema.entries.hashing }), { hashing }).hashing;

function parse<S extends v.GenericSchema>(schema: S, input: unknown): v.InferOutput<S> {
  const result = v.safeParse(schema, input);
  if (result.success) return result.output;
  const issue = result.issues[0];
  const path = v.getDotPath(issue) ?? "settings";
  const isUnknown = issue.expected === "never"; // its input is the unknown name
  const hint = isUnknown ? didYouMean(path, settingNames()) : "";
  throw new SettingError(`setting ${path}${isUnknown ? "" : shownValue(path, issue.input)} ${issue.message}${hint}`);
}

const settingNames = (): string[] => ["store", ...describeSettings().map(({ name }) => name)];

/**
 * The end of a message about an unknown name: the known one that is nearest, however each is spelt (`accessTokenLifetime`,
 * `JWT_ACCESS_TOKEN_LIFETIME`), and nothing when none is near.
 */
export function didYouMean(name: string, known: readonly string[]): string {
  const bare = (text: string): string => text.toLowerCase().replace(/^jwt_|[^a-z0-9]/g, "");
  const distances = known.map((each) => editDistance(bare(name), bare(each)));
  const least = Math.min(...distances);
  const nearest = known[distances.indexOf(least)]!;
  return least <= Math.max(2, Math.max(bare(name).length, bare(nearest).length) / 3)
    ? `; did you mean ${nearest}?`
    : "";
}

/** How many letters have to be added, removed or replaced to make one text of another (Levenshtein). */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [i, letter] of Array.from(from).entries()) {
    const next = [i + 1];
    for (let j = 0; j < to.length; j++) {
      next.push(Math.min(row[j + 1]! + 1, next[j]! + 1, row[j]! + (letter === to[j] ? 0 : 1)));
    }
    row = next;
  }
  return row.at(-1)!;
}

/** Settings that do nothing beside others, and why. The first row that names a setting tells of it. */
const withoutEffect: { names: string[]; why: string; holds(settings: Settings): boolean }[] = [
  {
    names: ["accessTokenLifetime", "refreshTokenLifetime"].concat([
      "rotateRefreshTokens",
      "blacklistAfterRotation",
      "refreshGrace",
    ]),
    why: "with SlidingToken first in authTokenClasses",
    holds: ({ authTokenClasses }) => authTokenClasses[0] === "SlidingToken",
  },
  {
    names: ["blacklistAfterRotation", "refreshGrace"],
    why: "without rotateRefreshTokens",
    holds: ({ rotateRefreshTokens }) => !rotateRefreshTokens,
  },
  {
    names: ["refreshGrace"],
    why: "without blacklistAfterRotation",
    holds: ({ blacklistAfterRotation }) => blacklistAfterRotation === false,
  },
  {
    names: ["slidingTokenLifetime", "slidingTokenRefreshLifetime"],
    why: "without SlidingToken first in authTokenClasses",
    holds: ({ authTokenClasses }) => authTokenClasses[0] !== "SlidingToken",
  },
  {
    names: ["slidingTokenRefreshExpClaim"],
    why: "without SlidingToken in authTokenClasses",
    holds: ({ authTokenClasses }) => !authTokenClasses.includes("SlidingToken"),
  },
  {
    names: ["cookies.sameSite", "cookies.secure", "cookies.domain"],
    why: "without cookies.carry",
    holds: ({ cookies: { carry } }) => carry.length === 0,
  },
  {
    names: ["revokeTokenClaim"],
    why: "without checkRevokeToken",
    holds: ({ checkRevokeToken }) => !checkRevokeToken,
  },
  { names: ["clientAddress"], why: "without throttle", holds: ({ throttle }) => throttle === false },
  {
    names: ["throttle", "updateLastLogin", "claims", "onLoginSuccess", "onLoginFailed"].concat([
      "usernameField",
      "usernameMatching",
    ]),
    why: "without signingKey or keys, as nobody can log in",
    holds: ({ signingKey, keys }) => signingKey === undefined && keys === undefined,
  },
];

/**
 * What was set and does nothing, in one text; `undefined` when all of it does. Sites carry such pairs over from Django,
 * so they are no error. What is said to be off is not meant to do anything.
 * @param input the settings as they were given, which `settings` were made from.
 */
export function settingsWithoutEffect(input: JwtEndpointsSettings, settings: Settings): string | undefined {
  const told = new Set<string>();
  const groups = withoutEffect
    .filter(({ holds }) => holds(settings))
    .flatMap(({ names, why }) => {
      const mine = names.filter((name) => isSet(input, name) && !told.has(name));
      for (const name of mine) told.add(name);
      return mine.length === 0 ? [] : [`${mine.join(", ")} ${why}`];
    });
  return groups.length === 0 ? undefined : `settings without effect: ${groups.join("; ")}`;
}

function isSet(input: JwtEndpointsSettings, name: string): boolean {
  const value = name.split(".").reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], input);
  return value !== undefined && (value !== false || name === "cookies.secure"); // that one is on unless it is said to be off
}

/** Below it a stolen hash gives its password away too soon; a sixth of the default. */
const fewIterations = 100_000;

/** A setting that is allowed, for tests, and weak. */
export function weakSetting({ hashing: { iterations, preferred } }: Settings): string | undefined {
  if (iterations >= fewIterations || !preferred.startsWith("pbkdf2")) return undefined;
  const remedy = `recommended: ${defaultIterations} or more`;
  return `setting hashing.iterations: ${iterations} makes passwords easy to find from their hashes; ${remedy}`;
}

/** What each setting allows by itself, but not beside the others. */
function checkTogether(settings: v.InferOutput<typeof settingsSchema>): void {
  const { store, userIdField, userIdClaim, jtiClaim, tokenTypeClaim, revokeTokenClaim } = settings;
  const { algorithm, signingKey, verifyingKey, jwkUrl: keysElsewhere, keys } = settings;
  if ([signingKey, verifyingKey, keysElsewhere, keys].every((setting) => setting === undefined)) {
    throw new SettingError(
      "setting signingKey is missing; accepted: text, bytes, a JWK or PEM text, or jwkUrl or keys",
    );
  }
  if (keysElsewhere !== undefined && algorithm.startsWith("HS")) {
    const remedy = "accepted: an algorithm with public keys, such as RS256 or ES256";
    throw new SettingError(`setting jwkUrl can't be used with algorithm ${algorithm}; ${remedy}`);
  }
  const lacks = (method: keyof EndpointsStore): boolean => typeof store[method] !== "function";
  if (
    settings.rotateRefreshTokens &&
    settings.blacklistAfterRotation !== false &&
    (lacks("putIfAbsent") || lacks("get"))
  ) {
    const remedy = "accepted: false, or a store with claim and peek";
    throw new SettingError(`setting blacklistAfterRotation can't be on: the store can't revoke tokens; ${remedy}`);
  }
  if (settings.updateLastLogin && lacks("updateUser")) {
    throw new SettingError("setting updateLastLogin can't be on: the store has no updateUser");
  }
  if (userIdField !== "id" && userIdField !== "username" && lacks("findUserBy")) {
    const remedy = "accepted: id, username, or a store with findUserBy";
    throw new SettingError(`setting userIdField: ${JSON.stringify(userIdField)} can't be looked up; ${remedy}`);
  }
  if (settings.cookies.carry.length > 0 && settings.cors === "*") {
    throw new SettingError('setting cors: "*" can\'t be used with cookies; accepted: exact origins');
  }
  if (settings.cookies.sameSite === "none" && !settings.cookies.secure) {
    throw new SettingError(
      "setting cookies.secure can't be off with cookies.sameSite none: browsers drop such cookies",
    );
  }
  if (settings.usernameField === "password") {
    throw new SettingError('setting usernameField: "password" is the name of another field');
  }
  const taken = new Set(["exp", "iat", "nbf", "iss", "aud", "sid", "auth_time", "__proto__"]);
  const claimNames = { userIdClaim, jtiClaim, tokenTypeClaim, revokeTokenClaim };
  for (const [setting, claim] of Object.entries({
    ...claimNames,
    slidingTokenRefreshExpClaim: settings.slidingTokenRefreshExpClaim,
  })) {
    if (taken.has(claim)) {
      throw new SettingError(`setting ${setting}: ${JSON.stringify(claim)} is taken, or no name of a claim`);
    }
    taken.add(claim);
  }
}

/** The offending value, quoted, unless it could be a secret or a lump of data. */
function shownValue(path: string, value: unknown): string {
  const plain = typeof value === "string" || typeof value === "number" || typeof value === "boolean";
  return plain && !/key|store|url/i.test(path) ? `: ${JSON.stringify(value).slice(0, 80)}` : "";
}

/** A setting with its name as a path (`hashing.queue`), for the server's flags and the README's table. */
export interface DescribedSetting extends SettingInfo {
  name: string;
  description: string;
  default: unknown;
}

/** The documented settings, in order. */
export function describeSettings(): DescribedSetting[] {
  return describeEntries(settingsSchema.entries, "");
}

function describeEntries(entries: v.ObjectEntries, prefix: string): DescribedSetting[] {
  return Object.entries(entries).flatMap(([key, entry]): DescribedSetting[] => {
    const optional =
      entry.type === "optional" ? (entry as unknown as v.OptionalSchema<v.GenericSchema, unknown>) : undefined;
    const schema = optional?.wrapped ?? (entry as v.GenericSchema);
    if ("entries" in schema) return describeEntries(schema.entries as v.ObjectEntries, `${prefix}${key}.`);
    const info = v.getMetadata(schema) as Partial<DescribedSetting>;
    if (info.description === undefined) return [];
    return [{ ...(info as DescribedSetting), name: prefix + key, default: optional?.default }];
  });
}
