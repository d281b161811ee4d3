/**
 * The built core in `workerd`, the runtime of Cloudflare Workers, with and without Node compatibility: it loads, which
 * refuses I/O, timers and random numbers outside of requests, and passes the HTTP contract over a socket.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import process from "node:process";
import { build } from "esbuild";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { buildPackage } from "../support/package.ts";
import { httpContract } from "../support/contract.ts";
import { sendTo } from "../support/hosts.ts";
import { freePort, projectRoot, temporaryFolder, until } from "../support/runtime.ts";

const { resolve } = createRequire(import.meta.url);
const binary = path.join(path.dirname(resolve("workerd/package.json")), "bin/workerd");

const built = buildPackage();
const folder = mkdtempSync(path.join(built, "worker-"));

await build({
  entryPoints: [path.join(projectRoot, "test/fixtures/edge-worker.ts")],
  outfile: path.join(folder, "worker.js"),
  alias: {
    "jwt-endpoints": path.join(built, "dist/index.js"),
    "jwt-endpoints/stores/conformance": path.join(built, "dist/stores/conformance.js"),
    "jwt-endpoints/stores/durable-object": path.join(built, "dist/stores/durable-object/index.js"),
    "jwt-endpoints/stores/memory": path.join(built, "dist/stores/memory.js"),
  },
  tsconfigRaw: {},
  bundle: true,
  format: "esm",
  platform: "browser",
});

const objects = `,
  durableObjectNamespaces = [(className = "JwtEndpointsStore", uniqueKey = "store", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [(name = "STORE", durableObjectNamespace = "JwtEndpointsStore")]`;

/**
 * Starts workerd with the worker, and returns its address.
 * @param disk a folder for the Durable Objects; without one, there are none.
 */
async function startWorkerd(flags: readonly string[], disk?: string): Promise<{ child: ChildProcess; origin: string }> {
  const port = await freePort();
  const config = path.join(folder, `config-${port}.capnp`);
  writeFileSync(
    config,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker)${disk === undefined ? "" : `, (name = "disk", disk = (path = "${disk}", writable = true))`}],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")]
);
const worker :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.js")],
  compatibilityDate = "2026-01-01",
  compatibilityFlags = ${JSON.stringify(flags)}${disk === undefined ? "" : objects}
);
`,
  );
  const child = spawn(binary, ["serve", config], { stdio: ["ignore", "pipe", "pipe"] });
  process.once("exit", () => child.kill("SIGKILL"));
  let errors = "";
  child.stderr!.on("data", (chunk: Uint8Array) => (errors += String(chunk)));
  const origin = `http://127.0.0.1:${port}`;
  await until(async () => {
    if (child.exitCode !== null) throw new Error(`workerd ended: ${errors}`);
    return sendTo(origin, "/healthz").then(
      ({ status }) => status === 200,
      () => false,
    );
  }, "workerd serves");
  return { child, origin };
}

for (const [name, flags] of [
  ["without Node compatibility", []],
  ["with Node compatibility", ["nodejs_compat"]],
] as const) {
  let child: ChildProcess;
  httpContract(
    `workerd ${name}`,
    async () => {
      const started = await startWorkerd(flags);
      child = started.child;
      return { profile: "djoser", prefix: "/auth", isDocumented: false, send: sendTo.bind(null, started.origin) };
    },
    async () => void child.kill(),
  );
}

const it = suite("workerd");

it("refuses more PBKDF2 iterations than deployed Workers derive, and says how many those are", async () => {
  const { child, origin } = await startWorkerd([]);
  try {
    const { text } = await sendTo(origin, "/default-settings");
    assert.is(
      text,
      "setting hashing.iterations: 600000 is more than Cloudflare Workers derive; accepted there: at most 100000",
    );
  } finally {
    child.kill();
  }
});

it("keeps every promise of a store in a Durable Object", async () => {
  const { child, origin } = await startWorkerd([], temporaryFolder());
  try {
    assert.equal(JSON.parse((await sendTo(origin, "/conformance")).text), []);
  } finally {
    child.kill();
  }
});

it("rotates and revokes tokens in a Durable Object, racing and across a restart", async () => {
  const disk = temporaryFolder();
  const first = await startWorkerd([], disk);
  const post = async (origin: string, path: string, data: object) => {
    const headers = { "content-type": "application/json" };
    const { status, text } = await sendTo(origin, `/auth/jwt/${path}/`, {
      method: "POST",
      headers,
      body: JSON.stringify(data),
    });
    return { status, ...(JSON.parse(text) as { refresh?: string; access?: string }) };
  };
  const login = await post(first.origin, "create", { username: "ada", password: "correct horse" });
  assert.is(login.status, 200);
  const { refresh } = login;
  const racing = await Promise.all(Array.from({ length: 10 }, () => post(first.origin, "refresh", { refresh })));
  assert.is(new Set(racing.map((each) => each.refresh)).size, 1);
  assert.is(racing[0]!.status, 200);
  assert.is((await post(first.origin, "verify", { token: racing[0]!.access })).status, 200);
  assert.is((await post(first.origin, "logout", { refresh: racing[0]!.refresh })).status, 200);
  first.child.kill();
  await new Promise((resolve) => first.child.once("close", resolve));
  const second = await startWorkerd([], disk);
  assert.is((await post(second.origin, "refresh", { refresh: racing[0]!.refresh })).status, 400);
  assert.is((await post(second.origin, "verify", { token: racing[0]!.refresh })).status, 400);
  const again = await post(second.origin, "create", { username: "ada", password: "correct horse" });
  assert.is(again.status, 200);
  second.child.kill();
});

it.run();
