/** Fastify 5: a plugin with a prefix, and a route for users. */
import fastify, { type FastifyRequest } from "fastify";
import type { Authenticated, JwtEndpoints } from "jwt-endpoints";
import { requireFastifyUser, toFastifyPlugin } from "jwt-endpoints/node";

export function createApp(endpoints: JwtEndpoints) {
  const app = fastify();
  const onRequest = requireFastifyUser(endpoints);
  app.register(toFastifyPlugin(endpoints), { prefix: "/auth" });
  app.get("/me", { onRequest }, ({ user }: FastifyRequest & Partial<Authenticated>) => ({ username: user?.username }));
  return app;
}
