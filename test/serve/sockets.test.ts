/** The entry file of this runtime over raw sockets: how requests arrive in pieces, half, together or not at all. */
import fs from "node:fs";
import net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runtime, start } from "../support/runtime.ts";
import { until } from "../support/processes.ts";

const verifyHead = (length: number, more = ""): string =>
  `POST /jwt/verify/ HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n${more}\r\n`;
const body = '{"token":"no token"}';
const verifyRequest = verifyHead(body.length) + body;
const refusal = '{"non_field_errors":["Token is invalid or expired"]}';

const child = start(`src/serve/${runtime}.ts`, ["--port", "0", "--store", "memory:", "--hashing-iterations", "1"]);
let output = "";
child.stdout!.on("data", (chunk: Uint8Array) => (output += chunk.toString()));
child.stderr!.on("data", (chunk: Uint8Array) => (output += chunk.toString()));
await until(() => output.includes("curl") || child.exitCode !== null, "the server listens", 20_000);
const port = Number(/http:\/\/127\.0\.0\.1:(\d+)/.exec(output)![1]);

interface Wire {
  write(data: string | Uint8Array): void;
  /** Waits until the received bytes satisfy a condition. */
  receive(isEnough: (text: string) => boolean, what: string, ms?: number): Promise<string>;
  isClosed(): boolean;
  destroy(): void;
}

function connect(): Wire {
  const socket = net.connect(port, "127.0.0.1");
  let [text, closed] = ["", false];
  socket.setNoDelay(true);
  socket.on("data", (chunk: Uint8Array) => (text += chunk.toString()));
  socket.on("error", () => {});
  socket.on("close", () => (closed = true));
  return {
    write: (data) => void socket.write(data),
    async receive(isEnough, what, ms) {
      await until(() => isEnough(text) || closed, what, ms);
      return text;
    },
    isClosed: () => closed,
    destroy: () => void socket.destroy(),
  };
}

const statuses = (text: string): string[] => [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((match) => match[1]!);
/** All of them, or as many as came before the server said that it closes: Deno's does after a body that came in pieces. */
function areInOrder(text: string, expected: string[]): void {
  const found = statuses(text);
  const isCut = found.length > 0 && /\r\nconnection: close\r\n/i.test(text);
  assert.equal(found, isCut ? expected.slice(0, found.length) : expected);
}
const has = (count: number) => (text: string) => text.split(refusal).length > count;
const pause = (ms = 5) => new Promise((resolve) => setTimeout(resolve, ms));

/** Checks that the server still serves after the cases before. */
async function stillServes(): Promise<void> {
  const wire = connect();
  wire.write(verifyRequest);
  assert.equal(statuses(await wire.receive(has(1), "the server answers")), ["400"]);
  wire.destroy();
}

const sockets = suite("sockets");

sockets.after(async () => {
  process.kill(child.pid!, "SIGTERM");
  await until(() => child.exitCode !== null || child.signalCode !== null, "the server has ended");
});
sockets.after.each(stillServes);

sockets("take a request byte by byte", async () => {
  const wire = connect();
  for (const char of verifyRequest) {
    wire.write(char);
    await pause(0);
  }
  assert.equal(statuses(await wire.receive(has(1), "it is answered")), ["400"]);
  wire.destroy();
});

sockets("take a body in pieces, long after its headers, and another request after it", async () => {
  const wire = connect();
  wire.write(verifyHead(body.length));
  await pause(30);
  wire.write(body.slice(0, 5));
  await pause(30);
  wire.write(body.slice(5) + verifyHead(body.length));
  await wire.receive(has(1), "the first is answered");
  wire.write(body);
  areInOrder(await wire.receive(has(2), "the second is answered"), ["400", "400"]);
  wire.destroy();
});

sockets("respond to pipelined requests in their order", async () => {
  const wire = connect();
  const health = "GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n";
  const long = JSON.stringify({ token: "x".repeat(30_000) });
  wire.write(verifyRequest + health + verifyHead(long.length) + long + health + verifyRequest);
  const text = await wire.receive(has(3), "all are answered");
  areInOrder(text, ["400", "200", "400", "200", "400"]);
  assert.is(text.split('{"status":"ok"}').length - 1, statuses(text).filter((status) => status === "200").length);
  wire.destroy();
});

sockets("take chunked bodies, and those of more than the limit only up to it", async () => {
  const head =
    "POST /jwt/verify/ HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
  const wire = connect();
  wire.write(`${head}5\r\n${body.slice(0, 5)}\r\n${(body.length - 5).toString(16)}\r\n${body.slice(5)}\r\n0\r\n\r\n`);
  assert.equal(statuses(await wire.receive(has(1), "it is answered")), ["400"]);
  wire.destroy();

  const flood = connect();
  flood.write(head);
  for (let i = 0; i < 20; i++) flood.write(`2000\r\n${" ".repeat(0x2000)}\r\n`);
  const text = await flood.receive((all) => all.includes("larger than"), "it is refused");
  assert.equal(statuses(text), ["413"]);
  flood.destroy();
});

/** Resident memory of the server, in MiB; undefined where the system has no /proc. */
function residentMemory(): number | undefined {
  const file = `/proc/${child.pid}/status`;
  return fs.existsSync(file) ? Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(file, "utf8"))![1]) / 1024 : undefined;
}

