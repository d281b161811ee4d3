/** One exchange of `node:http` as the handler's plain data, for all frameworks that sit on it. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { decodeUtf8, tooLarge } from "../http/body.ts";
import { type KeptBody, type NodeStream, parsedBodyOf, readNodeBody } from "../http/node-body.ts";
import type { HttpRequest, HttpResponse, JwtEndpoints } from "../index.ts";
import { type MaybePromise, after } from "../maybe-promise.ts";

/** What a framework knows of a request beyond `node:http`. */
export interface HostRequest {
  /** The URL that the endpoints see, from {@link urlFor}. */
  readonly url: string;
  /** The client's address, where the framework has one of its own, such as Express behind `trust proxy`. */
  readonly ip?: string | undefined;
  /** Where body parsers of the framework keep what they read. */
  readonly kept: KeptBody;
  /** The stream to read the body from, where it is not the message itself. */
  readonly stream?: NodeStream | undefined;
}

/**
 * Returns the URL for the endpoints: the whole one if it is a route of theirs, otherwise what the mount left of it. So a
 * prefix may be the path of the mount or empty.
 */
export function urlFor(endpoints: JwtEndpoints, whole: string, stripped: string): string {
  return whole !== stripped && endpoints.hasRoute(whole) ? whole : stripped;
}

/** Looks headers up in Node's object, which other middleware may have changed. */
export class MessageHeaders {
  readonly #message: IncomingMessage;
  constructor(message: IncomingMessage) {
    this.#message = message;
  }
  get(name: string): string | null {
    // Node keeps the first of several `Host` alone; the handler refuses them (RFC 9112 section 3.2).
    const { headers, headersDistinct } = this.#message;
    const value = name === "host" ? (headersDistinct?.host ?? headers.host) : headers[name.toLowerCase()];
    return value === undefined ? null : Array.isArray(value) ? value.join(", ") : value;
  }
}

export class MessageRequest implements HttpRequest {
  readonly #message: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #host: HostRequest;
  readonly method: string;
  readonly url: string;
  readonly headers: MessageHeaders;
  constructor(message: IncomingMessage, response: ServerResponse, host: HostRequest) {
    this.#message = message;
    this.#response = response;
    this.#host = host;
    this.method = message.method ?? "GET";
    this.url = host.url;
    this.headers = new MessageHeaders(message);
  }
  get ip(): string | undefined {
    return this.#host.ip ?? this.#message.socket?.remoteAddress;
  }
  isGone(): boolean {
    return this.#response.destroyed || this.#message.socket?.writable === false;
  }
  get isReading(): boolean {
    return !this.#message.complete;
  }
  get parsed(): unknown {
    return parsedBodyOf(this.#message, this.#host.kept);
  }
  bytes(limit: number): MaybePromise<Uint8Array<ArrayBuffer>> {
    const { kept, stream = this.#message } = this.#host;
    const declared = Number(this.headers.get("content-length") ?? Number.NaN);
    if (declared === 0) return new Uint8Array(0);
    if (declared > limit) throw tooLarge(limit);
    // Node says "100 Continue" by itself, unless the host listens for `checkContinue`. `_sent100` is private to Node.
    const isAwaited = (this.#response as { _sent100?: unknown })._sent100 === false;
    if (isAwaited && /^100-continue$/i.test(this.headers.get("expect") ?? "")) this.#response.writeContinue();
    return readNodeBody(stream, kept, limit);
  }
  text(limit: number): MaybePromise<string> {
    return after(this.bytes(limit), decodeUtf8);
  }
}

/**
 * Sends a response, beside headers that the host has set. Does nothing when the host has sent one already, such as that of
 * a time limit, or when the client has gone.
 */
export function send({ status, headers, cookies = [], body }: HttpResponse, response: ServerResponse): void {
  if (response.headersSent || response.writableEnded || response.destroyed) return;
  response.statusCode = status;
  for (const name in headers) {
    if (name === "vary") response.appendHeader(name, headers[name]!);
    else response.setHeader(name, headers[name]!);
  }
  for (const cookie of cookies) response.appendHeader("set-cookie", cookie);
  response.end(body === "" ? undefined : body);
}

/** Returns the refusal of a request for a resource of the host (RFC 6750) as plain data. */
export async function refusalOf(endpoints: JwtEndpoints, error: unknown): Promise<HttpResponse> {
  const response = endpoints.errorResponse(error);
  return { status: response.status, headers: Object.fromEntries(response.headers), body: await response.text() };
}
