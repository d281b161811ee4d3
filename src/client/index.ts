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
import { type Session, isFresh, memoryStorage, parseSession, sessionFrom } from "./session.ts";
import type { JwtClient, JwtClientOptions, JwtUser } from "./types.ts";

export { JwtClientError, type JwtClientErrorCode } from "./error.ts";
export type { TokenStorage } from "./session.ts";
export type { JwtClient, JwtClientOptions, JwtUser } from "./types.ts";

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
  let logouts = 0;
  /** The refresh under way, and the item that it renews. */
  let renewal: { of: string; session: Promise<Session | undefined> } | undefined;
  /** Resolves when the calls of endpoints under way have their responses. */
  let turn: Promise<void> | undefined;

  // A change of cookies has no event, so the tabs of a page tell each other. Elsewhere a channel would keep a program running.
  const channel =
    usesCookies && globalThis.document && globalThis.BroadcastChannel
      ? new BroadcastChannel(`${key} ${url}`)
      : undefined;

  function base(): URL {
    try {
      return new URL(url || "/", globalThis.location?.href);
    } catch {
      throw new TypeError(`option url: ${JSON.stringify(url)} is no URL; outside a page it has to be absolute`);
    }
  }
  const endpoint = (name: string): URL => new URL(`${base().pathname.replace(/\/$/, "")}/${name}/`, base());

  /**
   * Calls an endpoint. A login waits for a refresh under way, and the other way round: the cookie of the earlier response could
   * replace that of the later one. A logout is sent at once, since the page may be left.
   */
  function post(name: string, data: object): Promise<{ response: Response; body: unknown }> {
    return takeTurn(postAfter(name, data, usesCookies && name !== "blacklist" ? turn : undefined));
  }

  /** Lets later calls wait for a call, too. */
  function takeTurn<T>(call: Promise<T>): Promise<T> {
    turn = Promise.allSettled([turn, call]).then(() => {});
    return call;
  }

  async function postAfter(
    name: string,
    data: object,
    before?: Promise<void>,
  ): Promise<{ response: Response; body: unknown }> {
    const target = endpoint(`jwt/${name}`);
    await before;
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

  const stored = async (): Promise<Session | undefined> => parseSession(await storage.getItem(key));

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

  function renew(item: string, session: Session): Promise<Session | undefined> {
    if (renewal?.of !== item) {
      const begun = {
        of: item,
        session: renewNow(item, session).finally(() => renewal === begun && (renewal = undefined)),
      };
      renewal = begun;
    }
    return renewal.session;
  }

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

  if (channel) {
    channel.onmessage = () => {
      // Another user's cookie may be there now, or none.
      void write({ login: Math.random() })
        .then(currentSession)
        .catch(() => {}); // the next call tries again, and can tell its caller
    };
  }

  /** Has the server revoke a session, and returns whether it did. */
  async function end(session?: Session): Promise<boolean> {
    const { field = "refresh", refresh } = session ?? {};
    if (refresh === undefined && !usesCookies) return true;
    try {
      const { response } = await post("blacklist", { [field]: refresh });
      // A refused token is one that the server honours no longer.
      const isEnded = response.ok || response.status === 400 || response.status === 401;
      if (isEnded) channel?.postMessage("");
      return isEnded;
    } catch {
      return false;
    }
  }

  async function me(): Promise<User | undefined> {
    const before = await stored();
    const response = await fetchWithToken(endpoint("users/me"), { headers: { accept: "application/json" } });
    if (response.status === 401) {
      const session = await stored();
      // Another user may have logged in meanwhile, who is the user now.
      if (session !== undefined && session.login !== before?.login) return me();
      // A 401 to a user who is logged in has another cause, such as a scheme that the server does not know.
      if (!stateOf(session)) return undefined;
    }
    const body: unknown = await response.json().catch(() => undefined);
    if (!response.ok || !isObject(body)) throw errorFrom(response, body);
    return body as User;
  }

  async function logIn(credentials: object): Promise<void> {
    const before = logouts;
    const { response, body } = await post("create", credentials);
    const session = sessionOf(response, body);
    if (logouts !== before) return void (await end(session));
    await write(session);
    channel?.postMessage("");
  }

  return {
    // The next login waits for the end of this one's session too, whose response deletes the cookie.
    login: (credentials) => takeTurn(logIn(credentials)),
    async logout() {
      logouts++;
      const session = await stored();
      await write(undefined);
      return end(session);
    },
    me,
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
