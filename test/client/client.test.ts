/** The client against servers on sockets, in both response profiles. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtClientError, createJwtClient } from "../../src/client/index.ts";
import { runtime } from "../support/runtime.ts";
import type { Running } from "../support/server.ts";
import { age, createStorage, credentials, recordingFetch, spoil, startServer, wait } from "./support.ts";

/** Returns the error of a call that must fail. */
const errorOf = (call: Promise<unknown>): Promise<JwtClientError> =>
  call.then(
    () => assert.unreachable("the call did not fail") as never,
    (error: JwtClientError) => error,
  );

for (const [profile, prefix] of [
  ["djoser", ""],
  ["simplejwt", "/auth"],
] as const) {
  const it = suite(`client on ${runtime}, ${profile}`);
  let server: Running;
  let url: string;
  it.before(async () => {
    server = await startServer("--responses", profile, "--prefix", prefix);
    url = server.origin + prefix;
  });
  it.after(async () => void (await server.stop()));

  it("logs in, shows the user, sends the token, and logs out", async () => {
    const { requests, fetch } = recordingFetch();
    const auth = createJwtClient({ url, fetch });
    assert.is(auth.isLoggedIn, false);
    assert.is(await auth.me(), undefined);
    await auth.login(credentials);
    assert.is(auth.isLoggedIn, true);
    assert.equal(await auth.me(), { email: "", id: 1, username: "ada" });
    assert.is((await auth.fetch(`${prefix}/users/me/`)).status, 200, "relative to the url");
    assert.is((await auth.fetch(new Request(`${url}/users/me/`))).status, 200, "a Request");
    assert.match((await auth.accessToken())!, /^[\w-]+\.[\w-]+\.[\w-]+$/);
    assert.is(await auth.logout(), true);
    assert.is(auth.isLoggedIn, false);
    assert.is(await auth.me(), undefined);
    assert.is(await auth.accessToken(), undefined);
    const me = `GET ${prefix}/users/me/`;
    const [login, logout] = [`POST ${prefix}/jwt/create/ 200`, `POST ${prefix}/jwt/blacklist/ 200`];
    assert.equal(requests, [`${me} 401`, login, `${me} 200`, `${me} 200`, `${me} 200`, logout, `${me} 401`]);
  });

  it("throws typed errors with the server's words", async () => {
    const auth = createJwtClient({ url });
    const isDjoser = profile === "djoser";
    const refused = await errorOf(auth.login({ ...credentials, password: "wrong" }));
    assert.is(refused.name, "JwtClientError");
    assert.equal(
      [refused.code, refused.status, refused.text],
      isDjoser
        ? ["invalid_credentials", 400, "Unable to log in with provided credentials."]
        : ["invalid_credentials", 401, "No active account found with the given credentials"],
    );
    const missing = await errorOf(auth.login({ username: "" }));
    assert.is(missing.code, "invalid_fields");
    assert.equal(missing.fields, {
      username: ["This field may not be blank."],
      password: ["This field is required."],
    });
    const named = "username: This field may not be blank. password: This field is required.";
    assert.is(missing.text, named);
    const elsewhere = await errorOf(createJwtClient({ url: `${url}/elsewhere` }).login(credentials));
    assert.equal([elsewhere.code, elsewhere.status, elsewhere.text], ["not_found", 404, "Not found."]);
    assert.is((await errorOf(createJwtClient({ url: `${url}/elsewhere` }).me())).code, "not_found");
    const otherScheme = createJwtClient({ url, scheme: "JWT" });
    await otherScheme.login(credentials);
    assert.is((await errorOf(otherScheme.me())).text, "Authentication credentials were not provided.");
  });

  it("forgets a session that the server has ended, and hands the 401 out", async () => {
    const storage = createStorage();
    const auth = createJwtClient({ url, tokens: storage });
    const states: unknown[] = [];
    const stop = auth.subscribe((isLoggedIn) => states.push(isLoggedIn));
    await auth.login(credentials);
    const { refresh } = JSON.parse([...storage.items.values()][0]!) as { refresh: string };
    await server.send(`${prefix}/jwt/blacklist/`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ refresh }),
    });
    spoil(storage);
    assert.is((await auth.fetch(`${prefix}/users/me/`)).status, 401);
    assert.is(auth.isLoggedIn, false);
    assert.is(storage.items.size, 0);
    stop();
    await auth.login(credentials);
    assert.equal(states, [false, true, false]);
    assert.is(auth.isLoggedIn, true);
  });

  it("refreshes once for many calls at the same time, and repeats each once", async () => {
    const storage = createStorage();
    const { requests, fetch } = recordingFetch();
    const auth = createJwtClient({ url, tokens: storage, fetch });
    await auth.login(credentials);
    spoil(storage);
    requests.length = 0;
    const users = await Promise.all(Array.from({ length: 5 }, () => auth.me()));
    assert.ok(users.every((user) => user?.username === "ada"));
    assert.is(requests.filter((request) => request.includes("refresh")).length, 1);
    assert.is(requests.filter((request) => request.endsWith("me/ 401")).length, 5);
    assert.is(requests.filter((request) => request.endsWith("me/ 200")).length, 5);
  });

  it("repeats a request with a body after a 401, and not one with a stream", async () => {
    const storage = createStorage();
    const auth = createJwtClient({ url, tokens: storage });
    await auth.login(credentials);
    const target = `${url}/users/set_password/`;
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: "{}" };
    spoil(storage);
    assert.is((await auth.fetch(target, init)).status, 400, "a text was sent twice");
    spoil(storage);
    assert.is((await auth.fetch(new Request(target, init))).status, 400, "a Request was sent twice");
    spoil(storage);
    const body = new Blob(["{}"]).stream();
    const streamed = await auth.fetch(target, { ...init, body, duplex: "half" } as RequestInit);
    assert.is(streamed.status, 401);
  });

  it.run();
}

