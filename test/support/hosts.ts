/** The example applications of `src/http/examples`, each served over a socket by its own framework. */
import { once } from "node:events";
import { type RequestListener, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { serve } from "srvx";
import { request } from "undici";
import type { JwtEndpoints } from "../../src/index.ts";
import type { TestRequest, TestResponse } from "./contract-client.ts";
import { freePort } from "./processes.ts";
import type { Runtime } from "./runtime.ts";

export interface Running {
  origin: string;
  close(): Promise<unknown>;
}

export interface ExampleHost {
  name: string;
  /** The setting `prefix` that the example is written for. */
  prefix: "" | "/auth";
  /** Returns whether the host refuses a path by itself. Default: false. */
  refusesPath?: (path: string) => boolean;
  /** Whether the example has `/me`, a route for users. */
  hasMe?: boolean;
  /** Where the framework runs. Default: everywhere. */
  runtimes?: readonly Runtime[];
  start(endpoints: JwtEndpoints): Promise<Running>;
}

/** Listens on a free port. */
export async function listenNode(listener: RequestListener): Promise<Running> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = () =>
    new Promise((closed) => {
      server.close(closed);
      server.closeAllConnections();
    });
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close };
}

/** Serves a fetch function with this runtime's own server. */
export async function listenFetch(fetch: (request: Request) => Response | Promise<Response>): Promise<Running> {
  const server = serve({ fetch, hostname: "127.0.0.1", port: 0, silent: true, gracefulShutdown: false });
  await server.ready();
  return { origin: server.url!.replace(/\/$/, ""), close: () => server.close(true) };
}

/** Sends a request over a socket. */
export async function sendTo(origin: string, path: string, init: TestRequest = {}): Promise<TestResponse> {
  const { method = "GET", headers = {}, body } = init;
  const response = await request(origin + path, { method: method as "GET", headers, body });
  const all = Object.entries(response.headers).map(([name, value]) => [name, String(value)]);
  return { status: response.statusCode, headers: Object.fromEntries(all), text: await response.body.text() };
}

const isBadEscape = (path: string): boolean => path.includes("%zz");

export const exampleHosts: ExampleHost[] = [
  {
    name: "node:http",
    prefix: "/auth",
    refusesPath: () => true,
    hasMe: true,
    async start(endpoints) {
      const { createApp } = await import("../../src/http/examples/node-http.ts");
      return listenNode(createApp(endpoints).listeners("request")[0] as RequestListener);
    },
  },
  {
    name: "Express",
    prefix: "",
    hasMe: true,
    start: async (endpoints) => listenNode((await import("../../src/http/examples/express.ts")).createApp(endpoints)),
  },
  {
    name: "Fastify",
    prefix: "",
    refusesPath: isBadEscape,
    hasMe: true,
    async start(endpoints) {
      const app = (await import("../../src/http/examples/fastify.ts")).createApp(endpoints);
      return { origin: await app.listen({ port: 0, host: "127.0.0.1" }), close: () => app.close() };
    },
  },
  {
    name: "Koa",
    prefix: "/auth",
    refusesPath: () => true,
    hasMe: true,
    start: async (endpoints) =>
      listenNode((await import("../../src/http/examples/koa.ts")).createApp(endpoints).callback()),
  },
  {
    name: "Hono",
    prefix: "",
    hasMe: true,
    start: async (endpoints) =>
      listenFetch((await import("../../src/http/examples/hono.ts")).createApp(endpoints).fetch),
  },
  {
    name: "H3",
    prefix: "",
    refusesPath: isBadEscape,
    hasMe: true,
    start: async (endpoints) => listenFetch((await import("../../src/http/examples/h3.ts")).createApp(endpoints).fetch),
  },
  {
    name: "the route of Next.js, by its methods",
    prefix: "/auth",
    async start(endpoints) {
      const route = (await import("../../src/http/examples/next.ts")).createRoute(endpoints);
      return listenFetch((request) => route[request.method as keyof typeof route](request));
    },
  },
  {
    name: "the hook of SvelteKit",
    prefix: "/auth",
    refusesPath: () => true,
    async start(endpoints) {
      const handle = (await import("../../src/http/examples/sveltekit.ts")).createHandle(endpoints);
      const resolve = () => new Response("", { status: 404 });
      return listenFetch((request) => handle({ event: { request, url: new URL(request.url) }, resolve }));
    },
  },
  {
    name: "Elysia",
    prefix: "",
    hasMe: true,
    runtimes: ["bun"],
    async start(endpoints) {
      const app = (await import("../../src/http/examples/elysia.ts")).createApp(endpoints);
      app.listen({ port: 0, hostname: "127.0.0.1" });
      return { origin: `http://127.0.0.1:${app.server!.port}`, close: () => app.stop(true) };
    },
  },
  {
    name: "Oak",
    prefix: "/auth",
    refusesPath: () => true,
    runtimes: ["deno"],
    async start(endpoints) {
      const app = (await import("../../src/http/examples/oak.ts")).createApp(endpoints);
      const [stop, port] = [new AbortController(), await freePort()];
      const listening = new Promise((resolve) => app.addEventListener("listen", resolve));
      void app.listen({ hostname: "127.0.0.1", port, signal: stop.signal }); // ends with the last connection
      await listening;
      return { origin: `http://127.0.0.1:${port}`, close: async () => stop.abort() };
    },
  },
];
