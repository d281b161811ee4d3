/** Hono, on any runtime: mounted at a path, and a route for users. */
import { Hono } from "hono";
import type { JwtEndpoints } from "jwt-endpoints";

export function createApp(endpoints: JwtEndpoints) {
  const app = new Hono();
  const me = endpoints.protect((_request, { user }) => Response.json({ username: user.username }));
  app.mount("/auth", endpoints.fetch);
  app.get("/me", (context) => me(context.req.raw));
  return app;
}
