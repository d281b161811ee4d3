/** The snippets of the README for axios, RTK Query and Auth.js, run with the real packages against the server program. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { configureStore, createSlice } from "@reduxjs/toolkit";
import { type BaseQueryFn, createApi, fetchBaseQuery } from "@reduxjs/toolkit/query";
import { Mutex } from "async-mutex";
import axios, { type AxiosInstance } from "axios";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { projectRoot, runtime } from "../support/runtime.ts";
import { type Running, json } from "../support/server.ts";
import { browserFetch, credentials, recordingFetch, startServer, wait } from "./support.ts";

const document = readFileSync(path.join(projectRoot, "src/client/README.md"), "utf8");
/** The address that stands for the server in the document. */
const example = "https://api.example.org/auth";
/** How long an access token lasts, from one to two seconds as its times are whole ones, and when it surely has expired. */
const [lifetime, expiry] = ["2s", 2100];

/** Returns a snippet as a function body: the block that holds a text, with the address of a server. */
function snippet(part: string, { origin }: Running): string {
  const blocks = [...document.matchAll(/^```js\n([^]*?)^```/gm)].map(([, text]) => text!);
  const found = blocks.filter((text) => text.includes(part));
  assert.is(found.length, 1, part);
  return found[0]!.replaceAll(example, `${origin}/auth`).replaceAll("export const", "const");
}

const it = suite(`snippets of other clients on ${runtime}`);

async function withServer(flags: string[], use: (server: Running) => Promise<void>): Promise<void> {
  const server = await startServer("--prefix", "/auth", "--access-token-lifetime", lifetime, ...flags);
  try {
    await use(server);
  } finally {
    await server.stop();
  }
}

async function logIn({ origin }: Running): Promise<{ access: string; refresh: string }> {
  const init = { method: "POST", headers: json, body: JSON.stringify(credentials) };
  return (await fetch(`${origin}/auth/jwt/create/`, init)).json() as never;
}

it("axios refreshes once for all calls that fail at the same time", async () => {
  for (const flags of [[], ["--rotate-refresh-tokens"]]) {
    await withServer(flags, async (server) => {
      const tokens = await logIn(server);
      const first = { ...tokens };
      const plain = axios.create();
      let refreshes = 0;
      plain.interceptors.request.use((config) => (refreshes++, config));
      const api = axios.create({ baseURL: `${server.origin}/auth` });
      const begin = new Function("api", "axios", "tokens", snippet("interceptors", server));
      begin(api as AxiosInstance, plain, tokens);
      const names = () =>
        Promise.all(
          Array.from({ length: 5 }, async () => {
            const { data } = await api.get("/users/me/", { headers: { Authorization: `Bearer ${tokens.access}` } });
            return (data as { username: string }).username;
          }),
        );
      for (const round of [1, 2]) {
        await wait(expiry);
        assert.equal(await names(), Array(5).fill("ada"));
        assert.is(refreshes, round);
      }
      assert.is(tokens.refresh === first.refresh, flags.length === 0);
      tokens.refresh = "no token";
      await wait(expiry);
      const error = await names().catch((thrown: unknown) => thrown);
      assert.is((error as { response: { status: number } }).response.status, 400, "the refresh is refused");
    });
  }
});

it("RTK Query refreshes once, by the cookie, and logs out when it is refused", async () => {
  const flags = ["--cookies-carry", "refresh", "--no-cookies-secure", "--cors", "https://app.example.org"];
  await withServer(flags, async (server) => {
    const { requests, fetch: recorded } = recordingFetch(browserFetch());
    const auth = createSlice({
      name: "auth",
      initialState: { access: "" },
      reducers: {
        loggedIn: (state, { payload }: { payload: string }) => void (state.access = payload),
        loggedOut: (state) => void (state.access = ""),
      },
    });
    /** As in a browser: no runtime keeps cookies. */
    const inBrowser: typeof fetchBaseQuery = (options) =>
      fetchBaseQuery({
        ...options,
        fetchFn: async (input) => {
          const { url, method, headers } = input as Request;
          return recorded(url, { method, headers, credentials: options!.credentials! });
        },
      });
    const code = `${snippet("fetchBaseQuery", server)}\nreturn baseQuery;`;
    const { loggedIn, loggedOut } = auth.actions;
    const define = new Function("fetchBaseQuery", "Mutex", "loggedIn", "loggedOut", code);
    const api = createApi({
      baseQuery: define(inBrowser, Mutex, loggedIn, loggedOut) as BaseQueryFn<string>,
      endpoints: ({ query }) => ({ me: query<{ username: string }, number>({ query: (n) => `/users/me/?n=${n}` }) }),
    });
    const store = configureStore({
      reducer: { auth: auth.reducer, [api.reducerPath]: api.reducer },
      middleware: (standard) => standard().concat(api.middleware),
    });
    const init = { method: "POST", headers: json, body: JSON.stringify(credentials), credentials: "include" } as const;
    const { access } = (await (
      await recorded(`${server.origin}/auth/jwt/create/`, init)
    ).json()) as typeof credentials & {
      access: string;
    };
    store.dispatch(loggedIn(access));
    const ask = () =>
      Promise.all([1, 2, 3].map((n) => store.dispatch(api.endpoints.me.initiate(n, { forceRefetch: true }))));
    await wait(expiry);
    assert.equal(
      (await ask()).map(({ data }) => data?.username),
      ["ada", "ada", "ada"],
    );
    const refreshes = () => requests.filter((request) => request.includes("/jwt/refresh/"));
    assert.equal(refreshes(), ["POST /auth/jwt/refresh/ 200"]);
    await recorded(`${server.origin}/auth/jwt/logout/`, { method: "POST", credentials: "include" });
    await wait(expiry);
    assert.ok((await ask()).every(({ isError }) => isError));
    assert.is(store.getState().auth.access, "");
  });
});

it("Auth.js gets both tokens, and null for a wrong password", async () => {
  await withServer([], async (server) => {
    const { authorize } = new Function(`return { ${snippet("async authorize", server)} };`)();
    const { id, access, refresh } = await authorize(credentials);
    assert.equal([id, typeof access, typeof refresh], ["ada", "string", "string"]);
    assert.is(await authorize({ ...credentials, password: "wrong" }), null);
  });
});

it.run();
