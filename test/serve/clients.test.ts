/** What common front ends of Djoser send, request by request, over a socket. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openFileStore } from "../../src/stores/file/index.ts";
import {
  type TestRequest,
  type TestResponse,
  addContractUsers,
  makeToken,
  secret,
} from "../support/contract-client.ts";
import { temporaryFolder } from "../support/runtime.ts";
import { type Running, json, logIn, serve } from "../support/server.ts";

const ada = { email: "", id: 1, username: "ada" };
const expired = await makeToken({ token_type: "access", exp: 1 });

const postJson = (data: unknown, headers: Record<string, string> = {}): TestRequest => ({
  method: "POST",
  headers: { ...json, ...headers },
  body: JSON.stringify(data),
});

/** Expects a 200 and returns its body. */
function bodyOf({ status, text }: TestResponse): any {
  assert.is(status, 200, text);
  return JSON.parse(text);
}

for (const profile of ["djoser", "simplejwt"]) {
  const it = suite(`clients, ${profile}`);
  let server: Running | undefined;
  const begin = async (...flags: string[]): Promise<Running> => {
    const folder = temporaryFolder();
    const store = await openFileStore(folder);
    await addContractUsers(store);
    await store.close();
    server = await serve(["--store", `file:${folder}`, "--responses", profile, ...flags], { JWT_SIGNING_KEY: secret });
    return server;
  };
  it.after.each(async () => void (await server?.stop()));

  it("nuxt-auth's local provider signs in, reads the user, and refreshes with the expired token in its header", async () => {
    for (const [flags, refreshOnlyToken] of [
      [[], true],
      [["--rotate-refresh-tokens", "true"], false],
    ] as const) {
      const { send, stop } = await begin(...flags);
      const getSession = async (token: string) =>
        send("/users/me/", { headers: { authorization: `Bearer ${token}`, accept: "application/json" } });
      /** Follows a JSON pointer, as its settings `signInResponseTokenPointer: "/access"` say. */
      const at = (body: any, pointer: string): string => body[pointer.slice(1)];
      const signedIn = bodyOf(await send("/jwt/create/", logIn("ada", "correct horse")));
      let [token, refreshToken] = [at(signedIn, "/access"), at(signedIn, "/refresh")];
      assert.equal(bodyOf(await getSession(token)), ada);
      for (let round = 0; round < 3; round++) {
        token = expired;
        assert.is((await getSession(token)).status, 401);
        const headers = { authorization: `Bearer ${token}` };
        const refreshed = bodyOf(await send("/jwt/refresh/", postJson({ refresh: refreshToken }, headers)));
        token = at(refreshed, "/access");
        if (!refreshOnlyToken) refreshToken = at(refreshed, "/refresh");
        assert.type(refreshToken, "string");
        assert.equal(bodyOf(await getSession(token)), ada);
      }
      const signedOut = await send("/jwt/logout/", postJson({ refresh: refreshToken }, { authorization: "Bearer x" }));
      assert.is(signedOut.status, 200);
      await stop();
    }
    server = undefined;
  });

  it("NextAuth's credentials provider uses the scheme JWT, and refreshes what verify refuses", async () => {
    const { send } = await begin("--auth-header-types", "JWT", "--prefix", "/auth");
    const tokens = bodyOf(await send("/auth/jwt/create/", logIn("ada", "correct horse")));
    const me = (authorization: string) => send("/auth/users/me/", { headers: { authorization } });
    assert.equal(bodyOf(await me(`JWT ${tokens.access}`)), ada);
    const refused = await me(`Bearer ${tokens.access}`);
    assert.is(refused.status, 401);
    assert.is(refused.headers["www-authenticate"], 'JWT realm="api"');
    bodyOf(await send("/auth/jwt/verify/", postJson({ token: tokens.access })));
    // What its `jwt` callback does with the access token that it kept in the session cookie.
    const stale = await send("/auth/jwt/verify/", postJson({ token: expired }, { authorization: `JWT ${expired}` }));
    assert.ok(stale.status === 400 || stale.status === 401);
    const form = { method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" } };
    const renewed = bodyOf(await send("/auth/jwt/refresh/", { ...form, body: `refresh=${tokens.refresh}` }));
    assert.equal(bodyOf(await me(`JWT ${renewed.access}`)), ada);
  });

  it("an interceptor of axios in two tabs refreshes once for many calls, and keeps the old refresh token", async () => {
    for (const flags of [[], ["--rotate-refresh-tokens", "true"]]) {
      const { send, stop } = await begin(...flags);
      const { refresh } = bodyOf(await send("/jwt/create/", logIn("ada", "correct horse")));
      let refreshes = 0;
      /** A tab with tokens of its own memory; of the responses to a refresh it reads `access` alone. */
      const openTab = () => {
        let access = expired;
        let pending: Promise<void> | undefined;
        const renew = async (): Promise<void> => {
          refreshes++;
          access = bodyOf(await send("/jwt/refresh/", postJson({ refresh }))).access;
          pending = undefined;
        };
        const call = async (isRetry = false): Promise<unknown> => {
          const used = access;
          const response = await send("/users/me/", { headers: { authorization: `Bearer ${used}` } });
          if (response.status !== 401 || isRetry) return bodyOf(response);
          if (access === used) await (pending ??= renew());
          return call(true);
        };
        return { call, expire: () => (access = expired) };
      };
      const tabs = [openTab(), openTab()];
      for (let round = 0; round < 3; round++) {
        for (const { expire } of tabs) expire();
        const calls = tabs.flatMap(({ call }) => Array.from({ length: 8 }, () => call()));
        assert.equal(await Promise.all(calls), Array(16).fill(ada));
      }
      assert.is(refreshes, 6, "one for each tab and round");
      await stop();
    }
    server = undefined;
  });

  it("RTK Query refreshes by the cookie, with an empty body and an Origin, of its own host and of an allowed one", async () => {
    const page = "https://app.example.org";
    const { send, origin } = await begin("--cookies-carry", "refresh", "--cookies-secure", "false", "--cors", page);
    for (const from of [origin, page]) {
      const login = logIn("ada", "correct horse");
      const entered = await send("/jwt/create/", { ...login, headers: { ...login.headers, origin: from } });
      let { access, refresh } = bodyOf(entered);
      assert.is(refresh, undefined);
      let cookie = entered.headers["set-cookie"]!.split(";", 1)[0]!;
      const post = (endpoint: string, source: string) =>
        send(`/jwt/${endpoint}/`, { method: "POST", headers: { cookie, origin: source, accept: "*/*" } });
      const me = () => send("/users/me/", { headers: { authorization: `Bearer ${access}`, origin: from } });
      assert.equal(bodyOf(await me()), ada);
      access = expired;
      assert.is((await me()).status, 401);
      const renewed = await post("refresh", from);
      access = bodyOf(renewed).access;
      assert.equal(bodyOf(await me()), ada);
      if (from === page) {
        const { "access-control-allow-origin": allowed, "access-control-allow-credentials": may } = renewed.headers;
        assert.equal([allowed, may], [page, "true"]);
      }
      assert.is((await post("refresh", "https://elsewhere.example")).status, 403);
      const left = await post("logout", from);
      assert.is(left.status, 200, left.text);
      assert.match(left.headers["set-cookie"]!, /^refresh=; /);
      assert.ok([400, 401].includes((await post("refresh", from)).status), "the session has ended");
      cookie = "other=1";
      assert.is((await post("refresh", from)).status, 400, "as without the field");
    }
  });

  it.run();
}
