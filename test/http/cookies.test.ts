import net from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Agent, request } from "undici";
import { type JwtEndpointsSettings, createJwtEndpoints } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { addContractUsers, iterations, makeToken } from "../support/contract-client.ts";
import { secret } from "../support/contract-client.ts";
import { runtime, start } from "../support/runtime.ts";
import { until } from "../support/processes.ts";
import { unlimited } from "../support/server.ts";

interface Received {
  status: number;
  headers: Record<string, string | undefined>;
  setCookies: string[];
  body: Record<string, unknown>;
}

type Send = (path: string, headers: Record<string, string>, body: string) => Promise<Received>;

/** A client that keeps cookies as a browser does: by name, until they expire, with the attributes it was given. */
function browser(send: Send, own: Record<string, string> = {}) {
  const jar = new Map<string, { value: string; attributes: string[] }>();
  return {
    jar,
    async post(endpoint: string, data?: Record<string, unknown>, headers: Record<string, string> = {}) {
      const cookie = [...jar].map(([name, { value }]) => `${name}=${value}`).join("; ");
      const response = await send(
        `/jwt/${endpoint}/`,
        { "content-type": "application/json", ...own, ...headers, ...(cookie !== "" && { cookie }) },
        data === undefined ? "" : JSON.stringify(data),
      );
      for (const text of response.setCookies) {
        const [pair, ...attributes] = text.split("; ");
        const [name, value] = pair!.split("=") as [string, string];
        if (attributes.includes("Max-Age=0")) jar.delete(name);
        else jar.set(name, { value, attributes });
      }
      return response;
    },
  };
}

async function inProcess(more: Partial<JwtEndpointsSettings> = {}) {
  const store = memoryStore();
  await addContractUsers(store);
  const settings = {
    store,
    signingKey: secret,
    hashing: { iterations },
    log: () => {},
    cookies: { carry: ["refresh" as const] },
  };
  const endpoints = createJwtEndpoints({ ...settings, ...more });
  const send: Send = async (path, headers, body) => {
    const response = await endpoints.fetch(new Request(`http://localhost${path}`, { method: "POST", headers, body }));
    const setCookies = response.headers.getSetCookie();
    const body_ = JSON.parse(await response.text());
    return { status: response.status, headers: Object.fromEntries(response.headers), setCookies, body: body_ };
  };
  return { endpoints, send, store };
}

const credentials = { username: "ada", password: "correct horse" };
const it = suite("cookies");

it("carry the refresh token, and the bodies then omit it", async () => {
  const { send } = await inProcess({ rotateRefreshTokens: true });
  const { post, jar } = browser(send);
  const login = await post("create", credentials);
  assert.is(login.status, 200);
  assert.equal(Object.keys(login.body), ["access"]);
  const first = jar.get("__Host-refresh")!;
  assert.equal(first.attributes.toSorted(), ["HttpOnly", "Max-Age=86400", "Path=/", "SameSite=Strict", "Secure"]);
  const again = await post("refresh", {});
  assert.is(again.status, 200);
  assert.equal(Object.keys(again.body), ["access"]);
  assert.is.not(jar.get("__Host-refresh")!.value, first.value, "the rotated one replaces it");
  assert.is((await post("refresh")).status, 200, "an empty body will do");
});

it("leave the refresh token as it is without rotation", async () => {
  const { send } = await inProcess();
  const { post } = browser(send);
  await post("create", credentials);
  const { status, setCookies } = await post("refresh");
  assert.is(status, 200);
  assert.equal(setCookies, []);
});

it("give way to a token in the body", async () => {
  const { send } = await inProcess();
  const { post } = browser(send);
  await post("create", credentials);
  assert.is((await post("refresh", { refresh: await makeToken() })).status, 200);
  assert.is((await post("refresh", { refresh: "nonsense" })).status, 400);
});

it("are read when the token in the body is missing, null or blank", async () => {
  const { send } = await inProcess({ rotateRefreshTokens: true });
  const { post, jar } = browser(send);
  assert.equal(
    (await post("refresh", { refresh: null })).body.refresh,
    ["This field may not be null."],
    "no cookie yet",
  );
  assert.equal((await post("refresh", { refresh: "" })).body.refresh, ["This field may not be blank."]);
  await post("create", credentials);
  for (const refresh of [null, "", " \n"]) assert.is((await post("refresh", { refresh })).status, 200);
  assert.equal((await post("refresh", { refresh: [] })).body.refresh, ["Not a valid string."]);
  assert.is((await post("logout", { refresh: null })).status, 200);
  assert.is(jar.size, 0);
});

