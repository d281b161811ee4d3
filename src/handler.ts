/** `createJwtEndpoints`: the route table, the one call of an endpoint, and the one place where errors are caught. */
import { type AuthenticateOptions, type Authenticated, authenticate } from "./endpoints/authenticate.ts";
import { blacklist, blacklistSliding } from "./endpoints/blacklist.ts";
import { create, createSliding } from "./endpoints/create.ts";
import type { Context, Endpoint } from "./endpoints/endpoint.ts";
import { jwks } from "./endpoints/jwks.ts";
import { refresh, refreshSliding } from "./endpoints/refresh.ts";
import { revokeUser } from "./sessions/rotation.ts";
import { verify } from "./endpoints/verify.ts";
import { type JwtEndpointsError, fail, isFailure } from "./errors.ts";
import { readData } from "./http/body.ts";
import { type Cookies, createCookies } from "./http/cookies.ts";
import { withCors } from "./http/cors.ts";
import { fetchWith, toHttpRequest, toResponse } from "./http/fetch.ts";
import { type HttpRequest, type HttpResponse, hasValidHost, pathOf } from "./http/message.ts";
import { acceptsJson, mediaTypes } from "./http/negotiate.ts";
import { renderData, renderError } from "./http/render.ts";
import { createThrottle } from "./http/throttle.ts";
import { type MaybePromise, after, isPromise } from "./maybe-promise.ts";
import { type PasswordQueueFull, createPasswords } from "./passwords/index.ts";
import { settingsWithoutEffect, weakSetting } from "./settings/check.ts";
import { parseSettings } from "./settings/parse.ts";
import type { JwtEndpointsSettings, LogEvent, Settings } from "./settings/types.ts";
import { keysFrom } from "./keys/key-set.ts";

export interface JwtEndpoints {
  /** The handler: mount it anywhere a Fetch `Request` arrives. Never rejects. Bound, so it can be passed around. */
  readonly fetch: (request: Request) => Promise<Response>;
  /**
   * The same without the skin, plain data in and out, for a server that is faster without `Request` and `Response`. Answers
   * at once when body, keys and store do.
   */
  readonly handle: (asked: HttpRequest) => MaybePromise<HttpResponse>;
  /**
   * Whom a request's `Authorization` header speaks for: the verified claims of its access token and the user. Revoked
   * tokens and ended sessions are refused.
   * @throws a Boom 401 (`error.data.code` says why), or 403 for a claim that is asked for and not there;
   * {@link JwtEndpoints.errorResponse} turns it into the answer.
   */
  readonly authenticate: (request: Request, options?: AuthenticateOptions) => Promise<Authenticated>;
  /**
   * A fetch function that calls a handler for whom `authenticate` lets in, and answers RFC 6750's errors to all others.
   *
   * ```ts
   * const me = endpoints.protect((request, { user }) => Response.json({ username: user.username }));
   * ```
   */
  readonly protect: (
    handler: (request: Request, who: Authenticated) => Response | Promise<Response>,
    options?: AuthenticateOptions,
  ) => (request: Request) => Promise<Response>;
  /**
   * Ends all sessions of a user: every token issued until now is void, access tokens too. Answers whether there is such
   * a user. To be called when a password changes or an account is closed.
   * @param id the user's `id` in the store.
   * @throws {TypeError} when the store has no `updateUser`.
   */
  readonly revokeUser: (id: string) => Promise<boolean>;
  /**
   * The answer to an error: RFC 6750's 401 with `WWW-Authenticate` for one that `authenticate` threw, 503 when the store
   * is down, and for anything unknown a bare 500, with the cause in the log.
   */
  readonly errorResponse: (error: unknown) => Response;
  /** Resolves when the keys are imported and the store answers; rejects with what is wrong. Await it before listening. */
  readonly ready: () => Promise<void>;
  /** What the endpoints run with, defaults filled in, for whoever has to tell users of them; no keys among it. */
  readonly settings: Pick<Settings, "prefix" | "responses" | "usernameField" | "hashing">;
}

