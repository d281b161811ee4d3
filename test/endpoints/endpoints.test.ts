import { exportPKCS8, exportSPKI, generateKeyPair } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtEndpointsSettings, type LogEvent, createJwtEndpoints } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { StoreError } from "../../src/stores/store.ts";
import { type Asked, addContractUsers, httpContract, iterations, makeToken, secret } from "../support/contract.ts";
import { keptIn } from "../support/runtime.ts";

async function endpointsWith(more: Partial<JwtEndpointsSettings> = {}) {
  const store = memoryStore();
  await addContractUsers(store);
  const log: LogEvent[] = [];
  const settings = { store, signingKey: secret, hashing: { iterations }, log: keptIn(log) };
  const endpoints = createJwtEndpoints({ ...settings, ...more });
  const send = async (path: string, { method = "GET", headers = {}, body }: Asked) => {
    const init = { method, headers, body: body as BodyInit | undefined };
    const response = await endpoints.fetch(new Request(`http://localhost${path}`, init));
    return { status: response.status, headers: Object.fromEntries(response.headers), text: await response.text() };
  };
  const post = (path: string, data: unknown, headers: Record<string, string> = {}) =>
    send(path, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(data),
    });
  return { endpoints, store, log, send, post };
}

const credentials = { username: "ada", password: "correct horse" };

for (const [profile, prefix] of [
  ["djoser", ""],
  ["simplejwt", "/auth"],
] as const) {
  httpContract(`in process, ${profile}`, async () => {
    const { send } = await endpointsWith({ responses: profile, prefix });
    return { profile, prefix, send };
  });
}

const settings = suite("settings");

settings("refuse a verifying key that does not belong to the signing key", async () => {
  const pem = async () => {
    const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
    return { signingKey: await exportPKCS8(privateKey), verifyingKey: await exportSPKI(publicKey) };
  };
  const [one, two] = [await pem(), await pem()];
  await createJwtEndpoints({ store: memoryStore(), algorithm: "ES256", ...one }).ready();
  const mixed = createJwtEndpoints({
    store: memoryStore(),
    algorithm: "ES256",
    ...one,
    verifyingKey: two.verifyingKey,
  });
  const problem = await mixed.ready().then(
    () => undefined,
    (error: unknown) => error as Error,
  );
  assert.is(problem?.message, "setting verifyingKey does not belong to signingKey");
});

settings("take durations as text or as seconds", async () => {
  for (const [lifetime, seconds] of [
    ["90s", 90],
    ["5m", 300],
    ["1h30m", 5400],
    ["1d", 86_400],
    ["1w", 604_800],
    [60, 60],
    ["60", 60],
  ]) {
    const { post } = await endpointsWith({ accessTokenLifetime: lifetime as string });
    const { access } = JSON.parse((await post("/jwt/create/", credentials)).text);
    const { iat, exp } = JSON.parse(atob(access.split(".")[1]));
    assert.is(exp - iat, seconds);
  }
});

settings("of two instances live side by side", async () => {
  const one = await endpointsWith({ responses: "simplejwt", usernameField: "email" });
  const two = await endpointsWith({ signingKey: `another ${secret}` });
  assert.is((await one.post("/jwt/create/", { email: "ada", password: "correct horse" })).status, 200);
  const { access } = JSON.parse((await two.post("/jwt/create/", credentials)).text);
  assert.is((await one.post("/jwt/verify/", { token: access })).status, 401);
  assert.is((await two.post("/jwt/verify/", { token: access })).status, 200);
});

settings(
  "let inactive users in when checkUserIsActive is off, and record logins when updateLastLogin is on",
  async () => {
    const { post, store } = await endpointsWith({ checkUserIsActive: false, updateLastLogin: true });
    assert.is((await post("/jwt/create/", { ...credentials, username: "ian" })).status, 200);
    assert.ok(((await store.findUserByUsername("ian"))?.lastLogin ?? 0) > Date.now() / 1000 - 60);
  },
);

settings.run();

const failures = suite("failures");

