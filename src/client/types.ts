/** The client as a front end sees it, and what it is given. */
import type { TokenStorage } from "./session.ts";

/** What `createJwtClient` is given. */
export interface JwtClientOptions {
  /**
   * Where the endpoints are, with their prefix: `https://api.example.org/auth`, or `/auth` on the page's own origin.
   * @default ""
   */
  url?: string;
  /**
   * Where the tokens are kept: in `"memory"`, until the page is left; in a storage such as `localStorage`, which tabs share
   * and every script of the page can read; or in a `"cookie"` that no script can read, with the server's setting
   * `cookies.carry`.
   * @default "memory"
   */
  tokens?: "memory" | "cookie" | TokenStorage;
  /**
   * The name of the item in the storage.
   * @default "jwt-endpoints"
   */
  storageKey?: string;
  /**
   * Origins besides that of `url` that `fetch` may send the token to, such as `["https://files.example.org"]`.
   * @default []
   */
  origins?: readonly string[];
  /**
   * The scheme in the `Authorization` header. Many sites with Djoser have `JWT`.
   * @default "Bearer"
   */
  scheme?: string;
  /** Sends the requests. The global `fetch` by default. */
  fetch?: (input: string | URL | Request, init?: RequestInit) => Promise<Response>;
}

/** What `/users/me/` shows, unless the server has other fields. */
export interface JwtUser {
  id: number | string;
  username: string;
  email: string;
}

/** The client of one user: logs in and out, and calls resources with a token that is fresh. */
export interface JwtClient<User = JwtUser> {
  /**
   * Logs in. A call of `logout` meanwhile counts: the new session is ended, too.
   * @param credentials the fields of the login: `{ username, password }`, or `{ email, password }` where users have that.
   * @throws {JwtClientError} `invalid_credentials`, `invalid_fields`, `throttled`, `unavailable`, `network_error`.
   */
  login(credentials: Readonly<Record<string, string>>): Promise<void>;
  /**
   * Logs out: forgets the tokens, and has the server revoke them. Never rejects for want of a network.
   * @returns whether the server has ended the session. If not, a cookie is still there: call it again later.
   */
  logout(): Promise<boolean>;
  /**
   * Returns the user, or `undefined` when nobody is logged in.
   * @throws {JwtClientError} when the server can't tell.
   */
  me(): Promise<User | undefined>;
  /**
   * Sends a request as `fetch` does, with the access token of the session. Refreshes the token ahead of its expiry, once for
   * all calls at the same time, and once more on a 401. When the session is over, the response is the server's 401.
   * @param input a relative URL is resolved against the option `url`.
   * @throws {TypeError} for an origin that must not get the token; what `fetch` throws.
   * @throws {JwtClientError} when the token has expired and can't be refreshed for now. Nobody is logged out by that.
   */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;
  /** Returns an access token, for a WebSocket or another client; `undefined` without one, or when a cookie carries it. */
  accessToken(): Promise<string | undefined>;
  /** Whether a session is there. `undefined` until that is known: a cookie or an asynchronous storage has to be tried first. */
  readonly isLoggedIn: boolean | undefined;
  /**
   * Calls a listener with `isLoggedIn`: now, whenever it changes, and after each login, as that may be another user's. It
   * hears of other tabs with the same storage or cookies, too.
   * @returns a function that ends it.
   */
  subscribe(listener: (isLoggedIn: boolean | undefined) => void): () => void;
}
