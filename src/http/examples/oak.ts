/** Oak, on Deno, with `prefix: "/auth"` in the settings. */
import { Application } from "@oakserver/oak";
import type { JwtEndpoints } from "jwt-endpoints";

export function createApp(endpoints: JwtEndpoints) {
  const app = new Application();
  app.use(async ({ request: { method, url, headers, body, ip }, response }, next) => {
    if (!endpoints.hasRoute(url.pathname)) return next();
    const init = { method, headers: [...headers], body: body.stream, duplex: "half" };
    const result = await endpoints.fetch(Object.assign(new Request(url, init), { ip }));
    for (const [name, value] of result.headers) response.headers.append(name, value);
    Object.assign(response, { status: result.status, body: result.body });
  });
  return app;
}
