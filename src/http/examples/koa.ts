/** Koa, with `prefix: "/auth"` in the settings, and a path for users. */
import type { Authenticated, JwtEndpoints } from "jwt-endpoints";
import { requireKoaUser, toKoaMiddleware } from "jwt-endpoints/node";
import Koa from "koa";

export function createApp(endpoints: JwtEndpoints) {
  const app = new Koa<Authenticated>();
  const guard = requireKoaUser(endpoints);
  app.use(toKoaMiddleware(endpoints));
  app.use((context, next) => (context.path === "/me" ? guard(context, next) : undefined));
  app.use((context) => void (context.body = { username: context.state.user.username }));
  return app;
}
