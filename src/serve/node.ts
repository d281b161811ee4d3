#!/usr/bin/env node
/** Serves on Node: the handler's plain step straight on `node:http`, twice as fast as through `Request` and `Response`. */
import { Buffer } from "node:buffer";
import cluster from "node:cluster";
import { IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import process from "node:process";
import { setInterval } from "node:timers";
import type { Answer, Asked } from "../index.ts";
import { decodeUtf8, tooLarge, unreadable } from "../http/exchange.ts";
import { type MaybePromise, after, isPromise } from "../maybe-promise.ts";
import type { Step } from "./log.ts";
import { type Listen, start } from "./start.ts";

/**
 * Bodies of a declared length up to this, in bytes, are there before the step begins, which then meets no promise. The
 * stream never gets them: to follow one to its end takes longer than to answer a verify.
 */
const shortBody = 16_384;

class NodeRequest extends IncomingMessage {
  #told: ((body: Buffer<ArrayBuffer>) => void) | undefined;
  #body: Buffer<ArrayBuffer> | undefined;
  /** To be told of the body; before any of it has come. */
  whenWhole(told: (body: Buffer<ArrayBuffer>) => void): void {
    this.#told = told;
    this.read(0); // marks the stream as used: nobody else has to empty it
  }
  /** How the parser hands over a body, and its end as `null`. */
  override push(chunk: Buffer<ArrayBuffer> | null, encoding?: BufferEncoding): boolean {
    if (this.#told === undefined) return super.push(chunk, encoding);
    if (chunk !== null) this.#body = this.#body === undefined ? chunk : Buffer.concat([this.#body, chunk]);
    else this.#told(this.#body!);
    return true;
  }
}

class NodeAsked implements Asked {
  readonly #request: IncomingMessage;
  readonly method: string;
  readonly url: string;
  readonly headers: Asked["headers"];
  /** The body, where it has been read already. */
  body: Buffer<ArrayBuffer> | undefined = undefined;
  constructor(request: IncomingMessage) {
    this.#request = request;
    this.method = request.method!;
    this.url = request.url!;
    this.headers = new NodeHeaders(request.rawHeaders);
  }
  get ip(): string | undefined {
    return this.#request.socket.remoteAddress;
  }
  bytes(limit: number): MaybePromise<Buffer<ArrayBuffer>> {
    if (this.body === undefined) return readWhole(this.#request, this.headers, limit);
    if (this.body.length > limit) throw tooLarge(limit);
    return this.body;
  }
  text(limit: number): MaybePromise<string> {
    return after(this.bytes(limit), textOf);
  }
}

function readWhole(request: IncomingMessage, headers: Asked["headers"], limit: number): Promise<Buffer<ArrayBuffer>> {
  return new Promise((resolve, reject) => {
    if (Number(headers.get("content-length")) > limit) return reject(tooLarge(limit));
    const chunks: Buffer[] = [];
    let size = 0;
    request.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size > limit) {
        request.removeAllListeners("data").resume();
        return reject(tooLarge(limit));
      }
      chunks.push(chunk);
    });
    // Always the last event, also when the client goes away.
    request.on("close", () =>
      request.complete ? resolve(Buffer.concat(chunks)) : reject(unreadable(request.errored)),
    );
  });
}

function textOf(bytes: Buffer<ArrayBuffer>): string {
  const text = bytes.toString();
  return text.includes("\ufffd") ? decodeUtf8(bytes) : text;
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
let lastHeaders: Answer["headers"] | undefined;
let lastLines: string[] = [];

function linesOf(headers: Answer["headers"], length: number): string[] {
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
  request.whenWhole((body) => {
    asked.body = body;
    respond(step, asked, response);
  });
}

/** The step itself never throws nor rejects; what can't be sent costs its connection, not the process. */
function respond(step: Step, asked: NodeAsked, response: ServerResponse): void {
  try {
    const sent = after(step(asked), (answer) => send(answer, asked.method, response));
    if (isPromise(sent)) sent.catch(() => response.destroy());
  } catch {
    response.destroy();
  }
}

function send({ status, headers, cookies, body }: Answer, method: string, response: ServerResponse): void {
  const length = Buffer.byteLength(body);
  const hasBody = status !== 204 && method !== "HEAD";
  let lines = linesOf(headers, length);
  if (!hasBody) lines = lines.slice(0, -2);
  if (cookies !== undefined) lines = [...lines, ...cookies.flatMap((cookie) => ["set-cookie", cookie])];
  response.writeHead(status, lines);
  // `end(body)` hands the system two pieces, the second of them empty, for a fifth of a request's time. What is written
  // with the head is one. The name is Node's own affair, but has been the same since its first versions.
  const rendered = response as { _header?: unknown };
  if (hasBody && length === body.length && typeof rendered._header === "string") {
    rendered._header += body;
    response.end();
  } else response.end(body);
}

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
    server.once("error", reject);
    server.listen(port, host, () => {
      const { address, port: listening, family } = server.address() as AddressInfo;
      resolve({
        url: `http://${family === "IPv6" ? `[${address}]` : address}:${listening}`,
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            for (const socket of silent) socket.destroy();
            // Those idle now are closed; those that become idle later would hold it for their keep-alive.
            setInterval(() => server.closeIdleConnections(), 20);
          }),
      });
    });
  });

await start(`Node ${process.versions.node}`, listen, (env) => cluster.fork(env).process);
