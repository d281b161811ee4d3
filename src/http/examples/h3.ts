/** H3 2, on any runtime: mounted at a path, and a route for users. */
import { H3 } from "h3";
import type { JwtEndpoints } from "jwt-endpoints";

export function createApp(endpoints: JwtEndpoints): H3 {
  const app = new H3();
  const me = endpoints.protect((_request, { user }) => Response.json({ username: user.username }));
  app.mount("/auth", endpoints.fetch);
  app.get("/me", ({ req }) => me(req));
  return app;
}
