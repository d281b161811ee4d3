/** `createJwtEndpoints`: wires settings, keys, store and passwords, handles a request, and catches every error. */
import { type AuthenticateOptions, type Authenticated, authenticateToken } from "./endpoints/authenticate.ts";
import type { Context } from "./endpoints/endpoint.ts";
import { createHashReader } from "./endpoints/stored-hashes.ts";
import { fail, toFailure } from "./errors.ts";
import { readBearerToken } from "./http/bearer.ts";
import { readData } from "./http/body.ts";
import { createCookies } from "./http/cookies.ts";
import { withCors } from "./http/cors.ts";
import { fetchWith, toHttpRequest, toResponse } from "./http/fetch.ts";
import { type Handle, type HttpRequest, type HttpResponse, hasValidHost } from "./http/message.ts";
import { acceptsJson } from "./http/negotiate.ts";
import { renderData, renderError } from "./http/render.ts";
import { createThrottle } from "./http/throttle.ts";
import { keysFrom } from "./keys/key-set.ts";
import { type MaybePromise, after, isPromise } from "./maybe-promise.ts";
import { createPasswords } from "./passwords/index.ts";
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
  const settings = parseSettings(input);
  reportSettings(input, settings);
  const { store } = settings;
  const passwords = createPasswords(settings.hashing);
  const context: Context = { settings, store, passwords, keys: keysFrom(settings) };
  const router = createRouter(context);
  const reports = createReports(settings, router.paths);
  const throttle = createThrottle(settings, reports.clientAddressUnknown);
  const cookies = settings.cookies.carry.length > 0 ? createCookies(settings) : undefined;
  const readStoredHashes = createHashReader(context);

  /** Handles a request in DRF's order: content negotiation, throttle, method, body. */
  function handleRoute(request: HttpRequest, route: Route | undefined): MaybePromise<HttpResponse> {
    if (route === undefined) throw fail("not_found");
    if (!acceptsJson(request.headers.get("accept"))) throw fail("not_acceptable");
    const { method } = request;
    const { POST, GET, allow, session } = route;
    if (method === "POST" && POST !== undefined) {
      if (session?.kind === "login") {
        throttle?.(request);
        readStoredHashes();
      }
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
    throw fail("method_not_allowed", { text: `Method "${method}" not allowed.` });
  }

  /** @param atEndpoint `false` for a host's own resource. */
  function handleError(error: unknown, url?: string, allow?: string, atEndpoint = true): HttpResponse {
    const failure = toFailure(error);
    reports.requestFailed(failure, error, url);
    return renderError(failure, settings, allow, atEndpoint);
  }

  const withRoutes = withCors((request) => {
    const route = router.find(request.url);
    try {
      const response = handleRoute(request, route);
      return isPromise(response) ? response.catch((error) => handleError(error, request.url, route?.allow)) : response;
    } catch (error) {
      return handleError(error, request.url, route?.allow);
    }
  }, settings);
  const handle: Handle = (request) => {
    const response = hasValidHost(request) ? withRoutes(request) : handleError(fail("bad_host"), request.url);
    return request.method === "HEAD" ? after(response, (whole) => ({ ...whole, body: "" })) : response;
  };

  const authenticate: JwtEndpoints["authenticate"] = async (request, options = {}) =>
    authenticateToken(context, readBearerToken(toHttpRequest(request), settings, cookies), options);
  const errorResponse = (error: unknown) => toResponse(handleError(error, undefined, undefined, false));

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
    revokeUser: (id) => revokeUser(context, id),
    errorResponse,
    async ready() {
      const hashers = passwords.ready().catch((cause: Error) => {
        throw new SettingError(`setting hashing.preferred can't be used: ${cause.message}`, { cause });
      });
      await Promise.all([context.keys(), store.ping?.(), hashers]);
      readStoredHashes();
    },
  };
}
