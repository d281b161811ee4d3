/**
 * The servers that a user would pick instead, each as small as in its own documentation, with the same two endpoints. Each
 * runs as this program, given its name, in a process of its own.
 */
import { createSecretKey } from "node:crypto";
import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { runtime } from "../../test/support/runtime.ts";
import { claimsOf } from "../../test/support/tokens.ts";
import { bare, secret } from "./tools.ts";

type Claims = Record<string, unknown>;

/** The claims that an access token takes over from its refresh token, as in this server. */
export const accessClaims = ({ user_id }: Claims) => claimsOf("access", 300, user_id);

const invalid = { non_field_errors: ["Token is invalid or expired"] };
const tell = (port: number) => console.log(`http://127.0.0.1:${port}`);

/** Listens with a `node:http` server. */
export function serveNode(app: {
  listen(port: number, host: string, done: () => void): Pick<Server, "address">;
}): void {
  const server = app.listen(0, "127.0.0.1", () => tell((server.address() as AddressInfo).port));
}

const fieldOf = (name: string) => ({ type: "object", properties: { [name]: { type: "string" } } });
/** The schemas of a route, which Fastify recommends: bodies are checked and responses written by code made from them. */
const schemaOf = (field: string, response: object) => ({
  schema: { body: { ...fieldOf(field), required: [field] }, response: { 200: response } },
});

/** With the verify endpoint; the others are the caller's. */
export async function fastifyApp(cache: boolean, options: { trustProxy?: string } = {}) {
  const { fastify } = await import("fastify");
  const { createSigner, createVerifier } = await import("fast-jwt");
  const verify = createVerifier({ key: secret, algorithms: ["HS256"], cache: cache ? 10_000 : false });
  const sign = createSigner({ key: secret, algorithm: "HS256" });
  const app = fastify(options);
  const schema = schemaOf("token", { type: "object" });
  app.post<{ Body: { token: string } }>("/jwt/verify/", schema, async ({ body }, reply) => {
    try {
      verify(body.token);
      return {};
    } catch {
      return reply.code(400).send(invalid);
    }
  });
  const serve = async () => tell(Number(new URL(await app.listen({ port: 0, host: "127.0.0.1" })).port));
  return { app, sign, verify, serve };
}

async function fastifyWith(cache: boolean): Promise<void> {
  const { app, sign, verify, serve } = await fastifyApp(cache);
  const schema = schemaOf("refresh", fieldOf("access"));
  app.post<{ Body: { refresh: string } }>("/jwt/refresh/", schema, async ({ body }, reply) => {
    try {
      return { access: sign(accessClaims(verify(body.refresh) as Claims)) };
    } catch {
      return reply.code(400).send(invalid);
    }
  });
  await serve();
}

/** With the verify endpoint; the others are the caller's. */
export async function expressApp() {
  const { default: make, json } = await import("express");
  const { default: jwt } = await import("jsonwebtoken");
  const key = createSecretKey(secret, "utf8"); // text would be tried as a public key each time, for half a millisecond
  const verify = (token: string) => jwt.verify(token, key, { algorithms: ["HS256"] }) as Claims;
  const sign = (claims: Claims) => jwt.sign(claims, key);
  const app = make();
  app.use(json());
  app.post("/jwt/verify/", ({ body }, response) => {
    try {
      verify(body.token);
      response.json({});
    } catch {
      response.status(400).json(invalid);
    }
  });
  return { app, sign, verify };
}

async function express(): Promise<void> {
  const { app, sign, verify } = await expressApp();
  app.post("/jwt/refresh/", ({ body }, response) => {
    try {
      response.json({ access: sign(accessClaims(verify(body.refresh))) });
    } catch {
      response.status(400).json(invalid);
    }
  });
  serveNode(app);
}

type Fetch = (request: Request) => Response | Promise<Response>;

/** The runtime's own server. */
export async function serveFetch(fetch: Fetch): Promise<void> {
  const own = globalThis as unknown as {
    Deno?: { serve(options: object, fetch: Fetch): { addr: { port: number } } };
    Bun?: { serve(options: object): { port: number } };
  };
  const address = { port: 0, hostname: "127.0.0.1" };
  if (own.Deno) tell(own.Deno.serve({ ...address, onListen() {} }, fetch).addr.port);
  else if (own.Bun) tell(own.Bun.serve({ ...address, fetch }).port);
  else (await import("@hono/node-server")).serve({ ...address, fetch }, ({ port }) => tell(port));
}

