/**
 * One exchange as plain data: what is asked and what is answered. A Fetch `Request` and `Response` are a thin skin over it,
 * and a server that has something faster (an entry file in `serve/`) puts on a skin of its own.
 */
import { fail } from "../errors.ts";
import { type MaybePromise, after } from "../maybe-promise.ts";
import { nodeBuffer } from "../native.ts";

/** What the endpoints look at in a request. */
export interface HttpRequest {
  readonly method: string;
  /** Absolute, or from its path on. */
  readonly url: string;
  readonly headers: { get(name: string): string | null };
  /** The client's address, where the server tells. */
  readonly ip?: string | undefined;
  /** Whether the rest of the body is still to come. */
  readonly isReading?: boolean;
  /**
   * The whole body.
   * @param limit in bytes.
   * @throws `body_too_large`; `parse_error` when it can't be read.
   */
  bytes(limit: number): MaybePromise<Uint8Array<ArrayBuffer>>;
  /** The same as text; also `parse_error` when it is not UTF-8. */
  text(limit: number): MaybePromise<string>;
  /** What a parser of the host has made of the body, where one has read it before; else undefined. */
  readonly parsed?: unknown;
}

export interface HttpResponse {
  status: number;
  /** Names in lower case. */
  headers: Readonly<Record<string, string>>;
  /** Values of `Set-Cookie`, the one header that may come several times. */
  cookies?: readonly string[] | undefined;
  body: string;
}

/** What a server of its own does about bodies of undeclared length. */
export interface BodyGuard {
  /** How long one may pause before it is refused, at the least; in milliseconds. */
  pause?: number;
  /** Makes the response to a request whose body may go on, after the first {@link restLimit}: it ends the connection. */
  cut?: (answer: HttpResponse) => Response;
}

/**
 * A step as a Fetch handler.
 * @param ip how to find the client's address; by default the `ip` that some servers add to a request.
 * @param guard without it, a body that does not end is the host's affair.
 */
export function fetchWith(
  step: (asked: HttpRequest) => MaybePromise<HttpResponse>,
  request: Request,
  ip?: () => string | undefined,
  guard?: BodyGuard,
): Promise<Response> {
  const asked = new FetchRequest(request, ip, guard);
  const cut = guard?.cut;
  if (cut === undefined) return Promise.resolve(after(step(asked), toResponse));
  return Promise.resolve(
    after(step(asked), (answer) => (answer.status >= 400 && asked.mayGoOn() ? cut(answer) : toResponse(answer))),
  );
}

export function toResponse({ status, headers, cookies, body }: HttpResponse): Response {
  // Made with more than its type, Deno registers a response for finalization: a microsecond more than to add the others.
  const { "content-type": type, ...others } = headers;
  const init: ResponseInit = type === undefined ? { status } : { status, headers: { "content-type": type } };
  const response = new Response(status === 204 ? null : body, init);
  for (const name in others) response.headers.append(name, others[name]!);
  for (const cookie of cookies ?? []) response.headers.append("set-cookie", cookie);
  return response;
}

export const requestFrom = (request: Request): HttpRequest => new FetchRequest(request);

/** How much of a refused body is read all the same, in bytes: a client that sends on may never see its answer. */
export const restLimit = 1_048_576;
/** For how long that may hold the answer up, where nothing can be read after it; in milliseconds. */
const restMs = 500;
/** How long a client may take its answer in before its connection ends, since it goes on sending; in milliseconds. */
export const lingerMs = 3000;

/** The part of Node's `IncomingMessage` that reading a body takes. */
interface NodeBody {
  readonly readableDidRead?: boolean;
  readonly destroyed?: boolean;
  /** Set by some hosts: what was read, as it came. */
  readonly rawBody?: unknown;
  /** Set by body parsers, such as Express's. */
  readonly body?: unknown;
  on(event: "data", listener: (chunk: Uint8Array) => void): unknown;
  on(event: "end" | "close", listener: () => void): unknown;
  on(event: "error", listener: (error: unknown) => void): unknown;
}

class FetchRequest implements HttpRequest {
  readonly #request: Request;
  readonly method: string;
  readonly url: string;
  readonly headers: Headers;
  readonly #ip: (() => string | undefined) | undefined;
  readonly #guard: BodyGuard | undefined;
  #isWhole = false;
  isReading = false;
  constructor(request: Request, ip?: () => string | undefined, guard?: BodyGuard) {
    this.#request = request;
    this.#ip = ip;
    this.#guard = guard;
    this.method = request.method;
    this.url = request.url;
    this.headers = request.headers;
  }
  get ip(): string | undefined {
    return this.#ip === undefined ? (this.#request as { ip?: string }).ip : this.#ip();
  }

  text(limit: number): MaybePromise<string> {
    return this.#read(limit, decodeUtf8);
  }
  bytes(limit: number): MaybePromise<Uint8Array<ArrayBuffer>> {
    return this.#read(limit, (bytes) => bytes);
  }
  get parsed(): unknown {
    const node = this.#node;
    return node?.readableDidRead && rawOf(node) === undefined ? node.body : undefined;
  }

