/** `createJwtEndpoints`: wires settings, keys, store and passwords, handles a request, and catches every error. */
import {
  type AuthenticateOptions,
  type Authenticated,
  type UserEndpoint,
  authenticateToken,
} from "./endpoints/authenticate.ts";
import type { Context } from "./endpoints/endpoint.ts";
import { createFailedLogins } from "./endpoints/failed-logins.ts";
import { createHashReader } from "./endpoints/stored-hashes.ts";
import { fail, toFailure } from "./errors.ts";
import { readBearerToken } from "./http/bearer.ts";
import { readData } from "./http/body.ts";
import { createCookies } from "./http/cookies.ts";
import { createForwarding } from "./http/client-address.ts";
import { withCors } from "./http/cors.ts";
import { fetchWith, toHttpRequest, toResponse } from "./http/fetch.ts";
import { type Handle, type HttpRequest, type HttpResponse, hasValidHost } from "./http/message.ts";
import { acceptsJson } from "./http/negotiate.ts";
import { renderData, renderEmpty, renderError } from "./http/render.ts";
import { createThrottle } from "./http/throttle.ts";
import { keysFrom } from "./keys/key-set.ts";
import { type MaybePromise, after, isPromise } from "./maybe-promise.ts";
import { type Passwords, createPasswords } from "./passwords/index.ts";
import { createAudit } from "./audit.ts";
import { type Route, createRouter } from "./routes.ts";
import { revokeUser } from "./sessions/revocation.ts";
import type { JwtEndpointsSettings, Settings } from "./settings/types.ts";
import { SettingError } from "./errors.ts";
import { parseSettings } from "./settings/parse.ts";
import { createReports, reportSettings } from "./reports.ts";

export interface JwtEndpoints {
  /** Handles a Fetch `Request`. Never rejects; needs no `this`. */
  readonly fetch: (request: Request) => Promise<Response>;
  /**
   * The handler on plain objects, for servers that are faster without `Request` and `Response`. Never throws or rejects.
   * @returns at once when body, keys and store do.
   */
  readonly handle: Handle;
  /**
   * Verifies the access token of a request: from the `Authorization` header, or from the cookie if cookies carry it.
   * @returns the verified claims and the user.
   * @throws a Boom error, 401 or 403, whose `data.code` says why; {@link JwtEndpoints.errorResponse} renders it.
   */
  readonly authenticate: (request: Request, options?: AuthenticateOptions) => Promise<Authenticated>;
  /**
   * Makes a fetch function that calls a handler for authenticated requests and refuses all others (RFC 6750).
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
   * Revokes every token that a user has, access tokens included. Call it when a password changes or an account is closed.
   * @param id the user's `id` in the store.
   * @returns whether the user exists.
   * @throws {TypeError} when the store has no `updateUser`.
   */
  readonly revokeUser: (id: string) => Promise<boolean>;
  /**
   * Renders an error for a host's own resource: RFC 6750's 401 and 403 with `WWW-Authenticate`, 503 when the store is
   * unavailable, otherwise a bare 500 with the cause in the log.
   */
  readonly errorResponse: (error: unknown) => Response;
  /** Resolves when the keys are imported and the store is reachable; rejects otherwise. Await it before listening. */
  readonly ready: () => Promise<void>;
  /** Returns how busy the login queue is. */
  readonly loginQueue: Passwords["load"];
  /** Settings that an operator may be shown, defaults filled in; none is secret. */
  readonly settings: Pick<Settings, "prefix" | "responses" | "usernameField" | "hashing">;
}

/**
 * Creates the endpoints. Instances share nothing: two with different settings can live side by side.
 *
 * ```ts
 * const endpoints = createJwtEndpoints({ store: memoryStore(), signingKey: secret });
 * export default { fetch: endpoints.fetch };
 * ```
 * @throws {SettingError} naming the setting that is wrong. `ready` rejects with it for a wrong asymmetric key.
 */
