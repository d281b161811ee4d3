/** The endpoints as a plugin of Fastify, and the guard as a hook. */
import { Buffer } from "node:buffer";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { NodeStream } from "../http/node-body.ts";
import type { AuthenticateOptions, Authenticated, HttpResponse, JwtEndpoints } from "../index.ts";
import { headOf } from "./listener.ts";
import { MessageRequest, refusalOf, urlFor } from "./message.ts";

/** The part of Fastify's request that is used here. */
export interface FastifyRequestLike {
  readonly raw: IncomingMessage;
  readonly url: string;
  readonly ip: string;
  body: unknown;
}

/** The part of Fastify's reply that is used here. */
export interface FastifyReplyLike {
  readonly raw: ServerResponse;
  readonly sent: boolean;
  code(status: number): unknown;
  header(name: string, value: string): unknown;
  send(payload?: unknown): unknown;
  callNotFound(): unknown;
}

/** The part of Fastify's instance that is used here. */
export interface FastifyLike {
  readonly prefix: string;
  removeAllContentTypeParsers(): void;
  addContentTypeParser(
    type: string,
    parser: (request: unknown, payload: unknown, done: (error: null, body: unknown) => void) => void,
  ): unknown;
  all(path: string, handler: (request: FastifyRequestLike, reply: FastifyReplyLike) => unknown): unknown;
}

/** A plugin for `app.register` of Fastify. */
export type FastifyPlugin = (app: FastifyLike) => Promise<void>;

/** A hook that runs before the handler of a route, such as `preHandler`. */
export type FastifyHook = (request: FastifyRequestLike, reply: FastifyReplyLike) => Promise<unknown>;

/**
 * Makes a plugin for Fastify's `app.register`, with or without its option `prefix`. It reads bodies itself, since Fastify's
 * own parsers refuse forms; parsers outside of the plugin stay as they are. Registered without a prefix it takes every path
 * that no other route has, and leaves those that are not the endpoints' to Fastify's handler of missing routes.
 */
export function toFastifyPlugin(endpoints: JwtEndpoints): FastifyPlugin {
  return async (app) => {
    app.removeAllContentTypeParsers();
    app.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
    app.all("/*", async (request, reply) => {
      const { raw, url: whole, ip, body } = request;
      const stripped = whole.startsWith(app.prefix) ? whole.slice(app.prefix.length) : whole;
      const url = urlFor(endpoints, whole, stripped);
      if (whole === stripped && !endpoints.hasRoute(url)) return reply.callNotFound();
      const parts = isStream(body) ? { stream: body, kept: {} } : { kept: { body } };
      const message = new MessageRequest(raw, reply.raw, { url, ip, ...parts });
      return respond(await endpoints.handle(message), reply);
    });
  };
}

/**
 * Makes a hook, `onRequest` or later, that sets `request.user` and `request.claims`, or sends RFC 6750's response to a
 * request without a valid access token. For the types, extend Fastify's request:
 *
 * ```ts
 * declare module "fastify" { interface FastifyRequest extends Partial<Authenticated> {} }
 * ```
 * @param options the types of token and the claims that are accepted.
 */
export function requireFastifyUser(endpoints: JwtEndpoints, options?: AuthenticateOptions): FastifyHook {
  return async (request, reply) => {
    let who: Authenticated;
    try {
      who = await endpoints.authenticate(headOf(request.raw, request.ip), options);
    } catch (error) {
      return respond(await refusalOf(endpoints, error), reply);
    }
    Object.assign(request, who);
    return undefined;
  };
}

function respond({ status, headers, cookies = [], body }: HttpResponse, reply: FastifyReplyLike): FastifyReplyLike {
  if (reply.sent) return reply;
  reply.code(status);
  for (const name in headers) reply.header(name, headers[name]!);
  for (const cookie of cookies) reply.header("set-cookie", cookie); // which Fastify adds to earlier ones
  reply.send(body === "" ? undefined : Buffer.from(body)); // to a text, Fastify would add its charset
  return reply;
}

const isStream = (body: unknown): body is NodeStream =>
  typeof body === "object" && body !== null && typeof (body as NodeStream).on === "function";