const alone = suite(`client on ${runtime}`);

alone("refreshes ahead of the expiry, however wrong its clock is", async () => {
  const server = await startServer("--access-token-lifetime", "3s");
  const realNow = Date.now;
  try {
    for (const shift of [-10, 0, 10]) {
      Date.now = () => realNow() + shift * 365 * 86_400_000;
      const { requests, fetch } = recordingFetch();
      const auth = createJwtClient({ url: server.origin, fetch });
      await auth.login(credentials);
      await auth.me();
      await wait(2100);
      await Promise.all(Array.from({ length: 5 }, () => auth.me()));
      const wanted = ["POST /jwt/create/ 200", "GET /users/me/ 200", "POST /jwt/refresh/ 200"];
      assert.equal(requests, [...wanted, ...Array<string>(5).fill("GET /users/me/ 200")]);
    }
  } finally {
    Date.now = realNow;
    await server.stop();
  }
});

alone("refreshes at once after its clock was set back", async () => {
  const server = await startServer();
  const realNow = Date.now;
  try {
    const { requests, fetch } = recordingFetch();
    const auth = createJwtClient({ url: server.origin, fetch });
    await auth.login(credentials);
    Date.now = () => realNow() - 3_600_000;
    await auth.me();
    await auth.me();
    const me = "GET /users/me/ 200";
    assert.equal(requests, ["POST /jwt/create/ 200", "POST /jwt/refresh/ 200", me, me]);
  } finally {
    Date.now = realNow;
    await server.stop();
  }
});

