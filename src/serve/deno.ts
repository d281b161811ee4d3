/** Serves on Deno: the handler's plain step on `Deno.serve`. */
import process from "node:process";
import { fetchWith } from "../http/exchange.ts";
import type { Send } from "./log.ts";
import { type Listen, start } from "./start.ts";
import { forkWith } from "./workers.ts";

interface DenoServer {
  shutdown(): Promise<void>;
}
interface Address {
  hostname: string;
  port: number;
}
interface Writer {
  write(bytes: Uint8Array): Promise<number>;
}
declare const Deno: {
  stdout: Writer;
  stderr: Writer;
  serve(
    options: { hostname: string; port: number; reusePort: boolean; onListen(address: Address): void },
    handler: (request: Request, info: { remoteAddr: Partial<Address> }) => Promise<Response>,
  ): DenoServer;
};

/** Deno waits for ever for the end of a body whose trailers are longer than its buffer. */
const guard = { pause: 750 };

const listen: Listen = (step, { host: hostname, port }, reusePort) =>
  new Promise((resolve) => {
    const onListen = (address: Address) => {
      const host = address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname;
      resolve({ url: `http://${host}:${address.port}`, close: () => server.shutdown() });
    };
    const server = Deno.serve({ hostname, port, reusePort, onListen }, (request, info) =>
      fetchWith(step, request, () => info.remoteAddr.hostname, guard),
    );
  });

/** `process.stdout` writes synchronously here, and waits for the reader. */
function sendTo(writer: Writer): Send {
  const encoder = new TextEncoder();
  const writeAll = async (text: string): Promise<void> => {
    for (let bytes = encoder.encode(text); bytes.length > 0;) bytes = bytes.subarray(await writer.write(bytes));
  };
  return (text, done) => void writeAll(text).then(() => done(), done);
}

// A worker of a server that may run programs has every permission, as any program has.
const send = { stdout: sendTo(Deno.stdout), stderr: sendTo(Deno.stderr) };
await start(`Deno ${process.versions.deno}`, listen, forkWith("run", "-A", "--unstable-net"), send);
