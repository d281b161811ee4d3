/**
 * Renders data and errors as responses. The only file that knows the response profiles: `djoser`, where every 400 has
 * `non_field_errors`, and `simplejwt`, the responses of a live Djoser + Simple JWT site.
 */
import { type ErrorCode, type ErrorData, type JwtEndpointsError, type TextCode, errorTable } from "../errors.ts";
import type { Settings } from "../settings/types.ts";
import { challenge } from "./bearer.ts";
import type { HttpResponse } from "./message.ts";

const baseHeaders = {
  "content-type": "application/json",
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
};

/**
 * Renders the result of an endpoint.
 * @param allow the methods of the resource, for `Allow`; `undefined` for an unknown path.
 * @param headers replace those that every response has.
 */
export function renderData(
  data: unknown,
  status: number,
  allow?: string,
  headers?: Record<string, string>,
): HttpResponse {
  const base = headersFor(allow);
  return { status, headers: headers === undefined ? base : { ...base, ...headers }, body: JSON.stringify(data) };
}

/** Renders the result of an endpoint that has nothing to say. */
export function renderEmpty(allow: string): HttpResponse {
  const { "content-type": _, ...headers } = headersFor(allow);
  return { status: 204, headers, body: "" };
}

const headersByAllow = new Map<string | undefined, Readonly<Record<string, string>>>();

/** Returns the same object for the same methods, so that a server can prepare its headers once. */
function headersFor(allow: string | undefined): Readonly<Record<string, string>> {
  let headers = headersByAllow.get(allow);
  if (headers === undefined) {
    headers = Object.freeze(allow === undefined ? baseHeaders : { ...baseHeaders, allow });
    headersByAllow.set(allow, headers);
  }
  return headers;
}

/**
 * Renders an error in the profile of the setting `responses`.
 * @param allow the methods of the resource, for `Allow`; `undefined` for an unknown path.
 * @param atEndpoint whether one of the JWT endpoints failed. A host's own resource behind `authenticate` gets Simple JWT's
 * 401 in both profiles.
 */
export function renderError(
  error: JwtEndpointsError,
  settings: Settings,
  allow?: string,
  atEndpoint = true,
): HttpResponse {
  const data = error.data!;
  const { status, body } = profiles[atEndpoint ? settings.responses : "simplejwt"](data, error, settings);
  const isChallenged = status === 401 || (status === 403 && !atEndpoint);
  if (data.retryAfter === undefined && !isChallenged) return renderData(body, status, allow);
  const headers: Record<string, string> = {};
  if (data.retryAfter !== undefined) headers["retry-after"] = String(data.retryAfter);
  if (isChallenged) headers["www-authenticate"] = challenge(settings, atEndpoint ? undefined : data.code);
  return renderData(body, status, allow, headers);
}

type RenderBody = (data: ErrorData, error: JwtEndpointsError, settings: Settings) => { status: number; body: unknown };

/** Texts that Djoser documents with a wording of its own, or that its documented form of the responses does not tell apart. */
const djoserTexts: Partial<Record<ErrorCode, string>> = {
  invalid_credentials: "Unable to log in with provided credentials.",
  token_invalid: "Token is invalid or expired",
  token_expired: "Token is invalid or expired",
};

/** Returns the text that the setting `texts` has for a code, otherwise `fallback`. */
const textOf = ({ texts }: Settings, code: ErrorCode, fallback: string): string => texts[code as TextCode] ?? fallback;

/** The class names of Simple JWT. */
const tokenClasses = { access: "AccessToken", refresh: "RefreshToken", sliding: "SlidingToken" };

const profiles: Record<Settings["responses"], RenderBody> = {
  djoser(data, error, settings) {
    const { code, fields } = data;
    const status = error.output.statusCode;
    if (status !== 400 && status !== 401) return profiles.simplejwt(data, error, settings);
    if (fields === undefined) {
      return { status: 400, body: { non_field_errors: [textOf(settings, code, djoserTexts[code] ?? error.message)] } };
    }
    const all = Object.entries(fields).flatMap(([name, texts]) => texts.map((text) => `${name}: ${text}`));
    return { status: 400, body: { ...fields, non_field_errors: all } };
  },
  simplejwt({ code, fields, reasons }, error, settings) {
    const status = error.output.statusCode;
    if (fields !== undefined) return { status, body: fields };
    const text = textOf(settings, code, error.message);
    if (code === "invalid_data" || code === "verify_blacklisted") return { status, body: { non_field_errors: [text] } };
    const body: Record<string, unknown> = { detail: text };
    if (errorTable[code].code !== undefined) body.code = errorTable[code].code;
    if (reasons !== undefined) {
      body.messages = reasons.map(([type, reason]) => ({
        token_class: tokenClasses[type],
        token_type: type,
        message: textOf(settings, reason, errorTable[reason].text),
      }));
    }
    return { status, body };
  },
};
