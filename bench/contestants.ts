/**
 * What a user would pick instead, as small as its own documentation makes it, with the same two endpoints: each is this
 * program with a name, in a process of its own.
 */
import { createServer } from "node:http";
import process from "node:process";
import { runtime } from "../test/runtime.ts";
import { secret } from "./tools.ts";

const accessSeconds = 300;
type Claims = Record<string, unknown>;

/** What an access token takes over from its refresh token, as ours does. */
const accessClaims = ({ user_id }: Claims): Claims => {
  const iat = Math.floor(Date.now() / 1000);
  const jti = crypto.randomUUID().replaceAll("-", "");
  return { token_type: "access", exp: iat + accessSeconds, iat, jti, user_id };
};

export const invalid = { non_field_errors: ["Token is invalid or expired"] };
export const tell = (port: number) => console.log(`http://127.0.0.1:${port}`);

/** With the verify endpoint; the others are the caller's. */
export async function fastifyApp(cache: boolean) {
  const { fastify } = await import("fastify");
  const { createSigner, createVerifier } = await import("fast-jwt");
  const verify = createVerifier({ key: secret, algorithms: ["HS256"], cache: cache ? 10_000 : false });
  const sign = createSigner({ key: secret, algorithm: "HS256" });
  const app = fastify();
  app.post<{ Body: { token: string } }>("/jwt/verify/", async ({ body }, reply) => {
    try {
      verify(body.token);
      return {};
    } catch {
      return reply.code(400).send(invalid);
    }
  });
  return { app, sign, verify };
}

async function fastifyWith(cache: boolean): Promise<void> {
  const { app, sign, verify } = await fastifyApp(cache);
  app.post<{ Body: { refresh: string } }>("/jwt/refresh/", async ({ body }, reply) => {
    try {
      return { access: sign(accessClaims(verify(body.refresh) as Claims)) };
    } catch {
      return reply.code(400).send(invalid);
    }
  });
  const address = await app.listen({ port: 0, host: "127.0.0.1" });
  tell(Number(new URL(address).port));
}

/** With the verify endpoint; the others are the caller's. */
export async function expressApp() {
  const { default: make, json } = await import("express");
  const { default: jwt } = await import("jsonwebtoken");
  const app = make();
  app.use(json());
  app.post("/jwt/verify/", ({ body }, response) => {
    try {
      jwt.verify(body.token, secret, { algorithms: ["HS256"] });
      response.json({});
    } catch {
      response.status(400).json(invalid);
    }
  });
  return { app, jwt };
}

async function express(): Promise<void> {
  const { app, jwt } = await expressApp();
  app.post("/jwt/refresh/", ({ body }, response) => {
    try {
      const claims = jwt.verify(body.refresh, secret, { algorithms: ["HS256"] }) as Claims;
      response.json({ access: jwt.sign(accessClaims(claims), secret) });
    } catch {
      response.status(400).json(invalid);
    }
  });
  const server = app.listen(0, "127.0.0.1", () => tell((server.address() as { port: number }).port));
}

type Fetch = (request: Request) => Response | Promise<Response>;

/** The server that comes with the runtime. */
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

async function hono(): Promise<void> {
  const { Hono } = await import("hono");
  const { sign, verify } = await import("hono/jwt");
  const app = new Hono();
  app.post("/jwt/verify/", async (c) => {
    const { token } = await c.req.json<{ token: string }>();
    try {
      await verify(token, secret, "HS256");
      return c.json({});
    } catch {
      return c.json(invalid, 400);
    }
  });
  app.post("/jwt/refresh/", async (c) => {
    const { refresh } = await c.req.json<{ refresh: string }>();
    try {
      return c.json({ access: await sign(accessClaims(await verify(refresh, secret, "HS256")), secret) });
    } catch {
      return c.json(invalid, 400);
    }
  });
  await serveFetch(app.fetch);
}

/** Parses the JSON and answers `{}`: what the runtime's own server takes for anything at all. */
async function bare(): Promise<void> {
  if (runtime !== "node") {
    return serveFetch(async (request) => {
      await request.json();
      return new Response("{}", { headers: { "content-type": "application/json" } });
    });
  }
  const headers = { "content-type": "application/json", "content-length": "2" };
  const server = createServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    request.on("end", () => {
      JSON.parse(Buffer.concat(chunks).toString());
      response.writeHead(200, headers).end("{}");
    });
  });
  server.listen(0, "127.0.0.1", () => tell((server.address() as { port: number }).port));
}

/** By title. Node's frameworks are not what a user of Deno or Bun would pick. */
export const contestants: Record<string, () => Promise<void>> = {
  bare,
  ...(runtime === "node" && {
    "Fastify, fast-jwt": () => fastifyWith(false),
    "Fastify, fast-jwt cached": () => fastifyWith(true),
    "Express, jsonwebtoken": express,
  }),
  "Hono, hono/jwt": hono,
};

const asked = process.argv[2];
if (asked !== undefined && Object.hasOwn(contestants, asked) && process.argv[1]?.includes("contestants")) {
  process.once("SIGTERM", () => process.exit(0));
  await contestants[asked]!();
}