interface Route {
  /** For `Allow`. */
  methods: string;
  get?: () => Promise<HttpResponse>;
  post?: Endpoint;
  /** Counted by the `throttle` setting. */
  isLogin?: boolean;
  /** The field of the body that a cookie may carry instead; `logout` routes clear the cookies too. */
  cookieField?: string;
  isLogout?: boolean;
  /** For `OPTIONS`: what the endpoint is called, does, and reads. */
  about: { name: string; description: string; fields: string[] };
}

const readBeforeText =
  "a request body was read before it came here, by a parser of the host: mount the endpoints in front of it, or hand over " +
  "what it made of the body, as README says under Embed";

/** For how long a client should leave a store in peace that does not answer, in seconds. */
const storeRetryAfter = 5;

/**
 * Makes the endpoints. Instances share nothing: two with different settings live side by side.
 *
 * ```ts
 * const endpoints = createJwtEndpoints({ store: memoryStore(), signingKey: secret });
 * export default { fetch: endpoints.fetch };
 * ```
 * @throws {SettingError} naming the setting that is wrong. An asymmetric key is read later: `ready` rejects for it.
 */
export function createJwtEndpoints(input: JwtEndpointsSettings): JwtEndpoints {
  const settings = parseSettings(input);
  const idle = settingsWithoutEffect(input, settings);
  if (idle !== undefined) settings.log({ level: "warn", code: "setting_without_effect", message: idle });
  const weak = weakSetting(settings);
  if (weak !== undefined) settings.log({ level: "warn", code: "weak_setting", message: weak });
  const { store } = settings;
  const passwords = createPasswords(settings.hashing);
  let hasLearnt = false;
  /** Begins to read which hashes are stored, once, where the store tells. */
  function learnHashes(): void {
    if (hasLearnt || store.passwordHashes === undefined) return;
    hasLearnt = true;
    passwords.learn(store.passwordHashes()).catch((error: unknown) => {
      const message =
        "the stored password hashes could not be read; how long a login takes may tell which users there are";
      settings.log({ level: "warn", code: "password_formats_unread", message, error });
    });
  }
  const context: Context = { settings, store, passwords, keys: keysFrom(settings) };
  const cookies = settings.cookies.carry.length > 0 ? createCookies(settings) : undefined;

  async function authenticated(request: Request, options: AuthenticateOptions = {}): Promise<Authenticated> {
    let header = request.headers.get(settings.authHeaderName);
    if (header === null && cookies !== undefined) {
      const asked = toHttpRequest(request);
      const token = cookies.read(asked, settings.authTokenClasses[0] === "SlidingToken" ? "token" : "access");
      // Any site may open a WebSocket, and read what comes of it.
      const isSafe = /^(GET|HEAD|OPTIONS)$/.test(request.method) && !request.headers.has("upgrade");
      if (token !== undefined && !isSafe) cookies.refuseCrossSite(asked);
      if (token !== undefined) header = `${settings.authHeaderTypes[0]} ${token}`;
    }
    return authenticate(context, header, options);
  }
  const errorResponse = (error: unknown): Response =>
    toResponse(renderError(toFailure(error), settings, undefined, false));
  const throttle = settings.throttle && createThrottle(settings.throttle, settings.now);
  const routes = routeTable(context);

  /** The coded error for anything thrown on the way; what nobody foresaw is logged and becomes a fixed 500. */
  function toFailure(error: unknown): JwtEndpointsError {
    if (isFailure(error)) return error;
    const code = (error as { code?: unknown } | null | undefined)?.code;
    if (code === "PASSWORD_QUEUE_FULL") {
      return fail("login_queue_full", { retryAfter: (error as PasswordQueueFull).retryAfter });
    }
    const failure =
      code === "STORE_UNAVAILABLE"
        ? fail("store_unavailable", { retryAfter: storeRetryAfter })
        : fail("internal_error");
    settings.log({ level: "error", code: failure.data!.code, message: "a request failed", error });
    return failure;
  }

  const warned = new Set<LogEvent["code"]>();
  function warnOnce(code: LogEvent["code"], message: string): void {
    if (warned.has(code)) return;
    warned.add(code);
    settings.log({ level: "warn", code, message });
  }

  function clientOf(asked: HttpRequest): string {
    const address = settings.clientAddress(asked);
    if (address === undefined) {
      const message = "throttle counts all clients as one, since this host gives requests no ip; set clientAddress";
      warnOnce("client_address_unknown", message);
    }
    return address ?? "";
  }

  /** Tells of a path that would be found with more or less in front: the host mounts the endpoints another way. */
  function warnOfMount(path: string): void {
    const { prefix } = settings;
    for (const route of routes.keys()) {
      if (!route.startsWith(`${prefix}/jwt/`)) continue;
      if (route.endsWith(path) && path.includes("/jwt/")) {
        const remedy = 'if the host takes that part off where it mounts them, set prefix to what it leaves, such as ""';
        warnOnce("path_stripped", `a request for ${path} is answered 404, as the endpoints are at ${route}: ${remedy}`);
      } else if (path.endsWith(route)) {
        const remedy = "set prefix to the whole path that the host mounts them at";
        warnOnce(
          "path_prefixed",
          `a request whose path ends in ${route}, with more in front, is answered 404: ${remedy}`,
        );
      }
    }
  }

  /** One step, in DRF's order: content negotiation, throttle, method, body. */
  function answerAlone(asked: HttpRequest): MaybePromise<HttpResponse> {
    const route = routes.get(asked.url) ?? routes.get(pathOf(asked.url));
    try {
      const answer = answerOf(asked, route);
      return isPromise(answer) ? answer.catch((error) => answerToError(error, asked, route)) : answer;
    } catch (error) {
      return answerToError(error, asked, route);
    }
  }

  function answerOf(asked: HttpRequest, route: Route | undefined): MaybePromise<HttpResponse> {
    const { method } = asked;
    if (route === undefined) throw fail("not_found");
    if (!acceptsJson(asked.headers.get("accept"))) throw fail("not_acceptable");
    if (method === "POST" && route.post !== undefined) {
      if (route.isLogin) {
        if (throttle) throttle(clientOf(asked));
        learnHashes();
      }
      return after(readData(asked, settings.maxBodySize), (data) =>
        cookies !== undefined && route.cookieField !== undefined
          ? withCookies(cookies, asked, route, data)
          : after(route.post!(context, data, asked), (result) => renderData(result, 200, route.methods)),
      );
    }
    if (method === "OPTIONS") return renderData(describe(route), 200, route.methods);
    if (method === "GET" && route.get !== undefined) return route.get();
    if (method === "HEAD" && route.get !== undefined) return after(route.get(), (answer) => ({ ...answer, body: "" }));
    throw fail("method_not_allowed", { text: `Method "${method}" not allowed.` });
  }

  function answerToError(error: unknown, { method, url }: HttpRequest, route: Route | undefined): HttpResponse {
    const failure = toFailure(error);
    const { code } = failure.data!;
    if (code === "body_already_read") warnOnce(code, readBeforeText);
    if (code === "not_found") warnOfMount(pathOf(url));
    const answer = renderError(failure, settings, route?.methods);
    return method === "HEAD" ? { ...answer, body: "" } : answer;
  }
  const routed = settings.cors === false ? answerAlone : withCors(answerAlone, settings);
  const handle = (asked: HttpRequest): MaybePromise<HttpResponse> =>
    hasValidHost(asked) ? routed(asked) : answerToError(fail("bad_host"), asked, undefined);

  /** The token from the cookie when the body has none; what the cookies carry leaves the body. */
  async function withCookies(jar: Cookies, asked: HttpRequest, route: Route, data: unknown): Promise<HttpResponse> {
    jar.refuseCrossSite(asked);
    const { cookieField: field = "", post, isLogout } = route;
    const isBare = isObject(data) && isBlank(data, field);
    const token = isBare && !route.isLogin ? jar.read(asked, field) : undefined;
    try {
      const result = await post!(context, token === undefined ? data : { ...(data as object), [field]: token }, asked);
      const taken = jar.take(result);
      const setCookies = isLogout ? jar.cleared : taken.cookies;
      return { ...renderData(taken.data, 200, route.methods), cookies: setCookies };
    } catch (error) {
      // Logging out with a dead cookie, or without any, is done already; not so where scripts hold the token.
      if (isLogout && isBare && jar.carries(field) && isFailure(error) && error.output.statusCode < 500) {
        return { ...renderData({}, 200, route.methods), cookies: jar.cleared };
      }
      throw error;
    }
  }

  const { prefix, responses, usernameField, hashing } = settings;
  return {
    settings: { prefix, responses, usernameField, hashing },
    handle,
    fetch: (request) => fetchWith(handle, request),
    authenticate: authenticated,
    protect: (handler, options) => async (request) => {
      try {
        return await handler(request, await authenticated(request, options));
      } catch (error) {
        return errorResponse(error);
      }
    },
    revokeUser: (id) => revokeUser(context, id),
    errorResponse,
    async ready() {
      await Promise.all([context.keys(), store.ping?.(), passwords.ready().catch(notPreferable)]);
      learnHashes();
    },
  };
}

