#!/usr/bin/env node
/** Serves on Node: the handler's plain step straight on `node:http`, twice as fast as through `Request` and `Response`. */
import { Buffer } from "node:buffer";
import cluster from "node:cluster";
import { IncomingMessage, STATUS_CODES, type ServerResponse, createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import process from "node:process";
import type { Duplex } from "node:stream";
import { setInterval, setTimeout } from "node:timers";
import type { HttpResponse, HttpRequest } from "../index.ts";
import { BodyBuffer, decodeUtf8, lingerMs, restLimit, tooLarge, unreadable } from "../http/message.ts";
import { type MaybePromise, after, isPromise } from "../maybe-promise.ts";
import type { Step } from "./request-log.ts";
import { type Listen, start } from "./start.ts";

/**
 * Bodies of a declared length up to this, in bytes, are there before the step begins, which then meets no promise. The
 * stream never gets them: to follow one to its end takes longer than to answer a verify.
 */
const shortBody = 16_384;

class NodeRequest extends IncomingMessage {
  #receive: ((chunk: Buffer<ArrayBuffer> | null) => boolean) | undefined;
  /**
   * Hands over the pieces of the body, and its end as `null`; to be called before any of it has come.
   * @param receive returns whether the connection should be read further.
   */
  receive(receive: (chunk: Buffer<ArrayBuffer> | null) => boolean): void {
    this.#receive = receive;
    this.read(0); // marks the stream as used: nobody else has to empty it
  }
  /** How the parser hands over a body. */
  override push(chunk: Buffer<ArrayBuffer> | null, encoding?: BufferEncoding): boolean {
    return this.#receive === undefined ? super.push(chunk, encoding) : this.#receive(chunk);
  }
}

class NodeAsked implements HttpRequest {
  readonly #request: NodeRequest;
  readonly method: string;
  readonly url: string;
  readonly headers: HttpRequest["headers"];
  /** The body, where it has been read already. */
  body: Buffer<ArrayBuffer> | undefined = undefined;
  constructor(request: NodeRequest) {
    this.#request = request;
    this.method = request.method!;
    this.url = request.url!;
    this.headers = new NodeHeaders(request.rawHeaders);
  }
  get ip(): string | undefined {
    return this.#request.socket.remoteAddress;
  }
  get isReading(): boolean {
    return !this.#request.complete;
  }
  bytes(limit: number): MaybePromise<Buffer<ArrayBuffer>> {
    if (this.body === undefined) return readWhole(this.#request, this.headers, limit);
    if (this.body.length > limit) throw tooLarge(limit);
    return this.body;
  }
  text(limit: number): MaybePromise<string> {
    return after(this.bytes(limit), decodeUtf8);
  }

  /**
   * Ends the connection with the response where more of the body may come than is worth reading. Closing at once would
   * reset the connection, and a client that is still sending would never see its answer.
   */
  endsConnection(): boolean {
    const request = this.#request;
    if (this.body !== undefined || request.complete) return false;
    const length = this.headers.get("content-length");
    if (length === null ? this.headers.get("transfer-encoding") === null : Number(length) <= restLimit) return false;
    const { socket } = request;
    const start = socket.bytesRead;
    request.receive(() => socket.bytesRead - start <= restLimit);
    socket.destroySoon = () => {
      socket.end();
      setTimeout(() => socket.destroy(), lingerMs).unref();
    };
    return true;
  }
}

/** What to do where the trailers of a body are longer than the parser takes. */
const onLongTrailers = new WeakMap<Duplex, () => void>();

function readWhole(request: NodeRequest, headers: HttpRequest["headers"], limit: number): Promise<Buffer<ArrayBuffer>> {
  return new Promise((resolve, reject) => {
    if (Number(headers.get("content-length")) > limit) return reject(tooLarge(limit));
    const body = new BodyBuffer(limit);
    const refuse = () => reject(tooLarge(limit));
    onLongTrailers.set(request.socket, refuse);
    request.receive((chunk) => {
      if (chunk !== null && !body.add(chunk)) refuse();
      if (chunk === null) onLongTrailers.delete(request.socket);
      if (chunk === null && body.size <= limit) resolve(bufferOf(body));
      return true;
    });
    request.on("close", () => reject(unreadable(request.errored))); // the client went away
  });
}

const parserErrors: Record<string, number> = {
  HPE_HEADER_OVERFLOW: 431,
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 413,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

/** As Node does without it, but for trailers, which count as the body. */
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

/** Looks a header up among those that came; to make an object of them all costs more than the few that are asked for. */
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
      // Cookies come in several lines where a proxy takes them from HTTP/2 (RFC 9113 §8.2.3).
      found = found === null ? raw[i + 1]! : `${found}${name === "cookie" ? ";" : ","} ${raw[i + 1]!}`;
    }
    return found;
  }
}

