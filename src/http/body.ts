/** From the bytes or text of a body to plain data: collecting, the size limit, decoding, parsing by media type. */
import { fail } from "../errors.ts";
import { type MaybePromise, after } from "../maybe-promise.ts";
import { nodeBuffer } from "../native.ts";
import type { HttpRequest } from "./message.ts";
import { mediaTypes } from "./negotiate.ts";

/** How much of a refused body is still read, in bytes: a client that keeps sending may never see its response. */
export const restLimit = 1_048_576;
/** How long a client may take to read the response that closes its connection, in milliseconds. */
export const lingerMs = 3000;

/** Most requests have exactly this type. */
const json = "application/json";

/**
 * Reads the body of a request as the data of an endpoint. An empty body is an empty object, whatever its type.
 * @param limit in bytes.
 * @returns what the body says; any JSON value, not only objects.
 * @throws `body_too_large`, `unsupported_media_type`, `parse_error`, `body_already_read`.
 */
export function readData(request: HttpRequest, limit: number): MaybePromise<unknown> {
  const contentType = request.headers.get("content-type") ?? "";
  const mediaType = contentType === json ? json : contentType.split(";", 1)[0]!.trim().toLowerCase();
  const { parsed } = request;
  if (parsed !== undefined) {
    if (!mediaTypes.includes(mediaType)) throw unsupported(contentType);
    if (Number(request.headers.get("content-length")) > limit) throw tooLarge(limit);
    return parsed;
  }
  if (mediaType === json) return after(request.text(limit), parseJsonBody);
  return after(request.bytes(limit), (bytes) => {
    if (bytes.length === 0) return {};
    switch (mediaType) {
      case "application/x-www-form-urlencoded":
        return parseForm(bytes);
      case "multipart/form-data":
        return parseMultipart(bytes, contentType);
      default:
        throw unsupported(contentType);
    }
  });
}

function parseJsonBody(text: string): unknown {
  if (text === "") return {};
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return refuseJson(text);
  }
  // `1.0` and `1` parse alike; a `Number` object tells a float from an int, whose Python name the error text contains.
  return typeof value === "number" && /[.eE]/.test(text) ? new Number(value) : value;
}

/** @throws `parse_error`, by the promise: what describes the error is loaded for it. */
async function refuseJson(text: string): Promise<never> {
  const { describeJsonError } = await import("./json.ts");
  throw fail("parse_error", { text: `JSON parse error - ${describeJsonError(text)}` });
}

/** Parses a form as Django's QueryDict does: the last value of a name counts, and invalid UTF-8 is replaced. */
function parseForm(bytes: Uint8Array): unknown {
  return Object.fromEntries(new URLSearchParams(new TextDecoder().decode(bytes)));
}

async function parseMultipart(bytes: Uint8Array<ArrayBuffer>, contentType: string): Promise<unknown> {
  try {
    return Object.fromEntries(await new Response(bytes, { headers: { "content-type": contentType } }).formData());
  } catch (cause) {
    throw fail("parse_error", { text: "Multipart form parse error - malformed body or boundary", cause });
  }
}

/** Collects the chunks of a body in one growing buffer, since a chunk of one byte may keep a buffer of 64 KiB alive. */
export class BodyBuffer {
  readonly #limit: number;
  #bytes = new Uint8Array(0);
  /** Bytes received, including those that were dropped. */
  size = 0;
  /** @param limit in bytes. */
  constructor(limit: number) {
    this.#limit = limit;
  }
  /** Adds a chunk, or drops it beyond the limit. Returns whether the body is within the limit. */
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

/**
 * Decodes UTF-8 and keeps a byte order mark.
 * @throws `parse_error` when the bytes are not UTF-8.
 */
export function decodeUtf8(bytes: Uint8Array<ArrayBuffer>): string {
  // `TextDecoder` takes Deno 2 µs longer than `Buffer`.
  const text = nodeBuffer?.from(bytes.buffer, bytes.byteOffset, bytes.length).toString();
  if (text !== undefined && !text.includes("\ufffd")) return text; // no byte was replaced
  try {
    return utf8.decode(bytes);
  } catch {
    throw fail("parse_error", { text: "JSON parse error - the body is not UTF-8" });
  }
}

/** Makes the error for a body that ended early, usually because the client went away. */
export const unreadable = (cause: unknown) =>
  fail("parse_error", { text: "The request body could not be read.", cause });

/** @param limit in bytes. */
export const tooLarge = (limit: number) =>
  fail("body_too_large", { text: `Request body is larger than ${limit} bytes.` });

const unsupported = (contentType: string) =>
  fail("unsupported_media_type", { text: `Unsupported media type "${contentType}" in request.` });
