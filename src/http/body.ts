/** Request -> plain data: size limit, media type, and the three parsers that Django REST framework has by default. */
import { fail } from "../errors.ts";
import { JsonError, parseJson } from "./json.ts";

export const mediaTypes = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"];

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads a body as the data of an endpoint; an empty one is an empty object, whatever its type.
 * @param limit in bytes.
 * @throws `body_too_large`, `unsupported_media_type`, `parse_error`.
 */
export async function readData(request: Request, limit: number): Promise<unknown> {
  const contentType = request.headers.get("content-type") ?? "";
  const mediaType = contentType.split(";", 1)[0]!.trim().toLowerCase();
  if (mediaType === "application/json") {
    const text = await readText(request, limit);
    return text === "" ? {} : parseJsonBody(text);
  }
  const bytes = await readBytes(request, limit);
  if (bytes.length === 0) return {};
  switch (mediaType) {
    case "application/x-www-form-urlencoded":
      return parseForm(bytes);
    case "multipart/form-data":
      return parseMultipart(bytes, contentType);
    default:
      throw fail("unsupported_media_type", { text: `Unsupported media type "${contentType}" in request.` });
  }
}

/**
 * A body as text, UTF-8 and nothing else. Where the length is declared, `text()` does: on Node it takes a short way past
 * the streams (twice the requests per second). It replaces what is not UTF-8 and may drop a byte order mark, and both
 * show in the length; only three bytes of a cut-off character pass, as the one U+FFFD that they are read as.
 */
async function readText(request: Request, limit: number): Promise<string> {
  const declared = Number(request.headers.get("content-length") ?? Number.NaN);
  if (!(declared <= limit)) return decode(await readBytes(request, limit));
  const text = await request.text().catch(unreadable);
  const isReplaced = text.includes("\ufffd");
  if (text.length === declared && !isReplaced) return text; // ASCII alone
  const length = new TextEncoder().encode(text).length;
  if (length === declared) return text;
  if (length > limit) throw tooLarge(limit); // a Request that no server made may declare anything
  return isReplaced ? notUtf8() : length + 3 === declared ? `\ufeff${text}` : text;
}

function decode(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    return notUtf8();
  }
}

function notUtf8(): never {
  throw fail("parse_error", { text: "JSON parse error - the body is not UTF-8" });
}

/** The client went away, or the body was read before it came here. */
function unreadable(cause: unknown): never {
  throw fail("parse_error", { text: "The request body could not be read.", cause });
}

const tooLarge = (limit: number) => fail("body_too_large", { text: `Request body is larger than ${limit} bytes.` });

async function readBytes(request: Request, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  const declared = request.headers.get("content-length");
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
    return unreadable(cause);
  }
}

function joinChunks(chunks: Uint8Array[], size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

function parseJsonBody(text: string): unknown {
  try {
    const value = parseJson(text);
    // JSON.parse forgets how a number was written, and a refusal names Python's type of the whole body.
    return typeof value === "number" && /[.eE]/.test(text) ? new Number(value) : value;
  } catch (error) {
    if (error instanceof JsonError) throw fail("parse_error", { text: `JSON parse error - ${error.message}` });
    throw error;
  }
}

/** As Django's QueryDict: of a name given twice the last value counts, and bytes that are not UTF-8 are replaced. */
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
