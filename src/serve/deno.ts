/** Serves on Deno: the handler's plain step on `Deno.serve`. */
import process from "node:process";
import { fetchWith } from "../http/exchange.ts";
import { type Listen, start } from "./start.ts";

interface DenoServer {
  shutdown(): Promise<void>;
}
interface Address {
  hostname: string;
  port: number;
}
declare const Deno: {
  serve(
    options: { hostname: string; port: number; onListen(address: Address): void },
    handler: (request: Request, info: { remoteAddr: Partial<Address> }) => Promise<Response>,
  ): DenoServer;
};

const listen: Listen = (step, { host: hostname, port }) =>
  new Promise((resolve) => {
    const onListen = (address: Address) => {
      const host = address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname;
      resolve({ url: `http://${host}:${address.port}`, close: () => server.shutdown() });
    };
    const server = Deno.serve({ hostname, port, onListen }, (request, info) =>
      fetchWith(step, request, () => info.remoteAddr.hostname),
    );
  });

await start(listen, `Deno ${process.versions.deno}`);
