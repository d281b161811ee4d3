/** A body's bytes or text -> plain data: the three media types that Django REST framework parses by default. */
import { fail } from "../errors.ts";
import { type MaybePromise, after } from "../maybe-promise.ts";
import { type HttpRequest, tooLarge } from "./message.ts";
import { JsonError, parseJson } from "./json.ts";

export const mediaTypes = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"];

/**
 * Reads a body as the data of an endpoint; an empty one is an empty object, whatever its type.
 * @param limit in bytes.
 * @throws `body_too_large`, `unsupported_media_type`, `parse_error`, `body_already_read`.
 */
export function readData(asked: HttpRequest, limit: number): MaybePromise<unknown> {
  const contentType = asked.headers.get("content-type") ?? "";
  const mediaType = contentType.split(";", 1)[0]!.trim().toLowerCase();
  const { parsed } = asked;
  if (parsed !== undefined) {
    if (!mediaTypes.includes(mediaType)) throw unsupported(contentType);
    if (Number(asked.headers.get("content-length")) > limit) throw tooLarge(limit);
    return parsed;
  }
  if (mediaType === "application/json") return after(asked.text(limit), parseJsonBody);
  return after(asked.bytes(limit), (bytes) => {
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

const unsupported = (contentType: string) =>
  fail("unsupported_media_type", { text: `Unsupported media type "${contentType}" in request.` });

function parseJsonBody(text: string): unknown {
  if (text === "") return {};
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
