/** Tokens in cookies that scripts can't read (RFC 6265bis), and the check that no other site makes use of them. */
import { parseCookie, stringifySetCookie } from "cookie";
import { fail, isFailure } from "../errors.ts";
import type { MaybePromise } from "../maybe-promise.ts";
import type { LoginRequest, Settings } from "../settings/types.ts";
import type { Forwarding, Site } from "./client-address.ts";
import type { HttpRequest } from "./message.ts";

type Field = "refresh" | "access" | "token";
type Data = Readonly<Record<string, string>>;

/** What a route does with a session. */
export interface SessionStep {
  /** A login only sets cookies, a renewal reads them too, and a logout reads and clears them. */
  readonly kind: "login" | "renewal" | "logout";
  /** The field of the body whose token a cookie may carry instead. */
  readonly field: string;
}

export interface Cookies {
  /** The `Set-Cookie` headers that clear all cookies. */
  readonly cleared: readonly string[];
  /** Returns the token that a request's cookie carries for a field of the body. */
  read(request: LoginRequest, field: string): string | undefined;
  /**
   * Refuses requests that another site made the browser send (CSRF, login CSRF): by `Origin`, which browsers send with
   * every POST, otherwise by `Sec-Fetch-Site`. A client that sends neither is no browser.
   * @throws `cross_site`
   */
  refuseCrossSite(request: LoginRequest): void;
  /**
   * Calls an endpoint with the token from the cookie when the body has none, and moves the tokens of its result to
   * cookies.
   * @param data the body.
   * @returns the rest of the result, and the `Set-Cookie` headers.
   * @throws `cross_site`, and what the endpoint throws.
   */
  exchange(
    request: HttpRequest,
    step: SessionStep,
    data: unknown,
    endpoint: (data: unknown) => MaybePromise<Data>,
  ): Promise<{ data: Data; cookies: readonly string[] }>;
}

/** Returns what stands before the name of a token in its cookie's name (RFC 6265bis section 4.1.3). */
export const cookiePrefix = ({ secure, domain }: Settings["cookies"]): string =>
  !secure ? "" : domain === undefined ? "__Host-" : "__Secure-";

/**
 * Makes the cookies of the setting `cookies`: `HttpOnly`, and by default `Secure` under a `__Host-` name, which no other
 * host of the domain can set.
 * @param siteOf returns the host and scheme that a browser used, as far as trusted proxies report them.
 */
export function createCookies(settings: Settings, siteOf: Forwarding["siteOf"]): Cookies {
  const { cookies, cors, authTokenClasses } = settings;
  const { sameSite, secure, domain } = cookies;
  const fields: Field[] = authTokenClasses[0] === "SlidingToken" ? ["token"] : cookies.carry;
  const prefix = cookiePrefix(cookies);
  const lifetimes = {
    refresh: settings.refreshTokenLifetime,
    access: settings.accessTokenLifetime,
    token: settings.slidingTokenRefreshLifetime,
  };
  const setCookie = (field: Field, value: string, maxAge: number): string =>
    stringifySetCookie({
      name: prefix + field,
      value,
      path: "/",
      ...(domain !== undefined && { domain }),
      httpOnly: true,
      secure,
      sameSite,
      maxAge: Math.floor(maxAge),
    });
  const cleared = fields.map((field) => setCookie(field, "", 0));
  const isCarried = (field: string): field is Field => (fields as string[]).includes(field);

  function read(request: LoginRequest, field: string): string | undefined {
    const header = isCarried(field) ? request.headers.get("cookie") : null;
    return header === null ? undefined : parseCookie(header)[prefix + field] || undefined;
  }

  /** Splits the result of an endpoint into what stays in the body and what cookies carry. */
  function split(result: Data): { data: Data; cookies: string[] } {
    const carried: string[] = [];
    const rest: Record<string, string> = {};
    for (const [field, value] of Object.entries(result)) {
      if (isCarried(field)) carried.push(setCookie(field, value, lifetimes[field]));
      else rest[field] = value;
    }
    return { data: rest, cookies: carried };
  }

  function refuseCrossSite(request: LoginRequest): void {
    const origin = request.headers.get("origin");
    const site = request.headers.get("sec-fetch-site");
    if (origin === null) {
      if (site === null || site === "same-origin" || site === "none") return;
    } else if (isSameOrigin(origin, request, siteOf(request)) && site !== "cross-site" && site !== "same-site") return;
    else if (Array.isArray(cors) && cors.includes(origin)) return;
    throw fail("cross_site");
  }

  return {
    cleared,
    read,
    refuseCrossSite,
    async exchange(request, { field, kind }, data, endpoint) {
      refuseCrossSite(request);
      const lacksToken = isObject(data) && isBlank(data, field);
      const token = lacksToken && kind !== "login" ? read(request, field) : undefined;
      try {
        const result = split(await endpoint(token === undefined ? data : { ...(data as object), [field]: token }));
        return kind === "logout" ? { data: result.data, cookies: cleared } : result;
      } catch (error) {
        // A logout with an invalid cookie, or with none, has nothing left to do, unless scripts hold the token.
        const isDone = kind === "logout" && lacksToken && isCarried(field);
        if (isDone && isFailure(error) && error.output.statusCode < 500) return { data: {}, cookies: cleared };
        throw error;
      }
    },
  };
}

const isObject = (data: unknown): data is object => typeof data === "object" && data !== null && !Array.isArray(data);

/** Returns whether a field is missing, null or blank: clients that never see a token send one of the three. */
function isBlank(data: object, field: string): boolean {
  const value: unknown = Object.hasOwn(data, field) ? (data as Record<string, unknown>)[field] : undefined;
  return value === undefined || value === null || (typeof value === "string" && value.trim() === "");
}

/**
 * Returns whether a page's origin is the host of the request. Where a trusted proxy reports the scheme, the origin must have
 * it. Otherwise the scheme is taken from the origin, since a proxy that nobody declared may end TLS, so that a request by
 * HTTP can come from a page by HTTPS; a page by HTTP is foreign to a request by HTTPS, because an attacker on the network
 * can forge one. An `Origin` or `Host` that does not parse, such as `null`, is foreign too.
 */
function isSameOrigin(origin: string, { headers, url }: LoginRequest, { host, scheme }: Site): boolean {
  const target = host === null ? url : origin.replace(/(?<=:\/\/).*$/, () => host);
  if (!URL.canParse(origin) || !URL.canParse(target) || new URL(origin).host !== new URL(target).host) return false;
  if (scheme !== undefined) return origin.startsWith(`${scheme}:`);
  if (!origin.startsWith("http:")) return true;
  // A client can forge this header only against itself: it can make a page foreign, never the other way round.
  const isSecure = url.startsWith("https:") || /\bhttps\b/i.test(headers.get("x-forwarded-proto") ?? "");
  return !isSecure;
}