failures("of the store are 503 with Retry-After, logged, and over when the store is back", async () => {
  const inner = memoryStore();
  await addContractUsers(inner);
  let isDown = true;
  const store = {
    ...inner,
    ping() {
      if (isDown) throw new StoreError("STORE_UNAVAILABLE", "no space left");
    },
    findUserByUsername(username: string) {
      if (isDown) throw new StoreError("STORE_UNAVAILABLE", "no space left");
      return inner.findUserByUsername(username);
    },
  };
  const { post, send, log, endpoints } = await endpointsWith({ store });
  for (const answer of [await post("/jwt/create/", credentials), await send("/readyz", {})]) {
    assert.is(answer.status, 503);
    assert.match(answer.headers["retry-after"]!, /^\d+$/);
    assert.is(answer.text, '{"detail":"The store is unavailable. Try again later."}');
  }
  assert.is(log.length, 2);
  assert.is((await send("/healthz", {})).status, 200);
  const problem = await endpoints.ready().then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.is((problem as StoreError).code, "STORE_UNAVAILABLE");
  isDown = false;
  assert.is((await post("/jwt/create/", credentials)).status, 200);
});

failures("nobody foresaw are a bare 500, with the cause in the log alone", async () => {
  const store = {
    ...memoryStore(),
    findUserByUsername(): never {
      throw new Error("secret detail");
    },
  };
  const { post, log } = await endpointsWith({ store });
  const answer = await post("/jwt/create/", credentials);
  assert.is(answer.status, 500);
  assert.is(answer.text, '{"detail":"Internal server error."}');
  assert.is(((log[0] as { error: Error }).error as Error).message, "secret detail");
});

failures("of the log hook cost no request its answer, and what it was told goes to standard error", async () => {
  const store = {
    ...memoryStore(),
    findUserByUsername(): never {
      throw new Error("secret detail");
    },
  };
  const write = console.error;
  const lines: string[] = [];
  console.error = (line: string) => void lines.push(line);
  try {
    for (const log of [
      () => {
        throw new Error("no log");
      },
      async () => {
        throw new Error("no log");
      },
    ]) {
      const { post } = await endpointsWith({ store, log, hashing: {} }); // which is nothing to warn of
      const answer = await post("/jwt/create/", credentials);
      assert.equal([answer.status, answer.text], [500, '{"detail":"Internal server error."}']);
      await new Promise((resolve) => setTimeout(resolve)); // a rejection that nobody handles would end the process
      const events = lines.splice(0).map((line) => JSON.parse(line) as { code: string; error: string });
      assert.equal(
        events.map(({ code }) => code),
        ["internal_error", "log_failed"],
      );
      assert.match(events[0]!.error, "secret detail");
      assert.match(events[1]!.error, "no log");
    }
  } finally {
    console.error = write;
  }
});

failures("of a Host are a 400 wherever it is for, before anything else", async () => {
  for (const [responses, text] of [
    ["djoser", '{"non_field_errors":["Invalid Host header."]}'],
    ["simplejwt", '{"detail":"Invalid Host header."}'],
  ] as const) {
    const { endpoints } = await endpointsWith({ responses, cors: ["https://app.example.org"] });
    const ask = async (host: string, path: string, method: string) => {
      const init = {
        method,
        headers: { host, origin: "https://app.example.org", "access-control-request-method": "POST" },
      };
      const response = await endpoints.fetch(new Request(`http://localhost${path}`, init));
      return [response.status, await response.text()];
    };
    for (const host of ["a/jwt/create/?", "a?b", "a#b", "a@b", "a\\b", "a b", "a\tb", "a, b", "a, a", "/"]) {
      for (const [path, method] of [
        ["/jwt/create/", "POST"],
        ["/healthz", "GET"],
        ["/nowhere", "GET"],
        ["/jwt/create/", "OPTIONS"],
      ] as const) {
        assert.equal(await ask(host, path, method), [400, text], `${method} ${path} at ${host}`);
      }
      assert.equal(await ask(host, "/healthz", "HEAD"), [400, ""]);
    }
    for (const host of [
      "localhost",
      "app.example.org:8443",
      "127.0.0.1",
      "[::1]:80",
      "",
      "a_b.example",
      "xn--bcher-kva.example",
    ]) {
      assert.is((await ask(host, "/healthz", "GET"))[0], 200, host);
    }
  }
});

