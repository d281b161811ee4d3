/** What a body parser in front of the endpoints does to them, by framework: its result is used, or the refusal says so. */
import { PassThrough, type Readable } from "node:stream";
import { bodyParser } from "@koa/bodyparser";
import express from "express";
import fastify from "fastify";
import { H3 } from "h3";
import { Hono } from "hono";
import Koa from "koa";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JwtEndpoints } from "../../src/index.ts";
import { toFastifyPlugin, toKoaMiddleware, toNodeListener } from "../../src/node/index.ts";
import { endpointsWith } from "../support/endpoints.ts";
import { type Running, listenFetch, listenNode, sendTo } from "../support/hosts.ts";
import { runtime } from "../support/runtime.ts";

const part = (name: string, value: string) =>
  `--x\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;

/** Logins that must succeed, and bodies with what must become of them. */
const bodies: [type: string, body: string, status: number, text?: string | RegExp][] = [
  ["application/json", '{"username":"ada","password":"correct horse"}', 200],
  ["application/x-www-form-urlencoded", "username=ada&password=correct+horse", 200],
  ["multipart/form-data; boundary=x", `${part("username", "ada")}${part("password", "correct horse")}--x--\r\n`, 200],
  ["application/json", "[]", 400, "but got list"],
  ["application/json", "", 400, "This field is required."],
  ["text/plain", "x", 415],
  ["x/y", "x", 415],
  ["application/json", JSON.stringify({ username: "x".repeat(70_000) }), 413],
];

async function expectBodiesTaken({ origin, close }: Running, path = "/jwt/create/"): Promise<void> {
  try {
    for (const [type, body, status, text = ""] of bodies) {
      const response = await sendTo(origin, path, { method: "POST", headers: { "content-type": type }, body });
      assert.is(response.status, status, `${type} ${body.slice(0, 20)}: ${response.text}`);
      assert.match(response.text, text);
    }
  } finally {
    await close();
  }
}

/** Expects the clear refusal, twice, and one warning in the log. */
async function expectRefusal(open: (endpoints: JwtEndpoints) => Promise<Running>): Promise<void> {
  const { endpoints, log } = await endpointsWith();
  const { origin, close } = await open(endpoints);
  try {
    const [type, body] = bodies[0]!;
    for (let i = 0; i < 2; i++) {
      const response = await sendTo(origin, "/jwt/create/", {
        method: "POST",
        headers: { "content-type": type },
        body,
      });
      const text = "The request body could not be read: something read it before, such as a body parser.";
      assert.equal([response.status, response.text], [400, JSON.stringify({ non_field_errors: [text] })]);
    }
    assert.equal(
      log.map(({ code }) => code),
      ["body_already_read"],
    );
  } finally {
    await close();
  }
}

const drain = async (stream: Readable): Promise<void> => {
  for await (const _chunk of stream);
};

const it = suite(`body parsers, ${runtime}`);

it("of Express: what they made of the body is used", async () => {
  const { endpoints, log } = await endpointsWith();
  const parsers = [
    express.json(),
    express.urlencoded({ extended: true }),
    express.text(),
    express.raw({ type: "x/y" }),
  ];
  await expectBodiesTaken(await listenNode(express().use(parsers, toNodeListener(endpoints))));
  assert.equal(log, []);
});

it("of Express: a body that was read and dropped is refused", () =>
  expectRefusal(async (endpoints) => {
    const drop: express.RequestHandler = (request, _response, next) => {
      request.body = undefined;
      next();
    };
    return listenNode(express().use(express.json(), drop, toNodeListener(endpoints)));
  }));

it("of node:http: a body that was read is refused", () =>
  expectRefusal(async (endpoints) => {
    const listener = toNodeListener(endpoints);
    return listenNode((request, response) => void drain(request).then(() => listener(request, response)));
  }));

const listenFastify = async (app: ReturnType<typeof fastify>): Promise<Running> => ({
  origin: await app.listen({ port: 0, host: "127.0.0.1" }),
  close: () => app.close(),
});

it("of Fastify: they stay out of the plugin, and hooks that change the stream are respected", async () => {
  const { endpoints, log } = await endpointsWith();
  const app = fastify({ forceCloseConnections: true });
  app.addHook("preParsing", async (_request, _reply, payload) => payload.pipe(new PassThrough()));
  app.register(toFastifyPlugin(endpoints));
  app.post("/host", ({ body }) => body);
  const running = await listenFastify(app);
  const headers = { "content-type": "application/json" };
  const own = await sendTo(running.origin, "/host", { method: "POST", headers, body: '{"a":1}' });
  assert.is(own.text, '{"a":1}');
  assert.is(
    (await sendTo(running.origin, "/host", { method: "POST", headers: { "content-type": "a/b" }, body: "x" })).status,
    415,
  );
  await expectBodiesTaken(running);
  assert.equal(log, []);
});

it("of Fastify: a body that was read is refused", () =>
  expectRefusal((endpoints) => {
    const app = fastify({ forceCloseConnections: true });
    app.addHook("onRequest", ({ raw }) => drain(raw));
    app.register(toFastifyPlugin(endpoints));
    return listenFastify(app);
  }));

it("of Koa: what they made of the body is used", async () => {
  const { endpoints, log } = await endpointsWith();
  const app = new Koa().use(bodyParser()).use(toKoaMiddleware(endpoints));
  await expectBodiesTaken(await listenNode(app.callback()));
  assert.equal(log, []);
});

it("of Koa: a body that was read and dropped is refused", () =>
  expectRefusal(async (endpoints) => {
    const app = new Koa().use(({ req }, next) => drain(req).then(next)).use(toKoaMiddleware(endpoints));
    return listenNode(app.callback());
  }));

it("of Hono: a body that was read is refused", () =>
  expectRefusal((endpoints) => {
    const app = new Hono();
    app.use((context, next) => context.req.json().then(next));
    app.all("*", (context) => endpoints.fetch(context.req.raw));
    return listenFetch(app.fetch);
  }));

it("of H3: a body that was read is refused", () =>
  expectRefusal((endpoints) => {
    const app = new H3();
    app.use(async ({ req }, next) => (await req.json(), next()));
    app.all("/**", ({ req }) => endpoints.fetch(req));
    return listenFetch(app.fetch);
  }));

if (runtime === "bun") {
  it("of Elysia: a body that was read is refused", () =>
    expectRefusal(async (endpoints) => {
      const { Elysia } = await import("elysia");
      // Elysia parses the body for a handler that names it.
      const app = new Elysia().all("/*", ({ body, request }) => (body === null ? "" : endpoints.fetch(request)));
      app.listen({ port: 0, hostname: "127.0.0.1" });
      return { origin: `http://127.0.0.1:${app.server!.port}`, close: () => app.stop(true) };
    }));
}

it.run();
