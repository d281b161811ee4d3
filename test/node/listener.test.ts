/** `jwt-endpoints/node` under a host on `node:http`: what clients and hosts do to a request or a response. */
import { once } from "node:events";
import { createServer } from "node:http";
import net from "node:net";
import express from "express";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { LoginRequest } from "../../src/index.ts";
import { toNodeListener } from "../../src/node/index.ts";
import { endpointsWith } from "../support/endpoints.ts";
import { type Running, listenNode, sendTo } from "../support/hosts.ts";
import { runtime, until } from "../support/runtime.ts";

const json = { "content-type": "application/json" };
const login = { method: "POST", headers: json, body: '{"username":"ada","password":"correct horse"}' };

/** Writes to a new connection, and returns what comes back until it is enough or the connection ends. */
async function exchange(origin: string, text: string, isEnough: (received: string) => boolean): Promise<string> {
  const socket = net.connect(Number(new URL(origin).port), "127.0.0.1");
  let [received, hasEnded] = ["", false];
  socket.on("data", (chunk: Uint8Array) => (received += String(chunk)));
  socket.on("error", () => {});
  socket.on("close", () => (hasEnded = true));
  socket.write(text);
  await until(() => hasEnded || isEnough(received), "the response is there");
  socket.destroy();
  return received;
}

async function withHost(host: Promise<Running>, use: (origin: string) => Promise<void>): Promise<void> {
  const { origin, close } = await host;
  try {
    await use(origin);
  } finally {
    await close();
  }
}

const it = suite(`listener for node:http, ${runtime}`);

it("responds to HTTP/1.0 without Host and closes the connection", async () => {
  const { endpoints } = await endpointsWith();
  await withHost(listenNode(toNodeListener(endpoints)), async (origin) => {
    const received = await exchange(origin, "GET /healthz HTTP/1.0\r\n\r\n", () => false);
    assert.match(received, /^HTTP\/1\.[01] 200 OK\r\n/);
    assert.not.match(received, /transfer-encoding/i);
    assert.match(received, /\r\n\r\n\{"status":"ok"\}$/);
  });
});

it("sends no body for HEAD, and the connection goes on", async () => {
  const { endpoints } = await endpointsWith();
  await withHost(listenNode(toNodeListener(endpoints)), async (origin) => {
    const head = "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    const get = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    const received = await exchange(origin, head + get, () => false);
    assert.is(received.match(/HTTP\/1\.1 200 OK/g)?.length, 2);
    assert.is(received.match(/\{"status":"ok"\}/g)?.length, 1);
  });
});

it("refuses a request with two Host headers", async () => {
  const { endpoints } = await endpointsWith();
  await withHost(listenNode(toNodeListener(endpoints)), async (origin) => {
    const received = await exchange(origin, "GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", (text) =>
      text.endsWith("}"),
    );
    assert.match(received, /^HTTP\/1\.1 400 /);
  });
});

const expecting = (length: number): string =>
  `POST /jwt/verify/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n` +
  "Expect: 100-continue\r\nConnection: close\r\n\r\n";

it("lets a client that expects 100-continue go on", async () => {
  const { endpoints } = await endpointsWith();
  await withHost(listenNode(toNodeListener(endpoints)), async (origin) => {
    const received = await exchange(origin, `${expecting(13)}{"token":"x"}`, () => false);
    assert.match(received, "Token is invalid or expired");
  });
});

// Deno and Bun have no `checkContinue`.
if (runtime === "node") {
  it("says 100-continue itself to a host that leaves it to its listener, and refuses a long body before it is sent", async () => {
    const { endpoints } = await endpointsWith();
    const server = createServer().on("checkContinue", toNodeListener(endpoints)).listen(0, "127.0.0.1");
    await once(server, "listening");
    const origin = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
    const close = () => new Promise((closed) => server.close(closed));
    await withHost(Promise.resolve({ origin, close }), async () => {
      const refused = await exchange(origin, expecting(70_000), (text) => text.includes("\r\n\r\n{"));
      assert.match(refused, /^HTTP\/1\.1 413 /);
      const accepted = await exchange(origin, `${expecting(13)}{"token":"x"}`, () => false);
      assert.match(accepted, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 400 /);
    });
  });
}

it("survives a client that goes away in the middle of its body", async () => {
  const { endpoints, log } = await endpointsWith();
  await withHost(listenNode(toNodeListener(endpoints)), async (origin) => {
    const head =
      "POST /jwt/verify/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n";
    for (let i = 0; i < 5; i++) await exchange(origin, `${head}{"tok`, () => true);
    assert.is((await sendTo(origin, "/healthz")).status, 200);
    assert.equal(log, []);
  });
});