failures("of UTF-8 are a 400, also where a character is cut off", async () => {
  const { endpoints } = await endpointsWith();
  const ask = async (bytes: number[], declared: boolean) => {
    const body = new Uint8Array([
      ...new TextEncoder().encode('{"token":"'),
      ...bytes,
      ...new TextEncoder().encode('"}'),
    ]);
    const headers: Record<string, string> = { "content-type": "application/json" };
    if (declared) headers["content-length"] = String(body.length);
    const init = { method: "POST", headers, body };
    return (await endpoints.fetch(new Request("http://localhost/jwt/verify/", init))).text();
  };
  for (const declared of [true, false]) {
    for (const bytes of [
      [0xf0, 0x9f, 0x98],
      [0xe2, 0x82],
      [0xc3],
      [0xff],
      [0xed, 0xa0, 0x80],
      [0xef, 0xbf, 0xbd, 0xf0, 0x9f, 0x98],
    ]) {
      const wanted = '{"non_field_errors":["JSON parse error - the body is not UTF-8"]}';
      assert.is(await ask(bytes, declared), wanted, String(bytes));
    }
    assert.match(await ask([0xef, 0xbf, 0xbd, 0xf0, 0x9f, 0x98, 0x80], declared), "Token is invalid");
  }
});

failures("to read a body are a 400", async () => {
  const { endpoints, log } = await endpointsWith();
  for (let i = 0; i < 2; i++) {
    const request = new Request("http://localhost/jwt/verify/", { method: "POST", body: "{}" });
    await request.text();
    const answer = await endpoints.fetch(request);
    const text = "The request body could not be read: something read it before, such as a body parser.";
    assert.equal([answer.status, await answer.json()], [400, { non_field_errors: [text] }]);
  }
  assert.equal(
    log.map((event) => (event as { code: string }).code),
    ["body_already_read"],
    "said once",
  );
});

failures("of size are found while reading when no length is declared", async () => {
  const { endpoints } = await endpointsWith({ maxBodySize: 100 });
  let sent = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      sent += 64;
      if (sent > 1_000_000) controller.close();
      else controller.enqueue(new Uint8Array(64));
    },
  });
  const init = { method: "POST", body, duplex: "half" } as RequestInit;
  assert.is((await endpoints.fetch(new Request("http://localhost/jwt/verify/", init))).status, 413);
  assert.ok(sent < 10_000, "reading stops at the limit");
});

failures("leave the body of what they don't serve to the host, and answer before it has come", async () => {
  const { fetch } = createJwtEndpoints({ store: memoryStore(), signingKey: secret });
  const headers = { "content-type": "application/json", "content-length": "2", accept: "application/json" };
  for (const [path, method, more, status] of [
    ["/comments/", "POST", {}, 404],
    ["/jwt/verify/", "PUT", {}, 405],
    ["/jwt/verify/", "POST", { accept: "text/html" }, 406],
  ] as const) {
    const body = new ReadableStream(); // which never ends
    const init = { method, headers: { ...headers, ...more }, body, duplex: "half" };
    const request = new Request(`http://localhost${path}`, init);
    assert.is((await fetch(request)).status, status);
    assert.is(request.bodyUsed, false, path);
  }
});