export function createJwtEndpoints(input: JwtEndpointsSettings): JwtEndpoints {
  const given = parseSettings(input);
  const forwarding = createForwarding(given);
  const settings: Settings = { ...given, clientAddress: forwarding.addressOf };
  reportSettings(input, settings);
  const { store } = settings;
  const passwords = createPasswords(settings.hashing);
  const audit = createAudit(settings);
  const { clientOf } = forwarding;
  const context: Context = {
    settings,
    store,
    passwords,
    keys: keysFrom(settings),
    clientOf,
    failedLogins: createFailedLogins(settings),
    record: audit?.record,
  };
  const router = createRouter(context);
  const reports = createReports(settings, router.paths);
  const throttles = new Map(
    (["throttle", "throttleRefresh", "throttleVerify"] as const).flatMap((name) => {
      const rate = settings[name];
      return rate === false ? [] : [[name, createThrottle(rate, { ...settings, name })] as const];
    }),
  );
  const cookies = settings.cookies.carry.length > 0 ? createCookies(settings, forwarding.siteOf) : undefined;
  const readStoredHashes = createHashReader(context);
  // Both profiles refuse a bearer as Simple JWT's JWTAuthentication does, which Djoser leaves as it is.
  const bearerSettings: Settings = { ...settings, responses: "simplejwt" };

  /** Counts a request against the limit of its route, if there is one. */
  function countRequest(request: HttpRequest, { throttledBy, checksPassword }: Route): void {
    if (checksPassword) readStoredHashes();
    const throttle = throttles.size > 0 && throttledBy !== undefined ? throttles.get(throttledBy) : undefined;
    if (throttle === undefined) return;
    const client = clientOf(request);
    if (client === undefined) reports.clientAddressUnknown();
    if (settings.trustedProxies === false) reports.forwarded(request);
    throttle(client ?? "");
  }

  /** Handles a request in DRF's order: content negotiation, throttle, method, body. */
  function handleRoute(request: HttpRequest, route: Route | undefined): MaybePromise<HttpResponse> {
    if (route === undefined) throw fail("not_found");
    if (!acceptsJson(request.headers.get("accept"))) throw fail("not_acceptable");
    const { method } = request;
    const { POST, GET, allow, session } = route;
    if (method === "POST" && POST !== undefined) {
      countRequest(request, route);
      return after(readData(request, settings.maxBodySize), (data) => {
        if (cookies === undefined || session === undefined) {
          return after(POST(context, data, request), (result) => renderData(result, 200, allow));
        }
        return cookies
          .exchange(request, session, data, (filled) => POST(context, filled, request))
          .then((result) => ({ ...renderData(result.data, 200, allow), cookies: result.cookies }));
      });
    }
    if (method === "OPTIONS") return renderData(route.metadata, 200, allow);
    if ((method === "GET" || method === "HEAD") && GET !== undefined) {
      return after(GET(context), (data) => renderData(data, 200, allow, route.headers));
    }
    const endpoint = userEndpointOf(route, method);
    if (endpoint !== undefined) return handleForUser(request, route, endpoint);
    throw fail("method_not_allowed", { text: `Method "${method}" not allowed.` });
  }

  /** Handles a request for a resource of the bearer, also in DRF's order: authentication, throttle, body. */
  async function handleForUser(request: HttpRequest, route: Route, endpoint: UserEndpoint): Promise<HttpResponse> {
    const { allow, id = "" } = route;
    let who: Authenticated;
    try {
      who = await authenticateToken(context, readBearerToken(request, settings, cookies), {});
    } catch (error) {
      return handleError(error, request, allow, bearerSettings);
    }
    const isPost = request.method === "POST";
    if (isPost) countRequest(request, route);
    const data = isPost ? await readData(request, settings.maxBodySize) : {};
    const result = await endpoint(context, { ...who, data, id, request });
    return result === undefined ? renderEmpty(allow) : renderData(result, 200, allow);
  }

  /** @param request `undefined` for a host's own resource. */
  function handleError(error: unknown, request?: HttpRequest, allow?: string, renderedBy = settings): HttpResponse {
    const failure = toFailure(error);
    if (failure.data!.code === "throttled") audit?.record("throttled", request, {});
    reports.requestFailed(failure, error, request?.url);
    return renderError(failure, renderedBy, allow, request !== undefined);
  }

  function handleOrRefuse(request: HttpRequest, route: Route | undefined): MaybePromise<HttpResponse> {
    try {
      const response = handleRoute(request, route);
      return isPromise(response) ? response.catch((error) => handleError(error, request, route?.allow)) : response;
    } catch (error) {
      return handleError(error, request, route?.allow);
    }
  }

  const handleRequest: Handle = (request) => {
    const route = router.find(request.url);
    const response = handleOrRefuse(request, route);
    return audit?.withRequestId(request, response, route?.session !== undefined) ?? response;
  };
  const withRoutes = withCors(handleRequest, settings, (url) => router.find(url)?.allow);
  const handle: Handle = (request) => {
    const response = hasValidHost(request) ? withRoutes(request) : handleError(fail("bad_host"), request);
    return request.method === "HEAD" ? after(response, (whole) => ({ ...whole, body: "" })) : response;
  };

  const authenticate: JwtEndpoints["authenticate"] = async (request, options = {}) =>
    authenticateToken(context, readBearerToken(toHttpRequest(request), settings, cookies), options);
  const errorResponse = (error: unknown) => toResponse(handleError(error));

  const { prefix, responses, usernameField, hashing } = settings;
  return {
    settings: { prefix, responses, usernameField, hashing },
    handle,
    fetch: (request) => fetchWith(handle, request),
    authenticate,
    protect: (handler, options) => async (request) => {
      try {
        return await handler(request, await authenticate(request, options));
      } catch (error) {
        return errorResponse(error);
      }
    },
    async revokeUser(id) {
      const wasThere = await revokeUser(context, id);
      if (wasThere) audit?.record("logout", undefined, { userId: id });
      return wasThere;
    },
    errorResponse,
    loginQueue: passwords.load,
    async ready() {
      const hashers = passwords.ready().catch((cause: Error) => {
        throw new SettingError(`setting hashing.preferred can't be used: ${cause.message}`, { cause });
      });
      await Promise.all([context.keys(), store.ping?.(), hashers]);
      readStoredHashes();
    },
  };
}

/** Returns the endpoint for a method that a client may have made up. */
function userEndpointOf({ user = {} }: Route, method: string): UserEndpoint | undefined {
  switch (method) {
    case "GET":
    case "HEAD":
      return user.GET;
    case "POST":
      return user.POST;
    case "DELETE":
      return user.DELETE;
    default:
      return undefined;
  }
}
