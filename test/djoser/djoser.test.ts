/**
 * The endpoints against a real Django site with Djoser and Simple JWT (`test/fixtures/djoser`): the same generated requests
 * to both, whose answers must be the same in status, body and the headers `Content-Type`, `WWW-Authenticate` and `Allow`.
 * (`Vary`, `Cache-Control` and what Django's security middleware adds are each side's own.) Tokens in answers are compared by
 * their claims: the same names, types and lifetimes. Where the two differ on purpose, `departures` says why.
 *
 * `DJOSER_SEED=<seed> npx tsx test/djoser/djoser.test.ts` makes the same requests again.
 */
import process from "node:process";
import { exportPKCS8, exportSPKI, generateKeyPair } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtEndpointsSettings, createJwtEndpoints, createPasswords } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import type { Store } from "../../src/stores/store.ts";
import {
  type Case,
  type Dialect,
  type Endpoint,
  type Media,
  type Random,
  type Tokens,
  accepts,
  authorizations,
  bodyOf,
  contentTypes,
  endings,
  hmacKey,
  mediaTypes,
  methods,
  randomSource,
  shapes,
  tokenKinds,
  tokenOf,
  tokenType,
  variantTokenKinds,
  wholes,
} from "../fixtures/djoser/cases.ts";
import {
  type Answer,
  type Question,
  type Site,
  type SiteSettings,
  type WantedUser,
  missingPackages,
  prepareDatabase,
  startSite,
} from "../fixtures/djoser/site.ts";

const seed = Number(process.env.DJOSER_SEED || crypto.getRandomValues(new Uint32Array(1))[0]) >>> 0;
const secret = "the secret of the differential suite, which both sides share; 64 bytes";
const iterations = 1000;

// --- what both sides know ---

const formats = ["pbkdf2_sha256", "pbkdf2_sha1", "argon2", "bcrypt_sha256", "bcrypt", "scrypt"] as const;
const weakFormats = ["sha1", "md5", "unsalted_sha1", "unsalted_md5"];
const password = "correct horse ä";
const wantedUsers: WantedUser[] = [
  { username: "ada", password },
  { username: "gone", password, deleted: true },
  { username: "idle", password, inactive: true },
  { username: "elsewhere", password: null },
  { username: "spaced", password: "  spaced  " },
  { username: "42", password: "1000" },
  { username: "fiona", password },
  { username: "ömer😀", password },
  ...[...formats, ...weakFormats].map((format) => ({ username: `of-${format}`, password, format })),
];

type Login = readonly [mark: string, username: string, password: string];
const logins: Login[] = [
  ["right", "ada", password],
  ["wrong password", "ada", "wrong"],
  ["password in capitals", "ada", password.toUpperCase()],
  ["unknown user", "nobody", password],
  ["user in capitals", "ADA", password],
  ["deleted user", "gone", password],
  ["inactive user", "idle", password],
  ["inactive user, wrong password", "idle", "wrong"],
  ["unusable password", "elsewhere", "!"],
  ["password with spaces around", "spaced", "  spaced  "],
  ["password without its spaces", "spaced", "spaced"],
  ["digits", "42", "1000"],
  ["unicode", "ömer😀", password],
  ["ligature in the user's name", "\ufb01ona", password],
  ["password decomposed", "ada", password.normalize("NFD")],
  ...formats.map((format): Login => [`hash ${format}`, `of-${format}`, password]),
  ...formats.map((format): Login => [`hash ${format}, wrong password`, `of-${format}`, "wrong"]),
  ...weakFormats.map((format): Login => [`weak hash`, `of-${format}`, password]),
];

// --- variants ---

interface Variant {
  name: string;
  django: Record<string, unknown>;
  ours: Partial<JwtEndpointsSettings>;
  algorithm?: Dialect["algorithm"];
  dialect?: Partial<Dialect>;
}

const names = { userIdClaim: "uid", jtiClaim: "myjti", tokenTypeClaim: "kind" };
const variants: Variant[] = [
  { name: "the defaults", django: {}, ours: {} },
  {
    name: "other claims, audience, issuer, leeway",
    django: {
      USER_ID_CLAIM: names.userIdClaim,
      JTI_CLAIM: names.jtiClaim,
      TOKEN_TYPE_CLAIM: names.tokenTypeClaim,
      AUDIENCE: ["here", "there"],
      ISSUER: "the issuer",
      LEEWAY: 120,
      ACCESS_TOKEN_LIFETIME: 75,
      REFRESH_TOKEN_LIFETIME: 7775,
    },
    ours: {
      ...names,
      audience: ["here", "there"],
      issuer: "the issuer",
      leeway: 120,
      accessTokenLifetime: 75,
      refreshTokenLifetime: "7775s",
    },
    dialect: { ...names, audience: ["here", "there"], issuer: "the issuer", leeway: 120 },
  },
  {
    name: "rotation",
    django: { ROTATE_REFRESH_TOKENS: true },
    ours: { rotateRefreshTokens: true, blacklistAfterRotation: false },
  },
  {
    name: "rotation and blacklist",
    django: { ROTATE_REFRESH_TOKENS: true, BLACKLIST_AFTER_ROTATION: true },
    ours: { rotateRefreshTokens: true, blacklistAfterRotation: true, refreshGrace: 0 },
  },
  {
    name: "sliding tokens",
    django: {
      AUTH_TOKEN_CLASSES: ["rest_framework_simplejwt.tokens.SlidingToken"],
      SLIDING_TOKEN_LIFETIME: 200,
      SLIDING_TOKEN_REFRESH_LIFETIME: 9000,
      SLIDING_TOKEN_REFRESH_EXP_CLAIM: "until",
    },
    ours: {
      authTokenClasses: ["SlidingToken"],
      slidingTokenLifetime: 200,
      slidingTokenRefreshLifetime: 9000,
      slidingTokenRefreshExpClaim: "until",
    },
    dialect: { sliding: true, refreshExpClaim: "until" },
  },
  { name: "ES256", django: {}, ours: {}, algorithm: "ES256" },
  { name: "RS256", django: {}, ours: {}, algorithm: "RS256" },
  {
    name: "HS512 and the time of the last login",
    django: { UPDATE_LAST_LOGIN: true },
    ours: { updateLastLogin: true },
    algorithm: "HS512",
  },
];

