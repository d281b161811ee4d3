/** What one client may take up of the server: each limit is exceeded over a real socket, while others are served. */
import net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeToken, secret } from "../support/contract-client.ts";
import { until } from "../support/processes.ts";
import { runtime } from "../support/runtime.ts";
import { json, logIn, serve } from "../support/server.ts";

const it = suite(`${runtime} server: limits`);

interface Wire {
  text: () => string;
  isClosed: () => boolean;
  /** How long the server kept it, in milliseconds. */
  kept: () => number;
  end(): void;
}

/** Sends the beginning of a request and then a piece of it from time to time. */
function dawdle(origin: string, begin: string, piece = ""): Wire {
  const socket = net.connect(Number(new URL(origin).port), "127.0.0.1");
  const start = performance.now();
  let [text, kept] = ["", 0];
  const timer = setInterval(() => piece !== "" && socket.write(piece), 100);
  socket.on("data", (chunk: Uint8Array) => (text += chunk.toString()));
  socket.on("error", () => {});
  socket.on("close", () => {
    clearInterval(timer);
    kept = performance.now() - start;
  });
  socket.write(begin);
  return { text: () => text, isClosed: () => kept > 0, kept: () => kept, end: () => void socket.destroy() };
}

const line = "POST /jwt/verify/ HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n";
const whole = (headers: string, body = "{}") => `${line}${headers}Content-Length: ${body.length}\r\n\r\n${body}`;

/** Seconds after which a runtime ends slow headers and slow bodies at the latest; Deno's server has no time limits. */
const latest = { node: [2.5, 3.5], bun: [20, 12], deno: [] }[runtime];

it("end a request whose headers or body take too long to arrive, and serve others meanwhile", async () => {
  const server = await serve(["--store", "memory:", "--headers-timeout", "1s", "--request-timeout", "2s"]);
  const headers = [
    dawdle(server.origin, line),
    dawdle(server.origin, line, "X-More: 1\r\n"),
    dawdle(server.origin, ""),
  ];
  const long = `${line}Content-Length: 60000\r\n\r\n`;
  const chunked = `${line}Transfer-Encoding: chunked\r\n\r\n`;
  const bodies = [
    dawdle(server.origin, long),
    dawdle(server.origin, long, " "),
    dawdle(server.origin, chunked, "1\r\n \r\n"),
  ];
  const slow = [...headers, ...bodies];
  for (let i = 0; i < 20; i++) assert.is((await server.send("/healthz")).status, 200);
  if (runtime === "deno") {
    // It has no way to end a connection: README says so, and to put a proxy in front.
    await new Promise((resolve) => setTimeout(resolve, 3500));
    assert.not.ok(slow.some(({ isClosed }) => isClosed()));
  } else {
    await until(() => slow.every(({ isClosed }) => isClosed()), "all of them are ended", 25_000);
    for (const { kept } of headers) assert.ok(kept() > 900 && kept() < latest[0]! * 1000, `headers: ${kept()} ms`);
    for (const { kept } of bodies) assert.ok(kept() > 1900 && kept() < latest[1]! * 1000, `body: ${kept()} ms`);
    for (const { text } of slow) assert.match(text(), /^(HTTP\/1\.1 408 [^]*)?$/);
  }
  for (const { end } of slow) end();
  assert.is((await server.send("/healthz")).status, 200);
  assert.is(await server.stop(), 0);
});

it("refuse headers that are too long", async () => {
  const server = await serve(["--store", "memory:", "--max-header-size", "4096"]);
  // Deno's limit is its own: 64 KiB, and 100 headers.
  const size = runtime === "deno" ? 70_000 : 5000;
  for (const headers of [`X-Long: ${"x".repeat(size)}\r\n`, "X-Many: xxxxxxxxxx\r\n".repeat(size / 10)]) {
    const wire = dawdle(server.origin, whole(headers));
    await until(wire.isClosed, "the connection ends");
    assert.match(wire.text(), runtime === "deno" ? /^HTTP\/1\.1 400 / : /^HTTP\/1\.1 431 /);
  }
  const short = dawdle(server.origin, whole(`X-Short: ${"x".repeat(3000)}\r\nConnection: close\r\n`));
  await until(() => short.text().includes("\r\n\r\n{"), "shorter ones are served");
  assert.match(short.text(), /^HTTP\/1\.1 400 Bad Request\r\n[^]*"token"/);
  assert.is(await server.stop(), 0);
});

