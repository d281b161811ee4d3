/** Calls the endpoint of a route, in the order of DRF's views: content negotiation, authentication, throttle, method, body. */
import { type Authenticated, type UserEndpoint, authenticateToken, loggedOut } from "./endpoints/authenticate.ts";
import type { Context } from "./endpoints/endpoint.ts";
import { fail } from "./errors.ts";
import { readBearerToken } from "./http/bearer.ts";
import { readData } from "./http/body.ts";
import type { Cookies } from "./http/cookies.ts";
import type { HttpRequest, HttpResponse } from "./http/message.ts";
import { acceptsJson, mediaTypes } from "./http/negotiate.ts";
import { renderData, renderEmpty } from "./http/render.ts";
import type { Throttles } from "./http/throttle.ts";
import { type MaybePromise, after, onDemand } from "./maybe-promise.ts";
import type { Reports } from "./reports.ts";
import type { Route } from "./routes.ts";
import type { Settings } from "./settings/types.ts";

export interface DispatchOptions {
  /** `undefined` while no token travels in cookies. */
  readonly cookies: (() => MaybePromise<Cookies>) | undefined;
  readonly reports: Reports;
  /** `undefined` while no route is limited. */
  readonly throttles: (() => MaybePromise<Throttles>) | undefined;
  /** Called before a password is checked, which then awaits it. */
  readonly readStoredHashes: () => Promise<void> | undefined;
  /** Renders an error by the given settings. */
  readonly handleError: (error: unknown, request: HttpRequest, allow: string, renderedBy: Settings) => HttpResponse;
}

const loadMetadata = onDemand(() => import("./endpoints/metadata.ts"));

/** Handles a request for a route. Errors are thrown, synchronously or by the promise. */
export type Dispatch = (request: HttpRequest, route: Route | undefined) => MaybePromise<HttpResponse>;

export function createDispatch(context: Context, options: DispatchOptions): Dispatch {
  const { settings, clientOf } = context;
  const { cookies, reports, throttles, readStoredHashes, handleError } = options;
  // Both profiles refuse a bearer as Simple JWT's JWTAuthentication does, which Djoser leaves as it is.
  const bearerSettings: Settings = { ...settings, responses: "simplejwt" };

  /** Counts a request against the limit of its route, if there is one. */
  function countRequest(request: HttpRequest, { throttledBy }: Route): MaybePromise<void> {
    if (throttles === undefined || throttledBy === undefined) return;
    return after(throttles(), (all) => {
      const throttle = all.get(throttledBy);
      if (throttle === undefined) return;
      const client = clientOf(request);
      if (client === undefined) reports.clientAddressUnknown();
      if (settings.trustedProxies === false) reports.forwarded(request);
      throttle(client ?? "");
    });
  }

  function dispatch(request: HttpRequest, route: Route | undefined): MaybePromise<HttpResponse> {
    if (route === undefined) throw fail("not_found");
    if (!acceptsJson(request.headers.get("accept"))) throw fail("not_acceptable");
    const { method } = request;
    const { POST, GET, allow, session } = route;
    if (method === "POST" && POST !== undefined) {
      const hashes = route.checksPassword === true ? readStoredHashes() : undefined;
      const body = after(countRequest(request, route), () => readData(request, settings.maxBodySize));
      return after(hashes === undefined ? body : Promise.all([body, hashes]).then(([data]) => data), (data) => {
        if (cookies === undefined || session === undefined) {
          return after(POST(context, data, request), (result) => renderData(result, 200, allow));
        }
        return after(cookies(), ({ exchange }) =>
          exchange(request, session, data, (filled) => POST(context, filled, request)).then((result) => ({
            ...renderData(result.data, 200, allow),
            cookies: result.cookies,
          })),
        );
      });
    }
    if (method === "OPTIONS") {
      const parses = allow.startsWith("POST") ? mediaTypes : [];
      return after(loadMetadata(), ({ metadataOf }) => renderData(metadataOf(route, parses), 200, allow));
    }
    if ((method === "GET" || method === "HEAD") && GET !== undefined) {
      return after(GET(context), (data) => renderData(data, 200, allow, route.headers));
    }
    const endpoint = userEndpointOf(route, method);
    if (endpoint !== undefined) return handleForUser(request, route, endpoint);
    throw fail("method_not_allowed", { text: `Method "${method}" not allowed.` });
  }

  /** Handles a request for a resource of the bearer. */
  async function handleForUser(request: HttpRequest, route: Route, endpoint: UserEndpoint): Promise<HttpResponse> {
    const { allow, id = "" } = route;
    const isPost = request.method === "POST";
    // Read at once: on Node, what arrives of a body before it is read is lost. Its errors come after the bearer's.
    const reading = isPost ? (async () => readData(request, settings.maxBodySize))() : undefined;
    reading?.catch(() => {});
    let who: Authenticated;
    try {
      const token = readBearerToken(request, settings, cookies && (await cookies()));
      who = await authenticateToken(context, token, {});
    } catch (error) {
      return handleError(error, request, allow, bearerSettings);
    }
    if (route.checksPassword === true) await readStoredHashes();
    if (isPost) await countRequest(request, route);
    const data = reading === undefined ? {} : await reading;
    const result = await endpoint(context, { ...who, data, id, request });
    if (result === loggedOut && cookies !== undefined) {
      return { ...renderEmpty(allow), cookies: (await cookies()).cleared };
    }
    return result === undefined || result === loggedOut ? renderEmpty(allow) : renderData(result, 200, allow);
  }

  return dispatch;
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
