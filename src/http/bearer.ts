/** Bearer tokens in requests (RFC 6750): where the token is read from, and the challenge of a refusal. */
import { type ErrorCode, errorTable, fail } from "../errors.ts";
import type { LoginRequest, Settings } from "../settings/types.ts";
import type { Cookies } from "./cookies.ts";

/**
 * Returns the token that a request presents: that of the header `authHeaderName`, otherwise that of the cookie.
 * @param cookies `undefined` when no token travels in a cookie.
 * @throws `not_authenticated` without a token, `bad_authorization_header`; `cross_site` for a cookie that another site made
 * the browser send.
 * @see RFC 6750 section 2.1
 */
export function readBearerToken(request: LoginRequest, settings: Settings, cookies: Cookies | undefined): string {
  const header = request.headers.get(settings.authHeaderName) ?? headerFromCookie(request, settings, cookies) ?? "";
  const [scheme = "", token, ...rest] = header.trim().split(/[ \t]+/);
  // Schemes are case-insensitive (RFC 9110 section 11.1).
  const isOurs = settings.authHeaderTypes.some((type) => type.toLowerCase() === scheme.toLowerCase());
  if (!isOurs) throw fail("not_authenticated");
  if (token === undefined || rest.length > 0) throw fail("bad_authorization_header");
  return token;
}

/** Returns the header that a client without cookies would send. */
function headerFromCookie(
  request: LoginRequest,
  { authTokenClasses, authHeaderTypes }: Settings,
  cookies: Cookies | undefined,
): string | undefined {
  const token = cookies?.read(request, authTokenClasses[0] === "SlidingToken" ? "token" : "access");
  if (token === undefined) return undefined;
  // Any site may open a WebSocket with a GET and read what comes back.
  const isSafe = /^(GET|HEAD|OPTIONS)$/.test(request.method) && request.headers.get("upgrade") === null;
  if (!isSafe) cookies!.refuseCrossSite(request);
  return `${authHeaderTypes[0]} ${token}`;
}

/** The `error` of the challenge (RFC 6750 section 3.1), for codes that are not plainly an invalid token. */
const challengeErrors: Partial<Record<ErrorCode, string>> = {
  not_authenticated: "", // a request without a token gets no error code
  bad_authorization_header: "invalid_request",
  insufficient_scope: "insufficient_scope",
};

/**
 * Returns the value of `WWW-Authenticate`. Its description is the table's text whatever the setting `texts` says, since a
 * header holds ASCII alone.
 * @param code why a protected resource refused; `undefined` at the JWT endpoints, which send Simple JWT's bare challenge.
 * @see RFC 6750 section 3
 */
export function challenge({ authHeaderTypes }: Settings, code: ErrorCode | undefined): string {
  const error = code === undefined ? "" : (challengeErrors[code] ?? "invalid_token");
  const details = error === "" ? "" : `, error="${error}", error_description="${errorTable[code!].text}"`;
  return `${authHeaderTypes[0]} realm="api"${details}`;
}