failures("of a mount that gives the path another front are a 404, and the log says once what to do", async () => {
  for (const [prefix, path, code, message] of [
    [
      "/auth",
      "/jwt/create/",
      "path_stripped",
      /^a request for \/jwt\/create\/ is answered 404, .* at \/auth\/jwt\/create\/: .*prefix/,
    ],
    ["/api/auth", "/auth/jwt/verify", "path_stripped", /at \/api\/auth\/jwt\/verify:/],
    ["", "/hunter2/jwt/create/", "path_prefixed", /^a request whose path ends in \/jwt\/create\/, .* set prefix to/],
    ["/auth", "/api/auth/jwt/refresh", "path_prefixed", /ends in \/auth\/jwt\/refresh,/],
  ] as const) {
    const { send, log } = await endpointsWith({ prefix });
    for (let i = 0; i < 2; i++) {
      const answer = await send(path, { method: "POST" });
      assert.equal([answer.status, answer.text], [404, '{"detail":"Not found."}']);
    }
    for (const other of ["/", "/jwt", "/jwt/", "/create/", "/jwt/nothing/", "/healthz/x", "/a/healthz"])
      await send(other, {});
    assert.is(log.length, 1, "said once, and not for other paths");
    const event = log[0] as { level: string; code: string; message: string };
    assert.equal([event.level, event.code], ["warn", code]);
    assert.match(event.message, message);
    assert.not.match(event.message, "hunter2");
  }
});

failures.run();

const guards = suite("throttle and CORS");

guards("throttle answers 429 with the seconds to wait, for each client on its own", async () => {
  let time = 1_800_000_000_000;
  const { post } = await endpointsWith({
    throttle: "2/min",
    clientAddress: (request) => request.headers.get("x-client") ?? undefined,
    now: () => time,
  });
  const wrong = { username: "ada", password: "wrong" };
  assert.is((await post("/jwt/create/", wrong, { "x-client": "a" })).status, 400);
  time += 10_000;
  assert.is((await post("/jwt/create/", wrong, { "x-client": "a" })).status, 400);
  const refused = await post("/jwt/create/", credentials, { "x-client": "a" });
  assert.is(refused.status, 429);
  assert.is(refused.text, '{"detail":"Request was throttled. Expected available in 50 seconds."}');
  assert.is(refused.headers["retry-after"], "50");
  assert.is((await post("/jwt/create/", credentials, { "x-client": "b" })).status, 200);
  assert.is((await post("/jwt/verify/", {}, { "x-client": "a" })).status, 400, "only logins count");
  time += 50_000;
  assert.is((await post("/jwt/create/", credentials, { "x-client": "a" })).status, 200);
});

guards("throttle forgets what was counted before the clock was set back", async () => {
  let time = 1_800_000_000_000;
  const { post } = await endpointsWith({ throttle: "1/min", clientAddress: () => "a", now: () => time });
  assert.is((await post("/jwt/create/", credentials)).status, 200);
  assert.is((await post("/jwt/create/", credentials)).status, 429);
  time -= 3_600_000;
  assert.is((await post("/jwt/create/", credentials)).status, 200);
  assert.is((await post("/jwt/create/", credentials)).headers["retry-after"], "60");
});

guards("throttle says once when it can't tell clients apart", async () => {
  const { post, log } = await endpointsWith({ throttle: "1/min" });
  assert.is((await post("/jwt/create/", credentials)).status, 200);
  assert.is((await post("/jwt/create/", credentials)).status, 429);
  assert.equal(
    log.map((event) => (event as { code: string }).code),
    ["client_address_unknown"],
  );
});

guards("CORS allows credentials to exact origins, with and without cookies, and never to every one", async () => {
  const preflight = { "access-control-request-method": "POST", "access-control-request-headers": "content-type" };
  const origin = "https://app.example.org";
  for (const [more, credentialed] of [
    [{ cors: [origin] }, "true"],
    [{ cors: [origin], cookies: { carry: ["refresh" as const] } }, "true"],
    [{ cors: "*" as const }, undefined],
  ] as const) {
    const { send, post } = await endpointsWith(more as Partial<JwtEndpointsSettings>);
    for (const answer of [
      await send("/jwt/create/", { method: "OPTIONS", headers: { origin, ...preflight } }),
      await post("/jwt/create/", credentials, { origin }),
    ]) {
      assert.is(answer.headers["access-control-allow-credentials"], credentialed);
    }
    const other = await post("/jwt/create/", credentials, { origin: "https://evil.example" });
    assert.is(other.headers["access-control-allow-credentials"], undefined);
  }
});

