/** A module that exports `{ fetch }`, in its own process on the runtime of this test, and hosts that srvx adapts. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type RequestListener, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { Readable } from "node:stream";
import express from "express";
import fastify from "fastify";
import { toNodeHandler } from "srvx/node";
import { request } from "undici";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type LogEvent, createJwtEndpoints, createPasswords } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { keptIn, projectRoot, runtime, start } from "../support/runtime.ts";
import { until } from "../support/processes.ts";

const credentials = { username: "ada", password: "correct horse" };
const environment = { ...process.env, PORT: "0", BUN_PORT: "0", NO_COLOR: "1" };

/** Serves a module's default export with its runtime's own tool for that. */
function serveModule(file: string): ChildProcess {
  if (runtime === "bun") return start(file, [], { env: environment });
  if (runtime === "node") {
    const args = ["serve", "--prod", "--host", "127.0.0.1", "--port", "0", "--entry", file];
    return start("node_modules/srvx/bin/srvx.mjs", args, { cwd: projectRoot, env: environment });
  }
  const args = ["serve", "-A", "--host", "127.0.0.1", "--port", "0", file];
  const options = { cwd: projectRoot, env: environment };
  const child = spawn(process.execPath, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  process.on("exit", () => child.kill("SIGKILL"));
  return child;
}

/** Calls `use` with the address that the child prints, then stops the child. */
async function withServer(child: ChildProcess, use: (url: string) => Promise<void>): Promise<void> {
  let told = "";
  const listen = (chunk: Uint8Array) => (told += chunk.toString());
  child.stdout!.on("data", listen);
  child.stderr!.on("data", listen);
  const exit = once(child, "exit");
  const address = () => /https?:\/\/(?:localhost|127\.0\.0\.1|0\.0\.0\.0):(\d+)/.exec(told)?.[1];
  try {
    await until(() => address() !== undefined || child.exitCode !== null, "the server tells its address", 30_000);
    if (address() === undefined) throw new Error(`the server ended with code ${child.exitCode}:\n${told}`);
    await use(`http://127.0.0.1:${address()}`);
    assert.is(child.exitCode, null, `still alive, having said:\n${told}`);
  } finally {
    child.kill("SIGTERM"); // by its own pid
    const force = setTimeout(() => child.kill("SIGKILL"), 5000);
    await exit;
    clearTimeout(force);
  }
}

async function post(url: string, data: unknown) {
  const headers = { "content-type": "application/json" };
  const { statusCode, body } = await request(url, { method: "POST", headers, body: JSON.stringify(data) });
  return { status: statusCode, body: (await body.json()) as Record<string, string> };
}

/** Logs in, uses both tokens, and expects three refusals. */
async function useTokens(url: string): Promise<void> {
  const { status, body } = await post(`${url}/jwt/create/`, credentials);
  assert.is(status, 200);
  assert.equal(Object.keys(body), ["refresh", "access"]);
  assert.equal(await post(`${url}/jwt/verify/`, { token: body.access }), { status: 200, body: {} });
  const refreshed = await post(`${url}/jwt/refresh/`, { refresh: body.refresh });
  assert.equal([refreshed.status, Object.keys(refreshed.body)], [200, ["access"]]);
  assert.equal(await post(`${url}/jwt/create/`, { ...credentials, password: "wrong" }), {
    status: 400,
    body: { non_field_errors: ["Unable to log in with provided credentials."] },
  });
  assert.equal(await post(`${url}/jwt/create/`, { username: "ada" }), {
    status: 400,
    body: {
      password: ["This field is required."],
      non_field_errors: ["password: This field is required."],
    },
  });
  assert.equal(await post(`${url}/jwt/refresh/`, { refresh: body.access }), {
    status: 400,
    body: { non_field_errors: ["Token has wrong type"] },
  });
}

const it = suite(`embedding, ${runtime}`);

/** The handler for hosts on Node by srvx, which puts Node's request behind a `Request`, and its log. */
async function nodeHandler(prefix: string) {
  const log: LogEvent[] = [];
  const store = memoryStore();
  const hashing = { iterations: 100 };
  await store.addUser({ username: "ada", passwordHash: await createPasswords(hashing).hash("correct horse") });
  const signingKey = crypto.getRandomValues(new Uint8Array(32));
  const { fetch } = createJwtEndpoints({ store, signingKey, prefix, hashing, log: keptIn(log) });
  return { log, handler: toNodeHandler(fetch) as RequestListener };
}

async function postRaw(url: string, type: string, body: string) {
  const response = await request(url, { method: "POST", headers: { "content-type": type }, body });
  return { status: response.statusCode, text: await response.body.text() };
}

it("accepts a body that Express has parsed, read or not touched", async () => {
  const app = express();
  const { handler, log } = await nodeHandler("/auth");
  app.use(
    express.json(),
    express.urlencoded({ extended: true }),
    express.text(),
    express.raw({ type: "x/y" }),
    express.json({ type: "x/json" }),
  );
  app.use((incoming, _, next) => {
    if (incoming.headers["x-drop"] !== undefined) incoming.body = undefined;
    next();
  });
  app.all("/auth/{*rest}", handler);
  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/auth`;
  try {
    await useTokens(url);
    const form = "username=ada&password=correct+horse";
    assert.is((await postRaw(`${url}/jwt/create/`, "application/x-www-form-urlencoded", form)).status, 200);
    const part = (name: string, value: string) =>
      `--x\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
    const multipart = `${part("username", "ada")}${part("password", "correct horse")}--x--\r\n`;
    assert.is((await postRaw(`${url}/jwt/create/`, "multipart/form-data; boundary=x", multipart)).status, 200);
    assert.is((await postRaw(`${url}/jwt/create/`, "text/plain", "x")).status, 415);
    assert.is((await postRaw(`${url}/jwt/create/`, "x/y", "x")).status, 415);
    assert.is((await postRaw(`${url}/jwt/create/`, "x/json", JSON.stringify(credentials))).status, 415);
    assert.match((await postRaw(`${url}/jwt/create/`, "application/json", "[]")).text, "but got list");
    assert.match((await postRaw(`${url}/jwt/create/`, "application/json", "")).text, "This field is required.");
    const long = JSON.stringify({ token: "x".repeat(70_000) });
    assert.is((await postRaw(`${url}/jwt/verify/`, "application/json", long)).status, 413);
    assert.equal(log, []);
    const headers = { "content-type": "application/json", "x-drop": "1" };
    for (let i = 0; i < 2; i++) {
      const { statusCode, body } = await request(`${url}/jwt/verify/`, {
        method: "POST",
        headers,
        body: '{"token":"x"}',
      });
      const text = "The request body could not be read: something read it before, such as a body parser.";
      assert.equal([statusCode, await body.json()], [400, { non_field_errors: [text] }]);
    }
    assert.equal(
      log.map(({ code }) => code),
      ["body_already_read"],
    );
  } finally {
    server.close();
  }
});

