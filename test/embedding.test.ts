/** The examples that README points to, each in its own process on the runtime of this test, over a real socket. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { request } from "undici";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import hono from "./examples/hono.ts";
import { projectRoot, runtime, start, until } from "./runtime.ts";

const credentials = { username: "ada", password: "correct horse" };
const environment = { ...process.env, PORT: "0", BUN_PORT: "0", NO_COLOR: "1" };

/** Serves a module's default export with what its runtime has for that. */
function serveModule(file: string): ChildProcess {
  if (runtime === "bun") return start(file, [], { env: environment });
  if (runtime === "node") {
    const args = ["serve", "--prod", "--host", "127.0.0.1", "--port", "0", "--entry", file];
    return start("node_modules/srvx/bin/srvx.mjs", args, { cwd: projectRoot, env: environment });
  }
  const args = ["serve", "-A", "--host", "127.0.0.1", "--port", "0", file];
  const options = { cwd: projectRoot, env: environment };
  const child = spawn(process.execPath, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  process.on("exit", () => child.kill("SIGKILL"));
  return child;
}

/** Runs `use` with the address that the child tells of, and stops the child. */
async function withServer(child: ChildProcess, use: (url: string) => Promise<void>): Promise<void> {
  let told = "";
  const listen = (chunk: Uint8Array) => (told += chunk.toString());
  child.stdout!.on("data", listen);
  child.stderr!.on("data", listen);
  const exit = once(child, "exit");
  const address = () => /https?:\/\/(?:localhost|127\.0\.0\.1|0\.0\.0\.0):(\d+)/.exec(told)?.[1];
  try {
    await until(() => address() !== undefined || child.exitCode !== null, "the server tells its address", 30_000);
    if (address() === undefined) throw new Error(`the server ended with code ${child.exitCode}:\n${told}`);
    await use(`http://127.0.0.1:${address()}`);
    assert.is(child.exitCode, null, `still alive, having said:\n${told}`);
  } finally {
    child.kill("SIGTERM"); // by its own pid
    const force = setTimeout(() => child.kill("SIGKILL"), 5000);
    await exit;
    clearTimeout(force);
  }
}

async function post(url: string, data: unknown) {
  const headers = { "content-type": "application/json" };
  const { statusCode, body } = await request(url, { method: "POST", headers, body: JSON.stringify(data) });
  return { status: statusCode, body: (await body.json()) as Record<string, string> };
}

/** A login, what it is good for, and three refusals. */
async function useTokens(url: string): Promise<string> {
  const { status, body } = await post(`${url}/jwt/create/`, credentials);
  assert.is(status, 200);
  assert.equal(Object.keys(body), ["refresh", "access"]);
  assert.equal(await post(`${url}/jwt/verify/`, { token: body.access }), { status: 200, body: {} });
  const refreshed = await post(`${url}/jwt/refresh/`, { refresh: body.refresh });
  assert.equal([refreshed.status, Object.keys(refreshed.body)], [200, ["access"]]);
  assert.equal(await post(`${url}/jwt/create/`, { ...credentials, password: "wrong" }), {
    status: 400,
    body: { non_field_errors: ["Unable to log in with provided credentials."] },
  });
  assert.equal(await post(`${url}/jwt/create/`, { username: "ada" }), {
    status: 400,
    body: {
      password: ["This field is required."],
      non_field_errors: ["password: This field is required."],
    },
  });
  assert.equal(await post(`${url}/jwt/refresh/`, { refresh: body.access }), {
    status: 400,
    body: { non_field_errors: ["Token has wrong type"] },
  });
  return body.access!;
}

type Send = (headers: Record<string, string>) => Promise<{ status: number; challenge: unknown; body: unknown }>;

async function useProtectedRoute(send: Send, access: string): Promise<void> {
  assert.equal(await send({ authorization: `Bearer ${access}` }), {
    status: 200,
    challenge: undefined,
    body: { username: "ada" },
  });
  assert.equal(await send({}), {
    status: 401,
    challenge: 'Bearer realm="api"',
    body: { detail: "Authentication credentials were not provided." },
  });
  const refused = await send({ authorization: `Bearer ${access}x` });
  assert.equal(
    [refused.status, refused.challenge],
    [401, 'Bearer realm="api", error="invalid_token", error_description="Given token not valid for any token type"'],
  );
  assert.is((refused.body as { code: string }).code, "token_not_valid");
}

const it = suite(`embedding, ${runtime}`);

it("mounts in a node:http server beside other routes", async () => {
  await withServer(start("test/examples/node-http.ts", [], { env: environment }), async (url) => {
    await useTokens(`${url}/auth`);
    const other = await request(`${url}/`);
    assert.equal([other.statusCode, await other.body.text()], [200, "hello\n"]);
  });
});

it("serves a module that exports { fetch }", async () => {
  await withServer(serveModule("test/examples/default-export.ts"), async (url) => {
    await useTokens(url);
    const { statusCode, body } = await request(`${url}/healthz`);
    assert.equal([statusCode, await body.json()], [200, { status: "ok" }]);
  });
});

it("guards a route of a Hono application, over a socket", async () => {
  await withServer(serveModule("test/examples/hono.ts"), async (url) => {
    const access = await useTokens(`${url}/auth`);
    await useProtectedRoute(async (headers) => {
      const { statusCode, headers: answered, body } = await request(`${url}/me`, { headers });
      return { status: statusCode, challenge: answered["www-authenticate"], body: await body.json() };
    }, access);
  });
});

it("guards a route of a Hono application, in process", async () => {
  const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(credentials) };
  const { access } = (await (await hono.request("/auth/jwt/create/", init)).json()) as { access: string };
  await useProtectedRoute(async (headers) => {
    const response = await hono.request("/me", { headers });
    const challenge = response.headers.get("www-authenticate") ?? undefined;
    return { status: response.status, challenge, body: await response.json() };
  }, access);
});

it.run();
