/** How the server ends on a signal. */
import net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { HttpRequest, HttpResponse } from "../../src/index.ts";
import { UnderWay, withUnderWay } from "../../src/serve/request-log.ts";
import { secret } from "../support/contract-client.ts";
import { randomFrom, seedFrom } from "../support/random.ts";
import { runtime } from "../support/runtime.ts";
import { until } from "../support/processes.ts";
import { logIn, serve } from "../support/server.ts";

const it = suite(`${runtime} server: shutdown`);

it("ends with code 0 while clients have sent half a request, however often the signal comes", async () => {
  const head = "POST /jwt/verify/ HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n";
  const halves = [
    head,
    `${head}Content-Length: 100\r\n\r\n{`,
    `${head}Content-Length: 50000\r\n\r\n{`,
    `${head}Transfer-Encoding: chunked\r\n\r\n5\r\n{"tok`,
  ];
  for (const signal of ["SIGTERM", "SIGHUP"] as const) {
    const server = await serve(["--store", "memory:"]);
    let closed = 0;
    const sockets = halves.map((half) => {
      const socket = net.connect(Number(new URL(server.origin).port), "127.0.0.1", () => socket.write(half));
      return socket
        .on("error", () => {})
        .on("close", () => closed++)
        .resume();
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.is((await server.send("/healthz")).status, 200);
    const start = performance.now();
    process.kill(server.child.pid!, signal);
    assert.is(await server.stop(signal), 0);
    assert.ok(performance.now() - start < 6000, `${performance.now() - start} ms`);
    await until(() => closed === sockets.length, "all connections are closed");
  }
});

it("completes the requests under way first", async () => {
  const server = await serve(["--store", "memory:", "--hashing-iterations", "600000"], { JWT_SIGNING_KEY: secret });
  const answers = Array.from({ length: 4 }, () => server.send("/jwt/create/", logIn("nobody", "x")));
  await new Promise((resolve) => setTimeout(resolve, 60));
  await server.send("/healthz"); // by now the server has accepted those before
  process.kill(server.child.pid!, "SIGTERM");
  for (const answer of await Promise.all(answers)) assert.is(answer.status, 400);
  assert.is(await server.ended, 0);
});

it("knows at any time whether a request that has arrived completely still waits", async () => {
  const random = randomFrom(seedFrom());
  const underWay = new UnderWay();
  const response: HttpResponse = { status: 200, headers: {}, body: "" };
  const waiting: { request: { isReading: boolean }; end: (response: HttpResponse) => void }[] = [];
  const handle = withUnderWay((request) => {
    return new Promise((end) => waiting.push({ request: request as HttpRequest & { isReading: boolean }, end }));
  }, underWay);
  let most = 0;
  for (let step = 0; step < 3000; step++) {
    const isGrowing = random.chance(step % 1000 < 500 ? 0.6 : 0.4);
    if (isGrowing) void handle({ isReading: random.chance(0.7) } as HttpRequest);
    else if (waiting.length > 0) {
      const [one] = waiting.splice(random.below(waiting.length), 1);
      if (random.chance(0.1)) one!.request.isReading = false;
      one!.end(response);
      await Promise.resolve();
    }
    const expected = waiting.some(({ request }) => !request.isReading);
    assert.is(underWay.hasArrived(), expected, `step ${step}, ${waiting.length} waiting`);
    most = Math.max(most, waiting.length);
  }
  for (const { end } of waiting) end(response);
  await Promise.resolve();
  assert.is(underWay.hasArrived(), false);
  assert.ok(underWay.add({} as HttpRequest) < most, "places are used again");
});

it.run();
