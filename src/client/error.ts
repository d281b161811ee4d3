/** The errors that the client throws. None holds a token or a password. */

export type JwtClientErrorCode =
  | "network_error"
  | "invalid_credentials"
  | "invalid_fields"
  | "forbidden"
  | "not_found"
  | "throttled"
  | "unavailable"
  | "unexpected_response";

/** A call of the client that failed. Its message is `text`. */
export class JwtClientError extends Error {
  override readonly name = "JwtClientError";
  /** Stable, for `switch`. */
  readonly code: JwtClientErrorCode;
  /** The HTTP status; 0 when no response arrived. */
  readonly status: number;
  /** What the server said, for people. */
  readonly text: string;
  /** What is wrong with single fields, by their names. */
  readonly fields: Readonly<Record<string, readonly string[]>>;
  /** When to try again, in seconds, if the server said so. */
  readonly retryAfter: number | undefined;

  constructor(
    code: JwtClientErrorCode,
    text: string,
    details: {
      status?: number;
      fields?: Record<string, string[]>;
      retryAfter?: number | undefined;
      cause?: unknown;
    } = {},
  ) {
    super(text, "cause" in details ? { cause: details.cause } : undefined);
    this.code = code;
    this.text = text;
    this.status = details.status ?? 0;
    this.fields = details.fields ?? {};
    this.retryAfter = details.retryAfter;
  }
}

const codes: Record<number, JwtClientErrorCode | undefined> = {
  400: "invalid_credentials",
  401: "invalid_credentials",
  403: "forbidden",
  404: "not_found",
  429: "throttled",
};

/**
 * Makes the error of a response, in either response profile.
 * @param body as parsed; `undefined` when it is no JSON.
 */
export function errorFrom(response: Response, body: unknown): JwtClientError {
  const { status, headers } = response;
  const { detail, non_field_errors: common, ...rest } = Object(body) as Record<string, unknown>;
  const fields = Object.fromEntries(Object.entries(rest).filter(isTexts));
  const named = Object.entries(fields).flatMap(([name, texts]) => texts.map((text) => `${name}: ${text}`));
  const text =
    [detail, ...(Array.isArray(common) ? common : named)].filter((part) => typeof part === "string").join(" ") ||
    `The server responded with status ${status}.`;
  const code = status >= 500 ? "unavailable" : isObject(body) ? codes[status] : undefined;
  const retryAfter = Number(headers.get("retry-after") ?? Number.NaN);
  return new JwtClientError(named.length > 0 ? "invalid_fields" : (code ?? "unexpected_response"), text, {
    status,
    fields,
    retryAfter: retryAfter >= 0 ? retryAfter : undefined,
  });
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isTexts = (entry: [string, unknown]): entry is [string, string[]] =>
  Array.isArray(entry[1]) && entry[1].every((text) => typeof text === "string");