/** The headers answered last and their flat list for `writeHead`, which ends in the length: most answers share theirs. */
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

function serve(step: Step, request: NodeRequest, response: ServerResponse): void {
  const asked = new NodeAsked(request);
  const length = Number(asked.headers.get("content-length"));
  if (!(length > 0 && length <= shortBody)) return respond(step, asked, response);
  let parts: BodyBuffer | undefined;
  request.receive((chunk) => {
    if (chunk === null) {
      if (parts !== undefined) asked.body = bufferOf(parts);
      respond(step, asked, response);
    } else if (asked.body === undefined) asked.body = chunk;
    else {
      if (parts === undefined) (parts = new BodyBuffer(length)).add(asked.body);
      parts.add(chunk);
    }
    return true;
  });
}

/** The step itself never throws nor rejects; what can't be sent costs its connection, not the process. */
function respond(step: Step, asked: NodeAsked, response: ServerResponse): void {
  try {
    const sent = after(step(asked), (answer) => send(answer, asked, response));
    if (isPromise(sent)) sent.catch(() => response.destroy());
  } catch {
    response.destroy();
  }
}

function send({ status, headers, cookies, body }: HttpResponse, asked: NodeAsked, response: ServerResponse): void {
  const length = Buffer.byteLength(body);
  const hasBody = status !== 204 && asked.method !== "HEAD";
  let lines = linesOf(headers, length);
  if (!hasBody) lines = lines.slice(0, -2);
  if (cookies !== undefined) lines = [...lines, ...cookies.flatMap((cookie) => ["set-cookie", cookie])];
  if (asked.endsConnection()) lines = [...lines, "connection", "close"];
  response.writeHead(status, lines);
  // `end(body)` hands the system two pieces, the second of them empty, for a fifth of a request's time. What is written
  // with the head is one. The name is Node's own affair, but has been the same since its first versions.
  const rendered = response as { _header?: unknown };
  if (hasBody && length === body.length && typeof rendered._header === "string") {
    rendered._header += body;
    response.end();
  } else response.end(body);
}

/** For how long a connection on which nothing has come is kept when the server stops. */
const silentMs = 200;

const listen: Listen = (step, { host, port }) =>
  new Promise((resolve, reject) => {
    const server = createServer({ IncomingMessage: NodeRequest }, (request, response) => {
      if (silent.size > 0) silent.delete(request.socket);
      serve(step, request, response);
    });
    // Connections on which nothing has been asked yet, which closing the idle ones passes over.
    const silent = new Set<Socket>();
    server.on("connection", (socket) => {
      silent.add(socket);
      socket.once("close", () => silent.delete(socket));
    });
    server.on("clientError", refuseUnparsed);
    server.once("error", reject);
    server.listen(port, host, () => {
      const { address, port: listening, family } = server.address() as AddressInfo;
      resolve({
        url: `http://${family === "IPv6" ? `[${address}]` : address}:${listening}`,
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            // A request that is on its way to one of them is read first.
            setTimeout(() => silent.forEach((socket) => socket.destroy()), silentMs);
            // Those idle now are closed; those that become idle later would hold it for their keep-alive.
            setInterval(() => server.closeIdleConnections(), 20);
          }),
      });
    });
  });

// Shared, workers accept by themselves. Handed over by the watcher, what comes to one that just died is lost and leaks.
cluster.schedulingPolicy = cluster.SCHED_NONE;
await start(`Node ${process.versions.node}`, listen, (env) => cluster.fork(env).process);
