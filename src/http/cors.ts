/** CORS (Fetch standard, "CORS protocol"). Own code: published middleware wraps `Response`, which the plain path never makes. */
import type { Settings } from "../settings/types.ts";
import type { Handle, HttpResponse } from "./message.ts";

/**
 * Wraps a handler so that front ends of the origins in the setting `cors` can call it. Exact origins may always send
 * credentials, since many clients do, with and without cookies.
 * @param allowAt returns the methods of the resource at a URL, for a preflight; `undefined` for an unknown path.
 */
export function withCors(
  handle: Handle,
  { cors, authHeaderName }: Pick<Settings, "authHeaderName"> & { cors: Exclude<Settings["cors"], false> },
  allowAt: (url: string) => string | undefined,
): Handle {
  const allowedHeaders = [...new Set(["authorization", "content-type", authHeaderName.toLowerCase()])].join(", ");
  return (request) => {
    const origin = request.headers.get("origin");
    const isAllowed = origin !== null && (cors === "*" || cors.includes(origin));
    const isPreflight =
      isAllowed && request.method === "OPTIONS" && request.headers.get("access-control-request-method") !== null;
    const addHeaders = (response: HttpResponse): HttpResponse => {
      const headers: Record<string, string> = { ...response.headers };
      if (cors !== "*") headers.vary = "Origin"; // refused origins get another response too, so caches must tell them apart
      if (isAllowed) {
        headers["access-control-allow-origin"] = cors === "*" ? "*" : origin;
        headers["access-control-expose-headers"] = "retry-after, www-authenticate";
        if (cors !== "*") headers["access-control-allow-credentials"] = "true";
      }
      if (isPreflight) {
        const allow = allowAt(request.url);
        if (allow !== undefined) headers.allow = allow; // by this header the request log tells known paths
        headers["access-control-allow-methods"] = allow ?? "POST, OPTIONS"; // lets the client read the 404
        headers["access-control-allow-headers"] = allowedHeaders;
        headers["access-control-max-age"] = "86400";
      }
      return { ...response, headers };
    };
    const response = isPreflight ? { status: 204, headers: {}, body: "" } : handle(request);
    return "then" in response ? response.then(addHeaders) : addHeaders(response);
  };
}
