/** Bodies of requests that a host on Node received: from its stream, or what a body parser in front of us made of them. */
import { fail } from "../errors.ts";
import type { MaybePromise } from "../maybe-promise.ts";
import { BodyBuffer, restLimit, tooLarge, unreadable } from "./body.ts";

/** The part of Node's `IncomingMessage` that reading a body needs. */
export interface NodeStream {
  readonly readableDidRead?: boolean;
  readonly destroyed?: boolean;
  on(event: "data", listener: (chunk: Uint8Array) => void): unknown;
  on(event: "end" | "close", listener: () => void): unknown;
  on(event: "error", listener: (error: unknown) => void): unknown;
  destroy?(): unknown;
}

/** Where body parsers keep what they read: on the request of `node:http`, or on the host's own. */
export interface KeptBody {
  /** The unparsed body, which some hosts keep. */
  readonly rawBody?: unknown;
  /** The parsed body. */
  readonly body?: unknown;
}

/** Returns what a body parser made of a body that it has read, unless it kept the bytes too. */
export function parsedBodyOf(stream: NodeStream, kept: KeptBody): unknown {
  return stream.readableDidRead && rawBodyOf(kept) === undefined ? kept.body : undefined;
}

function rawBodyOf({ rawBody, body }: KeptBody): Uint8Array | undefined {
  for (const raw of [rawBody, body]) {
    if (raw instanceof Uint8Array) return raw;
    if (typeof raw === "string") return new TextEncoder().encode(raw);
  }
  return undefined;
}

/**
 * Reads a body, or takes the bytes that a host kept.
 * @param limit in bytes.
 * @throws `body_too_large`, `body_already_read`; `parse_error` when the client went away.
 */
export function readNodeBody(stream: NodeStream, kept: KeptBody, limit: number): MaybePromise<Uint8Array<ArrayBuffer>> {
  const body = new BodyBuffer(limit);
  const raw = rawBodyOf(kept);
  if (raw !== undefined) {
    body.add(raw);
    return body.bytes();
  }
  if (stream.readableDidRead) throw fail("body_already_read");
  if (stream.destroyed) throw unreadable("the connection has ended");
  return new Promise((resolve, reject) => {
    stream.on("data", (chunk) => {
      if (!body.add(chunk)) reject(tooLarge(limit));
      if (body.size > limit + restLimit) stream.destroy?.(); // the response has been sent; the client must end some time
    });
    stream.on("end", () => body.size <= limit && resolve(body.bytes()));
    stream.on("error", (error) => reject(unreadable(error)));
    stream.on("close", () => reject(unreadable(undefined)));
  });
}