function notPreferable(error: Error): never {
  throw new SettingError(`setting hashing.preferred can't be used: ${error.message}`, { cause: error });
}

const isObject = (data: unknown): data is object => typeof data === "object" && data !== null && !Array.isArray(data);

/** Whether a field is missing, null or blank: clients that never see a token send one of the three. */
function isBlank(data: object, field: string): boolean {
  const value: unknown = Object.hasOwn(data, field) ? (data as Record<string, unknown>)[field] : undefined;
  return value === undefined || value === null || (typeof value === "string" && value.trim() === "");
}

/** Path, with and without its last slash -> route. Left out is what the store or the keys can't do. */
function routeTable(context: Context): Map<string, Route> {
  const { settings, store } = context;
  const { prefix, usernameField, authTokenClasses } = settings;
  const post = (name: string, description: string, endpoint: Endpoint, ...fields: string[]): Route => ({
    methods: "POST, OPTIONS",
    post: endpoint,
    about: { name, description, fields },
  });
  const readable = "GET, HEAD, OPTIONS";
  const get = (name: string, description: string, data: () => unknown, headers = {}): Route => ({
    methods: readable,
    get: async () => renderData(await data(), 200, readable, headers),
    about: { name, description, fields: [] },
  });
  const ok = { status: "ok" };
  const cacheable = { "content-type": "application/jwk-set+json", "cache-control": "public, max-age=300" };
  const routes = new Map([
    [`${prefix}/jwt/verify`, post("Verify", "Tells whether a token is valid.", verify, "token")],
    ["/healthz", get("Health", "Answers while the process is alive.", () => ok)],
    ["/readyz", get("Readiness", "Answers when the store does.", async () => (await store.ping?.(), ok))],
    ["/.well-known/jwks.json", get("JWKS", "The public keys of the tokens.", () => jwks(context), cacheable)],
  ]);
  const isSliding = authTokenClasses[0] === "SlidingToken";
  const token = isSliding ? "token" : "refresh";
  const logIn = isSliding ? createSliding : create;
  const what = isSliding ? "a sliding token" : "a pair of tokens";
  const login = post("Create", `Logs in: answers ${what}.`, logIn, usernameField, "password");
  const canSign = settings.signingKey !== undefined || settings.keys !== undefined;
  if (canSign) routes.set(`${prefix}/jwt/create`, { ...login, isLogin: true, cookieField: token });
  const renew = isSliding
    ? post("Refresh", "Answers the token with a later expiry.", refreshSliding, token)
    : post("Refresh", "Answers a new access token.", refresh, token);
  if (canSign) routes.set(`${prefix}/jwt/refresh`, { ...renew, cookieField: token });
  if (store.putIfAbsent !== undefined && store.get !== undefined) {
    const logout = post("Blacklist", "Ends the session of a token.", isSliding ? blacklistSliding : blacklist, token);
    for (const path of ["blacklist", "logout"]) {
      routes.set(`${prefix}/jwt/${path}`, { ...logout, cookieField: token, isLogout: true });
    }
  }
  const paths = [...routes.keys()];
  for (const path of paths) routes.set(`${path}/`, routes.get(path)!);
  return routes;
}

/** What DRF's SimpleMetadata says of a view. */
function describe({ about: { name, description, fields }, post }: Route): unknown {
  const common = { name, description, renders: ["application/json"], parses: post === undefined ? [] : mediaTypes };
  if (post === undefined) return common;
  const field = (label: string) => ({ type: "string", required: true, read_only: false, label });
  const described = fields.map((key) => [key, field(key[0]!.toUpperCase() + key.slice(1).replaceAll("_", " "))]);
  return { ...common, actions: { POST: Object.fromEntries(described) } };
}
