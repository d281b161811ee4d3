/** Where the endpoints differ from Django on purpose, and why. */
import type { Case } from "../fixtures/djoser/cases.ts";
import type { SiteResponse } from "../fixtures/djoser/site.ts";
import type { Both } from "./both.ts";

export interface Departure {
  reason: string;
  /** Of which requests. */
  when: (request: Case, both: Both) => boolean;
  theirs?: (response: SiteResponse) => boolean;
  ours?: (response: SiteResponse) => boolean;
  /** Which differences it explains; all, if it doesn't say. */
  covers?: RegExp;
}

const marked =
  (pattern: RegExp) =>
  ({ marks }: Case): boolean =>
    [...marks].some((mark) => pattern.test(mark));
const tokenRefused = ({ status, text }: SiteResponse): boolean => status === 401 && text.includes('"token_not_valid"');
const loginRefused = ({ text }: SiteResponse): boolean =>
  /^\{\s*"detail":\s*"No active account found with the given credentials"\s*\}$/.test(text); // may be indented
const is =
  (...statuses: number[]) =>
  ({ status }: SiteResponse): boolean =>
    statuses.includes(status);
const parseError = ({ status, text }: SiteResponse): boolean => status === 400 && text.includes(" parse error - ");

export const departures: Record<string, Departure> = {
  // passwords and names
  "the password is not trimmed": {
    reason: "spaces are part of a password (NIST SP 800-63B); Simple JWT takes them off",
    when: marked(/^password: (spaces|padded)|^login: password with/),
    theirs: (response) =>
      is(200)(response) ||
      loginRefused(response) ||
      /"password":\s*\[\s*"This field may not be blank/.test(response.text),
    ours: (response) => is(200, 400)(response) || loginRefused(response),
  },
  "passwords are not trimmed when they are changed": {
    reason: "as above",
    when: marked(/^(new_password|current_password|re_new_password): (spaces|padded)|^about: again, with a space/),
    theirs: ({ status, text }) => status === 204 || text.includes("This field may not be blank."),
    ours: is(400),
  },
  "other common passwords": {
    reason:
      "the best list of the registry is not Django's: it is longer, and lacks about half of Django's longer entries",
    when: marked(/^about: (short and numeric|a letter often)|^new_password: (a number|minus zero|a large number)/),
    theirs: ({ text }) => text.includes("This password is too common."),
    ours: ({ text }) => !text.includes("This password is too common."),
  },
  "numbers as new passwords": {
    reason: "as 1e3 and Infinity are written in JavaScript and not in Python",
    when: marked(/^new_password: (an exponent|a huge number)/),
    theirs: is(400),
    ours: is(400),
    covers: /^body\.new_password/,
  },
  "passwords over 4,096 bytes": {
    reason: "are never right at a login, so none can be set",
    when: marked(/^new_password: long/),
    theirs: ({ status, text }) => status === 204 || text.includes("The two password fields didn't match."),
    ours: ({ text }) => text.includes("It must contain at most 4096 bytes."),
  },
  "a new password ends the other sessions": {
    reason: "a thief's among them, and with `logoutOnPasswordChange` this one; Djoser ends none of Simple JWT's tokens",
    when: ({ marks }) => marks.has("ended by a new password"),
    theirs: is(200),
    ours: ({ status, text }) => status === 401 && text.includes("Token is blacklisted"),
  },
  "times after a new password": {
    reason: "in the second of the change `iat` has a fraction, which tells new tokens from those that were revoked",
    when: ({ marks }) => marks.has("after a new password"),
    covers: /^body\.(access|refresh)\.claims\.(iat|tokens_valid_from)$/,
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
    reason: "any number is a time (RFC 7519 §2); Python's dates end with the year 9999, and the response is 500",
    when: marked(/^token: exp beyond dates/),
    theirs: is(500),
    ours: is(200),
  },
  "no jti": {
    reason: "the words that Simple JWT has for it; its blacklist looks for the claim first, and the response is 500",
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
  "users/me is read alone": {
    reason: "users are changed by the host or the `user` command, so there is no PUT, PATCH or DELETE here",
    when: ({ endpoint }) => endpoint === "me",
    theirs: ({ headers }) => headers.get("allow") === "GET, PUT, PATCH, DELETE, HEAD, OPTIONS",
    ours: ({ headers }) => headers.get("allow") === "GET, HEAD, OPTIONS",
    covers: /^allow$/,
  },
  "users/me is not changed": {
    reason: "as above",
    when: ({ endpoint, method }) => endpoint === "me" && ["PUT", "PATCH", "DELETE"].includes(method),
    ours: is(405),
  },
  "methods before bearers": {
    reason: "no token makes a method allowed, and a preflight request carries none; Django looks at the token first",
    when: ({ endpoint, method }) =>
      (endpoint === "me" && method !== "GET" && method !== "HEAD") ||
      (endpoint === "set_password" && method !== "POST"),
    theirs: is(401),
    ours: ({ status, text }) => status === 405 || (status === 200 && text.includes('"description"')),
  },
  "HEAD and OPTIONS of users/me": {
    reason: "Djoser 2.1 fails with an error of its own",
    when: ({ endpoint, method }) => endpoint === "me" && (method === "HEAD" || method === "OPTIONS"),
    theirs: is(500),
    ours: is(200),
  },
  "what OPTIONS says of users": {
    reason: "Django lists the fields of a user there, whatever the endpoint reads",
    when: ({ endpoint, method }) => endpoint === "set_password" && method === "OPTIONS",
    covers: /^body\.actions/,
  },
  "the last slash of users": {
    reason: "may be left out, as in Djoser's paths of tokens",
    when: ({ endpoint, marks }) =>
      (endpoint === "me" || endpoint === "set_password") && (marks.has("path: ") || marks.has("path: ?x")),
    theirs: is(404),
    ours: is(200, 400),
  },
  "formats in paths": {
    reason: "Django REST framework serves /users/me.json too; there is one format here",
    when: ({ endpoint, marks }) => endpoint === "me" && marks.has("path: .json"),
    theirs: is(200),
    ours: is(404),
  },
  // bodies
  "indented answers": {
    reason: "responses are compact, whatever is requested in `Accept`",
    when: marked(/^accept: .*indent/),
    covers: /^spelling$/,
  },
  "a body that nests too deep": {
    reason: "Python's recursion ends, and the response is 500",
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
    reason: "the same response in words of our own, without the position and bytes that Python tells",
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