it("accepts a body that Fastify has parsed and handed over, and warns when it is not handed over", async () => {
  const app = fastify();
  const { handler, log } = await nodeHandler("/auth");
  app.all("/auth/*", (incoming, reply) => {
    reply.hijack();
    handler(Object.assign(incoming.raw, { body: incoming.body }), reply.raw);
  });
  const forgetful = await nodeHandler("/forgetful");
  app.all("/forgetful/*", (incoming, reply) => {
    reply.hijack();
    forgetful.handler(incoming.raw, reply.raw);
  });
  const url = await app.listen({ port: 0, host: "127.0.0.1" });
  try {
    await useTokens(`${url}/auth`);
    assert.equal(log, []);
    assert.is((await postRaw(`${url}/forgetful/jwt/verify/`, "application/json", '{"token":"x"}')).status, 400);
    assert.equal(
      forgetful.log.map(({ code }) => code),
      ["body_already_read"],
    );
  } finally {
    await app.close();
  }
});

it("warns when Express strips its mount path", async () => {
  const app = express();
  const { handler, log } = await nodeHandler("/auth");
  const without = await nodeHandler("");
  app.use("/auth", handler);
  app.use("/plain", without.handler);
  const server = app.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    assert.equal(await post(`${url}/auth/jwt/create/`, credentials), { status: 404, body: { detail: "Not found." } });
    assert.equal(
      log.map(({ code }) => code),
      ["path_stripped"],
    );
    await useTokens(`${url}/plain`);
    assert.equal(without.log, []);
  } finally {
    server.close();
  }
});

it("refuses a body that is too large or not UTF-8, under a host on Node", async () => {
  const { handler } = await nodeHandler("");
  const server = createServer(handler).listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwt/verify/`;
  const ask = async (body: Uint8Array, declared: boolean) => {
    const stream = () => Readable.from([body.subarray(0, 5), body.subarray(5)]);
    const headers = { "content-type": "application/json" };
    const response = await request(url, { method: "POST", headers, body: declared ? body : stream() });
    return [response.statusCode, await response.body.text()];
  };
  try {
    for (const declared of [true, false]) {
      const long = new TextEncoder().encode(JSON.stringify({ token: "x".repeat(70_000) }));
      assert.equal(await ask(long, declared), [413, '{"detail":"Request body is larger than 65536 bytes."}']);
      const cut = Uint8Array.from([...new TextEncoder().encode('{"token":"'), 0xf0, 0x9f, 0x98, 0x22, 0x7d]);
      assert.match((await ask(cut, declared))[1] as string, "the body is not UTF-8");
      assert.match((await ask(new TextEncoder().encode('{"token":"€"}'), declared))[1] as string, "Token is invalid");
    }
  } finally {
    server.close();
  }
});

it("serves a module that exports { fetch }", async () => {
  await withServer(serveModule("test/examples/default-export.ts"), async (url) => {
    await useTokens(url);
    const { statusCode, body } = await request(`${url}/healthz`);
    assert.equal([statusCode, await body.json()], [200, { status: "ok" }]);
  });
});

it.run();
