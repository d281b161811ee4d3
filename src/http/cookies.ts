import { parseCookie, stringifySetCookie } from "cookie";
import { fail } from "../errors.ts";
import type { Settings } from "../settings/types.ts";
import type { HttpRequest } from "./message.ts";

type Field = "refresh" | "access" | "token";

export interface Cookies {
  /** Whether the token of a field travels in a cookie. */
  carries(field: string): boolean;
  /** The token of a field of the body that a request's cookie carries. */
  read(asked: HttpRequest, field: string): string | undefined;
  /** What the body then omits, as `Set-Cookie` headers. */
  take(data: Record<string, string>): { data: Record<string, string>; cookies: string[] };
  /** `Set-Cookie` headers that clear all of them. */
  readonly cleared: readonly string[];
  /**
   * Cookies come along whoever makes the browser ask, so another site must not (CSRF, login CSRF): by `Origin`, which
   * browsers send with every POST, else by `Sec-Fetch-Site`. Who sends neither is no browser.
   * @throws `cross_site`
   */
  refuseCrossSite(asked: HttpRequest): void;
}

/**
 * Tokens in cookies that scripts can't read (RFC 6265bis): `HttpOnly`, `Secure`, `SameSite`, and a `__Host-` name, which
 * no other host of the domain can set.
 */
export function createCookies(settings: Settings): Cookies {
  const { cookies, cors, authTokenClasses } = settings;
  const { sameSite, secure, domain } = cookies;
  const fields: Field[] = authTokenClasses[0] === "SlidingToken" ? ["token"] : cookies.carry;
  const prefix = !secure ? "" : domain === undefined ? "__Host-" : "__Secure-";
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
  const isCarried = (field: string): field is Field => (fields as string[]).includes(field);

  return {
    carries: isCarried,
    read(asked, field) {
      const header = isCarried(field) ? asked.headers.get("cookie") : null;
      return header === null ? undefined : parseCookie(header)[prefix + field] || undefined;
    },
    take(data) {
      const carried: string[] = [];
      const rest: Record<string, string> = {};
      for (const [field, value] of Object.entries(data)) {
        if (isCarried(field)) carried.push(setCookie(field, value, lifetimes[field]));
        else rest[field] = value;
      }
      return { data: rest, cookies: carried };
    },
    cleared: fields.map((field) => setCookie(field, "", 0)),
    refuseCrossSite(asked) {
      const origin = asked.headers.get("origin");
      const site = asked.headers.get("sec-fetch-site");
      if (origin === null) {
        if (site === null || site === "same-origin" || site === "none") return;
      } else if (isOwn(origin, asked) && site !== "cross-site" && site !== "same-site") return;
      else if (Array.isArray(cors) && cors.includes(origin)) return;
      throw fail("cross_site");
    },
  };
}

/**
 * Whether a page's origin is the host that was asked. The origin's scheme counts for both: proxies write their own port
 * into `Host`, such as 443, and may end TLS, so that a page of https is our own where the request came by http. A page of
 * http is foreign to a request of https: an attacker on the network can make one. What is no host, an origin `null` for
 * one, is nobody's own.
 */
function isOwn(origin: string, { headers, url }: HttpRequest): boolean {
  const host = headers.get("host");
  const asked = host === null ? url : origin.replace(/(?<=:\/\/).*$/, () => host);
  if (!URL.canParse(origin) || !URL.canParse(asked) || new URL(origin).host !== new URL(asked).host) return false;
  if (!origin.startsWith("http:")) return true;
  // Nobody but a proxy gains by the header: it can only make a page foreign.
  const isSecure = url.startsWith("https:") || /\bhttps\b/i.test(headers.get("x-forwarded-proto") ?? "");
  return !isSecure;
}