alone("logs nobody out while the server is away, and logs out without it", async () => {
  const server = await startServer("--access-token-lifetime", "1s");
  const auth = createJwtClient({ url: server.origin, tokens: createStorage() });
  await auth.login(credentials);
  await server.stop();
  await wait(1100);
  for (const error of [await errorOf(auth.me()), await errorOf(auth.fetch("/users/me/"))]) {
    assert.ok(error instanceof Error);
    assert.not.match(`${error.message} ${String(error.cause)} ${JSON.stringify(error)}`, /eyJ/);
  }
  assert.is(auth.isLoggedIn, true);
  const login = await errorOf(createJwtClient({ url: server.origin }).login(credentials));
  assert.equal([login.code, login.status], ["network_error", 0]);
  assert.is(await auth.logout(), false);
  assert.is(auth.isLoggedIn, false);
});

alone("waits out a server that is busy, and says for how long", async () => {
  const server = await startServer("--throttle", "1/min", "--throttle-refresh", "1/min");
  try {
    const storage = createStorage();
    const auth = createJwtClient({ url: server.origin, tokens: storage });
    await auth.login(credentials);
    const error = await errorOf(auth.login(credentials));
    assert.equal([error.code, error.status], ["throttled", 429]);
    assert.ok(error.retryAfter! > 0 && error.retryAfter! <= 60);
    age(storage);
    await auth.me();
    age(storage);
    assert.is((await auth.me())!.username, "ada", "the old token is still valid, so it is used");
  } finally {
    await server.stop();
  }
});

alone("works with sliding tokens", async () => {
  const server = await startServer("--auth-token-classes", "SlidingToken");
  try {
    const storage = createStorage();
    const { requests, fetch } = recordingFetch();
    const auth = createJwtClient({ url: server.origin, tokens: storage, fetch });
    await auth.login(credentials);
    age(storage);
    assert.is((await auth.me())!.username, "ada");
    assert.is(await auth.logout(), true);
    const wanted = [
      "POST /jwt/create/ 200",
      "POST /jwt/refresh/ 200",
      "GET /users/me/ 200",
      "POST /jwt/blacklist/ 200",
    ];
    assert.equal(requests, wanted);
  } finally {
    await server.stop();
  }
});

alone("sends the token nowhere else", async () => {
  const auth = createJwtClient({ url: "https://api.example.org/auth", fetch: () => assert.unreachable() as never });
  for (const input of ["https://example.com/", "//example.com/", new URL("http://api.example.org/"), "data:,x"]) {
    const error = await errorOf(auth.fetch(input));
    assert.instance(error, TypeError);
    assert.match(error.message, "allow it in the option origins");
  }
  const asked: string[] = [];
  const open = createJwtClient({
    url: "https://api.example.org/auth/",
    origins: ["https://files.example.org"],
    async fetch(input) {
      asked.push(String(input));
      return new Response("{}");
    },
  });
  for (const input of ["https://files.example.org/a", "/b?c", "https://api.example.org/d"]) await open.fetch(input);
  await open.me();
  const own = "https://api.example.org";
  assert.equal(asked, ["https://files.example.org/a", `${own}/b?c`, `${own}/d`, `${own}/auth/users/me/`]);
  const error = await errorOf(createJwtClient({ url: "/auth" }).login(credentials));
  assert.match(error.message, 'option url: "/auth"');
});

alone("takes a storage that is asynchronous, and one that holds something else", async () => {
  const server = await startServer();
  try {
    const inner = createStorage();
    const storage = {
      getItem: async (key: string) => inner.getItem(key),
      setItem: async (key: string, value: string) => inner.setItem(key, value),
      removeItem: async (key: string) => inner.removeItem(key),
    };
    const auth = createJwtClient({ url: server.origin, tokens: storage });
    const states: unknown[] = [];
    auth.subscribe((isLoggedIn) => states.push(isLoggedIn));
    await wait(10);
    await auth.login(credentials);
    assert.is((await auth.me())!.username, "ada");
    assert.equal(states, [undefined, false, true]);
    for (const item of ["", "x", "[]", "1", "null"]) {
      inner.setItem("jwt-endpoints", item);
      assert.is(await auth.me(), undefined, item);
    }
  } finally {
    await server.stop();
  }
});

alone.run();
