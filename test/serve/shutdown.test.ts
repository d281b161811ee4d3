/** How the server ends on a signal. */
import net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { secret } from "../support/contract-client.ts";
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

it.run();
