import type { Settings } from "../settings.ts";

type Fetch = (request: Request) => Promise<Response>;

/**
 * Lets front ends of other origins in (Fetch standard, "CORS protocol"). Wraps a fetch function; tokens travel in bodies
 * and headers, so credentials are never allowed and `*` is safe.
 */
export function withCors(fetch: Fetch, allowed: Exclude<Settings["cors"], false>): Fetch {
  return async (request) => {
    const origin = request.headers.get("origin");
    const isAllowed = origin !== null && (allowed === "*" || allowed.includes(origin));
    const isPreflight =
      isAllowed && request.method === "OPTIONS" && request.headers.has("access-control-request-method");
    const response = isPreflight ? new Response(null, { status: 204 }) : await fetch(request);
    const { headers } = response;
    if (allowed !== "*") headers.append("vary", "Origin"); // the answer differs by origin, also for those refused
    if (!isAllowed) return response;
    headers.set("access-control-allow-origin", allowed === "*" ? "*" : origin);
    headers.set("access-control-expose-headers", "retry-after, www-authenticate");
    if (isPreflight) {
      headers.set("access-control-allow-methods", "POST, OPTIONS");
      headers.set("access-control-allow-headers", "authorization, content-type");
      headers.set("access-control-max-age", "86400");
    }
    return response;
  };
}
