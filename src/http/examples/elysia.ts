/** Elysia, on Bun: mounted at a path, and a route for users. */
import { Elysia } from "elysia";
import type { JwtEndpoints } from "jwt-endpoints";

export function createApp(endpoints: JwtEndpoints) {
  const me = endpoints.protect((_request, { user }) => Response.json({ username: user.username }));
  return new Elysia().mount("/auth", endpoints.fetch).get("/me", ({ request }) => me(request));
}
