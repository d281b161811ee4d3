/** Attacks on the server over real sockets. None gets a 500, hangs the server or gets in. */
import net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { freePort, residentOf, until } from "../support/processes.ts";
import { randomFrom, seedFrom } from "../support/random.ts";
import { runtime } from "../support/runtime.ts";
import { json, logIn, serve } from "../support/server.ts";

const it = suite(`${runtime} server: attacks`);
const random = randomFrom(seedFrom());

const portOf = (origin: string): number => Number(new URL(origin).port);
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const statusesIn = (text: string): string[] => [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status!);

interface Wire {
  socket: net.Socket;
  text: () => string;
  isClosed: () => boolean;
}

function connect(origin: string): Wire {
  const socket = net.connect({ port: portOf(origin), host: "127.0.0.1", allowHalfOpen: true });
  let [text, isClosed] = ["", false];
  socket.on("data", (chunk: Uint8Array) => (text += Buffer.from(chunk).toString("latin1")));
  socket.on("error", () => {});
  socket.on("end", () => socket.end());
  socket.on("close", () => (isClosed = true));
  return { socket, text: () => text, isClosed: () => isClosed };
}

const requestOf = (path: string, body: string, headers = ""): string =>
  `POST ${path} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n${headers}Content-Length: ${body.length}\r\n\r\n${body}`;
const login = (password: string) => requestOf("/jwt/create/", JSON.stringify({ username: "admin", password }));
const passwordIn = (output: string): string => /shown only once: (\S+)/.exec(output)![1]!;

for (const header of ["X-Forwarded-For", "Forwarded"]) {
  it(`a forged ${header} neither evades the limit of a client nor uses up another's`, async () => {
    const limits = [
      "--trusted-proxies",
      "loopback",
      "--forwarded-header",
      header.toLowerCase(),
      "--throttle",
      "5/hour",
    ];
    const server = await serve(["--store", "memory:", ...limits]);
    const honest = (address: string) => (header === "Forwarded" ? `for=${address}` : address);
    const parts = ["for=", "1.1.1.1", ",", ";", "\\", "[::1]", ":80", " ", "127.0.0.1", "=", "\u00e9", "unknown", "::"];
    const found: string[] = [];
    for (let i = 0; i < 40; i++) {
      const forged = Array.from({ length: random.below(30) }, () => random.pick(parts)).join("");
      const wire = connect(server.origin);
      const line = `${header}: ${forged}, ${honest("192.0.2.1")}\r\nConnection: close\r\n`;
      wire.socket.write(Buffer.from(requestOf("/jwt/create/", "{}", line), "latin1"));
      await until(() => wire.isClosed() || wire.text().includes("\r\n\r\n"), "it is answered");
      found.push(statusesIn(wire.text())[0]!);
      wire.socket.destroy();
    }
    assert.equal([...new Set(found.slice(0, 5))], ["400"]);
    assert.equal([...new Set(found.slice(5))], ["429"]);
    const other = { method: "POST", headers: { ...json, [header]: honest("192.0.2.2") }, body: "{}" };
    assert.is((await server.send("/jwt/create/", other)).status, 400, "another client of the proxy is served");
    assert.is(await server.stop(), 0);
  });
}

it("a request id of odd bytes is not sent back, and breaks no line of the log", async () => {
  const server = await serve(["--store", "memory:"]);
  const odd = ["\u00e9", "\u0080", "\t", "{", '"', "\\", "\u007f", "<", " ", "%0d%0a", "a", "1", "-", ";", "\u00ff"];
  for (let i = 0; i < 60; i++) {
    const id = Array.from({ length: 1 + random.below(90) }, () => random.pick(odd)).join("");
    const wire = connect(server.origin);
    const body = JSON.stringify({ username: "nobody", password: "x" });
    wire.socket.write(
      Buffer.from(requestOf("/jwt/create/", body, `X-Request-Id: ${id}\r\nConnection: close\r\n`), "latin1"),
    );
    await until(() => wire.isClosed() || wire.text().includes("\r\n\r\n"), "it is answered");
    assert.equal(statusesIn(wire.text()), ["400"], JSON.stringify(id));
    const sent = /^x-request-id: (.*?)\r$/im.exec(wire.text())?.[1];
    assert.ok(sent === undefined || /^[\w.:-]{1,64}$/.test(sent), JSON.stringify([id, sent]));
    wire.socket.destroy();
  }
  assert.is(await server.stop(), 0);
  const events = server
    .errors()
    .split("\n")
    .filter((line) => line.includes('"event"'));
  assert.ok(events.length > 0 && events.length <= 60, `${events.length} of 60 came through the parser`);
  for (const line of events) assert.match((JSON.parse(line) as { requestId: string }).requestId, /^[\w.:-]{1,64}$/);
});

