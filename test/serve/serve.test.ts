import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { crc32 } from "node:zlib";
import { Agent, request } from "undici";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { introduceFirstUser } from "../../src/serve/first-user.ts";
import { readOptions } from "../../src/program/options.ts";
import { SettingError, StoreError } from "../../src/index.ts";
import { problemOf } from "../../src/program/problem.ts";
import { flushRegularly } from "../../src/serve/start.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { openStore } from "../../src/stores/open.ts";
import { type Answer, type Asked, httpContract } from "../support/contract.ts";
import { secret } from "../support/contract-client.ts";
import { addContractUsers, iterations, makeToken } from "../support/contract-client.ts";
import {
  environmentWith,
  fillDisk,
  mountTmpfs,
  projectRoot,
  runtime,
  start,
  temporaryFolder,
} from "../support/runtime.ts";
import { finished, freePort, isListening, until } from "../support/processes.ts";

const entry = `src/serve/${runtime}.ts`;

interface Running {
  child: ChildProcess;
  origin: string;
  send(path: string, asked?: Asked): Promise<Answer>;
  /** Standard output so far, and standard error. */
  output(): string;
  errors(): string;
  /** The exit code, once it has ended. */
  ended: Promise<number | null>;
  /** Ends it as an operator would, and answers the exit code. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
}

async function serve(args: string[], env: Record<string, string> = {}): Promise<Running> {
  const child = start(entry, ["--port", "0", "--hashing-iterations", String(iterations), ...args], {
    env: environmentWith(env),
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
      return ended;
    },
  };
}

const json = { "content-type": "application/json" };
const logIn = (username: string, password: string): Asked => ({
  method: "POST",
  headers: json,
  body: JSON.stringify({ username, password }),
});

for (const [profile, prefix] of [
  ["djoser", ""],
  ["simplejwt", "/auth"],
] as const) {
  let server: Running;
  httpContract(
    `${runtime} server on a socket, file store, ${profile}`,
    async () => {
      const folder = temporaryFolder();
      const store = await openFileStore(folder);
      await addContractUsers(store);
      await store.close();
      server = await serve(["--store", `file:${folder}`, "--prefix", prefix, "--responses", profile], {
        JWT_SIGNING_KEY: secret,
      });
      return { profile, prefix, send: server.send };
    },
    async () => void (await server.stop()),
  );
}

const it = suite(`${runtime} server`);

it("makes folder, key and admin at the first start, and finds everything again at the next", async () => {
  const folder = path.join(temporaryFolder(), "data");
  const server = await serve(["--store", `file:${folder}`, "--hashing-iterations", "1000"]);
  assert.is(fs.statSync(folder).mode & 0o777, 0o700);
  for (const name of fs.readdirSync(folder)) {
    assert.is(fs.statSync(path.join(folder, name)).mode & 0o777, 0o600, name);
  }
  const lines = server.output().split("\n");
  assert.match(lines[0]!, /^address {2}http:\/\/127\.0\.0\.1:\d+\/jwt\/$/);
  assert.is(lines[1], `store    file:${folder}`);
  assert.is(lines[2], "profile  djoser");
  assert.match(lines[3]!, new RegExp(`^runtime {2}${runtime} \\d`, "i"));
  await until(() => server.output().includes("curl"), "the curl line is printed");
  const password = /"password":"([^"]+)"/.exec(server.output())![1]!;
  const answer = await server.send("/jwt/create/", logIn("admin", password));
  assert.is(answer.status, 200, answer.text);
  const { refresh } = JSON.parse(answer.text);
  const { access } = JSON.parse(
    (await server.send("/jwt/refresh/", { ...logIn("", ""), body: JSON.stringify({ refresh }) })).text,
  );
  assert.is(
    (await server.send("/jwt/blacklist/", { ...logIn("", ""), body: JSON.stringify({ refresh }) })).status,
    200,
  );
  assert.is(await server.stop(), 0);

  const again = await serve(["--store", `file:${folder}`]);
  assert.not.match(again.output(), "curl");
  assert.is((await again.send("/jwt/create/", logIn("admin", password))).status, 200);
  assert.is(
    (await again.send("/jwt/verify/", { ...logIn("", ""), body: JSON.stringify({ token: access }) })).text,
    "{}",
  );
  const refused = await again.send("/jwt/refresh/", { ...logIn("", ""), body: JSON.stringify({ refresh }) });
  assert.is(refused.text, '{"non_field_errors":["Token is blacklisted"]}');
  assert.is(await again.stop("SIGINT"), 0);
});

const disk = mountTmpfs("256k");

(disk === undefined ? it.skip : it)(
  "starts on a full disk after a crash in a compaction, and verifies while it can't write (needs root, for tmpfs)",
  async () => {
    const folder = path.join(disk!, "data");
    const first = await serve(["--store", `file:${folder}`, "--hashing-iterations", "1000"]);
    await until(() => first.output().includes("curl"), "the curl line is printed");
    const password = /"password":"([^"]+)"/.exec(first.output())![1]!;
    const tokens = JSON.parse((await first.send("/jwt/create/", logIn("admin", password))).text);
    assert.is(await first.stop(), 0);
    const seal = JSON.stringify({ k: "seal", at: Date.now() / 1000, by: "crashed.1" });
    const line = `\n${crc32(seal).toString(16).padStart(8, "0")} ${seal.length} ${seal}`;
    const file = path.join(folder, "journal-000001.jsonl");
    fs.appendFileSync(file, line, { mode: 0o600 }); // Deno sets the mode of a file that is there already, too
    const makeRoom = fillDisk(disk!);
    const server = await serve(["--store", `file:${folder}`]);
    const post = async (route: string, body: unknown): Promise<number> =>
      (await server.send(`/jwt/${route}/`, { method: "POST", headers: json, body: JSON.stringify(body) })).status;
    assert.is(await post("verify", { token: tokens.access }), 200);
    assert.is(await post("logout", { refresh: tokens.refresh }), 503);
    assert.is((await server.send("/readyz")).status, 503);
    assert.is(await post("verify", { token: tokens.refresh }), 200);
    makeRoom();
    await until(async () => (await server.send("/readyz")).status === 200, "it is ready again");
    assert.is(await post("logout", { refresh: tokens.refresh }), 200);
    assert.is(await post("refresh", { refresh: tokens.refresh }), 400);
    assert.is(await server.stop(), 0);
  },
);

it("logs one JSON line for each request, without body, query or token, unless told not to", async () => {
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

  // A preflight is answered wherever it is for.
  const front = await serve(["--store", "memory:", "--cors", "https://app.example.org", "--prefix", "/auth"]);
  const origin = "https://app.example.org";
  const preflight = { method: "OPTIONS", headers: { origin, "access-control-request-method": "POST" } };
  for (const target of [`/auth/jwt/verify/${token}`, "/auth/jwt/verify/", `/${token}/jwt/verify`]) {
    assert.is((await front.send(target, preflight)).status, 204);
  }
  await until(() => front.output().split('"OPTIONS"').length === 4, "three lines are there");
  const paths = [...front.output().matchAll(/"path":"([^"]*)"/g)].map(([, logged]) => logged);
  assert.equal(paths, ["[unknown]", "/auth/jwt/verify/", "[unknown]"]);
  await front.stop();

  const quiet = await serve(["--store", "memory:", "--request-log", "false"]);
  await quiet.send("/healthz");
  assert.is(await quiet.stop(), 0);
  assert.not.match(quiet.output(), "healthz");
});

it("finds its routes whatever their query holds", async () => {
  const server = await serve(["--store", "memory:"]);
  for (const target of ["/healthz?next=https://app.example.org/a", "/healthz/?://", "/healthz?a=/b://c/d#e"]) {
    assert.is((await server.send(target)).text, '{"status":"ok"}', target);
  }
  await server.stop();
});

it("goes on serving when nobody reads its log any more, or the disk is full", async () => {
  const server = await serve(["--store", "memory:"]);
  server.child.stdout!.destroy();
  server.child.stderr!.destroy();
  for (let i = 0; i < 3; i++) {
    assert.is((await server.send("/healthz")).status, 200);
    await new Promise((resolve) => setTimeout(resolve, 50)); // the line is written after the answer
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
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.is(await status(), 200);
  }
  const ended = new Promise((resolve) => child.once("close", resolve));
  process.kill(child.pid!, "SIGTERM");
  assert.is(await ended, 0);
  fs.closeSync(full);
});

/** Asks for `/healthz` so many times over one connection, without waiting in between, until all are answered. */
async function askPipelined(port: number, count: number): Promise<void> {
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

it("goes on serving, and stops, though the reader of its log stalls, and tells how many lines that cost", async () => {
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
    assert.match(told()[0]!.message, /^\d+ log lines were dropped: the reader of standard output did not keep up$/);
  } finally {
    reader.kill("SIGKILL");
  }
  await askPipelined(port, 2000); // more than the pipe holds
  process.kill(child.pid!, "SIGTERM");
  assert.is(await Promise.race([ended, new Promise((resolve) => setTimeout(() => resolve("runs on"), 8000))]), 0);
  fs.closeSync(held);
});

it("has its last lines out when it ends", async () => {
  const server = await serve(["--store", "memory:"]);
  const count = 3000;
  await askPipelined(Number(new URL(server.origin).port), count);
  assert.is(await server.stop(), 0);
  assert.is(server.output().split('"path":"/healthz"').length - 1, count);
});

it("reads flags before the environment", async () => {
  const server = await serve(["--store", "memory:", "--responses", "simplejwt", "--access-token-lifetime", "1h"], {
    JWT_STORE: "file:/nowhere",
    JWT_RESPONSES: "djoser",
    JWT_PREFIX: "auth/",
    JWT_THROTTLE: "false",
    JWT_CORS: "false",
    JWT_SIGNING_KEY: secret,
  });
  assert.match(server.output(), "profile  simplejwt");
  const { status } = await server.send("/auth/jwt/verify/", { ...logIn("", ""), body: '{"token":"x"}' });
  assert.is(status, 401);
  await server.stop();
});

it("stops the start with one line and exit code 1", async () => {
  const blocker = net.createServer();
  await new Promise<void>((resolve) => blocker.listen(0, "127.0.0.1", resolve));
  const { port } = blocker.address() as net.AddressInfo;
  const notAFolder = path.join(temporaryFolder(), "file");
  fs.writeFileSync(notAFolder, "");
  const cases: [args: string[], env: Record<string, string>, message: RegExp][] = [
    [["--store", "memory:", "--port", String(port)], {}, /port \d+ of 127\.0\.0\.1 is in use/],
    [["--store", `file:${notAFolder}`], {}, /can't open the folder/],
    [["--store", "postgres://u:hunter2@h/db"], {}, /setting store has the unknown scheme "postgres:"; accepted/],
    [["--store", "memory:", "--algorithm", "HS1"], {}, /setting algorithm: "HS1" is not known; accepted/],
    [["--store", "memory:", "--signing-key", "hunter2"], {}, /setting signingKey is 7 bytes long/],
    [
      ["--store", "memory:"],
      { JWT_ACCESS_TOKEN_LIFETIME: "soon" },
      /setting accessTokenLifetime: "soon" is not a duration/,
    ],
    [
      ["--store", "memory:", "--algorithm", "RS256"],
      { JWT_SIGNING_KEY: "-----BEGIN hunter2" },
      /setting signingKey can't be read/,
    ],
    [["--store", "memory:", "--port", "99999"], {}, /setting port: 99999 is not a port/],
    [["--store", "memory:", "--prot", "1"], {}, /setting --prot is not a flag of the server; did you mean --port\?$/m],
    [
      ["--store", "memory:"],
      { JWT_ROTATE_REFRESH_TOKEN: "true" },
      /variable JWT_ROTATE_REFRESH_TOKEN is not a setting; did you mean JWT_ROTATE_REFRESH_TOKENS\?$/m,
    ],
    [["--store", "memory:"], { JWT_SIGNING_KEY: "" }, /variable JWT_SIGNING_KEY is empty; give it a value/],
  ];
  try {
    await Promise.all(
      cases.map(async ([args, env, message]) => {
        const { code, stdout, stderr } = await finished(start(entry, args, { env: environmentWith(env) }));
        assert.is(code, 1, stderr);
        assert.match(stderr, message);
        assert.is(stderr.trim().split("\n").length, 1, stderr);
        assert.not.match(stderr + stdout, "hunter2");
      }),
    );
  } finally {
    blocker.close();
  }
});

it("refuses variables and flags that would go unnoticed, names the nearest and no value", () => {
  const cases: [args: string[], env: Record<string, string>, message: string][] = [
    [["--colour", "hunter2"], {}, "setting --colour is not a flag of the server; see --help"],
    [["--stoer=hunter2"], {}, "setting --stoer is not a flag of the server; did you mean --store?"],
    [["-p", "1"], {}, "setting -p is not a flag of the server; see --help"],
    [["--store", "--port", "0"], {}, "setting --store lacks its value; a value that begins with - takes --store="],
    [["--port"], {}, "setting --port lacks its value; a value that begins with - takes --port="],
    [["hunter2"], {}, "the command line has a text that belongs to no flag"],
    ...["memory:", "MEMORY:", "Memory:x", "mEMORY://"].map((store): [string[], Record<string, string>, string] => [
      ["--workers", "2"],
      { JWT_STORE: store },
      "setting workers: 2 processes can't share the store memory:; use a file: store",
    ]),
    [[], { JWT_THROTTEL: "hunter2" }, "variable JWT_THROTTEL is not a setting; did you mean JWT_THROTTLE?"],
    [[], { JWT_PORT: "1" }, "variable JWT_PORT is not a setting; did you mean PORT?"],
    [[], { JWT_CLAIMS: "1" }, "variable JWT_CLAIMS is not a setting; the server's --help lists those that are"],
    [[], { JWT_VERIFYING_KEY: "" }, "variable JWT_VERIFYING_KEY is empty; give it a value, or take it away"],
    [[], { JWT_JWK_URL: "" }, "variable JWT_JWK_URL is empty; give it a value, or take it away"],
  ];
  for (const [args, env, message] of cases) {
    assert.throws(
      () => readOptions(args, env),
      (error: Error) => error.name === "SettingError" && error.message === message,
      message,
    );
  }
  const { settings, store } = readOptions([], { JWT_ENDPOINTS_WORKERS: "2", JWT_STORE: "", JWT_PREFIX: "", JWTX: "1" });
  assert.equal([settings, store], [{}, "file:./data"]);
});

if (runtime === "deno") {
  it("says that misspelt variables go unnoticed where it may not list them, and refuses empty keys all the same", async () => {
    const permissions = ["--no-prompt", "--allow-net=127.0.0.1", "--allow-env=PORT,HOST,JWT_*,NO_COLOR,TERM"];
    const args = ["run", ...permissions, entry, "--store", "memory:", "--port", "0"];
    const env = environmentWith({ JWT_SIGNING_KEY: "" });
    const { code, stderr } = await finished(spawn(process.execPath, args, { cwd: projectRoot, env }));
    assert.is(code, 1);
    const [unlisted, refused] = stderr.trim().split("\n");
    assert.is(unlisted, "jwt-endpoints: misspelt JWT_ variables go unnoticed; to refuse them takes all of --allow-env");
    assert.is(refused, "jwt-endpoints: variable JWT_SIGNING_KEY is empty; give it a value, or take it away");
  });
}

it("warns once of settings that are weak or do nothing together, and starts", async () => {
  const warned =
    /"code":"setting_without_effect","message":"settings without effect: refreshGrace without rotateRefre/g;
  for (const args of [[], ["--workers", "2"]]) {
    const server = await serve(["--store", `file:${temporaryFolder()}/data`, ...args], { JWT_REFRESH_GRACE: "5s" });
    await until(() => server.output().includes("curl"), "the first user is told of");
    assert.is(await server.stop(), 0);
    assert.is(server.errors().match(warned)?.length, 1, server.errors());
    assert.is(server.errors().match(/"code":"weak_setting","message":"setting hashing.iterations: /g)?.length, 1);
  }
});

it("shows the stack of an error that only a bug can cause, and one line of all others", async () => {
  const coded = (code: string, message = "refused") => Object.assign(new Error(message), { code });
  const { message: unreadable } = coded("EACCES", "EACCES: permission denied, open '/srv/x'");
  const lines: [Error, string][] = [
    [new SettingError("setting port: x"), "setting port: x"],
    [new StoreError("STORE_DAMAGED", "line 7\nis damaged"), "line 7 is damaged"],
    [new StoreError("STORE_UNAVAILABLE", "can't write", { cause: coded("ENOSPC") }), "can't write"],
    [coded("EACCES", unreadable), unreadable],
    [
      (await openStore("nowhere").catch((error: Error) => error)) as Error,
      "setting store is not a URL; accepted: memory: or file:./folder",
    ],
  ];
  for (const [error, line] of lines) assert.is(problemOf(error), line);
  const bugs = [
    new TypeError("x is not a function"),
    coded("ERR_INVALID_ARG_TYPE"),
    coded("EBADF"),
    new StoreError("STORE_UNAVAILABLE", "can't read", { cause: new TypeError("x is not a function") }),
  ];
  for (const error of bugs) {
    assert.match(problemOf(error), error.message);
    assert.match(problemOf(error), /\n\s*at .*serve\.test\.ts/, error.message);
  }
  assert.match(problemOf(bugs.at(-1)!), "caused by: TypeError: x is not a function");
});

it("logs once that expired facts can't be dropped", async () => {
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

if (runtime === "deno") {
  it("names the flag for a permission that Deno denies, in one line", async () => {
    const folder = temporaryFolder();
    const net = "--allow-net=127.0.0.1";
    const env = "--allow-env=PORT,HOST,JWT_*";
    const memory = ["--store", "memory:"];
    const file = ["--store", `file:${folder}`];
    const storeFlags = `--allow-read=${folder} --allow-write=${folder}`;
    const cases: [flags: string[], args: string[], line: string][] = [
      [["--allow-env=OTHER"], memory, `env access to JWT_SIGNING_KEY; start it with ${env}`],
      [["--allow-env=JWT_*"], memory, `env access to HOST; start it with ${env}`],
      [[env], memory, "net access to 127.0.0.1:0; start it with --allow-net=127.0.0.1:0"],
      [[env, net], ["--host", "0.0.0.0", ...memory], "net access to 0.0.0.0:0; start it with --allow-net=0.0.0.0:0"],
      [[env, net], file, `read access to ${folder}/keys.json; start it with ${storeFlags}`],
      [[env, net, `--allow-read=${folder}`], file, `write access to ${folder}; start it with ${storeFlags}`],
      [[env, net, `--allow-write=${folder}`], file, `read access to ${folder}/keys.json; start it with ${storeFlags}`],
      [
        ["--allow-env", net, ...storeFlags.split(" ")],
        ["--workers", "2", ...file],
        `run access to ${process.execPath}; start it with --allow-run=${process.execPath}`,
      ],
      [
        [env, net, "--allow-run", ...storeFlags.split(" ")],
        ["--workers", "2", ...file],
        "env access; start it with --allow-env",
      ],
    ];
    for (const [flags, args, line] of cases) {
      const child = spawn(process.execPath, ["run", "--no-prompt", ...flags, entry, "--port", "0", ...args], {
        cwd: projectRoot,
        env: environmentWith({}),
        timeout: 20_000,
      });
      const { code, stderr } = await finished(child);
      const lines = stderr.trim().split("\n");
      assert.is(lines.filter((each) => !each.includes("misspelt")).join("\n"), `jwt-endpoints: Deno denies ${line}`);
      assert.is(code, 1);
    }
    for (const [program, name] of [
      ["user", "list"],
      ["token", "flush"],
      ["keys", "list"],
    ]) {
      const args = ["run", "--no-prompt", "--allow-env", `src/cli/${program}.ts`, name!, ...file];
      const { code, stderr } = await finished(spawn(process.execPath, args, { cwd: projectRoot, timeout: 20_000 }));
      assert.match(
        stderr,
        /^Deno denies (read|write) access to .*; start it with --allow-read=\S+ --allow-write=\S+\n$/,
      );
      assert.is(code, 1);
    }
  });
}

it("ends with code 0 though clients have sent half a request, and however often the signal comes", async () => {
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

it("tells a new password of the first user until one was told", async () => {
  const folder = temporaryFolder();
  const port = await freePort();
  const args = ["--port", String(port), "--store", `file:${folder}`, "--hashing-iterations", "1000"];
  for (let round = 0; round < 2; round++) {
    const unheard = start(entry, args, { env: environmentWith({}), stdio: ["ignore", "pipe", "ignore"] });
    unheard.stdout!.destroy();
    const ended = new Promise((resolve) => unheard.once("exit", resolve));
    const status = () =>
      fetch(`http://127.0.0.1:${port}/readyz`).then(
        ({ status: code }) => code,
        () => 0,
      );
    await until(async () => (await status()) === 200, "there is a user", 20_000);
    process.kill(unheard.pid!, round === 0 ? "SIGKILL" : "SIGTERM");
    await ended;
  }
  const servers = await Promise.all([serve(args.slice(2)), serve(args.slice(2))]);
  const telling = () => servers.filter((server) => server.output().includes("curl"));
  await until(() => telling().length > 0, "a password is told");
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.is(telling().length, 1, "once");
  const password = /"password":"([^"]+)"/.exec(telling()[0]!.output())![1]!;
  for (const server of servers) {
    await until(
      async () => (await server.send("/jwt/create/", logIn("admin", password))).status === 200,
      "it is right",
    );
  }
  for (const server of servers) assert.is(await server.stop(), 0);
  const again = await serve(args.slice(2));
  await until(async () => (await again.send("/readyz")).status === 200, "it is ready");
  assert.not.match(again.output(), "curl");
  assert.is(await again.stop(), 0);
});

it("leaves a password alone that the operator has set before one was told", async () => {
  const folder = temporaryFolder();
  const store = await openFileStore(folder);
  const told: string[] = [];
  const introduce = (isTold: boolean) =>
    introduceFirstUser(store, {
      hash: async (password) => `hash of ${password}`,
      onMade: () => {},
      tell: async (password) => (told.push(password), isTold),
    });
  await introduce(false);
  const user = (await store.findUserByUsername("admin"))!;
  await store.updateUser(user.id, { passwordHash: "the operator's" });
  await introduce(true);
  assert.is((await store.findUserByUsername("admin"))!.passwordHash, "the operator's");
  assert.is(told.length, 1);
  await store.close();
});

it("is not ready before there is a user", async () => {
  for (const workers of [[], ["--workers", "2"]]) {
    const port = await freePort();
    const args = ["--port", String(port), "--store", `file:${temporaryFolder()}`, "--hashing-iterations", "3000000"];
    const child = start(entry, [...args, ...workers], { env: environmentWith({}) });
    let output = "";
    child.stdout!.on("data", (chunk: Uint8Array) => (output += chunk.toString()));
    const ended = new Promise((resolve) => child.once("exit", resolve));
    const seen: number[] = [];
    await until(
      async () => {
        const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
        if (answer === undefined) return false;
        const text = await answer.text();
        seen.push(answer.status);
        if (answer.status === 200) return true;
        assert.is(answer.status, 503);
        assert.is(answer.headers.get("retry-after"), "1");
        assert.is(text, '{"detail":"The server is starting."}');
        return false;
      },
      "it is ready",
      60_000,
    );
    assert.is(seen[0], 503);
    await until(() => output.includes("curl"), "the password is told");
    process.kill(child.pid!, "SIGTERM");
    assert.is(await ended, 0);
  }
});

if (runtime === "deno" && fs.existsSync("/bin/sh")) {
  it("goes on when it had no file descriptor to accept a connection with", async () => {
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

it("finishes what is in flight when it is told to stop", async () => {
  const server = await serve(["--store", "memory:", "--hashing-iterations", "600000"], { JWT_SIGNING_KEY: secret });
  const answers = Array.from({ length: 4 }, () => server.send("/jwt/create/", logIn("nobody", "x")));
  await new Promise((resolve) => setTimeout(resolve, 60));
  await server.send("/healthz"); // by now the server has accepted those before
  process.kill(server.child.pid!, "SIGTERM");
  for (const answer of await Promise.all(answers)) assert.is(answer.status, 400);
  assert.is(await server.ended, 0);
});

it("shares one folder with another server and the user command", async () => {
  const folder = path.join(temporaryFolder(), "data");
  const [one, two] = await Promise.all([serve(["--store", `file:${folder}`]), serve(["--store", `file:${folder}`])]);
  const add = start("src/cli/user.ts", ["add", "alice", "--password-stdin", "--store", `file:${folder}`], {
    stdio: "pipe",
  });
  add.stdin!.end("open sesame\n");
  const added = await finished(add);
  assert.is(added.code, 0, added.stderr);
  let refresh = "";
  for (const server of [one, two]) {
    await until(
      async () => (await server.send("/jwt/create/", logIn("alice", "open sesame"))).status === 200,
      "alice is known",
    );
    refresh = JSON.parse((await server.send("/jwt/create/", logIn("alice", "open sesame"))).text).refresh;
  }
  const asked = { ...logIn("", ""), body: JSON.stringify({ refresh }) };
  assert.is((await one.send("/jwt/refresh/", asked)).status, 200, "both servers have the same key");
  assert.is((await one.send("/jwt/blacklist/", asked)).status, 200);
  await until(async () => (await two.send("/jwt/refresh/", asked)).status === 400, "the other server knows");
  const printed = [one, two].filter((server) => server.output().includes("curl")).length;
  assert.is(printed, 1, "one of the two made the admin");
  assert.is((await finished(start("src/cli/user.ts", ["disable", "alice", "--store", `file:${folder}`]))).code, 0);
  await until(
    async () => (await one.send("/jwt/create/", logIn("alice", "open sesame"))).status === 400,
    "alice is out",
  );
  assert.equal(await Promise.all([one.stop(), two.stop()]), [0, 0]);
});

it("makes neither folder nor user when it can't start", async () => {
  const folder = path.join(temporaryFolder(), "data");
  const wrong = start(entry, ["--store", `file:${folder}`, "--responses", "drf"], { env: environmentWith({}) });
  assert.is((await finished(wrong)).code, 1);
  assert.not.ok(fs.existsSync(folder));
  const blocker = net.createServer();
  await new Promise<void>((resolve) => blocker.listen(0, "127.0.0.1", resolve));
  const { port } = blocker.address() as net.AddressInfo;
  const blocked = start(entry, ["--store", `file:${folder}`, "--port", String(port)], { env: environmentWith({}) });
  assert.is((await finished(blocked)).code, 1);
  blocker.close();
  const server = await serve(["--store", `file:${folder}`]);
  await until(() => server.output().includes("curl"), "the first user is told of at the first start that works");
  assert.is(await server.stop(), 0);
});

it("answers HTTP/1.0 without a Host, and stops at once though a connection has asked nothing", async () => {
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

it("survives a client that leaves in the middle of its request", async () => {
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

it.run();