it("are cleared by logout, which ends the session and can be repeated", async () => {
  const { send } = await inProcess({ rotateRefreshTokens: true });
  const { post, jar } = browser(send);
  await post("create", credentials);
  const refresh = jar.get("__Host-refresh")!.value;
  for (let i = 0; i < 2; i++) {
    const logout = await post("logout");
    assert.equal([logout.status, logout.body], [200, {}]);
    assert.match(logout.setCookies[0]!, /^__Host-refresh=; Max-Age=0; Path=\/; HttpOnly; Secure; SameSite=Strict$/);
    assert.is(jar.size, 0);
  }
  assert.equal((await post("refresh", { refresh })).body, { non_field_errors: ["Token is blacklisted"] });
  jar.set("__Host-refresh", { value: await makeToken({ exp: 1 }), attributes: [] });
  assert.is((await post("logout")).status, 200, "a dead cookie is logged out already");
  assert.is(jar.size, 0);
});

it("may carry the access token too, which authenticate then reads", async () => {
  const { send, endpoints } = await inProcess({
    cookies: { carry: ["refresh", "access"] },
    cors: ["https://app.example.org"],
  });
  const { post, jar } = browser(send);
  assert.equal((await post("create", credentials)).body, {});
  assert.equal([...jar.keys()].toSorted(), ["__Host-access", "__Host-refresh"]);
  const cookie = `other=1; __Host-access=${jar.get("__Host-access")!.value}`;
  const me = endpoints.protect((_, { user }) => new Response(user.username));
  const ask = async (headers: Record<string, string>, method = "GET") => {
    const response = await me(new Request("http://localhost/me", { method, headers }));
    return [response.status, await response.text()];
  };
  assert.equal(await ask({ cookie }), [200, "ada"]);
  assert.equal(await ask({ cookie, origin: "http://localhost" }, "POST"), [200, "ada"]);
  assert.equal(await ask({ cookie, origin: "https://app.example.org" }, "POST"), [200, "ada"]);
  assert.is((await ask({ cookie, origin: "https://evil.example" }, "POST"))[0], 403);
  assert.is((await ask({ cookie, "sec-fetch-site": "cross-site" }, "DELETE"))[0], 403);
  const upgrade = { cookie, upgrade: "websocket" };
  assert.equal(await ask({ ...upgrade, origin: "https://app.example.org" }), [200, "ada"]);
  assert.is((await ask({ ...upgrade, origin: "https://evil.example" }))[0], 403);
  assert.is((await ask({ cookie: "__Host-access=x" }))[0], 401);
  assert.is((await ask({ cookie, authorization: "Bearer x" }))[0], 401, "a header comes first");
});

it("do not let a logout without a token pass when they carry the access token alone", async () => {
  const { send } = await inProcess({ cookies: { carry: ["access"] } });
  const { post, jar } = browser(send);
  const { refresh } = (await post("create", credentials)).body;
  assert.equal([...jar.keys()], ["__Host-access"]);
  const response = await post("logout");
  assert.equal([response.status, response.body.refresh], [400, ["This field is required."]]);
  assert.is((await post("refresh", { refresh })).status, 200);
  assert.is((await post("logout", { refresh })).status, 200);
  assert.is(jar.size, 0);
  assert.is((await post("refresh", { refresh })).status, 400);
});

it("are refused when another site made the request", async () => {
  const { send } = await inProcess({ cors: ["https://app.example.org"] });
  const { post, jar } = browser(send);
  await post("create", credentials);
  const before = jar.get("__Host-refresh")!.value;
  const refused: Record<string, string>[] = [
    { origin: "https://evil.example" },
    { origin: "null" },
    { origin: "http://localhost.evil.example" },
    { origin: "http://localhost:8080" },
    { "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-site" },
  ];
  for (const headers of refused) {
    for (const [endpoint, data] of [["create", credentials], ["refresh"], ["logout"]] as const) {
      const response = await post(endpoint, data, headers);
      assert.is(response.status, 403, `${endpoint} ${JSON.stringify(headers)}`);
      assert.equal(response.body, { detail: "Cross-site requests are not accepted here." });
      assert.equal(response.setCookies, []);
    }
  }
  const accepted: Record<string, string>[] = [
    {},
    { origin: "http://localhost" },
    { origin: "https://app.example.org", "sec-fetch-site": "cross-site" },
    { "sec-fetch-site": "same-origin" },
    { "sec-fetch-site": "none" },
  ];
  for (const headers of accepted) assert.is((await post("refresh", {}, headers)).status, 200, JSON.stringify(headers));
  assert.is(jar.get("__Host-refresh")!.value, before);
});

