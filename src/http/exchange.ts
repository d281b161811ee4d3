/**
 * One exchange as plain data: what is asked and what is answered. A Fetch `Request` and `Response` are a thin skin over it,
 * and a server that has something faster (an entry file in `serve/`) puts on a skin of its own.
 */
import { fail } from "../errors.ts";
import { type MaybePromise, after } from "../maybe-promise.ts";

/** What the endpoints look at in a request. */
export interface Asked {
  readonly method: string;
  /** Absolute, or from its path on. */
  readonly url: string;
  readonly headers: { get(name: string): string | null };
  /** The client's address, where the server tells. */
  readonly ip?: string | undefined;
  /**
   * The whole body.
   * @param limit in bytes.
   * @throws `body_too_large`; `parse_error` when it can't be read.
   */
  bytes(limit: number): MaybePromise<Uint8Array<ArrayBuffer>>;
  /** The same as text; also `parse_error` when it is not UTF-8. */
  text(limit: number): MaybePromise<string>;
}

export interface Answer {
  status: number;
  /** Names in lower case. */
  headers: Readonly<Record<string, string>>;
  /** Values of `Set-Cookie`, the one header that may come several times. */
  cookies?: readonly string[] | undefined;
  body: string;
}

/**
 * A step as a Fetch handler.
 * @param ip how to find the client's address; by default the `ip` that some servers add to a request.
 */
export function fetchWith(
  step: (asked: Asked) => MaybePromise<Answer>,
  request: Request,
  ip?: () => string | undefined,
): Promise<Response> {
  return Promise.resolve(after(step(new FetchAsked(request, ip)), toResponse));
}

export function toResponse({ status, headers, cookies, body }: Answer): Response {
  // Made with more than its type, Deno registers a response for finalization: a microsecond more than to add the others.
  const { "content-type": type, ...others } = headers;
  const init: ResponseInit = type === undefined ? { status } : { status, headers: { "content-type": type } };
  const response = new Response(status === 204 ? null : body, init);
  for (const name in others) response.headers.append(name, others[name]!);
  for (const cookie of cookies ?? []) response.headers.append("set-cookie", cookie);
  return response;
}

export const askedFrom = (request: Request): Asked => new FetchAsked(request);

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

class FetchAsked implements Asked {
  readonly #request: Request;
  readonly method: string;
  readonly url: string;
  readonly headers: Headers;
  readonly #ip: (() => string | undefined) | undefined;
  constructor(request: Request, ip?: () => string | undefined) {
    this.#request = request;
    this.#ip = ip;
    this.method = request.method;
    this.url = request.url;
    this.headers = request.headers;
  }
  get ip(): string | undefined {
    return this.#ip === undefined ? (this.#request as { ip?: string }).ip : this.#ip();
  }

  /**
   * Where the length is declared, `text()` does: on Node it takes a short way past the streams (twice the requests per
   * second). It replaces what is not UTF-8 and may drop a byte order mark, and both show in the length; only three bytes
   * of a cut-off character pass, as the one U+FFFD that they are read as.
   */
  text(limit: number): Promise<string> {
    const declared = Number(this.headers.get("content-length") ?? Number.NaN);
    if (!(declared <= limit)) return this.bytes(limit).then(decodeUtf8);
    return this.#request.text().then((text) => {
      const isReplaced = text.includes("\ufffd");
      if (text.length === declared && !isReplaced) return text; // ASCII alone
      const length = new TextEncoder().encode(text).length;
      if (length === declared) return text;
      if (length > limit) throw tooLarge(limit); // a Request that no server made may declare anything
      return isReplaced ? notUtf8() : length + 3 === declared ? `\ufeff${text}` : text;
    }, asUnreadable);
  }

  async bytes(limit: number): Promise<Uint8Array<ArrayBuffer>> {
    const request = this.#request;
    const declared = this.headers.get("content-length");
    if (declared !== null && Number(declared) > limit) throw tooLarge(limit);
    if (declared === "0") return new Uint8Array(0);
    try {
      // Asking for `body` makes a stream, which costs more than all the rest: only where the length is not known.
      if (declared !== null) {
        const bytes = new Uint8Array(await request.arrayBuffer());
        if (bytes.length > limit) throw tooLarge(limit); // a Request that no server made may declare anything
        return bytes;
      }
      if (request.body === null) return new Uint8Array(0);
      // Of a body of undeclared length no more is read than the limit.
      const chunks: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
        size += chunk.length;
        if (size > limit) throw tooLarge(limit);
        chunks.push(chunk);
      }
      return joinChunks(chunks, size);
    } catch (cause) {
      if ((cause as { isBoom?: boolean }).isBoom) throw cause;
      throw unreadable(cause);
    }
  }
}

/** @throws `parse_error` when the bytes are not UTF-8. A byte order mark stays in the text. */
export function decodeUtf8(bytes: Uint8Array): string {
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

/** The client went away, or the body was read before it came here. */
export const unreadable = (cause: unknown) =>
  fail("parse_error", { text: "The request body could not be read.", cause });

export const tooLarge = (limit: number) =>
  fail("body_too_large", { text: `Request body is larger than ${limit} bytes.` });

export function joinChunks(chunks: readonly Uint8Array[], size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
