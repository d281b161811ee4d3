/** Plain `node:http`, with `prefix: "/auth"` in the settings, and a path for users. */
import { createServer } from "node:http";
import type { Authenticated, JwtEndpoints } from "jwt-endpoints";
import { type NodeMessage, requireUser, toNodeListener } from "jwt-endpoints/node";

export function createApp(endpoints: JwtEndpoints) {
  const [auth, guard] = [toNodeListener(endpoints), requireUser(endpoints)];
  return createServer((request: NodeMessage & Partial<Authenticated>, response) => {
    if (request.url !== "/me") return auth(request, response, () => response.writeHead(404).end());
    void guard(request, response, () => response.end(JSON.stringify({ username: request.user?.username })));
  });
}