it("accept their own host as proxies write it", async () => {
  const { endpoints } = await inProcess();
  const post = async (headers: Record<string, string>, url = "/jwt/logout/"): Promise<number> => {
    const get = (name: string): string | null => headers[name] ?? null;
    const response = endpoints.handle({
      method: "POST",
      url,
      headers: { get },
      bytes: () => new Uint8Array(),
      text: () => "",
    });
    return (await response).status;
  };
  const statuses: [origin: string, host: string | undefined, status: number][] = [
    ["https://app.example.org", "app.example.org", 200],
    ["https://app.example.org", "app.example.org:443", 200],
    ["http://app.example.org", "app.example.org:80", 200],
    ["https://app.example.org", "App.Example.ORG", 200],
    ["https://app.example.org:8443", "app.example.org:8443", 200],
    ["http://[::1]:3000", "[::1]:3000", 200],
    ["https://app.example.org", "app.example.org:8443", 403],
    ["https://app.example.org:8443", "app.example.org", 403],
    ["http://app.example.org", "app.example.org:443", 403],
    ["https://evil.example", "app.example.org, evil.example", 400],
    ["https://app.example.org, https://evil.example", "app.example.org", 403],
    ["https://evil.example", "", 403],
    ["null", "null", 403],
    // HTTP/1.0 has no Host, and then there is nothing that an origin could equal
    ["null", undefined, 403],
    ["https://app.example.org", undefined, 403],
    ["", undefined, 403],
  ];
  for (const [origin, host, status] of statuses) {
    const headers = { origin, "content-type": "application/json", ...(host !== undefined && { host }) };
    assert.is(await post(headers), status, `${origin} at ${host}`);
  }
  assert.is(await post({ origin: "http://[::1]" }, "http://[::1]/jwt/logout/"), 200);
  assert.is(await post({ origin: "null" }, "http://[::1]/jwt/logout/"), 403);
});

it("are refused when a page by HTTP makes a request by HTTPS, whatever its host", async () => {
  const { endpoints } = await inProcess();
  const post = async (url: string, origin: string, more: Record<string, string> = {}): Promise<number> => {
    const headers = { host: "app.example.org", origin, "content-type": "application/json", ...more };
    return (await endpoints.fetch(new Request(`${url}/jwt/logout/`, { method: "POST", headers }))).status;
  };
  const [http, https] = ["http://app.example.org", "https://app.example.org"];
  assert.is(await post(https, https), 200);
  assert.is(await post(https, http), 403);
  assert.is(await post(http, http), 200);
  assert.is(await post(http, https), 200, "a proxy ended TLS");
  // such a proxy says so, and so do browsers
  assert.is(await post(http, https, { "x-forwarded-proto": "https" }), 200);
  assert.is(await post(http, http, { "x-forwarded-proto": "https" }), 403);
  assert.is(await post(http, http, { "x-forwarded-proto": "https,http" }), 403);
  assert.is(await post(http, http, { "x-forwarded-proto": "http" }), 200);
  assert.is(await post(http, http, { "sec-fetch-site": "cross-site" }), 403);
  assert.is(await post(http, https, { "sec-fetch-site": "same-origin" }), 200);
});

