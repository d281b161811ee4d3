/**
 * A client for the endpoints, and for Djoser's: logs in and out, and sends requests with an access token that it refreshes.
 *
 * ```ts
 * const auth = createJwtClient({ url: "https://api.example.org/auth" });
 * await auth.login({ username: "ada", password });
 * const response = await auth.fetch("/api/things");
 * ```
 */
import { JwtClientError, errorFrom, isObject } from "./error.ts";
import { type Session, type TokenStorage, isFresh, memoryStorage, parseSession, sessionFrom } from "./session.ts";

export { JwtClientError, type JwtClientErrorCode } from "./error.ts";
export type { TokenStorage } from "./session.ts";

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
   * Logs in.
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
   * hears of other tabs with the same storage, too.
   * @returns a function that ends it.
   */
  subscribe(listener: (isLoggedIn: boolean | undefined) => void): () => void;
}

/** How long a refused tab waits for the tokens of another one that was faster, in milliseconds. */
const patience = [0, 100, 300, 1000];

/** How long an endpoint may take, in milliseconds. */
const timeout = 30_000;

/** Creates a client. Its functions need no `this`. */
export function createJwtClient<User = JwtUser>(options: JwtClientOptions = {}): JwtClient<User> {
  const { url = "", tokens = "memory", storageKey: key = "jwt-endpoints", origins = [], scheme = "Bearer" } = options;
  const send = options.fetch ?? ((input, init) => globalThis.fetch(input, init));
  const isShared = typeof tokens === "object";
  const usesCookies = tokens === "cookie";
  // Some runtimes refuse a request that has this member at all.
  const withCookies = usesCookies ? ({ credentials: "include" } as const) : undefined;
  const storage = isShared ? tokens : memoryStorage(usesCookies ? "{}" : null);
  const listeners = new Set<(isLoggedIn: boolean | undefined) => void>();
  let known: boolean | undefined;
  let login: number | undefined;
  let renewal: Promise<Session | undefined> | undefined;

  function base(): URL {
    try {
      return new URL(url || "/", globalThis.location?.href);
    } catch {
      throw new TypeError(`option url: ${JSON.stringify(url)} is no URL; outside a page it has to be absolute`);
    }
  }
  const endpoint = (name: string): URL => new URL(`${base().pathname.replace(/\/$/, "")}/${name}/`, base());

  /** Calls an endpoint. */
  async function post(name: string, data: object): Promise<{ response: Response; body: unknown }> {
    const target = endpoint(`jwt/${name}`);
    let response: Response;
    try {
      response = await send(target, {
        method: "POST",
        headers: { "content-type": "application/json", accept: "application/json" },
        body: JSON.stringify(data),
        ...withCookies,
        keepalive: name === "blacklist", // a logout outlives its page
        signal: AbortSignal.timeout(timeout),
      });
    } catch (cause) {
      throw new JwtClientError("network_error", "The server could not be reached.", { cause });
    }
    return { response, body: await response.json().catch(() => undefined) };
  }

  /** Returns the session that a login or a refresh has made, or throws its error. */
  function sessionOf(response: Response, body: unknown, before?: Session): Session {
    if (!response.ok || !isObject(body)) throw errorFrom(response, body);
    const session = sessionFrom(body, before);
    if (session.access || usesCookies) return session;
    const text = 'The server sent no token. Where it keeps them in cookies, the option tokens has to be "cookie".';
    throw new JwtClientError("unexpected_response", text, { status: response.status });
  }

  /** Takes note of a session that was read or written, and tells the listeners what is new. */
  function learn(session: Session | undefined): Session | undefined {
    const isLoggedIn = stateOf(session);
    if (isLoggedIn !== known || session?.login !== login) {
      known = isLoggedIn;
      login = session?.login;
      for (const listener of listeners) listener(isLoggedIn);
    }
    return session;
  }

  async function write(session: Session | undefined): Promise<Session | undefined> {
    await (session === undefined ? storage.removeItem(key) : storage.setItem(key, JSON.stringify(session)));
    return learn(session);
  }

  /** Refreshes the session that stands as `item` in the storage. */
  async function renewNow(item: string, session: Session): Promise<Session | undefined> {
    const { field = "refresh", refresh } = session;
    const { response, body } = await post("refresh", { [field]: refresh });
    const isRefused = (response.status === 400 || response.status === 401) && isObject(body);
    // Another tab, a login or a logout may have changed the session meanwhile, and what it wrote counts. Where the server
    // revokes a used token at once, the tab that was faster may still be waiting for its response.
    for (const delay of isShared && isRefused ? patience : [0]) {
      if (delay > 0) await new Promise((resolve) => setTimeout(resolve, delay));
      const current = await storage.getItem(key);
      if (current !== item) return learn(parseSession(current));
    }
    return write(isRefused ? undefined : sessionOf(response, body, session));
  }

  const renew = (item: string, session: Session): Promise<Session | undefined> =>
    (renewal ??= renewNow(item, session).finally(() => {
      renewal = undefined;
    }));

  /**
   * Returns the session, refreshed if that is due. While the server can't do that, the token at hand is used to its end.
   * Returns `undefined` after another login meanwhile, since the call was another user's.
   */
  async function currentSession(): Promise<Session | undefined> {
    const item = await storage.getItem(key);
    const session = learn(parseSession(item));
    if (session === undefined || isFresh(session)) return session;
    return renew(item!, session).then(
      (renewed) => (renewed?.login === session.login ? renewed : undefined),
      (error: unknown) => {
        if (session.access === undefined || !(error instanceof JwtClientError)) throw error;
        return session;
      },
    );
  }

  /**
   * Returns the session after a 401: that of another call or tab which was faster, otherwise a refreshed one. Returns
   * `undefined` after another login, since the request was another user's.
   */
  async function sessionAfterRefusal(refused: Session): Promise<Session | undefined> {
    const item = await storage.getItem(key);
    let session = learn(parseSession(item));
    const isOther = session?.access !== refused.access || session?.since !== refused.since;
    if (session !== undefined && !isOther) session = await renew(item!, session);
    return session?.login === refused.login ? session : undefined;
  }

  async function fetchWithToken(input: string | URL | Request, init: RequestInit = {}): Promise<Response> {
    const isRequest = input instanceof Request;
    const target = new URL(isRequest ? input.url : input, base());
    const { origin } = target;
    if (origin !== base().origin && !origins.includes(origin)) {
      throw new TypeError(`the token is not sent to ${origin}; allow it in the option origins`);
    }
    const attempt = (session: Session | undefined): Promise<Response> => {
      const headers = new Headers(init.headers ?? (isRequest ? input.headers : undefined));
      if (session?.access) headers.set("authorization", `${scheme} ${session.access}`);
      return send(isRequest ? input.clone() : target, { ...withCookies, ...init, headers });
    };
    const session = await currentSession();
    const response = await attempt(session);
    // A stream can be sent once.
    if (response.status !== 401 || session === undefined || init.body instanceof ReadableStream) return response;
    const renewed = await sessionAfterRefusal(session);
    if (renewed === undefined) return response;
    await response.body?.cancel();
    return attempt(renewed);
  }

  /** Takes note of what is stored: at once, or later from an asynchronous storage. */
  function look(item = storage.getItem(key)): void {
    // A storage that fails does so again at the next call, which can tell its caller.
    if (item instanceof Promise) item.then((text) => learn(parseSession(text))).catch(() => {});
    else learn(parseSession(item));
  }

  if (isShared && typeof addEventListener === "function") {
    addEventListener("storage", (event) => {
      if (event.storageArea === tokens) look();
    });
  }

  return {
    async login(credentials) {
      const { response, body } = await post("create", credentials);
      await write(sessionOf(response, body));
    },
    async logout() {
      const { field = "refresh", refresh } = parseSession(await storage.getItem(key)) ?? {};
      await write(undefined);
      if (refresh === undefined && !usesCookies) return true;
      try {
        const { response } = await post("blacklist", { [field]: refresh });
        // A refused token is one that the server honours no longer.
        return response.ok || response.status === 400 || response.status === 401;
      } catch {
        return false;
      }
    },
    async me() {
      const response = await fetchWithToken(endpoint("users/me"), { headers: { accept: "application/json" } });
      // A 401 to a user who is logged in has another cause, such as a scheme that the server does not know.
      if (response.status === 401 && !stateOf(parseSession(await storage.getItem(key)))) return undefined;
      const body: unknown = await response.json().catch(() => undefined);
      if (!response.ok || !isObject(body)) throw errorFrom(response, body);
      return body as User;
    },
    fetch: fetchWithToken,
    accessToken: async () => (await currentSession())?.access || undefined,
    get isLoggedIn() {
      const item = storage.getItem(key);
      if (!(item instanceof Promise)) return stateOf(parseSession(item));
      look(item);
      return known;
    },
    subscribe(listener) {
      look();
      listeners.add(listener);
      listener(known);
      return () => void listeners.delete(listener);
    },
  };
}

const stateOf = (session: Session | undefined): boolean | undefined =>
  session === undefined ? false : session.access === undefined ? undefined : true;
