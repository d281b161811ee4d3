/**
 * Outcome or error -> Response. The only file that knows the response profiles: `djoser`, where every 400 carries
 * `non_field_errors`, and `simplejwt`, which is what a live Djoser + Simple JWT site sends.
 */
import type { ErrorCode, ErrorData, JwtEndpointsError } from "../errors.ts";
import { errorTable } from "../errors.ts";
import type { Settings } from "../settings.ts";

export type Profile = Settings["responses"];

const baseHeaders = {
  "content-type": "application/json",
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
};

/** @param allow the methods of the resource, for `Allow`; none for an unknown path. */
export function renderData(data: unknown, status: number, allow?: string, headers?: Record<string, string>): Response {
  const all = allow === undefined ? { ...baseHeaders, ...headers } : { ...baseHeaders, allow, ...headers };
  return new Response(JSON.stringify(data), { status, headers: all });
}

/**
 * @param atEndpoint whether it is an answer of one of the JWT endpoints, the only ones the `djoser` profile reshapes: a
 * host's own resource, guarded by `authenticate`, answers 401 in both.
 */
export function renderError(error: JwtEndpointsError, settings: Settings, allow?: string, atEndpoint = true): Response {
  const data = error.data!;
  const { status, body } = profiles[atEndpoint ? settings.responses : "simplejwt"](data, error);
  const headers: Record<string, string> = {};
  if (data.retryAfter !== undefined) headers["retry-after"] = String(data.retryAfter);
  if (status === 401) headers["www-authenticate"] = `${settings.authHeaderTypes[0]} realm="api"`;
  return renderData(body, status, allow, headers);
}

type Render = (data: ErrorData, error: JwtEndpointsError) => { status: number; body: unknown };

/** The one text that Djoser documents in words of its own. */
const djoserTexts: Partial<Record<ErrorCode, string>> = {
  invalid_credentials: "Unable to log in with provided credentials.",
};

const profiles: Record<Profile, Render> = {
  djoser(data, error) {
    const { code, fields } = data;
    const status = error.output.statusCode;
    if (status !== 400 && status !== 401) return profiles.simplejwt(data, error);
    if (fields === undefined) return { status: 400, body: { non_field_errors: [djoserTexts[code] ?? error.message] } };
    const all = Object.entries(fields).flatMap(([name, texts]) => texts.map((text) => `${name}: ${text}`));
    return { status: 400, body: { ...fields, non_field_errors: all } };
  },
  simplejwt({ code, fields, reason }, error) {
    const status = error.output.statusCode;
    if (fields !== undefined) return { status, body: fields };
    if (code === "invalid_data" || code === "verify_blacklisted") {
      return { status, body: { non_field_errors: [error.message] } };
    }
    const body: Record<string, unknown> = { detail: error.message };
    if (errorTable[code].code !== undefined) body.code = errorTable[code].code;
    if (reason !== undefined) {
      body.messages = [{ token_class: "AccessToken", token_type: "access", message: errorTable[reason].text }];
    }
    return { status, body };
  },
};