// --- comparing ---

interface Departure {
  reason: string;
  /** Of which requests. */
  when: (asked: Case, both: Both) => boolean;
  theirs?: (answer: Answer) => boolean;
  ours?: (answer: Answer) => boolean;
  /** Which differences it explains; all, if it doesn't say. */
  covers?: RegExp;
}

const marked =
  (pattern: RegExp) =>
  ({ marks }: Case): boolean =>
    [...marks].some((mark) => pattern.test(mark));
const tokenRefused = ({ status, text }: Answer): boolean => status === 401 && text.includes('"token_not_valid"');
const loginRefused = ({ text }: Answer): boolean =>
  /^\{\s*"detail":\s*"No active account found with the given credentials"\s*\}$/.test(text); // may be indented
const is =
  (...statuses: number[]) =>
  ({ status }: Answer): boolean =>
    statuses.includes(status);
const parseError = ({ status, text }: Answer): boolean => status === 400 && text.includes(" parse error - ");

const departures: Record<string, Departure> = {
  // passwords and names
  "the password is not trimmed": {
    reason: "spaces are part of a password (NIST SP 800-63B); Simple JWT takes them off",
    when: marked(/^password: (spaces|padded)|^login: password with/),
    theirs: (answer) =>
      is(200)(answer) || loginRefused(answer) || /"password":\s*\[\s*"This field may not be blank/.test(answer.text),
    ours: (answer) => is(200, 400)(answer) || loginRefused(answer),
  },
  "names are compared in NFKC": {
    reason: "so are they stored, by Django's own `normalize_username`, which its login leaves out",
    when: marked(/^login: ligature/),
    theirs: loginRefused,
    ours: is(200),
  },
  "hashes without work are refused": {
    reason: "MD5 and SHA-1 of a password can be tried by the billion; Django 5.1 has dropped the unsalted ones",
    when: marked(/^login: weak hash/),
    theirs: is(200),
    ours: loginRefused,
  },

  // tokens
  "claims of a wrong kind": {
    reason:
      "`exp`, `iat` and `nbf` are numbers (RFC 7519 §2): Simple JWT answers 500, or takes text that reads as a number",
    when: marked(/^token: (exp|iat|nbf|refresh_exp) (text|null|a list)/),
    theirs: is(200, 500),
    ours: tokenRefused,
  },
  "a time beyond the calendar": {
    reason: "any number is a time (RFC 7519 §2); Python's dates end with the year 9999, and the answer is 500",
    when: marked(/^token: exp beyond dates/),
    theirs: is(500),
    ours: is(200),
  },
  "no jti": {
    reason: "the words that Simple JWT has for it; its blacklist looks for the claim first, and the answer is 500",
    when: marked(/^token: (no (exp, no )?jti|payload empty object)/),
    theirs: is(500),
    ours: tokenRefused,
  },
  "jti is text": {
    reason: "revocation goes by it (RFC 7519 §4.1.7: a string); Simple JWT takes any value",
    when: marked(/^token: jti (a number|null|empty|a list|an object)/),
    theirs: is(200, 400, 401, 500),
    ours: tokenRefused,
  },
  "unknown critical headers": {
    reason: "`crit` must be understood or refused (RFC 7515 §4.1.11); PyJWT passes over it",
    when: marked(/^token: crit/),
    theirs: is(200),
    ours: tokenRefused,
  },
  "one value per key": {
    reason: "two readers of one token must not see different claims (RFC 7519 §4)",
    when: marked(/^token: (header|payload) with a key twice/),
    theirs: is(200),
    ours: tokenRefused,
  },
  "payloads are JSON": {
    reason: "NaN is none, nor is a byte order mark (RFC 8259 §6, §8.1); Python reads both",
    when: marked(/^token: payload with (NaN|BOM)/),
    theirs: is(200),
    ours: tokenRefused,
  },
  "one spelling per token": {
    reason: "base64url without anything else in it (RFC 7515 §2); Python drops what it does not know",
    when: marked(
      /^token: (spare bits set|padded|with a |in base64)|^(token|refresh): (with unicode|with an escaped pair|padded with a)/,
    ),
    ours: tokenRefused,
  },
  "a refresh token names its user": {
    reason: "Simple JWT refreshes a token that names nobody, whom it could not check",
    when: marked(/^token: (no user|user (null|empty|0))/),
    theirs: is(200),
    ours: ({ text }) => text.includes("No active account found for the given token."),
  },
  "ids are compared as they are written": {
    reason: "Django makes a number of any value it can (1.5, true, ' 01 ') and answers 500 where it can't",
    when: marked(/^token: user (empty|words|spelled oddly|a fraction|true|a list|an object|beyond integers)/),
    theirs: is(200, 500),
    ours: is(401),
  },
  "a user that is null": {
    reason: "is no identification, as if the claim were missing",
    when: marked(/^token: user null/),
    ours: ({ text }) => text.includes("Token contained no recognizable user identification"),
    covers: /^body\.(detail|code)$|^www/,
  },
  "verify refuses blacklisted tokens": {
    reason: "always; Simple JWT does so with BLACKLIST_AFTER_ROTATION alone",
    when: ({ endpoint, marks }) => endpoint === "verify" && marks.has("token: blacklisted"),
    theirs: is(200),
    ours: ({ status, text }) => status === 400 && text === '{"non_field_errors":["Token is blacklisted"]}',
  },
  "blacklisting again": {
    reason: "logging out twice is no error; Simple JWT refuses the second time",
    when: ({ endpoint, marks }) =>
      endpoint === "blacklist" && (marks.has("token: blacklisted") || marks.has("token: used")),
    theirs: tokenRefused,
    ours: is(200),
  },
  sessions: {
    reason: "with rotation, tokens carry their session",
    when: (_, { variant }) => variant.ours.rotateRefreshTokens === true,
    covers: /^body\.(access|refresh)\.claims\.sid$/,
  },
  "the time of the login": {
    reason: "tokens carry it (`auth_time`, as in OpenID Connect), so that none outlives the end of its user's sessions",
    when: () => true,
    ours: is(200),
    covers: /^body\.(access|refresh|token)\.claims\.auth_time$/,
  },
  "a session ends as a whole": {
    reason:
      "with a reused token (RFC 9700 §4.14) or at logout; Simple JWT voids the one token, and never access tokens",
    when: ({ marks }, { variant }) => variant.ours.rotateRefreshTokens === true && marks.has("session ended"),
    theirs: is(200),
    ours: ({ text }) => text.includes("blacklisted"),
  },

  // headers
  challenges: {
    reason: "a refused token is told why (RFC 6750 §3), at a host's own resources",
    when: ({ endpoint }) => endpoint === "whoami",
    theirs: is(401),
    ours: ({ headers }) => /^Bearer realm="api", error="\w+"/.test(headers.get("www-authenticate") ?? ""),
    covers: /^www-authenticate$/,
  },
  "schemes in any case": {
    reason: "RFC 9110 §11.1",
    when: marked(/^authorization: scheme in lower case/),
    theirs: ({ text }) => text.includes("credentials were not provided"),
  },
  "refused media ranges": {
    reason: "q=0 means not acceptable (RFC 9110 §12.4.2); Django REST framework passes over q",
    when: marked(/^accept: .*q=0$/),
    ours: is(406),
  },
  "an empty Accept": {
    reason: "says no more than none",
    when: marked(/^accept: $/),
    theirs: is(406),
  },
  // bodies
  "indented answers": {
    reason: "answers are compact, whatever is asked for in `Accept`",
    when: marked(/^accept: .*indent/),
    covers: /^spelling$/,
  },
  "a body that nests too deep": {
    reason: "Python's recursion ends, and the answer is 500",
    when: marked(/^body: nested too deep/),
    theirs: is(500),
    ours: is(400),
  },
  "bodies over 64 KiB": {
    reason: "our limit is lower (`maxBodySize`)",
    when: marked(/^body: too large/),
    ours: is(413),
  },
  "not UTF-8": {
    reason: "the same answer in words of our own, without the position and bytes that Python tells",
    when: marked(/^body: not UTF-8/),
    theirs: parseError,
    ours: parseError,
    covers: /^body\.detail$/,
  },
  "multipart bodies that can't be read": {
    reason: "words of our own; where Django finds no part at all, it takes the body for empty",
    when: marked(/^body: (without a boundary|with another boundary|not multipart|with no part)/),
    theirs: is(400, 401),
    ours: is(400), // Deno's own reader is as patient with a wrong boundary as Django
  },

  // resources
  "what an endpoint is about": {
    reason: "names and descriptions are our own, and only fields that are read are listed",
    when: ({ method }) => method === "OPTIONS",
    covers: /^body\.(name|description|actions\.POST\.access)/,
  },
  "paths end where they end": {
    reason: "Djoser's patterns are open at the end: /jwt/createx/ is /jwt/create/ there",
    when: marked(/^path: (x|\/x\/|\/\/|\/%20)$/),
    ours: is(404),
  },
  "numbers with a fraction or an exponent": {
    reason:
      "1000.0 is the text 1000.0 to Django (and 1e3 is), to us it is 1000: JSON.parse forgets how a number was written, and nobody's name is 1e3 as a number",
    when: marked(/^(username|password): (as a whole fraction|an exponent)/),
    theirs: loginRefused,
    ours: is(200),
  },
};

const occurred = new Map<string, number>();

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

function decoded(segment: string): { [name: string]: Json } {
  const binary = atob(segment.replaceAll("-", "+").replaceAll("_", "/"));
  const text = new TextDecoder().decode(Uint8Array.from(binary, (c) => c.charCodeAt(0)));
  return JSON.parse(text.replace('"x":NaN,', "")) as { [name: string]: Json }; // Python writes NaN, which is not JSON
}

const ownTimes = new Set(["exp", "iat"]);

/** A token as what must be the same of it: names, types, lifetimes, and the values of all claims that are not its own. */
function essence(token: string, { jtiClaim, refreshExpClaim }: Dialect): Json {
  const [header = "", payload = ""] = token.split(".");
  const claims = decoded(payload);
  const iat = claims.iat as number;
  // Each of the two tokens of Simple JWT reads the clock by itself.
  assert.ok(Math.abs(Date.now() / 1000 - iat) < 10, "iat is not now");
  for (const [name, value] of Object.entries(claims)) {
    if (ownTimes.has(name) || name === refreshExpClaim) claims[name] = Number.isInteger(value) ? "time" : "odd";
    if (name === jtiClaim) claims[name] = /^[0-9a-f]{32}$/.test(value as string) ? "id" : "odd";
    // In steps, for seconds that go by between the two on a busy machine; of a sliding token's second time some have gone
    // by since the login.
    const step = name === "exp" ? 25 : 60;
    if (name === "exp" || name === refreshExpClaim) {
      claims[`life of ${name}`] = Math.round(((value as number) - iat) / step);
    }
  }
  return { header: decoded(header), claims };
}

function flat(value: Json, dialect: Dialect, path: string, into: Map<string, string>): Map<string, string> {
  if (Array.isArray(value)) {
    into.set(path, `list of ${value.length}`);
    value.forEach((one, index) => flat(one, dialect, `${path}[${index}]`, into));
  } else if (typeof value === "object" && value !== null) {
    into.set(path, "object");
    for (const [name, one] of Object.entries(value)) flat(one, dialect, `${path}.${name}`, into);
  } else if (/^body\.(access|refresh|token)$/.test(path) && typeof value === "string" && value.includes(".")) {
    flat(essence(value, dialect), dialect, path, into);
  } else into.set(path, JSON.stringify(value));
  return into;
}

function flatAnswer(
  { status, headers, text }: Answer,
  { endpoint, method }: Case,
  dialect: Dialect,
): Map<string, string> {
  const all = new Map<string, string>([["status", String(status)]]);
  for (const name of ["content-type", "www-authenticate", "allow"]) {
    // Who may be asked what at a host's own resource is the host's to say.
    if (!(name === "allow" && endpoint === "whoami")) all.set(name, String(headers.get(name)));
  }
  if (method === "HEAD") return all; // gunicorn sends the body that there must not be
  let body: Json;
  try {
    body = JSON.parse(text) as Json;
  } catch {
    return all.set("body", `not JSON: ${text.slice(0, 200)}`);
  }
  return flat(body, dialect, "body", all);
}

/** Names of what differs, with both values. */
function differences(asked: Case, theirs: Answer, ours: Answer, dialect: Dialect): Map<string, string> {
  const [a, b] = [flatAnswer(theirs, asked, dialect), flatAnswer(ours, asked, dialect)];
  const found = new Map<string, string>();
  for (const name of new Set([...a.keys(), ...b.keys()])) {
    if (a.get(name) !== b.get(name)) found.set(name, `${a.get(name)} | ${b.get(name)}`);
  }
  const hasToken = /"(access|refresh|token)":"/.test(ours.text);
  if (found.size === 0 && theirs.text !== ours.text && !hasToken && asked.method !== "HEAD")
    found.set("spelling", `${theirs.text} | ${ours.text}`);
  return found;
}

interface Both {
  variant: Variant;
  dialect: Dialect;
  store: Store;
  theirs(question: Question): Promise<Answer>;
  ours(question: Question): Promise<Answer>;
  stop(): Promise<void>;
}

/** The same question to both, unless ours is told. */
async function compare(both: Both, asked: Case, askedOfUs: Question = asked) {
  const [theirs, ours] = await Promise.all([both.theirs(asked), both.ours(askedOfUs)]);
  return { theirs, ours, problem: judge(asked, theirs, ours, both) };
}

/** Names what differs without being a known departure. */
function judge(asked: Case, theirs: Answer, ours: Answer, both: Both): string | undefined {
  const left = differences(asked, theirs, ours, both.dialect);
  for (const [name, { when, theirs: a, ours: b, covers = /^/ }] of Object.entries(departures)) {
    if (left.size === 0) break;
    const covered = [...left.keys()].filter((key) => covers.test(key));
    if (covered.length === 0 || !when(asked, both) || a?.(theirs) === false || b?.(ours) === false) continue;
    for (const key of covered) left.delete(key);
    occurred.set(name, (occurred.get(name) ?? 0) + 1);
  }
  if (left.size === 0) return undefined;
  const { method, path, marks } = asked;
  const shown = ({ status, text }: Answer) =>
    `${status} ${withoutTokens(text.replace(/^\s*<[^]*<title>([^<]*)<[^]*/, "$1")).slice(0, 300)}`;
  const list = left.has("status")
    ? `    Django: ${shown(theirs)}\n    ours:   ${shown(ours)}`
    : [...left].map(([name, values]) => `    ${name}: ${values} (Django | ours)`).join("\n");
  return `${method} ${path} [${[...marks].join("; ")}]\n${list}`;
}

function withoutTokens(text: string): string {
  return text.replaceAll(/[\w-]{20,}\.[\w-]{20,}\.[\w-]{8,}/g, "…");
}

// --- making requests ---

const pathOf = (endpoint: Endpoint): string => (endpoint === "whoami" ? "/whoami/" : `/auth/jwt/${endpoint}/`);

/** The field of a body that carries a token. */
const fieldOf = ({ sliding }: Dialect, endpoint: Endpoint): string =>
  sliding || endpoint === "verify" ? "token" : "refresh";

interface Parts {
  media?: Media;
  login?: Login;
  token?: string;
  /** Shapes of the fields, by name. */
  shape?: Record<string, string>;
  whole?: string;
  accept?: string | undefined;
  contentType?: string | undefined;
  method?: string;
  ending?: string;
  authorization?: string;
}

/** Makes a request; everything that is not given is right. */
async function caseOf(tokens: Tokens, endpoint: Endpoint, parts: Parts = {}): Promise<Case> {
  const { media = "json", login = logins[0]!, token: kind = "valid", shape = {}, whole, ending } = parts;
  const marks = new Set<string>([media]);
  const headers: [string, string][] = [];
  let body: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  const note = (name: string, value: string | undefined) => value !== undefined && marks.add(`${name}: ${value}`);
  const method = parts.method ?? (endpoint === "whoami" ? "GET" : "POST");
  note("token", endpoint === "create" ? undefined : kind);
  const token = endpoint === "create" ? "" : await tokenOf(tokens, kind, tokenType(tokens.dialect, endpoint));
  if (endpoint === "whoami") {
    note("authorization", parts.authorization);
    const value = authorizations[parts.authorization ?? "bearer"]!(token);
    // Not everything can be written into a header.
    if (value !== undefined && /^[\t\x20-\x7e]*$/.test(value)) headers.push(["Authorization", value.trim()]);
  } else if (method !== "GET" && method !== "HEAD") {
    const field = fieldOf(tokens.dialect, endpoint);
    const fields =
      endpoint === "create"
        ? ([
            ["username", login[1]],
            ["password", login[2]],
          ] as const)
        : ([[field, token]] as const);
    if (endpoint === "create") note("login", login[0]);
    for (const [name, value] of Object.entries(shape)) note(name, value);
    note("body", whole);
    const made = bodyOf(media, fields, shape, whole);
    body = made.body;
    const contentType = "contentType" in parts ? parts.contentType : made.contentType;
    if ("contentType" in parts) marks.add(`content-type: ${contentType}`);
    if (contentType !== undefined) headers.push(["Content-Type", contentType]);
  }
  if ("accept" in parts) marks.add(`accept: ${parts.accept}`);
  if (parts.accept !== undefined) headers.push(["Accept", parts.accept]);
  if (parts.method !== undefined) marks.add(`method: ${method}`);
  note("path", ending);
  const path = ending === undefined ? pathOf(endpoint) : pathOf(endpoint).replace(/\/$/, ending);
  return { endpoint, method, path, headers, body, marks };
}

/** Each thing once, where it belongs. */
function* thorough({ sliding }: Dialect): Generator<[Endpoint, Parts]> {
  const posts: Endpoint[] = ["create", "refresh", "verify", "blacklist"];
  for (const login of logins) yield ["create", { login }];
  for (const media of ["form", "multipart"] as const)
    for (const login of logins.slice(0, 13)) yield ["create", { media, login }];
  const digits = logins.find(([mark]) => mark === "digits")!;
  for (const shape of ["as a number", "as a whole fraction", "an exponent", "a fraction", "a large number"]) {
    yield ["create", { login: digits, shape: { username: shape } }];
    yield ["create", { login: digits, shape: { password: shape } }];
  }
  for (const kind of tokenKinds) {
    for (const endpoint of ["refresh", "verify", "blacklist", "whoami"] as const) {
      // gunicorn takes no header over 8 KiB
      if (!(endpoint === "whoami" && kind === "long")) yield [endpoint, { token: kind }];
    }
  }
  for (const media of ["json", "form", "multipart"] as const) {
    for (const shape of shapes[media]) {
      yield ["create", { media, shape: { username: shape } }];
      yield ["create", { media, shape: { password: shape } }];
      yield ["create", { media, shape: { username: shape, password: shape } }];
      yield ["refresh", { media, shape: { [sliding ? "token" : "refresh"]: shape } }];
      yield ["verify", { media, shape: { token: shape } }];
    }
    for (const whole of wholes[media]) {
      yield ["create", { media, whole }];
      yield ["refresh", { media, whole }];
      yield ["verify", { media, whole }];
    }
  }
  for (const contentType of contentTypes) {
    yield ["verify", { contentType }];
    yield ["create", { contentType }];
    yield ["verify", { contentType, whole: "empty body" }];
  }
  for (const accept of accepts) {
    yield ["verify", { accept }];
    yield ["verify", { accept, token: "expired" }];
  }
  for (const method of methods) for (const endpoint of posts) yield [endpoint, { method }];
  for (const method of methods) yield ["verify", { method, accept: "text/html" }];
  for (const ending of endings) for (const endpoint of posts) yield [endpoint, { ending }];
  for (const authorization of Object.keys(authorizations)) yield ["whoami", { authorization }];
}

/** What settings may change: each kind of token, at each endpoint where the claims are others, at any elsewhere. */
function* particular({ sliding }: Dialect, random: Random, index: number): Generator<[Endpoint, Parts]> {
  const endpoints = ["refresh", "verify", "blacklist", "whoami"] as const;
  for (const kind of variantTokenKinds) {
    const isAbout = index === 1 || (sliding && kind.includes("refresh_exp"));
    for (const endpoint of isAbout ? endpoints : [random.pick(endpoints)]) yield [endpoint, { token: kind }];
  }
  yield ["create", {}];
}

/** Refusing a hash of another format takes as long as the costliest: once is enough. */
const quickLogins = logins.filter(([mark]) => !(mark.startsWith("hash") && mark.endsWith("wrong password")));

/** Any things together. */
function arbitrary(random: Random, { sliding }: Dialect): [Endpoint, Parts] {
  const { pick, chance } = random;
  const endpoint = pick(["create", "create", "refresh", "refresh", "verify", "blacklist", "whoami"] as const);
  const parts: Parts = { token: chance(0.5) ? "valid" : pick(variantTokenKinds) };
  if (endpoint === "whoami") return [endpoint, { ...parts, authorization: pick(Object.keys(authorizations)) }];
  if (chance(0.2)) parts.accept = pick(accepts);
  parts.media = pick(Object.keys(mediaTypes) as Media[]);
  parts.login = pick(quickLogins);
  if (chance(0.3)) {
    const fields = endpoint === "create" ? ["username", "password"] : [sliding ? "token" : "refresh", "token"];
    parts.shape = Object.fromEntries(fields.map((name) => [name, pick(shapes[parts.media!])]));
  } else if (chance(0.2)) parts.whole = pick(wholes[parts.media]);
  if (parts.media === "json" && chance(0.1)) parts.contentType = pick(contentTypes);
  if (chance(0.1)) parts.method = pick(methods);
  if (chance(0.1)) parts.ending = pick(endings);
  return [endpoint, parts];
}

// --- both sides of a variant ---

const missing = missingPackages();

interface Prepared {
  base: ReturnType<typeof prepareDatabase>;
  idOf: (username: string) => string;
}
let prepared: Prepared | undefined;

function prepare(): Prepared {
  const base = prepareDatabase({ secret }, wantedUsers);
  const ids = new Map(base.users.map(({ username, id }) => [username, id]));
  return { base, idOf: (username) => ids.get(username)! };
}

async function keysFor(algorithm: Dialect["algorithm"]) {
  if (algorithm.startsWith("HS")) {
    const bits = Number(algorithm.slice(2));
    return {
      key: await hmacKey(secret, bits),
      otherKey: await hmacKey(`${secret}!`, bits),
      publicText: secret,
      django: {},
      ours: { signingKey: secret },
    };
  }
  const pair = await generateKeyPair(algorithm, { extractable: true });
  const other = await generateKeyPair(algorithm, { extractable: true });
  const [signingKey, verifyingKey] = [await exportPKCS8(pair.privateKey), await exportSPKI(pair.publicKey)];
  return {
    key: pair.privateKey,
    otherKey: other.privateKey,
    publicText: verifyingKey,
    django: { SIGNING_KEY: signingKey, VERIFYING_KEY: verifyingKey },
    ours: { signingKey, verifyingKey },
  };
}

async function open(variant: Variant): Promise<Both> {
  prepared ??= prepare();
  const { base, idOf } = prepared;
  const algorithm = variant.algorithm ?? "HS256";
  const { key, otherKey, publicText, django, ours } = await keysFor(algorithm);
  const dialect: Dialect = {
    algorithm,
    key,
    otherKey,
    publicText,
    sliding: false,
    userIdClaim: "user_id",
    jtiClaim: "jti",
    tokenTypeClaim: "token_type",
    refreshExpClaim: "refresh_exp",
    leeway: 0,
    active: idOf("ada"),
    inactive: idOf("idle"),
    deleted: idOf("gone"),
    ...variant.dialect,
  };
  const store = memoryStore();
  for (const { id, username, hash } of base.users) {
    const wanted = wantedUsers.find((one) => one.username === username)!;
    if (wanted.deleted !== true) {
      await store.addUser({ id, username, passwordHash: hash, isActive: wanted.inactive !== true });
    }
  }
  const endpoints = createJwtEndpoints({
    store,
    algorithm,
    ...ours,
    ...variant.ours,
    responses: "simplejwt",
    prefix: "/auth",
    hashing: { iterations },
    log: () => {},
  });
  const whoami = endpoints.protect((_, { user: { id, username, lastLogin } }) => {
    const body = JSON.stringify({ id, username, has_logged_in: lastLogin !== null });
    return new Response(body, { headers: { "content-type": "application/json" } });
  });
  const settings: SiteSettings = { secret, sliding: dialect.sliding };
  settings.simple_jwt = { ALGORITHM: algorithm, ...django, ...variant.django };
  const site: Site = await startSite(settings, base.database);
  const both: Both = {
    variant,
    dialect,
    store,
    theirs: (question) => site.ask(question),
    async ours({ method, path, headers, body }) {
      const request = new Request(`http://127.0.0.1${path}`, {
        method,
        headers: [
          ...headers.map(([name, value]): [string, string] => [name, value]),
          ...(body.length > 0 ? [["Content-Length", String(body.length)] as [string, string]] : []),
        ],
        ...(body.length > 0 && { body }),
      });
      const response = await (path.startsWith("/whoami") ? whoami(request) : endpoints.fetch(request));
      return { status: response.status, headers: response.headers, text: await response.text() };
    },
    stop: () => site.stop(),
  };
  return both;
}

const token = async (dialect: Dialect): Promise<string> =>
  tokenOf({ dialect, random: randomSource(seed), blacklisted: [] }, "valid", tokenType(dialect, "refresh"));

/** A plain good request with a token. */
function withToken({ dialect }: Both, endpoint: Endpoint, token: string, ...marks: string[]): Case {
  const known = { endpoint, path: pathOf(endpoint), marks: new Set(marks) };
  if (endpoint === "whoami") {
    return { ...known, method: "GET", headers: [["Authorization", `Bearer ${token}`]], body: new Uint8Array(0) };
  }
  const { body, contentType } = bodyOf("json", [[fieldOf(dialect, endpoint), token]]);
  return { ...known, method: "POST", headers: [["Content-Type", contentType]], body };
}

function withLogin(username: string): Case {
  const { body, contentType } = bodyOf("json", [
    ["username", username],
    ["password", password],
  ]);
  const headers = [["Content-Type", contentType]] as const;
  return { endpoint: "create", path: pathOf("create"), method: "POST", headers, body, marks: new Set() };
}

/** Blacklists some tokens on both sides. */
async function blacklistSome(both: Both, count: number): Promise<string[]> {
  const made: string[] = [];
  while (made.length < count) {
    const one = await token(both.dialect);
    const { theirs, ours } = await compare(both, withToken(both, "blacklist", one));
    assert.equal([theirs.status, ours.status], [200, 200]);
    made.push(one);
  }
  return made;
}

type Issued = Record<string, string>;

/** An endpoint, and which of the tokens so far it is given: by number, or from the last one back. */
type Step = readonly [endpoint: Endpoint, token: number];

/** Logging in leaves tokens 0 and 1; the one is used, looked at, used again, and what followed it is tried. */
const reuse: Step[] = [
  ["refresh", 0],
  ["verify", 0],
  ["refresh", 0],
  ...[1, 2, 3].flatMap((token): Step[] =>
    (["refresh", "verify", "whoami"] as const).map((endpoint) => [endpoint, token]),
  ),
];
/** Logging out twice, and looking again. */
const logout: Step[] = [
  ["blacklist", 0],
  ["blacklist", 0],
  ...[0, 1].flatMap((token): Step[] => (["refresh", "verify", "whoami"] as const).map((endpoint) => [endpoint, token])),
];

function* arbitrarySteps({ chance, pick, below }: Random, count: number): Generator<Step> {
  while (count-- > 0) {
    const endpoint = chance(0.1) ? "blacklist" : pick(["refresh", "refresh", "refresh", "verify", "whoami"] as const);
    yield [endpoint, chance(0.5) ? -1 - below(2) : below(1000)];
  }
}

/**
 * One login and what a client, or two, may do with its tokens, in any order; each side with the tokens it has answered
 * itself, so that a step goes by what the steps before it have left on either side.
 */
async function journey(both: Both, random: Random, start: readonly Step[], steps: number): Promise<string[]> {
  const { sliding } = both.dialect;
  const isReuseDetected = both.variant.ours.blacklistAfterRotation === true;
  const problems: string[] = [];
  const held: { theirs: string; ours: string; isAccess: boolean; marks: Set<string> }[] = [];
  const keep = (theirs: Answer, ours: Answer) => {
    if (theirs.status !== 200 || ours.status !== 200) return;
    const [a, b] = [JSON.parse(theirs.text) as Issued, JSON.parse(ours.text) as Issued];
    for (const name of Object.keys(a)) {
      if (name in b) held.push({ theirs: a[name]!, ours: b[name]!, isAccess: name === "access", marks: new Set() });
    }
  };
  const first = await compare(both, withLogin("ada"));
  keep(first.theirs, first.ours);
  let trail = "login";
  let hasEnded = false;
  for (const [endpoint, at] of [...start, ...arbitrarySteps(random, steps)]) {
    const index = at < 0 ? Math.max(0, held.length + at) : at % held.length;
    const { theirs: a, ours: b, isAccess, marks } = held[index]!;
    trail += `, ${endpoint} ${index}`;
    const all = [...marks, ...(hasEnded ? ["session ended"] : [])];
    const result = await compare(both, withToken(both, endpoint, a, ...all), withToken(both, endpoint, b));
    if (result.problem !== undefined) problems.push(`${result.problem}\n    after ${trail}`);
    if (isAccess) continue;
    keep(result.theirs, result.ours);
    if (endpoint === "refresh" && isReuseDetected) {
      hasEnded ||= marks.has("token: used");
      marks.add("token: used");
    } else if (endpoint === "blacklist" && result.ours.status === 200) {
      hasEnded = true;
      // A sliding token keeps its id.
      for (const one of sliding ? held : [held[index]!]) one.marks.add("token: blacklisted");
    }
  }
  return problems;
}

/** The tokens of each side are good at the other: to be refreshed, verified, blacklisted, and to get in with. */
async function exchange(both: Both): Promise<void> {
  const { theirs, ours, dialect } = both;
  const main = dialect.sliding ? "token" : "refresh";
  for (const [issuer, taker, who] of [
    [theirs, ours, "Django's token here"],
    [ours, theirs, "our token at Django"],
  ] as const) {
    const ask = async (endpoint: Endpoint, one: string, status: number): Promise<Issued> => {
      const answer = await taker(withToken(both, endpoint, one));
      assert.is(answer.status, status, `${who}: ${endpoint} answers ${answer.status} ${withoutTokens(answer.text)}`);
      return JSON.parse(answer.text) as Issued;
    };
    const issued = JSON.parse((await issuer(withLogin("ömer😀"))).text) as Issued;
    for (const one of Object.values(issued)) await ask("verify", one, 200);
    const answered = await ask("refresh", issued[main]!, 200);
    for (const one of [issued, answered]) {
      assert.is((await ask("whoami", one.access ?? one.token!, 200)).username, "ömer😀");
    }
    const last = answered[main] ?? issued[main]!;
    await ask("blacklist", last, 200);
    const refusal = await ask("refresh", last, 401);
    assert.is(refusal.detail, "Token is blacklisted", who);
  }
}

const compared = suite("djoser: the same answers as Django");
let total = 0;

/** A test of the suite, which needs the site. */
function differential(title: string, run: () => Promise<void>): void {
  if (missing.length === 0) return compared(title, run);
  compared.skip(title);
}

if (missing.length === 0) console.log(`DJOSER_SEED=${seed}`);
else console.log(`skipped, as there is no Django site to compare with: apt-get install ${missing.join(" ")}`);

let next: Promise<Both> | undefined;
variants.forEach((variant, index) => {
  differential(variant.name, async () => {
    const both = await (next ?? open(variant));
    // The next site starts meanwhile: two at most.
    next = variants[index + 1] && open(variants[index + 1]!);
    next?.catch(() => {}); // its own test will tell
    try {
      const random = randomSource(seed + index);
      const tokens: Tokens = { dialect: both.dialect, random, blacklisted: await blacklistSome(both, 5) };
      const failures: string[] = [];
      let count = 0;
      const one = async (endpoint: Endpoint, parts: Parts) => {
        count++;
        const { problem } = await compare(both, await caseOf(tokens, endpoint, parts));
        if (problem !== undefined) failures.push(problem);
      };
      for (const [endpoint, parts] of index === 0 ? thorough(both.dialect) : particular(both.dialect, random, index)) {
        await one(endpoint, parts);
      }
      for (let i = 0; i < 60; i++) await one(...arbitrary(random, both.dialect));
      for (const start of [reuse, logout, []]) failures.push(...(await journey(both, random, start, 12)));
      await exchange(both);
      total += count;
      const shown = failures.slice(0, Number(process.env.DJOSER_SHOW ?? 10)).join("\n");
      if (failures.length > 0) throw new Error(`${failures.length} differences, DJOSER_SEED=${seed}\n${shown}`);
    } finally {
      await both.stop();
    }
  });
});

differential("each side checks the password hashes that the other has made", async () => {
  prepared ??= prepare();
  const { hashes, checks } = prepared.base;
  const pairs = formats.flatMap((format) => [password, "p".repeat(71)].map((text) => [text, format] as const));
  // Refusing is slow: one wrong password for each format will do.
  const wrong = `${password}!`;
  const isFirst = (index: number): boolean => pairs[index]![0] === password;
  const passwords = createPasswords({ iterations });
  const theirs = hashes(pairs);
  for (const [index, [text, format]] of pairs.entries()) {
    assert.is((await passwords.check(text, theirs[index]!)).ok, true, `${format} of Django, ${text}`);
    if (isFirst(index)) {
      assert.is((await passwords.check(wrong, theirs[index]!)).ok, false, `${format} of Django, wrong`);
    }
  }
  const ours: [string, string][] = [];
  for (const [text, format] of pairs) {
    if (format === "bcrypt") continue; // is not made here
    const hash = await createPasswords({ iterations, preferred: format }).hash(text);
    assert.is(hash.split("$", 1)[0], format);
    ours.push([text, hash]);
  }
  const refused = ours.filter(([text]) => text === password).map(([, hash]) => [wrong, hash] as const);
  const judged = checks([...ours, ...refused]);
  judged.forEach((ok, index) => assert.is(ok, index < ours.length, `our ${ours[index]?.join(", ") ?? "wrong one"}`));
});

differential("every departure and known bug in the tables has occurred, in at least 300 requests", async () => {
  const idle = Object.keys(departures).filter((name) => !occurred.has(name));
  assert.equal(idle, []);
  assert.ok(total >= 300, `only ${total} requests`);
  console.log(
    `${total} generated requests; ${[...occurred.values()].reduce((a, b) => a + b)} departures of ${occurred.size} kinds`,
  );
});

compared.run();
