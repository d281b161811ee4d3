/** The endpoints for `node:http`, and for what takes its listeners or Connect's middleware, such as Express. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AuthenticateOptions, Authenticated, JwtEndpoints } from "../index.ts";
import { after, isPromise } from "../maybe-promise.ts";
import { MessageHeaders, MessageRequest, refusalOf, send, urlFor } from "./message.ts";

/** A request of `node:http` with what Express and its kin add. */
export interface NodeMessage extends IncomingMessage {
  /** The whole URL, where a mount removes its path from `url`. */
  readonly originalUrl?: string;
  /** The client's address by the framework's own rules. Default: the address of the connection. */
  readonly ip?: string | undefined;
  /** What a body parser made of the body. */
  body?: unknown;
}

/** Calls what comes next in a framework, or its handler of errors. */
export type Next = (error?: unknown) => void;

/** A listener for `node:http`, and a middleware where it gets a `next`. */
export type NodeListener = (message: NodeMessage, response: ServerResponse, next?: Next) => void;

/** A middleware for `app.use` of Express, which always gets a `next`. */
export type NodeMiddleware = (message: NodeMessage, response: ServerResponse, next: Next) => Promise<void>;

/**
 * Makes a listener for `createServer` of `node:http`, and a middleware for `app.use` of Express: mounted at a path, it
 * responds to all that arrives there; without one, paths that are not the endpoints' go on to `next`. It uses a body that
 * was parsed before, and behind Express its `ip`.
 *
 * ```ts
 * app.use("/auth", toNodeListener(endpoints));
 * ```
 */
export function toNodeListener(endpoints: JwtEndpoints): NodeListener {
  return (message, response, next) => {
    const { url: stripped = "/", originalUrl: whole = stripped } = message;
    const url = urlFor(endpoints, whole, stripped);
    if (next !== undefined && whole === stripped && !endpoints.hasRoute(url)) return next();
    const fail: Next = next ?? (() => response.destroy());
    try {
      const request = new MessageRequest(message, response, { url, ip: message.ip, kept: message });
      const sent = after(endpoints.handle(request), (result) => send(result, response));
      if (isPromise(sent)) sent.catch(fail);
    } catch (error) {
      fail(error); // `handle` never fails, but a host's hooks into its response may
    }
  };
}

/**
 * Makes a middleware that sets `request.user` and `request.claims` and calls `next`, or sends RFC 6750's response to a
 * request without a valid access token. For the types, extend the framework's request:
 *
 * ```ts
 * declare global { namespace Express { interface Request extends Partial<Authenticated> {} } }
 * app.get("/me", requireUser(endpoints), (request, response) => response.json(request.user));
 * ```
 * @param options the types of token and the claims that are accepted.
 */
export function requireUser(endpoints: JwtEndpoints, options?: AuthenticateOptions): NodeMiddleware {
  return async (message, response, next) => {
    let who: Authenticated;
    try {
      who = await endpoints.authenticate(headOf(message), options);
    } catch (error) {
      return send(await refusalOf(endpoints, error), response);
    }
    Object.assign(message, who);
    next();
  };
}

/** Returns what authenticating a request needs of it. */
export function headOf(message: NodeMessage, ip: string | undefined = message.ip) {
  const { method = "GET", url = "/", originalUrl = url, socket } = message;
  return { method, url: originalUrl, headers: new MessageHeaders(message), ip: ip ?? socket?.remoteAddress };
}
