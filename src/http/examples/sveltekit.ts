/** SvelteKit, `src/hooks.server.ts`, with `prefix: "/auth"` in the settings. */
import type { JwtEndpoints } from "jwt-endpoints";

/** What SvelteKit hands to `handle`. */
interface Input<Event> {
  event: Event;
  resolve: (event: Event) => Response | Promise<Response>;
}

export function createHandle({ fetch, hasRoute }: JwtEndpoints) {
  return <Event extends { request: Request; url: URL }>({ event, resolve }: Input<Event>) =>
    hasRoute(event.url.pathname) ? fetch(event.request) : resolve(event);
}
