/** `/openapi.json` and `/docs` of the server. Neither is loaded before the first request for it. */
import type { OpenapiHook } from "../index.ts";
import { type Handle, type HttpResponse, pathOf } from "../http/message.ts";
import type { ServerOptions } from "../program/options.ts";

/** The setting `openapi` of the server. */
export const describeApi: OpenapiHook = async (api) => (await import("../openapi/index.ts")).openapiDocument(api);

const allow = "GET, HEAD, OPTIONS";

/** Adds the page `/docs` to a handler, where the options say so: by default on an address that only this machine can reach. */
export function withDocs(handle: Handle, { docs }: ServerOptions): Handle {
  if (!docs) return handle;
  let page: Promise<HttpResponse> | undefined;
  return (request) => {
    const { method } = request;
    if (!isDocs(request.url) || (method !== "GET" && method !== "HEAD")) return handle(request);
    page ??= renderPage(handle);
    return method === "GET" ? page : page.then((whole) => ({ ...whole, body: "" }));
  };
}

/** Parses a URL only if its end is right, since this runs for every request. */
const isDocs = (url: string): boolean =>
  (url.endsWith("/docs") || url.endsWith("/docs/")) && /^\/docs\/?$/.test(pathOf(url));

/** Renders the page from the document that the handler serves. */
async function renderPage(handle: Handle): Promise<HttpResponse> {
  const nothing = { bytes: () => new Uint8Array(), text: () => "" };
  const { body } = await handle({ method: "GET", url: "/openapi.json", headers: new Headers(), ...nothing });
  const { docsPage } = await import("../openapi/index.ts");
  const { policy, body: html } = await docsPage(JSON.parse(body));
  return {
    status: 200,
    headers: {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": policy,
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cache-control": "no-cache",
      allow,
    },
    body: html,
  };
}