sockets("refuse a body of 200,000 chunks and one with 5,000 trailers, fast and at little cost", async () => {
  const head =
    "POST /jwt/verify/ HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
  const trailers = Array.from({ length: 5000 }, (_, i) => `X-Trailer-${i}: ${i}\r\n`).join("");
  // Bun responds at the last chunk and reads trailers as another request, which it refuses.
  const toTrailers = runtime === "bun" ? "400" : "413";
  for (const [rest, status] of [
    [`${"1\r\nx\r\n".repeat(200_000)}0\r\n\r\n`, "413"],
    [`${body.length.toString(16)}\r\n${body}\r\n0\r\n${trailers}\r\n`, toTrailers],
  ] as const) {
    const before = residentMemory() ?? 0;
    const wire = connect();
    wire.write(head + rest);
    // Two seconds on a machine with nothing else to do.
    const text = await wire.receive((all) => all.includes("\r\n\r\n"), "it is refused", 10_000);
    assert.is(statuses(text)[0], status);
    const growth = (residentMemory() ?? 0) - before;
    assert.ok(growth < 20, `${growth} MiB for one request`);
    wire.destroy();
  }
});

sockets("take a body in chunks of one byte, and in many small pieces", async () => {
  const long = JSON.stringify({ token: "x".repeat(10_000) });
  const chunks = [...long].map((char) => `1\r\n${char}\r\n`).join("");
  const chunked = connect();
  chunked.write(
    `POST /jwt/verify/ HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`,
  );
  assert.equal(statuses(await chunked.receive(has(1), "it is answered")), ["400"]);
  chunked.destroy();
  for (const length of [10_000, 30_000]) {
    const wire = connect();
    wire.write(verifyHead(length));
    const text = JSON.stringify({ token: "x".repeat(length - 12) });
    for (let i = 0; i < length; i += 500) {
      wire.write(text.slice(i, i + 500));
      await pause(0);
    }
    assert.equal(statuses(await wire.receive(has(1), "it is answered")), ["400"]);
    wire.destroy();
  }
});

