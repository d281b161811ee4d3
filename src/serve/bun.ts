/** Serves on Bun: the handler's plain `handle` on `Bun.serve`. */
import nodeHttp from "node:http";
import process from "node:process";
import { type FetchServer, fetchWith, toResponse } from "../http/fetch.ts";
import { lingerMs } from "../http/body.ts";
import type { HttpResponse } from "../index.ts";
import type { Listen } from "./runtime.ts";
import { start } from "./start.ts";
import { forkWith } from "./workers.ts";

interface BunServer {
  readonly hostname: string;
  readonly port: number;
  requestIP(request: Request): { address: string } | null;
  timeout(request: Request, seconds: number): void;
  stop(): Promise<void>;
}
/** Bun's own server reads the limit of `node:http`, which can be set there. */
const http = nodeHttp as { maxHeaderSize: number };

declare const Bun: {
  serve(options: {
    hostname: string;
    port: number;
    reusePort: boolean;
    maxRequestBodySize: number;
    idleTimeout: number;
    fetch(request: Request, server: BunServer): Promise<Response>;
  }): BunServer;
};

/**
 * Makes the response to a body that is too long to be read. Bun reads every body to its end unless the response closes the
 * connection; it then reads until the response's stream ends.
 */
function cut(response: HttpResponse): Response {
  const body = new ReadableStream<Uint8Array>({
    async start(controller) {
      controller.enqueue(new TextEncoder().encode(response.body));
      await new Promise((resolve) => setTimeout(resolve, lingerMs));
      controller.close();
    },
  });
  return new Response(body, toResponse({ ...response, headers: { ...response.headers, connection: "close" } }));
}

/** The headers of the last response, prepared: most responses share them, and to make them anew takes a microsecond. */
let lastHeaders: HttpResponse["headers"] | undefined;
let prepared = new Headers();

function respond(response: HttpResponse): Response {
  const { status, headers, cookies, body } = response;
  if (cookies !== undefined || status === 204) return toResponse(response);
  if (headers !== lastHeaders) {
    lastHeaders = headers;
    prepared = new Headers(headers);
  }
  return new Response(body, { status, headers: prepared });
}

/** The longest time that Bun takes, in seconds. */
const longestTimeout = 255;

const listen: Listen = async (handle, { host: hostname, port, limits }, reusePort) => {
  http.maxHeaderSize = limits.maxHeaderSize;
  const own: FetchServer = {
    cut,
    respond,
    readsBlobs: true,
    isGone(request) {
      // Bun also ends a connection whose response takes longer than `idleTimeout`. Only logins ask this, and wait so long.
      server.timeout(request, longestTimeout);
      return request.signal.aborted;
    },
  };
  const server = Bun.serve({
    hostname,
    port,
    reusePort,
    idleTimeout: Math.min(Math.ceil(limits.requestTimeout / 1000), longestTimeout),
    maxRequestBodySize: Number.MAX_SAFE_INTEGER, // the handler refuses what is larger than `maxBodySize`
    fetch: (request, { requestIP }) => fetchWith(handle, request, () => requestIP.call(server, request)?.address, own),
  });
  const host = server.hostname.includes(":") ? `[${server.hostname}]` : server.hostname;
  return { url: `http://${host}:${server.port}`, close: () => server.stop() };
};

await start({
  name: `Bun ${process.versions.bun}`,
  listen,
  fork: forkWith(() => []),
  fixedLimits: ["headersTimeout", "maxConnections"],
});
