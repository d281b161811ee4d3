/**
 * Outcome or error -> answer. The only file that knows the response profiles: `djoser`, where every 400 carries
 * `non_field_errors`, and `simplejwt`, which is what a live Djoser + Simple JWT site sends.
 */
import type { ErrorCode, ErrorData, JwtEndpointsError } from "../errors.ts";
import { errorTable } from "../errors.ts";
import type { Settings } from "../settings/types.ts";
import type { HttpResponse } from "./message.ts";

export type Profile = Settings["responses"];

const baseHeaders = {
  "content-type": "application/json",
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
};

/** @param allow the methods of the resource, for `Allow`; none for an unknown path. */
export function renderData(
  data: unknown,
  status: number,
  allow?: string,
  headers?: Record<string, string>,
): HttpResponse {
  const base = headersFor(allow);
  return { status, headers: headers === undefined ? base : { ...base, ...headers }, body: JSON.stringify(data) };
}

const headersByAllow = new Map<string | undefined, Readonly<Record<string, string>>>();

/** The same object for the same methods, so that a server can prepare what it makes of it. */
function headersFor(allow: string | undefined): Readonly<Record<string, string>> {
  let headers = headersByAllow.get(allow);
  if (headers === undefined) {
    headers = Object.freeze(allow === undefined ? baseHeaders : { ...baseHeaders, allow });
    headersByAllow.set(allow, headers);
  }
  return headers;
}

/**
 * @param atEndpoint whether it is an answer of one of the JWT endpoints, the only ones the `djoser` profile reshapes: a
 * host's own resource, guarded by `authenticate`, answers 401 in both.
 */
export function renderError(
  error: JwtEndpointsError,
  settings: Settings,
  allow?: string,
  atEndpoint = true,
): HttpResponse {
  const data = error.data!;
  const { status, body } = profiles[atEndpoint ? settings.responses : "simplejwt"](data, error);
  const headers: Record<string, string> = {};
  if (data.retryAfter !== undefined) headers["retry-after"] = String(data.retryAfter);
  if (status === 401 || (status === 403 && !atEndpoint)) {
    headers["www-authenticate"] = challenge(settings.authHeaderTypes[0]!, atEndpoint ? undefined : data.code);
  }
  return renderData(body, status, allow, headers);
}

/** RFC 6750 §3: to whom sent no token at all, nothing is said of an error. The endpoints say what Simple JWT does. */
function challenge(scheme: string, code: ErrorCode | undefined): string {
  const error =
    code === undefined || code === "not_authenticated"
      ? undefined
      : code === "bad_authorization_header"
        ? "invalid_request"
        : code === "insufficient_scope"
          ? code
          : "invalid_token";
  return `${scheme} realm="api"${error === undefined ? "" : `, error="${error}", error_description="${errorTable[code!].text}"`}`;
}

type Render = (data: ErrorData, error: JwtEndpointsError) => { status: number; body: unknown };

/** The one text that Djoser documents in words of its own. */
const djoserTexts: Partial<Record<ErrorCode, string>> = {
  invalid_credentials: "Unable to log in with provided credentials.",
};

/** Simple JWT's names. */
const tokenClasses = { access: "AccessToken", refresh: "RefreshToken", sliding: "SlidingToken" };

const profiles: Record<Profile, Render> = {
  djoser(data, error) {
    const { code, fields } = data;
    const status = error.output.statusCode;
    if (status !== 400 && status !== 401) return profiles.simplejwt(data, error);
    if (fields === undefined) return { status: 400, body: { non_field_errors: [djoserTexts[code] ?? error.message] } };
    const all = Object.entries(fields).flatMap(([name, texts]) => texts.map((text) => `${name}: ${text}`));
    return { status: 400, body: { ...fields, non_field_errors: all } };
  },
  simplejwt({ code, fields, reasons }, error) {
    const status = error.output.statusCode;
    if (fields !== undefined) return { status, body: fields };
    if (code === "invalid_data" || code === "verify_blacklisted") {
      return { status, body: { non_field_errors: [error.message] } };
    }
    const body: Record<string, unknown> = { detail: error.message };
    if (errorTable[code].code !== undefined) body.code = errorTable[code].code;
    if (reasons !== undefined) {
      body.messages = reasons.map(([type, reason]) => ({
        token_class: tokenClasses[type],
        token_type: type,
        message: errorTable[reason].text,
      }));
    }
    return { status, body };
  },
};