sockets("send the refusal to a client that keeps sending, then close the connection", async () => {
  if (runtime === "deno") return; // it reads on by itself, keeps nothing, and has no way to end a connection
  const part = `4000\r\n${"x".repeat(0x4000)}\r\n`;
  for (const target of ["/jwt/verify/", "/nowhere/"]) {
    const wire = connect();
    wire.write(
      `POST ${target} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    const sending = setInterval(() => wire.write(part), 5);
    const text = await wire.receive((all) => all.includes("larger than") || all.includes("Not found"), "it is refused");
    assert.equal(statuses(text), [target === "/nowhere/" ? "404" : "413"]);
    await until(wire.isClosed, "the connection ends");
    clearInterval(sending);
  }
});

sockets("keep the connection after a refused body that is not much too long", async () => {
  const wire = connect();
  const long = verifyHead(200_000) + "x".repeat(200_000);
  wire.write(long + verifyRequest);
  areInOrder(await wire.receive(has(1), "both are answered"), ["413", "400"]);
  wire.destroy();
});

sockets("refuse a body by its declared length before it has come", async () => {
  const wire = connect();
  wire.write(verifyHead(1_000_000));
  assert.equal(statuses(await wire.receive((all) => all.includes("larger than"), "it is refused")), ["413"]);
  wire.destroy();
});

sockets("survive clients that disconnect at any point", async () => {
  for (let length = 0; length < verifyRequest.length; length += 7) {
    const wire = connect();
    wire.write(verifyRequest.slice(0, length));
    await pause(1);
    wire.destroy();
  }
  for (let i = 0; i < 20; i++) {
    const wire = connect();
    wire.write(verifyRequest.repeat(5));
    if (i % 2 === 0) await pause(1);
    wire.destroy();
  }
});

sockets("send 100 Continue to a client that expects it", async () => {
  const wire = connect();
  wire.write(verifyHead(body.length, "Expect: 100-continue\r\n"));
  // Some servers only say so when the body is read, Bun never does, and clients send it after a while all the same.
  await Promise.race([
    wire.receive((text) => text.includes("100 Continue"), "it is asked for").catch(() => {}),
    pause(300),
  ]);
  wire.write(body);
  const text = await wire.receive(has(1), "it is answered");
  assert.is(statuses(text).at(-1), "400");
  wire.destroy();
});

sockets("send HEAD no body, and keep the connection in step", async () => {
  const wire = connect();
  const head = (path: string) => `HEAD ${path} HTTP/1.1\r\nHost: here\r\n\r\n`;
  wire.write(head("/healthz") + head("/nowhere") + head("/jwt/verify/") + verifyRequest);
  const text = await wire.receive(has(1), "all are answered");
  assert.equal(statuses(text), ["200", "404", "405", "400"]);
  assert.is(text.split("\r\n\r\n").filter((part) => part.startsWith("{")).length, 1);
  wire.destroy();
});

sockets("never read one request as two", async () => {
  // RFC 9112 §6.3: both framings at once is an attack, or an error at the least.
  const smuggled = "GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n";
  const wire = connect();
  wire.write(
    `POST /jwt/verify/ HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 5\r\n` +
      `Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
  );
  await wire.receive((text) => text.includes("HTTP/1.1"), "it is answered");
  await pause(100);
  const text = await wire.receive(() => true, "what came");
  assert.not.ok(statuses(text).includes("500"), text);
  if (statuses(text)[0] === "400" && text.includes("Bad Request"))
    assert.ok(wire.isClosed() || statuses(text).length === 1);
  wire.destroy();

  // Where the two framings disagree, the content of a chunk by one is a request by the other, and must get no response.
  const size = `${smuggled.length.toString(16)}\r\n`;
  const torn = connect();
  torn.write(
    `POST /jwt/verify/ HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: ${size.length}\r\n` +
      `Transfer-Encoding: chunked\r\n\r\n${size}${smuggled}\r\n0\r\n\r\n`,
  );
  await torn.receive((all) => all.includes("HTTP/1.1"), "it is answered");
  await pause(100);
  assert.equal(statuses(await torn.receive(() => true, "what came")), ["400"]);
  torn.destroy();
});

sockets("refuse a Host that holds more than one, wherever the request is for", async () => {
  const hosts = ["a/jwt/create/?", "a/jwt", "a?b", "a#b", "a@b", "a\\b", "a b", "a\tb", "x\r\nHost: y", "x\r\nHost: x"];
  for (const host of hosts) {
    for (const target of ["/static/logo.png", "/create/", "/healthz"]) {
      const wire = connect();
      wire.write(`POST ${target} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 0\r\n\r\n`);
      const text = await wire.receive((all) => all.includes("\r\n\r\n"), "it is answered");
      assert.equal(statuses(text), ["400"], `${host} ${target}`);
      // Two headers Deno refuses by itself, without a body.
      const isOurs = runtime !== "deno" || !host.includes("\n");
      if (isOurs) assert.match(text, '{"non_field_errors":["Invalid Host header."]}');
      wire.destroy();
    }
  }
  assert.not.match(output, "logo.png"); // nor logs a path that may be the sender's choice
});

sockets("decode a body strictly: what is not UTF-8 is refused, and nothing is left out or replaced", async () => {
  const invalid = '{"non_field_errors":["Token is invalid or expired"]}';
  const notUtf8 = '{"non_field_errors":["JSON parse error - the body is not UTF-8"]}';
  const start = Buffer.from('{"token":"');
  for (const [body, expected] of [
    [[...start, 0xf0, 0x9f, 0x98, 0x22, 0x7d], notUtf8], // of four bytes three, before the quote
    [[...start, 0xff, 0x22, 0x7d], notUtf8],
    [[...start, 0xf0, 0x9f, 0x98, 0x80, 0x22, 0x7d], invalid],
    [[...start, 0xef, 0xbf, 0xbd, 0x22, 0x7d], invalid], // U+FFFD itself
    [[0xef, 0xbb, 0xbf, ...start, 0x61, 0x22, 0x7d], '{"non_field_errors":["JSON parse error - '],
  ] as const) {
    const wire = connect();
    wire.write(verifyHead(body.length));
    wire.write(Uint8Array.from(body));
    const text = await wire.receive((all) => all.includes("}"), "it is refused");
    assert.match(text, expected, String(body));
    wire.destroy();
  }
});

sockets("respond to odd request targets without a 500", async () => {
  const targets = [
    "//jwt/verify/",
    "/jwt/verify/?a=b#c",
    "/%zz",
    "/%00",
    "http://elsewhere/jwt/verify/",
    "/jwt/verify//",
    `/${"a".repeat(4000)}`,
  ];
  for (const target of targets) {
    const wire = connect();
    wire.write(
      `POST ${target} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`,
    );
    const text = await wire.receive((all) => all.includes("\r\n\r\n"), `${target} is answered`);
    assert.match(statuses(text)[0] ?? "none", /^4\d\d$/, `${target.slice(0, 40)}: ${text.slice(0, 60)}`);
    wire.destroy();
  }
});

sockets.run();
