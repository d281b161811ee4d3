/** `createJwtEndpoints`: wires settings, keys, store and passwords, and catches every error. */
import { createAudit } from "./audit.ts";
import { createDispatch } from "./dispatch.ts";
import { type AuthenticateOptions, type Authenticated, authenticateToken } from "./endpoints/authenticate.ts";
import type { Context } from "./endpoints/endpoint.ts";
import { createFailedLogins } from "./endpoints/failed-logins.ts";
import { createHashReader } from "./endpoints/stored-hashes.ts";
import { SettingError, fail, toFailure } from "./errors.ts";
import { readBearerToken } from "./http/bearer.ts";
import { createForwarding } from "./http/client-address.ts";
import { withCors } from "./http/cors.ts";
import { fetchWith, toResponse } from "./http/fetch.ts";
import { type Handle, type HttpRequest, type HttpResponse, hasValidHost } from "./http/message.ts";
import { renderError } from "./http/render.ts";
import { keysFrom } from "./keys/key-set.ts";
import { type MaybePromise, after, isPromise, onDemand } from "./maybe-promise.ts";
import { type Passwords, createPasswords } from "./passwords/index.ts";
import { createReports, reportSettings } from "./reports.ts";
import { createRouter } from "./routes.ts";
import { revokeUser } from "./sessions/revocation.ts";
import { createRotationLimit } from "./sessions/rotation-limit.ts";
import { prepareLookUp } from "./sessions/state.ts";
import { parseSettings } from "./settings/parse.ts";
import type { JwtEndpointsSettings, LoginRequest, Settings } from "./settings/types.ts";
import { createSharedCounts } from "./shared-counts.ts";

const shownSettings = [
  ...(["prefix", "responses", "usernameField", "hashing"] as const),
  ...(["me", "sessions", "authTokenClasses", "cookies"] as const),
];

/** What `createJwtEndpoints` returns: the handler in its two forms, and what a host guards its own routes with. */
export interface JwtEndpoints {
  /** Handles a Fetch `Request`. Never rejects; needs no `this`. */
  readonly fetch: (request: Request) => Promise<Response>;
  /**
   * The handler on plain objects, for servers that are faster without `Request` and `Response`. Never throws or rejects.
   * @returns at once when body, keys and store do.
   */
  readonly handle: Handle;
  /**
   * Returns whether a path is one of the endpoints', for a host that leaves all others to routes of its own.
   * @param url absolute, or starting with the path.
   */
  readonly hasRoute: (url: string) => boolean;
  /**
   * Verifies the access token of a request: from the `Authorization` header, or from the cookie if cookies carry it.
   * @param request a Fetch `Request`, or the same parts of another server's.
   * @returns the verified claims and the user.
   * @throws a Boom error, 401 or 403, whose `data.code` says why; {@link JwtEndpoints.errorResponse} renders it.
   */
  readonly authenticate: (request: LoginRequest, options?: AuthenticateOptions) => Promise<Authenticated>;
  /**
   * Makes a fetch function that calls a handler for authenticated requests and refuses all others (RFC 6750):
   * `endpoints.protect((request, { user }) => Response.json({ username: user.username }))`.
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
  /** Calls a function with the seconds that each login has waited in the queue, as its hash begins. One function at a time. */
  readonly observeLoginWaits: Passwords["observeWaits"];
  /** Settings that an operator may be shown, defaults filled in; none is secret. */
  readonly settings: Pick<Settings, (typeof shownSettings)[number]>;
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
  const share = createSharedCounts(settings);
  const context: Context = {
    settings,
    store,
    passwords,
    keys: keysFrom(settings),
    clientOf: forwarding.clientOf,
    failedLogins: createFailedLogins(settings, share),
    rotations: createRotationLimit(settings, share),
    record: audit?.record,
  };
  const router = createRouter(context);
  const reports = createReports(settings, router.paths);
  const loadCookies = onDemand(async () =>
    (await import("./http/cookies.ts")).createCookies(settings, forwarding.siteOf),
  );
  const cookies = settings.cookies.carry.length > 0 ? loadCookies : undefined;
  const readStoredHashes = createHashReader(context);
  const dispatch = createDispatch(context, { cookies, reports, share, readStoredHashes, handleError });

  /** @param request `undefined` for a host's own resource. */
  function handleError(error: unknown, request?: HttpRequest, allow?: string, renderedBy = settings): HttpResponse {
    const failure = toFailure(error);
    if (failure.data!.code === "throttled") audit?.record("throttled", request, failure.data!.limited ?? {});
    reports.requestFailed(failure, error, request?.url);
    return renderError(failure, renderedBy, allow, request !== undefined);
  }

  const handleRequest: Handle = (request) => {
    const route = router.find(request.url);
    let response: MaybePromise<HttpResponse>;
    try {
      response = dispatch(request, route);
      if (isPromise(response)) response = response.catch((error) => handleError(error, request, route?.allow));
    } catch (error) {
      response = handleError(error, request, route?.allow);
    }
    const mayRecord = route?.session !== undefined || route?.user !== undefined;
    return audit?.withRequestId(request, response, mayRecord) ?? response;
  };
  const withRoutes = withCors(handleRequest, settings, (url) => router.find(url)?.allow);
  const handle: Handle = (request) => {
    const response = hasValidHost(request) ? withRoutes(request) : handleError(fail("bad_host"), request);
    return request.method === "HEAD" ? after(response, (whole) => ({ ...whole, body: "" })) : response;
  };

  const authenticate: JwtEndpoints["authenticate"] = async (request, options = {}) =>
    authenticateToken(context, readBearerToken(request, settings, cookies && (await cookies())), options);
  const errorResponse = (error: unknown) => toResponse(handleError(error));
  return {
    settings: Object.fromEntries(shownSettings.map((name) => [name, settings[name]])) as JwtEndpoints["settings"],
    handle,
    fetch: (request) => fetchWith(handle, request),
    hasRoute: (url) => router.find(url) !== undefined,
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
    observeLoginWaits: passwords.observeWaits,
    async ready() {
      const hashers = passwords.ready().catch((cause: Error) => {
        throw new SettingError(`setting hashing.preferred can't be used: ${cause.message}`, { cause });
      });
      await Promise.all([context.keys(), store.ping?.(), hashers, cookies?.(), prepareLookUp(settings)]);
      readStoredHashes();
    },
  };
}
