/** Serves on Bun: the handler's plain step on `Bun.serve`. */
import process from "node:process";
import { fetchWith } from "../http/exchange.ts";
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
    fetch(request: Request, server: BunServer): Promise<Response>;
  }): BunServer;
};

const listen: Listen = async (step, { host: hostname, port }, reusePort) => {
  const server = Bun.serve({
    hostname,
    port,
    reusePort,
    fetch: (request, { requestIP }) => fetchWith(step, request, () => requestIP.call(server, request)?.address),
  });
  const host = server.hostname.includes(":") ? `[${server.hostname}]` : server.hostname;
  return { url: `http://${host}:${server.port}`, close: () => server.stop() };
};

await start(`Bun ${process.versions.bun}`, listen, forkWith());
