/** Serves on Node: the handler's plain `handle` on `node:http`, twice as fast as through `Request` and `Response`. */
import { Buffer } from "node:buffer";
import cluster from "node:cluster";
import { IncomingMessage, STATUS_CODES, type ServerResponse, createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import process from "node:process";
import type { Duplex } from "node:stream";
import { setInterval, setTimeout } from "node:timers";
import type { HttpResponse, HttpRequest } from "../index.ts";
import { BodyBuffer, decodeUtf8, lingerMs, restLimit, tooLarge, unreadable } from "../http/body.ts";
import { type MaybePromise, after, isPromise } from "../maybe-promise.ts";
import type { Handle } from "../http/message.ts";
import type { Listen } from "./runtime.ts";
import { start } from "./start.ts";

/**
 * Bodies of a declared length up to this many bytes are read before `handle` is called, which then needs no promise. They
 * bypass the request's stream, which costs more time than a verify.
 */
const shortBody = 16_384;

class NodeMessage extends IncomingMessage {
  #receive: ((chunk: Buffer<ArrayBuffer> | null) => boolean) | undefined;
  /**
   * Hands over the body's chunks, and its end as `null`. Must be called before the first chunk has arrived.
   * @param receive returns whether the connection should be read further.
   */
  receive(receive: (chunk: Buffer<ArrayBuffer> | null) => boolean): void {
    this.#receive = receive;
    this.read(0); // marks the stream as used, so that Node does not drain it
  }
  /** Takes a chunk from the parser. */
  override push(chunk: Buffer<ArrayBuffer> | null, encoding?: BufferEncoding): boolean {
    return this.#receive === undefined ? super.push(chunk, encoding) : this.#receive(chunk);
  }
}

class NodeHttpRequest implements HttpRequest {
  readonly #message: NodeMessage;
  readonly method: string;
  readonly url: string;
  readonly headers: HttpRequest["headers"];
  /** The body, when it was read before `handle` was called. */
  body: Buffer<ArrayBuffer> | undefined = undefined;
  constructor(message: NodeMessage) {
    this.#message = message;
    this.method = message.method!;
    this.url = message.url!;
    this.headers = new NodeHeaders(message.rawHeaders);
  }
  get ip(): string | undefined {
    return this.#message.socket.remoteAddress;
  }
  isGone(): boolean {
    return !this.#message.socket.writable;
  }
  get isReading(): boolean {
    return !this.#message.complete;
  }
  bytes(limit: number): MaybePromise<Buffer<ArrayBuffer>> {
    if (this.body === undefined) return readWhole(this.#message, this.headers, limit);
    if (this.body.length > limit) throw tooLarge(limit);
    return this.body;
  }
  text(limit: number): MaybePromise<string> {
    return after(this.bytes(limit), decodeUtf8);
  }

  /**
   * Ends the connection with the response when the rest of the body is not worth reading. It stays open for a while, since
   * closing at once would reset it, and a client that is still sending would never see the response.
   * @returns whether the connection ends.
   */
  endsConnection(): boolean {
    const message = this.#message;
    if (this.body !== undefined || message.complete) return false;
    const length = this.headers.get("content-length");
    if (length === null ? this.headers.get("transfer-encoding") === null : Number(length) <= restLimit) return false;
    const { socket } = message;
    const start = socket.bytesRead;
    message.receive(() => socket.bytesRead - start <= restLimit);
    socket.destroySoon = () => {
      socket.end();
      setTimeout(() => socket.destroy(), lingerMs).unref();
    };
    return true;
  }
}

/** By connection: refuses the request whose trailers are longer than the parser accepts. */
const onLongTrailers = new WeakMap<Duplex, () => void>();

function readWhole(message: NodeMessage, headers: HttpRequest["headers"], limit: number): Promise<Buffer<ArrayBuffer>> {
  return new Promise((resolve, reject) => {
    if (Number(headers.get("content-length")) > limit) return reject(tooLarge(limit));
    const body = new BodyBuffer(limit);
    const refuse = () => reject(tooLarge(limit));
    onLongTrailers.set(message.socket, refuse);
    message.receive((chunk) => {
      if (chunk !== null && !body.add(chunk)) refuse();
      if (chunk === null) onLongTrailers.delete(message.socket);
      if (chunk === null && body.size <= limit) resolve(bufferOf(body));
      return true;
    });
    message.on("close", () => reject(unreadable(message.errored))); // the client went away
  });
}

const parserErrors: Record<string, number> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

/** Refuses what the parser can't read, as Node does by default. Trailers that are too long count as part of the body. */
function refuseUnparsed({ code = "" }: NodeJS.ErrnoException, socket: Duplex): void {
  const refuse = onLongTrailers.get(socket);
  if (code === "HPE_HEADER_OVERFLOW" && refuse !== undefined) return refuse();
  const status = parserErrors[code] ?? 400;
  if (socket.writable) socket.write(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\n\r\n`);
  socket.destroy();
}

function bufferOf(body: BodyBuffer): Buffer<ArrayBuffer> {
  const { buffer, byteOffset, length } = body.bytes();
  return Buffer.from(buffer, byteOffset, length);
}

/** Looks headers up in Node's flat list. Few are needed, so this is faster than making an object of all. */
class NodeHeaders {
  readonly #raw: string[];
  constructor(raw: string[]) {
    this.#raw = raw;
  }
  get(name: string): string | null {
    const raw = this.#raw;
    let found: string | null = null;
    for (let i = 0; i < raw.length; i += 2) {
      const key = raw[i]!;
      if (key.length !== name.length || (key !== name && key.toLowerCase() !== name.toLowerCase())) continue;
      // A proxy may take several cookie lines from HTTP/2; they are joined with ";" (RFC 9113 section 8.2.3).
      found = found === null ? raw[i + 1]! : `${found}${name === "cookie" ? ";" : ","} ${raw[i + 1]!}`;
    }
    return found;
  }
}

/** The last response's headers and their flat list for `writeHead`, which ends in the length. Most responses share them. */
let lastHeaders: HttpResponse["headers"] | undefined;
let lastLines: string[] = [];

function linesOf(headers: HttpResponse["headers"], length: number): string[] {
  if (headers !== lastHeaders) {
    lastHeaders = headers;
    lastLines = [...Object.entries(headers).flat(), "content-length", ""];
  }
  lastLines[lastLines.length - 1] = String(length);
  return lastLines;
}

function serve(handle: Handle, message: NodeMessage, response: ServerResponse): void {
  const request = new NodeHttpRequest(message);
  const length = Number(request.headers.get("content-length"));
  if (!(length > 0 && length <= shortBody)) return respond(handle, request, response);
  let parts: BodyBuffer | undefined;
  message.receive((chunk) => {
    if (chunk === null) {
      if (parts !== undefined) request.body = bufferOf(parts);
      respond(handle, request, response);
    } else if (request.body === undefined) request.body = chunk;
    else {
      if (parts === undefined) (parts = new BodyBuffer(length)).add(request.body);
      parts.add(chunk);
    }
    return true;
  });
}

/** Sends the response. `handle` never fails; a response that can't be sent ends its connection, not the process. */
function respond(handle: Handle, request: NodeHttpRequest, response: ServerResponse): void {
  try {
    const sent = after(handle(request), (result) => send(result, request, response));
    if (isPromise(sent)) sent.catch(() => response.destroy());
  } catch {
    response.destroy();
  }
}

function send(
  { status, headers, cookies, body }: HttpResponse,
  request: NodeHttpRequest,
  response: ServerResponse,
): void {
  const length = Buffer.byteLength(body);
  const hasBody = status !== 204 && request.method !== "HEAD";
  let lines = linesOf(headers, length);
  if (!hasBody) lines = lines.slice(0, -2);
  if (cookies !== undefined) lines = [...lines, ...cookies.flatMap((cookie) => ["set-cookie", cookie])];
  if (request.endsConnection()) lines = [...lines, "connection", "close"];
  response.writeHead(status, lines);
  // `end(body)` makes two writes, the second of them empty, which takes a fifth of a request's time. A body appended to the
  // head is one write. `_header` is private to Node, but has had this name since its first versions.
  const rendered = response as { _header?: unknown };
  if (hasBody && length === body.length && typeof rendered._header === "string") {
    rendered._header += body;
    response.end();
  } else response.end(body);
}

/** How long a stopping server keeps a connection on which nothing has arrived, in milliseconds. */
const silentMs = 200;

/** How often Node looks for requests that take too long to arrive, in milliseconds: the precision of the limits. */
const connectionsCheckingInterval = 500;

const listen: Listen = (handle, { host, port, limits }) =>
  new Promise((resolve, reject) => {
    const { headersTimeout, requestTimeout, maxHeaderSize, maxConnections } = limits;
    const arrival = { headersTimeout, requestTimeout, maxHeaderSize, connectionsCheckingInterval };
    const server = createServer({ IncomingMessage: NodeMessage, ...arrival }, (message, response) => {
      if (silent.size > 0) silent.delete(message.socket);
      serve(handle, message, response);
    });
    // Connections without a request so far. `closeIdleConnections` does not close them.
    const silent = new Set<Socket>();
    server.on("connection", (socket) => {
      silent.add(socket);
      socket.once("close", () => silent.delete(socket));
    });
    if (maxConnections > 0) server.maxConnections = maxConnections;
    server.on("clientError", refuseUnparsed);
    server.once("error", reject);
    server.listen(port, host, () => {
      const { address, port: listening, family } = server.address() as AddressInfo;
      resolve({
        url: `http://${family === "IPv6" ? `[${address}]` : address}:${listening}`,
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            // Later, so that a request already under way to one of them is read.
            setTimeout(() => silent.forEach((socket) => socket.destroy()), silentMs);
            // Again and again, since a connection that becomes idle later would stay open for its keep-alive.
            setInterval(() => server.closeIdleConnections(), 20);
          }),
      });
    });
  });

// Workers accept connections themselves. With the default policy, a connection handed to a worker that just died is lost.
cluster.schedulingPolicy = cluster.SCHED_NONE;
// Not awaited: the build makes this CommonJS, which has no `await` at the top.
void start({
  name: `Node ${process.versions.node}`,
  listen,
  fork: (env) => cluster.fork(env).process,
  fixedLimits: [],
});