it("odd names, passwords, session ids and paths of metrics get no 5xx, and break no line of the log", async () => {
  const address = `127.0.0.1:${await freePort()}`;
  const flags = ["--sessions", "true", "--metrics", address, "--audit-events", "login,login_failed,password_changed"];
  const server = await serve(["--store", "memory:", ...flags]);
  await until(() => server.output().includes("curl"), "the first user is made");
  const password = passwordIn(server.output());
  const { access } = JSON.parse((await server.send("/jwt/create/", logIn("admin", password))).text) as {
    access: string;
  };
  const bearer = { ...json, authorization: `Bearer ${access}` };
  const parts = [
    "\n",
    "\r\n",
    "\x1b[2J",
    "\0",
    "\ud800",
    "\udc00",
    "\u202e",
    "\u2028",
    '"',
    "\\",
    "{",
    "odd-marker",
    "\u00e9",
  ];
  const odd = () => Array.from({ length: 1 + random.below(20) }, () => random.pick(parts)).join("");
  await server.send("/jwt/create/", logIn("odd-marker\n\x1b[2J\u202e", "odd-marker")); // is well formed, so it is an event
  const ok = new Set([200, 204, 400, 401, 404, 405, 406, 413]);
  const check = (status: number, what: string) => assert.ok(ok.has(status), `${status} ${JSON.stringify(what)}`);
  for (let i = 0; i < 60; i++) {
    const name = i % 20 === 0 ? odd().padEnd(random.pick([64_000, 65_500, 70_000]), "odd-marker") : odd();
    check((await server.send("/jwt/create/", logIn(name, odd()))).status, name);
    const change = { current_password: random.pick([odd(), name, null, [name]]), new_password: odd() };
    const body = JSON.stringify(change);
    check((await server.send("/users/set_password/", { method: "POST", headers: bearer, body })).status, body);
    const id = random.pick([encodeURIComponent(name.toWellFormed()).slice(0, 8000), "%00", "%ff", "..%2f", "%"]);
    for (const method of ["GET", "DELETE"]) {
      check((await server.send(`/jwt/sessions/${id}/`, { method, headers: bearer })).status, id);
    }
    const metrics = await fetch(`http://${address}/${random.pick(["metrics?", ""])}${id}`, {
      method: random.pick(["GET", "POST", "DELETE"]),
      headers: { accept: random.pick(["*/*", ";;q=9", "application/openmetrics-text;version=9"]) },
    });
    check(metrics.status, id);
    assert.not.match(await metrics.text(), "odd-marker");
  }
  assert.is(JSON.parse((await server.send("/users/me/", { headers: bearer })).text).username, "admin");
  assert.is(await server.stop(), 0);
  const logged = server
    .output()
    .split("\n")
    .filter((line) => line.includes("/jwt/sessions/"));
  for (const line of [...logged, ...server.errors().trim().split("\n")])
    assert.ok(typeof JSON.parse(line) === "object");
  assert.not.match(server.errors(), "odd-marker");
  assert.match(server.errors(), '"login_failed"');
});