if (runtime === "node") {
  it("refuse connections beyond a number, until one ends", async () => {
    const server = await serve(["--store", "memory:", "--max-connections", "5"]);
    const held = Array.from({ length: 5 }, () => dawdle(server.origin, line));
    await new Promise((resolve) => setTimeout(resolve, 200));
    const refused = dawdle(server.origin, whole(""));
    await until(refused.isClosed, "one more is refused");
    assert.is(refused.text(), "");
    assert.not.ok(held.some(({ isClosed }) => isClosed()));
    held[0]!.end();
    await new Promise((resolve) => setTimeout(resolve, 200));
    const served = dawdle(server.origin, whole(""));
    await until(() => served.text() !== "", "it is served again");
    for (const { end } of [...held, served]) end();
    assert.is(await server.stop(), 0);
  });
} else {
  it("say at the start which limits the runtime does not have", async () => {
    const server = await serve(["--store", "memory:", "--max-connections", "5", "--headers-timeout", "5s"]);
    const told = `${runtime === "deno" ? "Deno" : "Bun"} [\\d.]+ can't be given headersTimeout, maxConnections: let a proxy`;
    await until(() => new RegExp(`"limit_not_supported","message":"${told}`).test(server.errors()), "it is told");
    assert.is(await server.stop(), 0);
  });
}

it("refuse a body and a token that are too long, though the token is signed", async () => {
  const server = await serve(["--store", "memory:", "--max-body-size", "20000"], { JWT_SIGNING_KEY: secret });
  const post = async (token: string) => {
    const { status, text } = await server.send("/jwt/verify/", {
      method: "POST",
      headers: json,
      body: JSON.stringify({ token }),
    });
    return `${status} ${text}`;
  };
  assert.is(await post(await makeToken({ more: "x".repeat(5000) })), "200 {}");
  const long = await makeToken({ more: "x".repeat(6500) });
  assert.ok(long.length > 8192 && long.length < 10_000);
  assert.is(await post(long), '400 {"non_field_errors":["Token is invalid or expired"]}');
  assert.match(await post("x".repeat(20_000)), /^413 .*larger than 20000 bytes/);
  assert.is(await server.stop(), 0);
});

it("refuse rotations of one session beyond the server's own limit, and lose no session by it", async () => {
  const flags = ["--store", "memory:", "--rotate-refresh-tokens", "true"];
  const server = await serve(flags, { JWT_SIGNING_KEY: secret }, undefined, []);
  await until(() => server.output().includes("curl"), "the first user is made");
  const password = /shown only once: (\S+)/.exec(server.output())![1]!;
  const logInHere = async () => {
    const { text } = await server.send("/jwt/create/", logIn("admin", password));
    return (JSON.parse(text) as { refresh: string }).refresh;
  };
  const refresh = (token: string) =>
    server.send("/jwt/refresh/", { method: "POST", headers: json, body: JSON.stringify({ refresh: token }) });
  const tokens = [await logInHere()];
  const begin = performance.now();
  let response = await refresh(tokens[0]!);
  for (; response.status === 200 && tokens.length < 2000; response = await refresh(tokens.at(-1)!)) {
    tokens.push((JSON.parse(response.text) as { refresh: string }).refresh);
  }
  const rotations = tokens.length - 1;
  // 600 at once, and one more for each six seconds that they took.
  const most = 600 + Math.floor((performance.now() - begin) / 6000);
  assert.ok(rotations >= 600 && rotations <= most, `${rotations} rotations`);
  const seconds = Number(response.headers["retry-after"]);
  assert.ok(seconds >= 1 && seconds <= 6, `${seconds} s`);
  const text = `Request was throttled. Expected available in ${seconds} second${seconds === 1 ? "" : "s"}.`;
  assert.equal([response.status, JSON.parse(response.text)], [429, { detail: text }]);
  const retried = await refresh(tokens.at(-2)!);
  assert.equal([retried.status, (JSON.parse(retried.text) as { refresh: string }).refresh], [200, tokens.at(-1)]);
  assert.is((await refresh(await logInHere())).status, 200, "another session of the user");
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  assert.is((await refresh(tokens.at(-1)!)).status, 200, "it works after the wait");
  await until(() => server.errors().includes('"event":"throttled"'), "the event is recorded");
  assert.not.match(server.errors(), /without_effect/);
  assert.is(await server.stop(), 0);
});

it.run();
