/** Serves on Bun: the handler's plain step on `Bun.serve`. */
import process from "node:process";
import { fetchWith, lingerMs, toResponse } from "../http/message.ts";
import type { HttpResponse } from "../index.ts";
import { type Listen, start } from "./start.ts";
import { forkWith } from "./workers.ts";

interface BunServer {
  readonly hostname: string;
  readonly port: number;
  requestIP(request: Request): { address: string } | null;
  stop(): Promise<void>;
}
declare const Bun: {
  serve(options: {
    hostname: string;
    port: number;
    reusePort: boolean;
    maxRequestBodySize: number;
    fetch(request: Request, server: BunServer): Promise<Response>;
  }): BunServer;
};

/** Bun reads a body to its end, unless the response says that it closes: then until the stream of the response ends. */
function cut(answer: HttpResponse): Response {
  const body = new ReadableStream<Uint8Array>({
    async start(controller) {
      controller.enqueue(new TextEncoder().encode(answer.body));
      await new Promise((resolve) => setTimeout(resolve, lingerMs));
      controller.close();
    },
  });
  return new Response(body, toResponse({ ...answer, headers: { ...answer.headers, connection: "close" } }));
}

const guard = { cut };

const listen: Listen = async (step, { host: hostname, port }, reusePort) => {
  const server = Bun.serve({
    hostname,
    port,
    reusePort,
    maxRequestBodySize: Number.MAX_SAFE_INTEGER, // larger than `maxBodySize` is refused here, in the words of the contract
    fetch: (request, { requestIP }) => fetchWith(step, request, () => requestIP.call(server, request)?.address, guard),
  });
  const host = server.hostname.includes(":") ? `[${server.hostname}]` : server.hostname;
  return { url: `http://${host}:${server.port}`, close: () => server.stop() };
};

await start(
  `Bun ${process.versions.bun}`,
  listen,
  forkWith(() => []),
);
