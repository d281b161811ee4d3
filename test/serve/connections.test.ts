/** Requests and connections that are unusual or break off. */
import { spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { environmentWith, projectRoot, runtime } from "../support/runtime.ts";
import { freePort, until } from "../support/processes.ts";
import { entry, serve } from "../support/server.ts";

const it = suite(`${runtime} server: connections`);

it("reach their route whatever the query holds", async () => {
  const server = await serve(["--store", "memory:"]);
  for (const target of ["/healthz?next=https://app.example.org/a", "/healthz/?://", "/healthz?a=/b://c/d#e"]) {
    assert.is((await server.send(target)).text, '{"status":"ok"}', target);
  }
  await server.stop();
});

it("are served over HTTP/1.0 without a Host, and the server stops at once while one is silent", async () => {
  const server = await serve(["--store", "memory:"]);
  const port = Number(new URL(server.origin).port);
  const old = net.connect(port, "127.0.0.1");
  let answer = "";
  old.on("data", (chunk: Uint8Array) => (answer += chunk.toString()));
  old.write("GET /healthz HTTP/1.0\r\n\r\n");
  await until(() => answer.includes("\r\n\r\n"), "the answer is there");
  assert.match(answer, /^HTTP\/1\.[01] 200/);
  old.destroy();
  const silent = net.connect(port, "127.0.0.1");
  silent.on("error", () => {});
  await new Promise((resolve) => silent.once("connect", resolve));
  await server.send("/healthz");
  assert.is(await server.stop(), 0);
  silent.destroy();
});

it("go on when a client leaves in the middle of its request", async () => {
  const server = await serve(["--store", "memory:"]);
  const { port } = new URL(server.origin);
  for (let i = 0; i < 20; i++) {
    const socket = net.connect(Number(port), "127.0.0.1");
    await new Promise((resolve) => socket.once("connect", resolve));
    socket.write(
      "POST /jwt/verify/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    );
    await new Promise((resolve) => setTimeout(resolve, 5));
    socket.destroy();
  }
  assert.is((await server.send("/healthz")).status, 200);
  assert.is(await server.stop(), 0);
});

if (runtime === "deno" && fs.existsSync("/bin/sh")) {
  it("go on after there was no file descriptor to accept a connection with", async () => {
    const port = await freePort();
    const run = `ulimit -n 256; exec "$0" run -A ${entry} --port ${port} --store memory: --hashing-iterations 1`;
    const child = spawn("/bin/sh", ["-c", run, process.execPath], { cwd: projectRoot, env: environmentWith({}) });
    let [output, errors] = ["", ""];
    child.stdout.on("data", (chunk: Uint8Array) => (output += Buffer.from(chunk).toString()));
    child.stderr.on("data", (chunk: Uint8Array) => (errors += Buffer.from(chunk).toString()));
    const ended = new Promise((resolve) => child.once("exit", resolve));
    try {
      await until(() => output.includes("curl"), "the server listens", 20_000);
      const sockets = Array.from({ length: 300 }, () => net.connect(port, "127.0.0.1").on("error", () => {}));
      await until(() => errors.includes("can't accept connections"), "it is told");
      for (const socket of sockets) socket.destroy();
      const status = () =>
        fetch(`http://127.0.0.1:${port}/healthz`).then(
          ({ status: code }) => code,
          () => 0,
        );
      await until(async () => (await status()) === 200, "it serves again");
      const told = errors
        .trim()
        .split("\n")
        .filter((line) => !line.includes("weak_setting"));
      assert.is(told.length, 1, errors);
      process.kill(child.pid!, "SIGTERM");
      assert.is(await ended, 0);
    } finally {
      child.kill("SIGKILL");
    }
  });
}

it.run();