it("travel to exact origins only, never to all", async () => {
  const { send } = await inProcess({ cors: ["https://app.example.org"] });
  const response = await browser(send).post("create", credentials, { origin: "https://app.example.org" });
  assert.is(response.headers["access-control-allow-origin"], "https://app.example.org");
  assert.is(response.headers["access-control-allow-credentials"], "true");
  assert.is(response.headers.vary, "Origin");
  for (const [more, message] of [
    [{ cors: "*" }, /^setting cors: "\*" can't be used with cookies; accepted: exact origins$/],
    [{ cookies: { carry: ["refresh"], sameSite: "none", secure: false } }, /^setting cookies.secure can't be off/],
    [
      { cookies: { carry: ["session"] } },
      /^setting cookies.carry.0: "session" is not known; accepted: refresh, access$/,
    ],
  ] as const) {
    try {
      await inProcess(more as unknown as Partial<JwtEndpointsSettings>);
      assert.unreachable();
    } catch (error) {
      assert.match((error as Error).message, message);
    }
  }
});

it("have the attributes of the settings", async () => {
  for (const [cookies, wanted] of [
    [{ sameSite: "lax", domain: "example.org" }, /^__Secure-refresh=.+; Domain=example.org; .*SameSite=Lax$/],
    [{ secure: false }, /^refresh=[^;]+; Max-Age=86400; Path=\/; HttpOnly; SameSite=Strict$/],
  ] as const) {
    const { send } = await inProcess({ cookies: { carry: ["refresh"], ...cookies } });
    assert.match((await browser(send).post("create", credentials)).setCookies[0]!, wanted);
  }
});

it("carry a sliding token", async () => {
  const { send, endpoints } = await inProcess({ authTokenClasses: ["SlidingToken"] });
  const { post, jar } = browser(send);
  assert.equal((await post("create", credentials)).body, {});
  assert.equal((await post("refresh")).body, {});
  const cookie = `__Host-token=${jar.get("__Host-token")!.value}`;
  const { user } = await endpoints.authenticate(new Request("http://localhost/", { headers: { cookie } }));
  assert.is(user.username, "ada");
  assert.is((await post("logout")).status, 200);
  assert.is(jar.size, 0);
});

it("are neither set nor read unless they are switched on", async () => {
  const { send } = await inProcess({ cookies: {} });
  const { post, jar } = browser(send);
  const { body } = await post("create", credentials, { origin: "https://anywhere.example" });
  assert.equal(Object.keys(body), ["refresh", "access"]);
  jar.set("__Host-refresh", { value: body.refresh as string, attributes: [] });
  assert.equal((await post("refresh")).body.refresh, ["This field is required."]);
});

it("work with the real server over a socket", async () => {
  const flags = [
    "--port",
    "0",
    "--store",
    "memory:",
    "--hashing-iterations",
    "1",
    "--rotate-refresh-tokens",
    "true",
    ...unlimited,
  ];
  const child = start(`src/serve/${runtime}.ts`, [...flags, "--cookies-carry", "refresh,access"]);
  let told = "";
  child.stdout!.on("data", (chunk: Uint8Array) => (told += chunk.toString()));
  await until(() => told.includes("curl"), "the server has started", 20_000);
  const dispatcher = new Agent();
  const origin = /http:\/\/[^/\s]+/.exec(told)![0];
  const send: Send = async (path, headers, body) => {
    const response = await request(origin + path, { method: "POST", headers, body, dispatcher });
    const all = response.headers as Record<string, string | string[]>;
    const setCookies = [all["set-cookie"] ?? []].flat();
    return {
      status: response.statusCode,
      headers: {},
      setCookies,
      body: (await response.body.json()) as Received["body"],
    };
  };
  const { post, jar } = browser(send, { origin });
  const login = await post("create", JSON.parse(/-d '(\{.*\})'/.exec(told)![1]!));
  assert.equal([login.status, login.body], [200, {}]);
  assert.is(jar.size, 2, "two Set-Cookie headers");
  const [first] = [jar.get("__Host-refresh")!.value];
  assert.equal([(await post("refresh")).status, jar.get("__Host-refresh")!.value === first], [200, false]);
  assert.is((await post("refresh", {}, { origin: "https://evil.example" })).status, 403);
  // A proxy splits cookies in this way when it takes them from HTTP/2.
  const socket = net.connect(Number(new URL(origin).port), "127.0.0.1");
  let response = "";
  socket.on("data", (chunk: Uint8Array) => (response += chunk.toString()));
  const cookie = `Cookie: other=1\r\nCookie: __Host-refresh=${jar.get("__Host-refresh")!.value}\r\nCookie: more=2\r\n`;
  socket.write(`POST /jwt/refresh/ HTTP/1.1\r\nHost: x\r\n${cookie}Content-Length: 0\r\n\r\n`);
  await until(() => response.includes("\r\n\r\n"), "the response has come");
  socket.destroy();
  assert.match(response, /^HTTP\/1\.1 200 /);
  assert.is((await post("logout")).status, 200);
  assert.is(jar.size, 0);
  await dispatcher.close?.(); // not in the undici that Bun brings
  process.kill(child.pid!, "SIGTERM");
  await new Promise((resolve) => child.once("close", resolve));
});

it.run();