guards("CORS lets the header through that authHeaderName names, beside Authorization", async () => {
  for (const [authHeaderName, allowed] of [
    ["Authorization", "authorization, content-type"],
    ["X-Access-Token", "authorization, content-type, x-access-token"],
  ]) {
    const { send } = await endpointsWith({ cors: ["https://app.example.org"], authHeaderName });
    const headers = { origin: "https://app.example.org", "access-control-request-method": "POST" };
    const answer = await send("/jwt/verify/", { method: "OPTIONS", headers });
    assert.is(answer.headers["access-control-allow-headers"], allowed);
  }
});

guards("CORS lets exact origins in, and no others", async () => {
  const { send, post } = await endpointsWith({ cors: ["https://app.example.org"] });
  const preflight = { "access-control-request-method": "POST", "access-control-request-headers": "content-type" };
  const allowed = await send("/jwt/create/", {
    method: "OPTIONS",
    headers: { origin: "https://app.example.org", ...preflight },
  });
  assert.is(allowed.status, 204);
  assert.is(allowed.headers["access-control-allow-origin"], "https://app.example.org");
  assert.match(allowed.headers["access-control-allow-headers"]!, "content-type");
  const answer = await post("/jwt/create/", credentials, { origin: "https://app.example.org" });
  assert.is(answer.headers["access-control-allow-origin"], "https://app.example.org");
  assert.is(answer.headers.vary, "Origin");
  for (const origin of ["https://evil.example", "null"]) {
    const refused = await post("/jwt/create/", credentials, { origin });
    assert.is(refused.headers["access-control-allow-origin"], undefined);
    assert.is(refused.headers.vary, "Origin");
  }
});

guards.run();

const authenticate = suite("authenticate");
const asking = (header?: string) =>
  new Request("http://localhost/me", header === undefined ? {} : { headers: { authorization: header } });

authenticate("answers the claims and the user of a good access token", async () => {
  const { endpoints, post } = await endpointsWith();
  const { access } = JSON.parse((await post("/jwt/create/", credentials)).text);
  for (const scheme of ["Bearer", "bearer"]) {
    const { claims, user } = await endpoints.authenticate(asking(`${scheme} ${access}`));
    assert.is(user.username, "ada");
    assert.is(claims.user_id, "1");
  }
});

authenticate("throws a 401 that says why, in both profiles", async () => {
  for (const responses of ["djoser", "simplejwt"] as const) {
    const { endpoints, store, log } = await endpointsWith({ responses });
    const access = (changes: Record<string, unknown>) => makeToken({ token_type: "access", ...changes });
    const blacklisted = await access({ jti: "b1" });
    await store.putIfAbsent("blacklist", "b1", "1", Date.now() / 1000 + 60);
    const cases: [string | undefined, code: string, reason?: string][] = [
      [undefined, "not_authenticated"],
      ["Basic YTpi", "not_authenticated"],
      ["Bearer", "bad_authorization_header"],
      ["Bearer a b", "bad_authorization_header"],
      ["Bearer a", "access_token_invalid", "Token is invalid or expired"],
      [`Bearer ${await makeToken()}`, "access_token_invalid", "Token has wrong type"],
      [`Bearer ${blacklisted}`, "access_token_invalid", "Token is blacklisted"],
      [`Bearer ${await access({ user_id: undefined })}`, "no_user_claim"],
      [`Bearer ${await access({ user_id: "99" })}`, "user_not_found"],
      [`Bearer ${await access({ user_id: "2" })}`, "user_inactive"],
    ];
    for (const [header, code, reason] of cases) {
      const error = await endpoints.authenticate(asking(header)).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      assert.is((error as { data: { code: string } }).data.code, code);
      const response = endpoints.errorResponse(error);
      assert.is(response.status, 401);
      const [realm, problem] = response.headers.get("www-authenticate")!.split(", ");
      assert.is(realm, 'Bearer realm="api"');
      const problems: Record<string, string> = { bad_authorization_header: 'error="invalid_request"' };
      assert.is(problem, code === "not_authenticated" ? undefined : (problems[code] ?? 'error="invalid_token"'));
      const body = (await response.json()) as { messages?: { message: string }[] };
      assert.is(body.messages?.[0]?.message, reason);
    }
    assert.equal(log, []);
  }
});

authenticate.run();
