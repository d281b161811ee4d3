/** `/openapi.json` and `/docs` of the server. Neither is loaded before somebody asks for it. */
import type { OpenapiHook } from "../index.ts";
import type { Handle, HttpRequest, HttpResponse } from "../http/message.ts";
import type { ServerOptions } from "../program/options.ts";

/** The setting `openapi` of the server. */
export const describeApi: OpenapiHook = async (api) => (await import("../openapi/index.ts")).openapiDocument(api);

const allow = "GET, HEAD, OPTIONS";

/** Adds the page `/docs` to a handler, where the options say so: by default on an address that only this machine can reach. */
export function withDocs(handle: Handle, { docs }: ServerOptions): Handle {
  if (!docs) return handle;
  let page: Promise<HttpResponse> | undefined;
  return (request) => {
    const { url, method } = request;
    const isAsked = (url === "/docs" || url === "/docs/") && (method === "GET" || method === "HEAD");
    if (!isAsked) return handle(request);
    page ??= renderPage(handle, request);
    return method === "GET" ? page : page.then((whole) => ({ ...whole, body: "" }));
  };
}

/** Renders the page from the document that the handler serves. */
async function renderPage(handle: Handle, request: HttpRequest): Promise<HttpResponse> {
  const headers = new Headers({ host: request.headers.get("host") ?? "localhost" });
  const { body } = await handle({ ...request, url: "/openapi.json", method: "GET", headers });
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