it("leaves a response alone that the host has sent in the meantime", async () => {
  const { endpoints } = await endpointsWith();
  const listener = toNodeListener(endpoints);
  const host = listenNode((request, response) => {
    listener(request, response);
    response.writeHead(504).end("too late");
  });
  await withHost(host, async (origin) => {
    const { status, text } = await sendTo(origin, "/jwt/create/", login);
    assert.equal([status, text], [504, "too late"]);
    assert.is((await sendTo(origin, "/jwt/create/", login)).status, 504);
  });
});

it("hands an error of the host's own response to the host", async () => {
  const { endpoints } = await endpointsWith();
  const app = express();
  app.use((_request, response, next) => {
    response.setHeader = () => {
      throw new Error("no headers here");
    };
    next();
  });
  app.use(toNodeListener(endpoints));
  const seen: unknown[] = [];
  app.use(((error, _request, response, _next) => {
    seen.push(error);
    response.writeHead(500).end();
  }) as express.ErrorRequestHandler);
  await withHost(listenNode(app), async (origin) => {
    assert.is((await sendTo(origin, "/jwt/create/", login)).status, 500);
    assert.match(String(seen[0]), "no headers here");
  });
});

it("keeps headers and cookies that the host has set", async () => {
  const { endpoints } = await endpointsWith({ cookies: { carry: ["refresh"] } });
  const listener = toNodeListener(endpoints);
  const host = listenNode((request, response) => {
    response.setHeader("set-cookie", "host=1").setHeader("x-host", "1");
    listener(request, response);
  });
  await withHost(host, async (origin) => {
    const { headers } = await sendTo(origin, "/jwt/create/", login);
    assert.match(headers["set-cookie"]!, "host=1");
    assert.match(headers["set-cookie"]!, "__Host-refresh=");
    assert.is(headers["x-host"], "1");
  });
});

it("counts clients by the framework's address, otherwise by that of the connection", async () => {
  const seen: (string | undefined)[] = [];
  const clientAddress = ({ ip }: LoginRequest) => (seen.push(ip), ip);
  const { endpoints } = await endpointsWith({ clientAddress, throttle: "100/m" });
  const app = express().set("trust proxy", true).use(toNodeListener(endpoints));
  await withHost(listenNode(app), async (origin) => {
    await sendTo(origin, "/jwt/create/", { ...login, headers: { ...json, "x-forwarded-for": "192.0.2.7" } });
  });
  await withHost(listenNode(toNodeListener(endpoints)), async (origin) => {
    await sendTo(origin, "/jwt/create/", login);
  });
  assert.equal([...new Set(seen)], ["192.0.2.7", "127.0.0.1"]);
});

it("ends the connection of a client that sends on and on after its refusal", async () => {
  const { endpoints } = await endpointsWith();
  await withHost(listenNode(toNodeListener(endpoints)), async (origin) => {
    const socket = net.connect(Number(new URL(origin).port), "127.0.0.1");
    let [received, hasEnded] = ["", false];
    socket.on("data", (chunk: Uint8Array) => (received += String(chunk)));
    socket.on("error", () => {});
    socket.on("close", () => (hasEnded = true));
    socket.write(
      "POST /jwt/verify/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    const chunk = `4000\r\n${" ".repeat(0x4000)}\r\n`;
    for (let sent = 0; !hasEnded && sent < 400; sent++) {
      if (!socket.write(chunk)) await Promise.race([once(socket, "drain"), once(socket, "close")]).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await until(() => hasEnded, "the connection has ended");
    assert.match(received, /^HTTP\/1\.1 413 /);
  });
});

it("mounts with the prefix as the path of the mount, or without one", async () => {
  for (const [prefix, mount] of [
    ["", "/auth"],
    ["/auth", "/auth"],
    ["/api/auth", "/api/auth"],
    ["/auth", undefined],
  ] as const) {
    const { endpoints, log } = await endpointsWith({ prefix });
    const app = express();
    if (mount === undefined) app.use(toNodeListener(endpoints));
    else app.use(mount, toNodeListener(endpoints));
    app.use((_request, response) => void response.status(404).send("the host's"));
    await withHost(listenNode(app), async (origin) => {
      assert.is((await sendTo(origin, `${mount ?? prefix}/jwt/create/`, login)).status, 200, `${prefix} at ${mount}`);
      assert.is((await sendTo(origin, "/other")).text, "the host's");
      assert.equal(log, []);
    });
  }
});

it("warns of a mount that fits neither", async () => {
  const { endpoints, log } = await endpointsWith({ prefix: "/api" });
  const app = express().use("/auth", toNodeListener(endpoints));
  await withHost(listenNode(app), async (origin) => {
    const { status, text } = await sendTo(origin, "/auth/jwt/create/", login);
    assert.equal([status, text], [404, '{"detail":"Not found."}']);
    assert.equal(
      log.map(({ code }) => code),
      ["path_stripped"],
    );
  });
});

it.run();
