/** Express 5: mounted at a path, and a route for users. */
import express, { type Request } from "express";
import type { Authenticated, JwtEndpoints } from "jwt-endpoints";
import { requireUser, toNodeListener } from "jwt-endpoints/node";

export function createApp(endpoints: JwtEndpoints) {
  const app = express();
  app.use("/auth", toNodeListener(endpoints));
  app.get("/me", requireUser(endpoints), (request: Request & Partial<Authenticated>, response) => {
    response.json({ username: request.user?.username });
  });
  return app;
}
