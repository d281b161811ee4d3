/**
 * The endpoints for `node:http`, Express, Fastify and Koa: no `Request` and `Response` in between. Other frameworks take
 * `endpoints.fetch`.
 * @module
 */
export { type FastifyHook, type FastifyPlugin, requireFastifyUser, toFastifyPlugin } from "./fastify.ts";
export { type KoaMiddleware, requireKoaUser, toKoaMiddleware } from "./koa.ts";
export { type NodeListener, type NodeMessage, type NodeMiddleware, requireUser, toNodeListener } from "./listener.ts";
