/**
 * The table of errors: a stable code, the HTTP status and the text (Django REST framework's and Simple JWT's wording).
 * Endpoints throw `fail(code)`; `http/render.ts` makes the response.
 */
import { Boom } from "./boom.ts";

interface ErrorRow {
  readonly status: number;
  readonly text: string;
  /** The member `code` that Simple JWT sends beside `detail`. */
  readonly code?: string;
}

const tokenNotValid = (text: string): ErrorRow => ({ status: 401, text, code: "token_not_valid" });

const rows = {
  // credentials and tokens
  invalid_credentials: { status: 401, text: "No active account found with the given credentials" },
  no_active_account: { status: 401, text: "No active account found for the given token." },
  token_invalid: tokenNotValid("Token is invalid"),
  token_expired: tokenNotValid("Token is expired"),
  token_wrong_type: tokenNotValid("Token has wrong type"),
  token_no_type: tokenNotValid("Token has no type"),
  token_no_id: tokenNotValid("Token has no id"),
  token_no_exp: tokenNotValid("Token has no 'exp' claim"),
  token_no_refresh_exp: tokenNotValid("Token has no 'refresh_exp' claim"),
  token_refresh_expired: tokenNotValid("Token 'refresh_exp' claim has expired"),
  token_blacklisted: tokenNotValid("Token is blacklisted"),
  // Simple JWT's verify view sends a validation error here, where its refresh view sends a 401.
  verify_blacklisted: { status: 400, text: "Token is blacklisted" },
  password_changed: { status: 401, text: "The user's password has been changed.", code: "password_changed" },
  // the Authorization header, for `authenticate`
  not_authenticated: { status: 401, text: "Authentication credentials were not provided." },
  bad_authorization_header: {
    status: 401,
    text: "Authorization header must contain two space-delimited values",
    code: "bad_authorization_header",
  },
  access_token_invalid: tokenNotValid("Given token not valid for any token type"),
  no_user_claim: tokenNotValid("Token contained no recognizable user identification"),
  user_not_found: { status: 401, text: "User not found", code: "user_not_found" },
  user_inactive: { status: 401, text: "User is inactive", code: "user_inactive" },
  insufficient_scope: { status: 403, text: "You do not have permission to perform this action." },
  // the body
  field_errors: { status: 400, text: "Invalid input." },
  invalid_data: { status: 400, text: "No data provided" },
  parse_error: { status: 400, text: "Malformed request." },
  body_already_read: {
    status: 400,
    text: "The request body could not be read: something read it before, such as a body parser.",
  },
  // HTTP
  bad_host: { status: 400, text: "Invalid Host header." },
  not_found: { status: 404, text: "Not found." },
  method_not_allowed: { status: 405, text: "Method not allowed." },
  cross_site: { status: 403, text: "Cross-site requests are not accepted here." },
  not_acceptable: { status: 406, text: "Could not satisfy the request Accept header." },
  body_too_large: { status: 413, text: "Request body is too large." },
  unsupported_media_type: { status: 415, text: "Unsupported media type in request." },
  throttled: { status: 429, text: "Request was throttled." },
  login_queue_full: { status: 503, text: "Too many logins are waiting. Try again later." },
  // Nobody reads this response; the status, which others use for the same, is for the log.
  client_gone: { status: 499, text: "The client went away." },
  keys_unavailable: {
    status: 503,
    text: "The keys to verify tokens with are unavailable. Try again later.",
  },
  store_unavailable: { status: 503, text: "The store is unavailable. Try again later." },
  internal_error: { status: 500, text: "Internal server error." },
} satisfies Record<string, ErrorRow>;

/** The stable codes of the errors; texts may change. */
export type ErrorCode = keyof typeof rows;

/** A code whose text can be replaced by the setting `texts`. `field_errors` sends the texts of the fields instead of its own. */
export type TextCode = Exclude<ErrorCode, "field_errors">;

/** The rows by code, without a prototype: `isFailure` looks up codes that another program may have made. */
export const errorTable: Readonly<Record<ErrorCode, ErrorRow>> = Object.freeze(
  Object.assign(Object.create(null), rows) as Record<ErrorCode, ErrorRow>,
);

/** The `data` of a Boom error made by {@link fail}. */
export interface ErrorData {
  code: ErrorCode;
  /** Texts by the name of the field, for `field_errors`. */
  fields?: Record<string, string[]>;
  /** When to try again, in seconds; sent as `Retry-After`. */
  retryAfter?: number;
  /** Why the token was refused as each of the accepted types, for `access_token_invalid`. */
  reasons?: [type: "access" | "refresh" | "sliding", code: ErrorCode][];
  /** Whose limit was reached, for `throttled`, where that is known. For the audit event; never sent. */
  limited?: { userId: string; sessionId?: string };
}

/** An error that becomes a response. `isFailure` tells it from others. */
export type JwtEndpointsError = Boom<ErrorData>;

/**
 * Makes the Boom error for a code, to be thrown.
 * @param details `text` replaces the table's text where it can name the problem; never a secret, password or token.
 */
export function fail(
  code: ErrorCode,
  details: Omit<ErrorData, "code"> & { text?: string; cause?: unknown } = {},
): JwtEndpointsError {
  const { text = errorTable[code].text, cause, ...data } = details;
  const { stackTraceLimit } = Error as { stackTraceLimit?: number };
  Reflect.set(Error, "stackTraceLimit", 0); // on Node a stack takes 8 µs, a third of a refusal, and the code says enough
  const error = new Boom<ErrorData>(text, { statusCode: errorTable[code].status, data: { code, ...data } });
  Reflect.set(Error, "stackTraceLimit", stackTraceLimit);
  if (cause !== undefined) error.cause = cause;
  return error;
}

/**
 * Makes the error of a throttled request.
 * @param milliseconds until the client may try again.
 * @param limited whose limit was reached, if known.
 */
export function throttled(milliseconds: number, limited?: ErrorData["limited"]): JwtEndpointsError {
  const retryAfter = Math.max(1, Math.ceil(milliseconds / 1000));
  const text = `Request was throttled. Expected available in ${retryAfter} second${retryAfter === 1 ? "" : "s"}.`;
  return fail("throttled", { text, retryAfter, ...(limited && { limited }) });
}

/** Returns whether an error was made by {@link fail}, by this copy of the module or another. */
export function isFailure(error: unknown): error is JwtEndpointsError {
  const data = (error as Boom<ErrorData> | undefined)?.data;
  return (error as Boom | undefined)?.isBoom === true && typeof data?.code === "string" && data.code in errorTable;
}

/** Codes of errors that stores and password hashing throw, and the codes they get here. */
const codesFromBelow: ReadonlyMap<unknown, ErrorCode> = new Map([
  ["STORE_UNAVAILABLE", "store_unavailable"],
  ["PASSWORD_QUEUE_FULL", "login_queue_full"],
  ["CLIENT_GONE", "client_gone"],
]);

/** When a client should try again if the store is unavailable, in seconds. */
const storeRetryAfter = 5;

/** Returns the error that a client gets for anything thrown: `internal_error` unless the error has a known code. */
export function toFailure(error: unknown): JwtEndpointsError {
  if (isFailure(error)) return error;
  const { code, retryAfter = storeRetryAfter } = (error ?? {}) as { code?: unknown; retryAfter?: number };
  const known = codesFromBelow.get(code);
  return known === undefined ? fail("internal_error") : fail(known, { retryAfter });
}

/** A wrong or inconsistent setting. Its message is one line that names the setting, never the value of a secret. */
export class SettingError extends TypeError {
  override readonly name = "SettingError";
}