it("thousands of addresses at the throttle fill no memory", async () => {
  const server = await serve(["--store", "memory:", "--trusted-proxies", "loopback", "--throttle", "20/min"]);
  /** Sends logins without a body from ever new addresses. Deno closes a connection after a body that came in pieces. */
  const flood = async (count: number) => {
    for (let answered = 0; answered < count;) {
      const wire = connect(server.origin);
      const batch = Array.from({ length: 500 }, () => {
        const address = Array.from({ length: 4 }, () => 1 + random.below(250)).join(".");
        return requestOf("/jwt/create/", "{}", `X-Forwarded-For: ${address}\r\n`);
      });
      wire.socket.write(batch.join(""));
      const statuses = () => statusesIn(wire.text());
      await until(() => statuses().length >= batch.length || wire.isClosed(), "they are answered", 30_000);
      assert.equal([...new Set(statuses())], ["400"]);
      answered += statuses().length;
      wire.socket.destroy();
    }
  };
  await flood(3000);
  const before = residentOf(server.child.pid!);
  await flood(15_000);
  const growth = ((residentOf(server.child.pid!) ?? 0) - (before ?? 0)) / 2 ** 20;
  assert.ok(growth < 60, `${growth} MiB`);
  assert.is((await server.send("/healthz")).status, 200);
  assert.is(await server.stop(), 0);
});

it("logins whose clients hang up are not hashed", async () => {
  const address = `127.0.0.1:${await freePort()}`;
  // A hash takes a tenth of a second or so, one after the other.
  const hashing = ["--hashing-concurrency", "1", "--hashing-iterations", "300000"];
  const server = await serve(["--store", "memory:", "--metrics", address, ...hashing]);
  const begun = async () =>
    Number(/^jwt_hash_wait_seconds_count (\d+)/m.exec(await (await fetch(`http://${address}/metrics`)).text())![1]);
  const before = await begun();
  const gone = Array.from({ length: 40 }, () => {
    const wire = connect(server.origin);
    wire.socket.write(login("wrong"));
    return wire;
  });
  await pause(150);
  for (const { socket } of gone) socket.destroy();
  await pause(50);
  await until(() => server.output().includes("curl"), "the first user is made");
  const { status } = await server.send("/jwt/create/", logIn("admin", passwordIn(server.output())));
  assert.is(status, 200);
  const hashed = (await begun()) - before;
  assert.ok(hashed < 20, `${hashed} of 40 were hashed`);
  assert.not.match(server.errors(), /request\.signal/);
  assert.is(await server.stop(), 0);
});

it("a login may wait for longer than a request may take to arrive", async () => {
  const hashing = ["--hashing-concurrency", "1", "--hashing-iterations", "400000"];
  const server = await serve(["--store", "memory:", "--request-timeout", "1s", ...hashing]);
  const waiting = Array.from({ length: runtime === "bun" ? 60 : 20 }, () => {
    const wire = connect(server.origin);
    wire.socket.write(login("wrong"));
    return wire;
  });
  await until(() => waiting.every((wire) => wire.text() !== "" || wire.isClosed()), "all are answered", 60_000);
  assert.equal([...new Set(waiting.flatMap((wire) => statusesIn(wire.text())))], ["400"]);
  assert.not.ok(
    waiting.some((wire) => wire.text() === ""),
    "none is cut off",
  );
  for (const { socket } of waiting) socket.destroy();
  assert.is(await server.stop(), 0);
});

it("requests that come together, or from a socket closed for writing, get their responses in order or none", async () => {
  const server = await serve(["--store", "memory:"]);
  const verify = requestOf("/jwt/verify/", '{"token":"x"}');
  const health = "GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n";
  for (let round = 0; round < 10; round++) {
    const asked = Array.from({ length: 1 + random.below(12) }, () =>
      random.pick([
        [login("wrong"), "400"],
        [verify, "400"],
        [health, "200"],
        ["GET /nowhere HTTP/1.1\r\nHost: here\r\n\r\n", "404"],
      ] as const),
    );
    const expected = asked.map(([, status]) => status);
    const isHalfClosed = random.chance(0.5);
    const wire = connect(server.origin);
    wire.socket.write(asked.map(([text]) => text).join(""));
    if (isHalfClosed) wire.socket.end();
    await until(() => wire.isClosed() || statusesIn(wire.text()).length >= expected.length, "all are answered");
    const found = statusesIn(wire.text());
    assert.equal(found, wire.isClosed() ? expected.slice(0, found.length) : expected, wire.text());
    wire.socket.destroy();
  }
  assert.is((await server.send("/healthz")).status, 200);
  assert.is(await server.stop(), 0);
});

it.run();
