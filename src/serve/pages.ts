/** The pages of the server for browsers, in front of the endpoints. Each is made at the first request for it. */
import type { HttpResponse, JwtEndpoints, OpenapiHook } from "../index.ts";
import { type Handle, type HttpRequest, pathOf } from "../http/message.ts";
import type { ServerOptions } from "../program/options.ts";

interface Page {
  html: string;
  /** Its `Content-Security-Policy`. */
  policy: string;
  /** Headers besides those that every page has. */
  headers: Record<string, string>;
}

/** Adds a page to a handler, for `GET` and `HEAD`. */
function withPage(handle: Handle, isPage: (request: HttpRequest) => boolean, make: () => Promise<Page>): Handle {
  let response: Promise<HttpResponse> | undefined;
  return (request) => {
    const { method } = request;
    if ((method !== "GET" && method !== "HEAD") || !isPage(request)) return handle(request);
    response ??= make().then(responseOf);
    return method === "GET" ? response : response.then((whole) => ({ ...whole, body: "" }));
  };
}

const responseOf = ({ html, policy, headers }: Page): HttpResponse => ({
  status: 200,
  headers: {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": policy,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
    ...headers,
  },
  body: html,
});

/**
 * Adds the console at `/` to a handler, where the options say so. Only browsers, which accept HTML, get it: for all others
 * `/` stays a 404.
 */
export function withConsole(handle: Handle, settings: JwtEndpoints["settings"], options: ServerOptions): Handle {
  if (!options.console) return handle;
  const { metrics } = options;
  const isConsole = ({ url, headers }: HttpRequest): boolean =>
    pathOf(url) === "/" && headers.get("accept")?.includes("text/html") === true;
  return withPage(handle, isConsole, async () => {
    const { makeConsolePage } = await import("../console/page.ts");
    const { prefix, usernameField, me, sessions, authTokenClasses, cookies } = settings;
    const page = await makeConsolePage({
      prefix,
      usernameField,
      renewedField: authTokenClasses[0] === "SlidingToken" ? "token" : "refresh",
      inCookie: cookies.carry.length > 0,
      hasMe: me,
      hasSessions: sessions,
      hasDocs: options.docs,
      ...(metrics !== "" && { metricsUrl: `http://${metrics.replace(/^(0\.0\.0\.0|\[::\])/, "127.0.0.1")}/metrics` }),
    });
    return { ...page, headers: { "cross-origin-opener-policy": "same-origin", vary: "Accept" } };
  });
}

/** The setting `openapi` of the server. */
export const describeApi: OpenapiHook = async (api) => (await import("../openapi/index.ts")).openapiDocument(api);

/** Adds the page `/docs` to a handler, where the options say so. It is made from the document that the handler serves. */
export function withDocs(handle: Handle, { docs }: ServerOptions): Handle {
  if (!docs) return handle;
  const isDocs = ({ url }: HttpRequest): boolean => /^\/docs\/?$/.test(pathOf(url));
  return withPage(handle, isDocs, async () => {
    const nothing = { bytes: () => new Uint8Array(), text: () => "" };
    const { body } = await handle({ method: "GET", url: "/openapi.json", headers: new Headers(), ...nothing });
    const { docsPage } = await import("../openapi/index.ts");
    const { policy, body: html } = await docsPage(JSON.parse(body));
    return { html, policy, headers: { allow: "GET, HEAD, OPTIONS" } };
  });
}