/** With the verify endpoint; the others are the caller's. */
export async function honoApp(verify: (token: string) => Promise<Claims>) {
  const { Hono } = await import("hono");
  const app = new Hono();
  app.post("/jwt/verify/", async (c) => {
    const { token } = await c.req.json<{ token: string }>();
    try {
      await verify(token);
      return c.json({});
    } catch {
      return c.json(invalid, 400);
    }
  });
  return app;
}

interface Tokens {
  sign: (claims: Claims) => Promise<string>;
  verify: (token: string) => Promise<Claims>;
}

async function honoWith({ sign, verify }: Tokens): Promise<void> {
  const app = await honoApp(verify);
  app.post("/jwt/refresh/", async (c) => {
    const { refresh } = await c.req.json<{ refresh: string }>();
    try {
      return c.json({ access: await sign(accessClaims(await verify(refresh))) });
    } catch {
      return c.json(invalid, 400);
    }
  });
  await serveFetch(app.fetch);
}

async function honosOwn(): Promise<Tokens> {
  const { sign, verify } = await import("hono/jwt");
  return {
    sign: (claims) => sign(claims, secret),
    verify: async (token) => (await verify(token, secret, "HS256")) as Claims,
  };
}

export async function byJose(): Promise<Tokens> {
  const { SignJWT, jwtVerify } = await import("jose");
  // Imported once: jose would import bytes again for each token.
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", Buffer.from(secret), algorithm, false, ["sign", "verify"]);
  const [header, options] = [{ alg: "HS256", typ: "JWT" }, { algorithms: ["HS256"] }];
  return {
    sign: (claims) => new SignJWT(claims).setProtectedHeader(header).sign(key),
    verify: async (token) => (await jwtVerify(token, key, options)).payload,
  };
}

async function elysia(): Promise<void> {
  const { Elysia, t } = await import("elysia");
  const { jwt } = await import("@elysiajs/jwt");
  const app = new Elysia()
    .use(jwt({ name: "tokens", secret }))
    .post(
      "/jwt/verify/",
      async ({ tokens, body, status }) => ((await tokens.verify(body.token)) === false ? status(400, invalid) : {}),
      { body: t.Object({ token: t.String() }) },
    )
    .post(
      "/jwt/refresh/",
      async ({ tokens, body, status }) => {
        const claims = await tokens.verify(body.refresh);
        if (claims === false) return status(400, invalid);
        const { iat: _, ...given } = accessClaims(claims as Claims); // it sets `iat` itself
        return { access: await tokens.sign(given as object as Record<string, string>) };
      },
      { body: t.Object({ refresh: t.String() }) },
    )
    .listen({ port: 0, hostname: "127.0.0.1" });
  tell(app.server!.port!);
}

/**
 * Parses the JSON and responds with `{}`: the least that a server of this runtime can do.
 * @param check is called with the data.
 */
export async function parseJson(check = (_data: { token: string }): void => {}): Promise<void> {
  if (runtime !== "node") {
    return serveFetch(async (request) => {
      check((await request.json()) as { token: string });
      return new Response("{}", { headers: { "content-type": "application/json" } });
    });
  }
  const headers = { "content-type": "application/json", "content-length": "2" };
  const server = createServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    request.on("end", () => {
      check(JSON.parse(Buffer.concat(chunks).toString()) as { token: string });
      response.writeHead(200, headers).end("{}");
    });
  });
  serveNode(server);
}

/** The contestants by title. All run on every runtime but Elysia, which is made for Bun. */
export const contestants: Record<string, () => Promise<void>> = {
  [bare]: () => parseJson(),
  "Fastify, fast-jwt": () => fastifyWith(false),
  "Fastify, fast-jwt cached": () => fastifyWith(true),
  "Express, jsonwebtoken": express,
  "Hono, hono/jwt": async () => honoWith(await honosOwn()),
  "Hono, jose": async () => honoWith(await byJose()),
  ...(runtime === "bun" && { "Elysia, @elysiajs/jwt": elysia }),
};

/** The packages they are made of. */
export const packages = ["fastify", "fast-jwt", "express", "jsonwebtoken", "hono", "@hono/node-server", "jose"];
if (runtime === "bun") packages.push("elysia", "@elysiajs/jwt");

const asked = process.argv[2];
if (asked !== undefined && Object.hasOwn(contestants, asked) && process.argv[1]?.includes("contestants")) {
  process.once("SIGTERM", () => process.exit(0));
  await contestants[asked]!();
}
