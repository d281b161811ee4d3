/**
 * One HTTP exchange as plain data. `http/fetch.ts` wraps it in `Request` and `Response`; an entry file in `serve/` may
 * build it from its runtime's own server.
 */
import type { MaybePromise } from "../maybe-promise.ts";

/** The part of a request that the endpoints read. */
export interface HttpRequest {
  readonly method: string;
  /** Absolute, or starting with the path. */
  readonly url: string;
  readonly headers: { get(name: string): string | null };
  /** The client's address, if the server provides it. */
  readonly ip?: string | undefined;
  /** Returns whether the client has closed its connection, if the server can tell. */
  isGone?(): boolean;
  /** Whether a body is being read and has not ended yet. */
  readonly isReading?: boolean;
  /**
   * Reads the whole body.
   * @param limit in bytes.
   * @throws `body_too_large`; `parse_error` when the body can't be read.
   */
  bytes(limit: number): MaybePromise<Uint8Array<ArrayBuffer>>;
  /**
   * Reads the whole body as text.
   * @param limit in bytes.
   * @throws as `bytes` does, and `parse_error` when the body is not UTF-8.
   */
  text(limit: number): MaybePromise<string>;
  /** The result of the host's body parser, if one has read the body already; otherwise undefined. */
  readonly parsed?: unknown;
}

/** A response as plain data, for servers that are faster without `Response`. */
export interface HttpResponse {
  status: number;
  /** Header names are in lower case. */
  headers: Readonly<Record<string, string>>;
  /** Values of `Set-Cookie`, the only header that may be repeated. */
  cookies?: readonly string[] | undefined;
  body: string;
}

/** Handles one request. Neither throws nor rejects; returns at once when nothing on the way needs a promise. */
export type Handle = (request: HttpRequest) => MaybePromise<HttpResponse>;

/**
 * Characters that no host name or address contains. Some servers build the URL from `Host` as it came, and a slash or a
 * question mark in it would let the client choose the path. Two `Host` headers arrive joined by a comma and a space.
 */
const notInHost = /[\s/?#@\\]/;

/** Returns whether the `Host` header is missing or can be a host (RFC 9110 section 7.2). */
export function hasValidHost({ headers }: HttpRequest): boolean {
  return !notInHost.test(headers.get("host") ?? "");
}

/** Returns the decoded path of a URL. Own code, since `new URL` would cost every request a microsecond. */
export function pathOf(url: string): string {
  // For a request without `Host`, Bun's URL starts with the path, whose query may contain another URL.
  const start = url.startsWith("/") ? 0 : url.indexOf("/", url.indexOf("://") + 3);
  if (start === -1) return "";
  let end = start;
  while (end < url.length && url[end] !== "?" && url[end] !== "#") end++; // a regular expression takes Deno 3 µs
  const path = url.slice(start, end);
  if (!path.includes("%")) return path;
  try {
    return decodeURIComponent(path);
  } catch {
    return path; // not UTF-8, which no route is
  }
}
