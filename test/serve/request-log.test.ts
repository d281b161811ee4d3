/** The server's log lines, and readers that do not keep up. */
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { HttpRequest } from "../../src/index.ts";
import { coarseNow } from "../../src/serve/clock.ts";
import { createRequestLog } from "../../src/serve/request-line.ts";
import { createLineWriter } from "../../src/serve/request-log.ts";
import { flushRegularly } from "../../src/serve/start.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { makeToken } from "../support/contract-client.ts";
import { randomFrom, seedFrom } from "../support/random.ts";
import { secret } from "../support/contract-client.ts";
import { environmentWith, runtime, start, temporaryFolder } from "../support/runtime.ts";
import { freePort, isListening, until } from "../support/processes.ts";
import { askPipelined, entry, logIn, serve } from "../support/server.ts";

const it = suite(`${runtime} server: log`);

it("writes one JSON line for each request, without body, query or token, unless switched off", async () => {
  const server = await serve(["--store", "memory:"], { JWT_SIGNING_KEY: secret });
  const token = await makeToken();
  await server.send("/jwt/create/?password=hunter2", logIn("ada", "hunter2"));
  await server.send(`/jwt/verify/${token}`);
  await until(() => server.output().includes("[unknown]"), "the second line is there");
  const lines = server
    .output()
    .split("\n")
    .filter((line) => line.startsWith("{"));
  assert.is(lines.length, 2);
  const [first, second] = lines.map((line) => JSON.parse(line));
  assert.equal(Object.keys(first), ["time", "method", "path", "status", "ms"]);
  assert.equal([first.method, first.path, first.status], ["POST", "/jwt/create/", 400]);
  assert.equal([second.method, second.path, second.status], ["GET", "[unknown]", 404]);
  const firstStart = server.output().indexOf("\n{");
  assert.not.match(server.output().slice(firstStart), /hunter2|eyJ/);
  await server.stop();

  // A preflight gets a response on any path.
  const front = await serve([
    "--store",
    "memory:",
    "--sessions",
    "--cors",
    "https://app.example.org",
    "--prefix",
    "/auth",
  ]);
  const origin = "https://app.example.org";
  const preflight = { method: "OPTIONS", headers: { origin, "access-control-request-method": "POST" } };
  const logged: [sent: string, path: string][] = [
    [`/auth/jwt/verify/${token}`, "[unknown]"],
    ["/auth/jwt/verify/", "/auth/jwt/verify/"],
    [`/${token}/jwt/verify`, "[unknown]"],
    ["/auth/jwt/sessions/", "/auth/jwt/sessions/"],
    ["/auth/jwt/sessions/0123456789abcdef/", "/auth/jwt/sessions/{id}/"],
    [`/auth/jwt/sessions/${token}?all`, "/auth/jwt/sessions/{id}"],
  ];
  for (const [target] of logged) assert.is((await front.send(target, preflight)).status, 204);
  await until(() => front.output().split('"OPTIONS"').length > logged.length, "all lines are there");
  const paths = [...front.output().matchAll(/"path":"([^"]*)"/g)].map(([, shown]) => shown);
  assert.equal(
    paths,
    logged.map(([, shown]) => shown),
  );
  await front.stop();

  const quiet = await serve(["--store", "memory:", "--request-log", "false"]);
  await quiet.send("/healthz");
  assert.is(await quiet.stop(), 0);
  assert.not.match(quiet.output(), "healthz");
});

