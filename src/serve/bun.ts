/** Serves on Bun: the handler's plain `handle` on `Bun.serve`. */
import nodeHttp from "node:http";
import process from "node:process";
import { decodeUtf8, lingerMs } from "../http/body.ts";
import { FetchRequest, throwUnreadable, toResponse } from "../http/fetch.ts";
import type { HttpRequest, HttpResponse } from "../index.ts";
import { type MaybePromise, after } from "../maybe-promise.ts";
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
    fetch(request: Request, server: BunServer): MaybePromise<Response>;
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

let [lastUrl, lastPath] = ["", ""];

/**
 * Returns a URL without its origin, as the routes are looked up. Most requests have the URL of the one before, and the same
 * text, whose hash is known, is found faster.
 */
function withoutOrigin(url: string): string {
  if (url !== lastUrl) {
    lastUrl = url;
    const start = url.startsWith("/") ? 0 : url.indexOf("/", url.indexOf("://") + 3);
    lastPath = start === -1 ? "" : url.slice(start);
  }
  return lastPath;
}

/** A request whose text of declared length is read in Bun's fastest way. All else is read as from any `Request`. */
class BunRequest implements HttpRequest {
  readonly request: Request;
  readonly server: BunServer;
  readonly method: string;
  readonly url: string;
  readonly headers: Headers;
  isReadingText = false;
  isWhole = false;
  other: FetchRequest | undefined;
  constructor(request: Request, server: BunServer) {
    this.request = request;
    this.server = server;
    this.method = request.method;
    this.url = withoutOrigin(request.url);
    this.headers = request.headers;
  }

  get ip(): string | undefined {
    return this.server.requestIP(this.request)?.address;
  }

  isGone(): boolean {
    // Bun also ends a connection whose response takes longer than `idleTimeout`. Only logins ask this, and wait so long.
    this.server.timeout(this.request, longestTimeout);
    return this.request.signal.aborted;
  }

  get isReading(): boolean {
    return this.isReadingText || this.other?.isReading === true;
  }

  text(limit: number): MaybePromise<string> {
    const declared = Number(this.headers.get("content-length") ?? Number.NaN);
    if (!(declared > 0 && declared <= limit)) return this.asOther().text(limit);
    this.isReadingText = true;
    return this.request.blob().then((blob) => {
      this.isWhole = true;
      this.isReadingText = false;
      return blob.text().then((text) => {
        // As many characters as bytes are ASCII, or bytes that were replaced. All other text is decoded again, strictly.
        if (text.length === blob.size && !text.includes("\ufffd")) return text;
        return blob.arrayBuffer().then((buffer) => decodeUtf8(new Uint8Array(buffer)));
      });
    }, throwUnreadable);
  }

  bytes(limit: number): MaybePromise<Uint8Array<ArrayBuffer>> {
    return this.asOther().bytes(limit);
  }

  /** Makes the response. It closes the connection when more of a refused body may follow than the server should read. */
  respond(response: HttpResponse): Response {
    return response.status >= 400 && !this.isWhole && this.asOther().mayGoOn() ? cut(response) : respond(response);
  }

  asOther(): FetchRequest {
    return (this.other ??= new FetchRequest(this.request, undefined, { closes: true }));
  }
}

/** The longest time that Bun takes, in seconds. */
const longestTimeout = 255;

const listen: Listen = async (handle, { host: hostname, port, limits }, reusePort) => {
  http.maxHeaderSize = limits.maxHeaderSize;
  const server = Bun.serve({
    hostname,
    port,
    reusePort,
    idleTimeout: Math.min(Math.ceil(limits.requestTimeout / 1000), longestTimeout),
    maxRequestBodySize: Number.MAX_SAFE_INTEGER, // the handler refuses what is larger than `maxBodySize`
    fetch(request, self) {
      const plain = new BunRequest(request, self);
      return after(handle(plain), (response) => plain.respond(response));
    },
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
