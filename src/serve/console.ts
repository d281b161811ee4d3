/** Serves the console at `/`, in front of the endpoints. The page is made when a browser first asks for it. */
import type { HttpResponse, JwtEndpoints } from "../index.ts";
import { type Handle, pathOf } from "../http/message.ts";
import { after } from "../maybe-promise.ts";
import type { ServerOptions } from "../program/options.ts";

/** Adds the console to a handler. Only browsers, which accept HTML, get it: for all others `/` stays a 404. */
export function withConsole(handle: Handle, settings: JwtEndpoints["settings"], options: ServerOptions): Handle {
  let page: Promise<HttpResponse> | undefined;
  return (request) => {
    const isRead = request.method === "GET" || request.method === "HEAD";
    if (!isRead || pathOf(request.url) !== "/") return handle(request);
    if (request.headers.get("accept")?.includes("text/html") !== true) return handle(request);
    page ??= makeResponse(settings, options);
    return after(page, (whole) => (request.method === "HEAD" ? { ...whole, body: "" } : whole));
  };
}

async function makeResponse(
  { prefix, usernameField, me, sessions, authTokenClasses, cookies }: JwtEndpoints["settings"],
  { metrics }: ServerOptions,
): Promise<HttpResponse> {
  const { makeConsolePage } = await import("../console/page.ts");
  const renewedField = authTokenClasses[0] === "SlidingToken" ? "token" : "refresh";
  const { html, policy } = await makeConsolePage({
    prefix,
    usernameField,
    renewedField,
    inCookie: cookies.carry.length > 0,
    hasMe: me,
    hasSessions: sessions,
    ...(metrics !== "" && { metricsUrl: `http://${metrics.replace(/^(0\.0\.0\.0|\[::\])/, "127.0.0.1")}/metrics` }),
  });
  return {
    status: 200,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": policy,
      "cross-origin-opener-policy": "same-origin",
      "referrer-policy": "no-referrer",
      "x-content-type-options": "nosniff",
      "cache-control": "no-cache",
      vary: "Accept",
    },
    body: html,
  };
}