it("keeps serving when the reader of the log has gone, or the disk is full", async () => {
  const server = await serve(["--store", "memory:"]);
  server.child.stdout!.destroy();
  server.child.stderr!.destroy();
  for (let i = 0; i < 3; i++) {
    assert.is((await server.send("/healthz")).status, 200);
    await new Promise((resolve) => setTimeout(resolve, 150)); // the line is written after the response
  }
  assert.is(await server.stop(), 0);

  if (!fs.existsSync("/dev/full")) return;
  const full = fs.openSync("/dev/full", "w");
  const port = await freePort(); // where it listens can't be read here
  const child = start(entry, ["--port", String(port), "--store", "memory:"], {
    env: environmentWith({}),
    stdio: ["ignore", full, full],
  });
  const status = () =>
    fetch(`http://127.0.0.1:${port}/healthz`).then(
      ({ status: code }) => code,
      () => undefined,
    );
  await until(async () => (await status()) === 200, "the server has started", 20_000);
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve, 150));
    assert.is(await status(), 200);
  }
  const ended = new Promise((resolve) => child.once("close", resolve));
  process.kill(child.pid!, "SIGTERM");
  assert.is(await ended, 0);
  fs.closeSync(full);
});

it("keeps serving, and stops, while the reader of the log stalls, and counts the dropped lines", async () => {
  const fifo = path.join(temporaryFolder(), "log");
  execFileSync("mkfifo", [fifo]);
  const held = fs.openSync(fifo, "r+"); // a pipe that has a reader, who does not read
  const port = await freePort();
  const args = ["--port", String(port), "--store", "memory:", "--hashing-iterations", "1"];
  const child = start(entry, args, { env: environmentWith({}), stdio: ["ignore", held, held] });
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  await until(() => isListening(port), "the server listens", 20_000);
  const total = 20_000;
  await askPipelined(port, total);

  const reader = spawn("cat", [fifo], { stdio: ["ignore", "pipe", "inherit"] });
  let log = "";
  reader.stdout.on("data", (chunk: Uint8Array) => (log += Buffer.from(chunk).toString()));
  try {
    await until(() => /"log_lines_dropped".*\n/.test(log), "the log flows again and tells of what was dropped");
    await askPipelined(port, 1);
    const linesOf = (text: string) => log.split("\n").filter((line) => line.includes(text));
    const told = () => linesOf("log_lines_dropped").map((line) => JSON.parse(line) as { message: string });
    const dropped = () => told().reduce((sum, { message }) => sum + Number(/^\d+/.exec(message)![0]), 0);
    await until(() => linesOf('"/healthz"').length + dropped() === total + 1, "each line is there or counted");
    assert.ok(dropped() > 0 && dropped() < total, String(dropped()));
    const times = linesOf('"/healthz"').map((line) => (JSON.parse(line) as { time: string }).time);
    assert.equal(times, times.toSorted(), "each line is whole and in its place");
    assert.match(told()[0]!.message, /^\d+ log lines were dropped: the reader of standard output did not keep up$/);
  } finally {
    reader.kill("SIGKILL");
  }
  await askPipelined(port, 2000); // more than the pipe holds
  process.kill(child.pid!, "SIGTERM");
  assert.is(await Promise.race([ended, new Promise((resolve) => setTimeout(() => resolve("runs on"), 8000))]), 0);
  fs.closeSync(held);
});

it("writes the last lines before the server ends", async () => {
  const server = await serve(["--store", "memory:"]);
  const count = 3000;
  await askPipelined(Number(new URL(server.origin).port), count);
  assert.is(await server.stop(), 0);
  assert.is(server.output().split('"path":"/healthz"').length - 1, count);
});

it("sends each line once and in order, however slowly the bytes are taken", async () => {
  const random = randomFrom(seedFrom());
  for (const isAlone of [false, true]) {
    let sent = "";
    const writer = createLineWriter("the test", async (bytes, done) => {
      await new Promise((resolve) => setTimeout(resolve, random.below(3)));
      if (!isAlone && bytes.length > 4096)
        assert.is(bytes.indexOf(10), bytes.length - 1, "a long line is sent by itself");
      sent += new TextDecoder().decode(bytes); // as late as it may be read
      done();
    });
    if (isAlone) writer.writeAlone();
    let expected = "";
    for (let i = 0; i < 3000; i++) {
      const line = `${i} ${"é".repeat(random.below(random.chance(0.02) ? 9000 : 60))}\n`;
      expected += line;
      writer.write(random.chance(0.5) ? new TextEncoder().encode(line) : line);
      if (random.chance(0.1)) await new Promise((resolve) => setTimeout(resolve, random.below(3)));
    }
    assert.ok(await writer.drain(60_000));
    assert.is(sent, expected);
  }
});

