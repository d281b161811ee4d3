/** Starts the server program of this runtime, sends requests to it, and stops it. */
import type { ChildProcess } from "node:child_process";
import net from "node:net";
import { Agent, request } from "undici";
import * as assert from "uvu/assert";
import type { TestRequest, TestResponse } from "./contract-client.ts";
import { iterations } from "./contract-client.ts";
import { environmentWith, runtime, start } from "./runtime.ts";
import { until } from "./processes.ts";

/** The entry file of this runtime. */
export const entry = `src/serve/${runtime}.ts`;

/** A server program that runs. */
export interface Running {
  child: ChildProcess;
  origin: string;
  send(path: string, request?: TestRequest): Promise<TestResponse>;
  /** Returns standard output so far. */
  output(): string;
  /** Returns standard error so far. */
  errors(): string;
  /** Resolves to the exit code when it has ended. */
  ended: Promise<number | null>;
  /** Ends it as an operator would, and resolves to the exit code. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

/** Secrets that no log line may hold: the passwords of the tests, tokens, hashes, private keys. */
const secrets = /eyJ[\w-]{10,}|pbkdf2_sha256\$|-----BEGIN [A-Z ]*PRIVATE|correct horse|hunter\d/;

/** Flags that turn the server's own limits off, since suites log in often from one address. */
export const unlimited = ["throttle", "throttle-set-password", "throttle-failures", "throttle-rotations"].flatMap(
  (name) => [`--${name}`, "false"],
);

/**
 * Starts the server on a free port and waits until it listens.
 * @param cwd the working directory; default: this process's.
 * @param limits flags of the server's limits; without any, it has its own.
 */
export async function serve(
  args: string[],
  env: Record<string, string> = {},
  cwd = process.cwd(),
  limits = unlimited,
): Promise<Running> {
  const child = start(entry, ["--port", "0", "--hashing-iterations", String(iterations), ...limits, ...args], {
    env: environmentWith(env),
    cwd,
  });
  const dispatcher = new Agent({ connections: 32, pipelining: 1 });
  let [stdout, stderr] = ["", ""];
  child.stdout!.on("data", (chunk: Uint8Array) => (stdout += chunk.toString()));
  child.stderr!.on("data", (chunk: Uint8Array) => (stderr += chunk.toString()));
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  let hasEnded = false;
  void ended.then(() => (hasEnded = true));
  await until(() => hasEnded || stdout.includes("runtime  "), "the server has started", 20_000);
  assert.not.ok(hasEnded, `the server ended: ${stderr}`);
  const origin = /http:\/\/[^/\s]+/.exec(stdout)![0];
  return {
    child,
    origin,
    output: () => stdout,
    errors: () => stderr,
    ended,
    async send(target, { method = "GET", headers = {}, body } = {}) {
      const response = await request(origin + target, { method: method as "GET", headers, body, dispatcher });
      const all = Object.entries(response.headers).map(([name, value]) => [name, String(value)]);
      return { status: response.statusCode, headers: Object.fromEntries(all), text: await response.body.text() };
    },
    async stop(signal = "SIGTERM") {
      await dispatcher.close?.(); // Bun brings an undici of its own, which has no such method
      process.kill(child.pid!, signal); // on Deno, child.kill makes the exit code null whatever it was
      const code = await ended;
      const lines = stdout.split("\n").filter((line) => line.startsWith("{"));
      for (const line of [...lines, ...stderr.split("\n")])
        assert.not.match(line, secrets, "a log line holds a secret");
      return code;
    },
  };
}

export const json = { "content-type": "application/json" };
/** Makes the request of a login. */
export const logIn = (username: string, password: string): TestRequest => ({
  method: "POST",
  headers: json,
  body: JSON.stringify({ username, password }),
});

/** Pipelines requests of `/healthz` over one connection and waits for all responses. */
export async function askPipelined(port: number, count: number): Promise<void> {
  const socket = net.connect(port, "127.0.0.1");
  let [answered, rest] = [0, ""];
  socket.on("error", () => {});
  socket.on("data", (chunk: Uint8Array) => {
    const parts = (rest + Buffer.from(chunk).toString("latin1")).split("HTTP/1.1 200");
    answered += parts.length - 1;
    rest = parts.at(-1)!.slice(-20);
  });
  for (let sent = 0; sent < count;) {
    const some = Math.min(500, count - sent);
    socket.write("GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n".repeat(some));
    sent += some;
    await until(() => answered >= sent, `request ${sent} is answered`, 20_000);
  }
  socket.destroy();
}
