/** What the client keeps of a login, as JSON text, and how long it may be used. */
import { isObject } from "./error.ts";

/** Where tokens are kept: `localStorage`, `sessionStorage`, or an object with their three methods, which may be asynchronous. */
export interface TokenStorage {
  getItem(key: string): string | null | undefined | Promise<string | null | undefined>;
  setItem(key: string, value: string): unknown;
  removeItem(key: string): unknown;
}

export interface Session {
  /** Empty while a cookie carries it. Undefined: a cookie may be there, which has not been tried. */
  readonly access?: string;
  readonly refresh?: string;
  /** The field that refresh and logout read: `token` of a sliding token. */
  readonly field?: "token";
  /** Another number after each login, and the same one after a refresh. */
  readonly login?: number;
  /** When the tokens arrived, in milliseconds by the clock of the client. */
  readonly since?: number;
  /** How long after that they are renewed, in milliseconds. Undefined: not before a 401. */
  readonly freshFor?: number;
}

/** @returns `undefined` for no session, and for text that is no session. */
export function parseSession(item: string | null | undefined): Session | undefined {
  try {
    const session: unknown = JSON.parse(item ?? "");
    return isObject(session) ? session : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Makes the session of a response.
 * @param body of a login or a refresh.
 * @param before the session that was refreshed; its refresh token stays unless there is a new one. Default: this is a login.
 */
export function sessionFrom(body: Record<string, unknown>, before: Session = { login: Math.random() }): Session {
  const { access, refresh, token } = body as Record<string, string | undefined>;
  const since = Date.now();
  if (token !== undefined)
    return { ...before, access: token, refresh: token, field: "token", since, ...freshness(token) };
  // The cookie that was sent may be that of another user, who logged in on another page.
  const [user, earlier] = [userOf(access), userOf(before.access)];
  const login = user && earlier && user !== earlier ? { login: Math.random() } : {};
  return { ...before, ...login, access: access ?? "", ...(refresh && { refresh }), since, ...freshness(access) };
}

/** Returns what a token says. Nobody checks it here: the server does. */
function claimsOf(token = ""): Record<string, unknown> {
  try {
    return Object(JSON.parse(atob(token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/"))));
  } catch {
    return {};
  }
}

/** Returns whose token it is, as text, since older servers write a number; empty where no usual claim says so. */
function userOf(token?: string): string {
  const { user_id: id, sub = "" } = claimsOf(token);
  return String(id ?? sub);
}

/**
 * Returns how long a token is used. Only the span between two times of the server counts, as the clock of a client may be
 * wrong by any amount.
 */
function freshness(token?: string): { freshFor?: number } {
  const { exp, iat } = claimsOf(token) as { exp: number; iat: number };
  const lifetime = (exp - iat) * 1000;
  // Renewed half a minute ahead, a short-lived token a tenth of its time. The times of a token are whole seconds, rounded
  // down, so it may be a second older than it says.
  return lifetime > 0 ? { freshFor: lifetime - Math.max(1000, Math.min(30_000, lifetime / 10)) } : {};
}

/** Returns whether a session's access token can be sent as it is. */
export function isFresh({ access, since = 0, freshFor = Infinity }: Session): boolean {
  const age = Date.now() - since; // negative once the clock was set back
  return access !== undefined && age >= 0 && age < freshFor;
}

/** Keeps tokens until the page or the program ends. */
export function memoryStorage(initial: string | null): TokenStorage {
  let item = initial;
  return {
    getItem: () => item,
    setItem: (_, value) => (item = value),
    removeItem: () => (item = null),
  };
}