it("writes every duration as JSON does, with the time at which its request ended", () => {
  const random = randomFrom(seedFrom());
  let written = "";
  let [count, flush] = [0, () => {}];
  const log = createRequestLog({
    write(lines, added) {
      written += new TextDecoder().decode(lines);
      count += added;
    },
    beforeDrain: (call) => void (flush = call),
  });
  const headers = { allow: "POST, OPTIONS" };
  const expected: { path: string; status: number; least: number; from: number }[] = [];
  for (let i = 0; i < 3000; i++) {
    const path = random.chance(0.9) ? "/jwt/verify/" : "/jwt/refresh/";
    const status = random.chance(0.9) ? 200 : 400;
    const least = random.below(10 ** random.below(9)) / 100;
    const from = Date.now();
    const request = { method: "POST", url: `http://a.example${path}?${i % 3}` } as HttpRequest;
    log(request, { status, headers, body: "" }, performance.now() - least);
    expected.push({ path, status, least, from });
  }
  flush();
  const lines = written.split("\n").slice(0, -1);
  assert.is(count, expected.length);
  assert.is(lines.length, expected.length);
  for (const [i, line] of lines.entries()) {
    const { time, method, path, status, ms } = JSON.parse(line);
    const wanted = expected[i]!;
    assert.is(line, JSON.stringify({ time, method, path, status, ms }));
    assert.equal({ method, path, status }, { method: "POST", path: wanted.path, status: wanted.status });
    assert.ok(ms >= wanted.least - 0.01 && ms < wanted.least + 1000, `${ms} for ${wanted.least}`);
    assert.ok(Math.abs(Date.parse(time) - wanted.from) < 1000, time);
  }
});

it("measures by a clock of whole milliseconds that the system's clock can't set back", () => {
  const random = randomFrom(seedFrom());
  const { now: exact } = Date;
  let offset = 0;
  Date.now = () => exact() + offset;
  try {
    let last = coarseNow();
    for (const end = performance.now() + 200; performance.now() < end;) {
      if (random.chance(0.01)) offset = random.below(7_200_000) - 3_600_000;
      const now = coarseNow();
      assert.ok(Number.isInteger(now) && now >= last, `${now} after ${last}`);
      assert.ok(Math.abs(performance.now() - now) < 100, `${now} at ${performance.now()}`);
      last = now;
    }
  } finally {
    Date.now = exact;
  }
});

it("keeps durations in whole milliseconds on Deno, whose exact clock is slow", async () => {
  const server = await serve(["--store", "memory:"], { JWT_SIGNING_KEY: secret });
  for (let i = 0; i < 20; i++) await server.send("/jwt/verify/", { method: "POST" });
  await until(() => server.output().split('"ms":').length > 20, "all lines are there");
  const durations = Array.from(server.output().matchAll(/"ms":([\d.]+)/g), ([, ms]) => Number(ms));
  assert.is(durations.every(Number.isInteger), runtime === "deno", durations.join(" "));
  await server.stop();
});

it("says once that expired facts can't be dropped", async () => {
  const folder = temporaryFolder();
  const warnings: string[] = [];
  const store = await openFileStore(folder, { warn: (line) => void warnings.push(line) });
  const told: string[] = [];
  const { error } = console;
  console.error = (line: string) => void told.push(line);
  try {
    flushRegularly(store, 10);
    for (const name of fs.readdirSync(folder)) fs.rmSync(path.join(folder, name));
    await until(() => told.length > 0, "it is told");
    await new Promise((resolve) => setTimeout(resolve, 200));
  } finally {
    console.error = error;
    await store.close();
  }
  assert.is(told.length, 1, told.join("\n"));
  assert.match(told[0]!, /^jwt-endpoints: expired facts stay in the store: the journal was removed from \S+$/);
});

it.run();
