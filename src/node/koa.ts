/** The endpoints and the guard as middleware of Koa. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AuthenticateOptions, Authenticated, HttpResponse, JwtEndpoints } from "../index.ts";
import { headOf } from "./listener.ts";
import { MessageRequest, refusalOf, urlFor } from "./message.ts";

/** The part of Koa's context that is used here. */
export interface KoaContext {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** Has what a body parser read in `body` and `rawBody`. */
  readonly request: object;
  readonly originalUrl: string;
  readonly url: string;
  readonly ip: string;
  state: object;
  status: number;
  body: unknown;
  set(name: string, value: string): void;
  append(name: string, value: string): void;
}

/** A middleware for `app.use` of Koa. */
export type KoaMiddleware = (context: KoaContext, next: () => Promise<unknown>) => Promise<void>;

/**
 * Makes a middleware for Koa's `app.use`. Paths that are not the endpoints' go on to the next one, unless koa-mount has
 * removed its path. It uses a body that was parsed before, and Koa's `ip`.
 */
export function toKoaMiddleware(endpoints: JwtEndpoints): KoaMiddleware {
  return async (context, next) => {
    const { req, res, request: kept, originalUrl: whole, url: stripped, ip } = context;
    const url = urlFor(endpoints, whole, stripped);
    if (whole === stripped && !endpoints.hasRoute(url)) return void (await next());
    respond(await endpoints.handle(new MessageRequest(req, res, { url, ip, kept })), context);
  };
}

/**
 * Makes a middleware that sets `context.state.user` and `context.state.claims` and goes on, or sends RFC 6750's response
 * to a request without a valid access token. `new Koa<Authenticated>()` has their types.
 * @param options the types of token and the claims that are accepted.
 */
export function requireKoaUser(endpoints: JwtEndpoints, options?: AuthenticateOptions): KoaMiddleware {
  return async (context, next) => {
    let who: Authenticated;
    try {
      who = await endpoints.authenticate(headOf(context.req, context.ip), options);
    } catch (error) {
      return respond(await refusalOf(endpoints, error), context);
    }
    Object.assign(context.state, who);
    await next();
  };
}

function respond({ status, headers, cookies = [], body }: HttpResponse, context: KoaContext): void {
  if (context.res.headersSent) return;
  context.status = status;
  for (const name in headers) {
    if (name === "vary") context.append(name, headers[name]!);
    else context.set(name, headers[name]!);
  }
  for (const cookie of cookies) context.append("set-cookie", cookie);
  context.body = status === 204 ? null : body;
}
