/** Next.js, `app/auth/[...path]/route.ts`, with `prefix: "/auth"` in the settings. */
import type { JwtEndpoints } from "jwt-endpoints";

export function createRoute({ fetch }: JwtEndpoints) {
  const handler = (request: Request) => fetch(request);
  return {
    GET: handler,
    HEAD: handler,
    POST: handler,
    PUT: handler,
    PATCH: handler,
    DELETE: handler,
    OPTIONS: handler,
  };
}
