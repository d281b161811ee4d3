/** The plain exchange behind `Request` and `Response`, for hosts and servers that speak Fetch. */
import { fail } from "../errors.ts";
import { type MaybePromise, after } from "../maybe-promise.ts";
import { BodyBuffer, decodeUtf8, restLimit, tooLarge, unreadable } from "./body.ts";
import type { Handle, HttpRequest, HttpResponse } from "./message.ts";
import { type KeptBody, type NodeStream, parsedBodyOf, readNodeBody } from "./node-body.ts";

/** How a server of ours differs from an unknown host. Without it, a body that does not end is the host's concern. */
export interface FetchServer {
  /** The pause between two chunks after which a body of undeclared length may be refused, in milliseconds. */
  pause?: number;
  /** Whether the server closes the connection of a refused body that may go on beyond {@link restLimit}. */
  closes?: boolean;
}

/** Handles a Fetch `Request`. */
export const fetchWith = (handle: Handle, request: Request): Promise<Response> =>
  Promise.resolve(after(handle(new FetchRequest(request)), toResponse));

export function toResponse({ status, headers, cookies, body }: HttpResponse): Response {
  // Deno registers a response for finalization when it is made with more than its type: one microsecond slower than
  // adding the other headers afterwards.
  const { "content-type": type, ...others } = headers;
  const init: ResponseInit = type === undefined ? { status } : { status, headers: { "content-type": type } };
  const response = new Response(status === 204 ? null : body, init);
  for (const name in others) response.headers.append(name, others[name]!);
  for (const cookie of cookies ?? []) response.headers.append("set-cookie", cookie);
  return response;
}

/** How long reading the rest of a refused body may delay the response, if the server can't read after it; in milliseconds. */
const restMs = 500;

export class FetchRequest implements HttpRequest {
  readonly #request: Request;
  readonly method: string;
  readonly url: string;
  readonly headers: Headers;
  readonly #ip: (() => string | undefined) | undefined;
  readonly #server: FetchServer;
  #isWhole = false;
  isReading = false;
  /** @param ip returns the client's address; by default it is the `ip` that some servers add to a request. */
  constructor(request: Request, ip?: () => string | undefined, server: FetchServer = {}) {
    this.#request = request;
    this.#ip = ip;
    this.#server = server;
    this.method = request.method;
    this.url = request.url;
    this.headers = request.headers;
  }
  get ip(): string | undefined {
    return this.#ip === undefined ? (this.#request as { ip?: string }).ip : this.#ip();
  }

  isGone(): boolean {
    return this.#request.signal.aborted;
  }

  text(limit: number): MaybePromise<string> {
    return this.#read(limit, decodeUtf8);
  }
  bytes(limit: number): MaybePromise<Uint8Array<ArrayBuffer>> {
    return this.#read(limit, (bytes) => bytes);
  }
  get parsed(): unknown {
    const node = this.#node;
    return node && parsedBodyOf(node, node);
  }

  /** Returns whether more of the body may follow than a server should read. */
  mayGoOn(): boolean {
    if (this.#isWhole) return false;
    const declared = this.headers.get("content-length");
    return declared === null ? this.#request.body !== null : Number(declared) > restLimit;
  }

  /** Node's request behind this one, if srvx made it: reading from there takes half the time. */
  get #node(): (NodeStream & KeptBody) | undefined {
    return (this.#request as { runtime?: { node?: { req?: NodeStream & KeptBody } } }).runtime?.node?.req;
  }

  #read<T>(limit: number, decode: (bytes: Uint8Array<ArrayBuffer>) => T): MaybePromise<T> {
    const request = this.#request;
    const declared = this.headers.get("content-length");
    if (declared !== null && Number(declared) > limit) throw tooLarge(limit);
    if (declared === "0") return decode(new Uint8Array(0));
    const node = this.#node;
    if (node !== undefined) return after(readNodeBody(node, node, limit), decode);
    if (request.bodyUsed) throw fail("body_already_read");
    // The getter `body` makes a stream, which costs more than all the rest, so only an undeclared length reads it.
    if (declared !== null) {
      this.isReading = true;
      return request.arrayBuffer().then((buffer) => {
        this.#isWhole = true;
        this.isReading = false;
        if (buffer.byteLength > limit) throw tooLarge(limit); // a `Request` made by a program may declare any length
        return decode(new Uint8Array(buffer));
      }, throwUnreadable);
    }
    if (request.body === null) return decode(new Uint8Array(0));
    this.isReading = true;
    return this.#readStream(request.body, limit).then(decode);
  }

  /** Reads a body of undeclared length up to the limit, and a little further if the server then closes the connection. */
  async #readStream(stream: ReadableStream<Uint8Array<ArrayBuffer>>, limit: number): Promise<Uint8Array<ArrayBuffer>> {
    const { pause, closes } = this.#server;
    const body = new BodyBuffer(limit);
    const reader = openReader(stream);
    let refusal: unknown;
    const refuse = (error: unknown) => {
      refusal = error;
      reader.cancel().catch(() => {}); // ends the pending read
    };
    let size = -1;
    const watch = () => {
      if (body.size === size) refuse(endless());
      size = body.size;
    };
    let timer = pause === undefined ? undefined : setInterval(watch, pause);
    try {
      for (let spare = new ArrayBuffer(4096); ;) {
        const { done, value } = await reader.read(new Uint8Array(spare));
        if (done) break;
        spare = value.buffer;
        if (body.add(value)) continue;
        if (closes !== true || body.size > limit + restLimit) refuse(tooLarge(limit));
        else timer ??= setTimeout(refuse, restMs, tooLarge(limit));
      }
    } catch (cause) {
      throw refusal ?? unreadable(cause);
    } finally {
      clearTimeout(timer);
    }
    this.isReading = false;
    if (refusal !== undefined) throw refusal;
    this.#isWhole = true;
    return body.bytes();
  }
}

type Reader = Pick<ReadableStreamBYOBReader, "cancel"> & {
  read(into: Uint8Array<ArrayBuffer>): Promise<ReadableStreamReadResult<Uint8Array<ArrayBuffer>>>;
};

/** Opens a reader that fills a given buffer, if the stream can: Deno otherwise allocates 64 KiB for each chunk. */
function openReader(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Reader {
  if (stream.locked) throw fail("body_already_read");
  try {
    return stream.getReader({ mode: "byob" }) as Reader;
  } catch {
    return stream.getReader(); // not a stream of bytes
  }
}

export function throwUnreadable(cause: unknown): never {
  throw unreadable(cause);
}

const endless = () => fail("body_too_large", { text: "Request body of undeclared length does not end." });
