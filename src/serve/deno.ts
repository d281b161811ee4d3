/** Serves on Deno: the handler's plain `handle` on `Deno.serve`. */
import process from "node:process";
import { FetchRequest, type FetchServer, toResponse } from "../http/fetch.ts";
import type { HttpResponse } from "../index.ts";
import { coarseNow } from "./clock.ts";
import { type MaybePromise, after } from "../maybe-promise.ts";
import { type PromiseWriter, sendByPromise } from "./request-log.ts";
import type { ServerOptions } from "../program/options.ts";
import type { Listen } from "./runtime.ts";
import { start } from "./start.ts";
import { storeFolder } from "../stores/open.ts";
import { forkWith } from "./workers.ts";

interface DenoServer {
  finished: Promise<void>;
  shutdown(): Promise<void>;
}
interface Address {
  hostname: string;
  port: number;
}
interface Permission {
  name: string;
  path?: string;
  host?: string;
  command?: string;
  kind?: string;
}
declare const Deno: {
  permissions: { querySync(permission: Permission): { state: string; partial: boolean } };
  stdout: PromiseWriter;
  stderr: PromiseWriter;
  serve(
    options: { hostname: string; port: number; reusePort: boolean; onListen(address: Address): void },
    handler: (request: Request, info: { remoteAddr: Partial<Address> }) => MaybePromise<Response>,
  ): DenoServer;
};

/** The response `{}` to a verify or a logout. To clone it takes Deno half a microsecond less than to make another one. */
let empty: Response | undefined;
let emptyHeaders: HttpResponse["headers"] | undefined;

function respond(response: HttpResponse): Response {
  const { status, headers, cookies, body } = response;
  if (body !== "{}" || status !== 200 || cookies !== undefined) return toResponse(response);
  if (headers !== emptyHeaders) {
    emptyHeaders = headers;
    empty = undefined; // made when the same headers come again: some are of one request
    return toResponse(response);
  }
  return (empty ??= toResponse(response)).clone();
}

/** Ends a body that pauses for longer, in milliseconds: Deno never ends one whose trailers are longer than its buffer. */
const guard: FetchServer = { pause: 750 };

/** How long after a failure the server listens again, and how long another failure is not reported, in milliseconds. */
const [againMs, sameFailureMs] = [100, 10_000];

const listen: Listen = (handle, { host: hostname, port }, reusePort) =>
  new Promise((resolve) => {
    let server: DenoServer;
    let isClosing = false;
    let failedAt = -Infinity;
    /** Listens again: `Deno.serve` ends when it has no free file descriptor to accept a connection with. */
    const goOn = (error: Error, at: number): void => {
      if (isClosing) return;
      const now = performance.now();
      const message = `can't accept connections, and listens again until it can: ${error.message}`;
      if (now - failedAt > sameFailureMs) console.error(`jwt-endpoints: ${message}`);
      failedAt = now;
      setTimeout(() => {
        if (isClosing) return;
        try {
          serve(at, () => {});
        } catch (again) {
          goOn(again as Error, at);
        }
      }, againMs);
    };
    const serve = (at: number, onListen: (address: Address) => void): void => {
      let listening = at;
      const onAddress = (address: Address) => {
        listening = address.port;
        onListen(address);
      };
      server = Deno.serve({ hostname, port: at, reusePort, onListen: onAddress }, (request, info) =>
        after(handle(new FetchRequest(request, () => info.remoteAddr.hostname, guard)), respond),
      );
      server.finished.catch((error: Error) => goOn(error, listening));
    };
    serve(port, (address) => {
      const host = address.hostname.includes(":") ? `[${address.hostname}]` : address.hostname;
      const close = () => {
        isClosing = true;
        return server.shutdown();
      };
      resolve({ url: `http://${host}:${address.port}`, close });
    });
  });

/** Returns this process's permissions as flags for a worker: all of a kind, or those of it that a worker needs. */
function permissionFlags({ host, port, store, settings, config }: ServerOptions): string[] {
  const folder = storeFolder(store) ?? "data";
  const packages = "node_modules";
  const { jwkUrl } = settings;
  const hosts = [`${host}:${port}`, ...(typeof jwkUrl === "string" ? [new URL(jwkUrl).host] : [])];
  const needed: Record<string, Permission[]> = {
    read: [folder, packages, ...(config === undefined ? [] : [config.path])].map((path) => ({ name: "read", path })),
    write: [{ name: "write", path: folder }],
    net: hosts.map((each) => ({ name: "net", host: each })),
    env: [],
    sys: ["cpus", "osRelease", "hostname"].map((kind) => ({ name: "sys", kind })),
    run: [],
    ffi: [{ name: "ffi", path: packages }],
    import: [],
  };
  const isAllowed = (permission: Permission) => Deno.permissions.querySync(permission).state === "granted";
  return Object.entries(needed).flatMap(([name, some]) => {
    const { state, partial } = Deno.permissions.querySync({ name });
    if (state === "granted" && !partial) return [`--allow-${name}`];
    const values = some.filter(isAllowed).map(({ path, host: each, kind }) => path ?? each ?? kind);
    return values.length === 0 ? [] : [`--allow-${name}=${values.join(",")}`];
  });
}

const fork = forkWith((options) => ["run", "--no-prompt", "--unstable-net", ...permissionFlags(options)]);
const send = { stdout: sendByPromise(Deno.stdout), stderr: sendByPromise(Deno.stderr) };
const running = start({
  name: `Deno ${process.versions.deno}`,
  listen,
  fork,
  send,
  now: coarseNow,
  fixedLimits: ["headersTimeout", "requestTimeout", "maxHeaderSize", "maxConnections"],
  // Each hash has a thread of its own, which competes with the one that serves: a refresh waited 20 times as long.
  limitsHashes: true,
});
// Deno warns, once, that `Request.signal` is aborted after a response as well. Only logins that still wait read it.
const { warn } = console;
console.warn = (...args: unknown[]) => String(args[0]).startsWith("Deno.serve: request.signal") || warn(...args);
await running;