  /** Whether more of the body may come than a server can be left to read. */
  mayGoOn(): boolean {
    if (this.#isWhole) return false;
    const declared = this.headers.get("content-length");
    return declared === null ? this.#request.body !== null : Number(declared) > restLimit;
  }

  /** The request of Node's that this one stands for, where srvx made it: reading from there takes half the time. */
  get #node(): NodeBody | undefined {
    return (this.#request as { runtime?: { node?: { req?: NodeBody } } }).runtime?.node?.req;
  }

  #read<T>(limit: number, use: (bytes: Uint8Array<ArrayBuffer>) => T): MaybePromise<T> {
    const request = this.#request;
    const declared = this.headers.get("content-length");
    if (declared !== null && Number(declared) > limit) throw tooLarge(limit);
    if (declared === "0") return use(new Uint8Array(0));
    const node = this.#node;
    if (node !== undefined) return after(readNode(node, limit), use);
    if (request.bodyUsed) throw fail("body_already_read");
    // Asking for `body` makes a stream, which costs more than all the rest: only where the length is not known.
    if (declared !== null) {
      this.isReading = true;
      return request.arrayBuffer().then((buffer) => {
        this.#isWhole = true;
        this.isReading = false;
        if (buffer.byteLength > limit) throw tooLarge(limit); // a Request that no server made may declare anything
        return use(new Uint8Array(buffer));
      }, asUnreadable);
    }
    if (request.body === null) return use(new Uint8Array(0));
    this.isReading = true;
    return this.#readStream(request.body, limit).then(use);
  }

  /** Of a body of undeclared length no more is read than the limit; by a server that ends the connection, a little more. */
  async #readStream(stream: ReadableStream<Uint8Array<ArrayBuffer>>, limit: number): Promise<Uint8Array<ArrayBuffer>> {
    const { pause, cut } = this.#guard ?? {};
    const body = new BodyBuffer(limit);
    const reader = openReader(stream);
    let refusal: unknown;
    const refuse = (error: unknown) => {
      refusal = error;
      reader.cancel().catch(() => {}); // the read that waits ends
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
        if (cut === undefined || body.size > limit + restLimit) refuse(tooLarge(limit));
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

/** A reader that fills the buffer it is given, where the stream can: Deno makes 64 KiB for each chunk otherwise. */
function openReader(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Reader {
  if (stream.locked) throw fail("body_already_read");
  try {
    return stream.getReader({ mode: "byob" }) as Reader;
  } catch {
    return stream.getReader(); // not a stream of bytes
  }
}

/** What a host of Node's has read before, if it has kept the bytes or text. */
function rawOf({ rawBody, body }: NodeBody): Uint8Array | undefined {
  if (rawBody instanceof Uint8Array) return rawBody;
  return typeof body === "string" ? new TextEncoder().encode(body) : body instanceof Uint8Array ? body : undefined;
}

function readNode(node: NodeBody, limit: number): MaybePromise<Uint8Array<ArrayBuffer>> {
  const body = new BodyBuffer(limit);
  const raw = rawOf(node);
  if (raw !== undefined) {
    body.add(raw);
    return body.bytes();
  }
  if (node.readableDidRead) throw fail("body_already_read");
  if (node.destroyed) throw unreadable("the connection has ended");
  return new Promise((resolve, reject) => {
    node.on("data", (chunk) => {
      if (!body.add(chunk)) reject(tooLarge(limit));
    });
    node.on("end", () => body.size <= limit && resolve(body.bytes()));
    node.on("error", (error) => reject(unreadable(error)));
    node.on("close", () => reject(unreadable(undefined)));
  });
}

/** A body that comes in chunks, as one: a chunk of one byte may hold on to a buffer of 64 KiB. */
export class BodyBuffer {
  readonly #limit: number;
  #bytes = new Uint8Array(0);
  /** Of all that came, also of what was not kept. */
  size = 0;
  constructor(limit: number) {
    this.#limit = limit;
  }
  /** Returns whether the limit is kept; what goes beyond it is dropped. */
  add(chunk: Uint8Array): boolean {
    const start = this.size;
    this.size += chunk.length;
    if (this.size > this.#limit) return false;
    if (this.size > this.#bytes.length) {
      const grown = new Uint8Array(Math.min(this.#limit, Math.max(1024, 2 * this.size)));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes.set(chunk, start);
    return true;
  }
  /** @throws `body_too_large` */
  bytes(): Uint8Array<ArrayBuffer> {
    if (this.size > this.#limit) throw tooLarge(this.#limit);
    return this.#bytes.subarray(0, this.size);
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @throws `parse_error` when the bytes are not UTF-8. A byte order mark stays in the text. */
export function decodeUtf8(bytes: Uint8Array<ArrayBuffer>): string {
  // A decoder alone takes Deno 2 µs more.
  const text = nodeBuffer?.from(bytes.buffer, bytes.byteOffset, bytes.length).toString();
  if (text !== undefined && !text.includes("\ufffd")) return text; // nothing was replaced
  try {
    return utf8.decode(bytes);
  } catch {
    return notUtf8();
  }
}

function notUtf8(): never {
  throw fail("parse_error", { text: "JSON parse error - the body is not UTF-8" });
}

function asUnreadable(cause: unknown): never {
  throw unreadable(cause);
}

/** The client went away. */
export const unreadable = (cause: unknown) =>
  fail("parse_error", { text: "The request body could not be read.", cause });

export const tooLarge = (limit: number) =>
  fail("body_too_large", { text: `Request body is larger than ${limit} bytes.` });

const endless = () => fail("body_too_large", { text: "Request body of undeclared length does not end." });
