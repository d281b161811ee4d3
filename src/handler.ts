/** `createJwtEndpoints`: wires settings, keys, store and passwords, and catches every error. */
import { createAudit } from "./audit.ts";
import { createDispatch } from "./dispatch.ts";
import { authenticateToken } from "./endpoints/authenticate.ts";
import type { Context } from "./endpoints/endpoint.ts";
import { createHashReader } from "./endpoints/stored-hashes.ts";
import { SettingError, fail, toFailure } from "./errors.ts";
import { readBearerToken } from "./http/bearer.ts";
import { createForwarding } from "./http/client-address.ts";
import { fetchWith, toResponse } from "./http/fetch.ts";
import { type Handle, type HttpRequest, type HttpResponse, hasValidHost } from "./http/message.ts";
import { renderError } from "./http/render.ts";
import { keysFrom } from "./keys/key-set.ts";
import { type JwtEndpoints, shownSettings } from "./jwt-endpoints.ts";
import { type MaybePromise, after, isPromise, onDemand } from "./maybe-promise.ts";
import { createPasswords } from "./passwords/index.ts";
import { createReports, reportSettings } from "./reports.ts";
import { createRouter, throttleNames } from "./routes.ts";
import { revokeUser } from "./sessions/revocation.ts";
import { prepareLookUp } from "./sessions/state.ts";
import { parseSettings } from "./settings/parse.ts";
import type { JwtEndpointsSettings, Settings } from "./settings/types.ts";
import { sharedBy } from "./shared-by.ts";
import { createSharedCounts } from "./shared-counts.ts";

/**
 * Creates the endpoints. Instances with different settings can live side by side. Those with one store share its login queue,
 * if their `hashing` is the same, and what a limit counts, if limit and prefix are; nothing else.
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
  const { store, throttleFailures, throttleRotations } = settings;
  const hashing = JSON.stringify(settings.hashing);
  const passwords = sharedBy(store, `passwords ${hashing}`, () => createPasswords(settings.hashing));
  const audit = createAudit(settings);
  const share = createSharedCounts(settings);
  const context: Context = {
    settings,
    store,
    passwords,
    keys: keysFrom(settings),
    clientOf: forwarding.clientOf,
    failedLogins:
      throttleFailures === false
        ? undefined
        : onDemand(async () =>
            (await import("./endpoints/failed-logins.ts")).createFailedLogins(settings, throttleFailures, share),
          ),
    rotations:
      throttleRotations === false
        ? undefined
        : onDemand(async () =>
            (await import("./sessions/rotation-limit.ts")).createRotationLimit(settings, throttleRotations, share),
          ),
    record: audit?.record,
  };
  const router = createRouter(context);
  const reports = createReports(settings, router.paths);
  const loadCookies = onDemand(async () =>
    (await import("./http/cookies.ts")).createCookies(settings, forwarding.siteOf),
  );
  const cookies = settings.cookies.carry.length > 0 ? loadCookies : undefined;
  const readStoredHashes = createHashReader(context);
  const throttles = throttleNames.some((name) => settings[name] !== false)
    ? onDemand(async () => (await import("./http/throttle.ts")).createThrottles(settings, throttleNames, share))
    : undefined;
  const dispatch = createDispatch(context, { cookies, reports, throttles, readStoredHashes, handleError });

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
  const allowAt = (url: string): string | undefined => router.find(url)?.allow;
  const { cors, authHeaderName } = settings;
  const loadCors =
    cors === false
      ? undefined
      : onDemand(async () =>
          (await import("./http/cors.ts")).withCors(handleRequest, { cors, authHeaderName }, allowAt),
        );
  const withRoutes: Handle = (request) => {
    if (loadCors === undefined) return handleRequest(request);
    const loaded = loadCors();
    if (!isPromise(loaded)) return loaded(request);
    return loaded.then(
      (handleWithCors) => handleWithCors(request),
      (error) => handleError(error, request),
    );
  };
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
      await Promise.all([
        context.keys(),
        store.ping?.(),
        hashers,
        cookies?.(),
        context.failedLogins?.(),
        context.rotations?.(),
        throttles?.(),
        loadCors?.(),
        prepareLookUp(settings),
      ]);
      readStoredHashes();
    },
  };
}
