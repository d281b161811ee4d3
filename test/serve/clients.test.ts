/** The requests that common front ends of Djoser send, over a socket. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openFileStore } from "../../src/stores/file/index.ts";
import { addContractUsers, makeToken, secret } from "../support/contract-client.ts";
import { temporaryFolder } from "../support/runtime.ts";
import { type Running, json, logIn, serve } from "../support/server.ts";

const it = suite("clients");
let server: Running | undefined;

async function begin(...args: string[]): Promise<Running> {
  const folder = temporaryFolder();
  const store = await openFileStore(folder);
  await addContractUsers(store);
  await store.close();
  server = await serve(["--store", `file:${folder}`, "--responses", "simplejwt", ...args], { JWT_SIGNING_KEY: secret });
  return server;
}

it.after.each(async () => void (await server?.stop()));

const postJson = (data: unknown, headers: Record<string, string> = {}) => ({
  method: "POST",
  headers: { ...json, ...headers },
  body: JSON.stringify(data),
});

it("nuxt-auth's local provider refreshes with the expired access token in its header", async () => {
  const { send } = await begin();
  const pair = JSON.parse((await send("/jwt/create/", logIn("ada", "correct horse"))).text);
  const expired = await makeToken({ token_type: "access", exp: 1 });
  const headers = { authorization: `Bearer ${expired}` };
  const answer = await send("/jwt/refresh/", postJson({ refresh: pair.refresh }, headers));
  assert.is(answer.status, 200, answer.text);
  assert.type(JSON.parse(answer.text).access, "string");
});

it("an interceptor that keeps the old refresh token gets the same successor within the grace period", async () => {
  const { send } = await begin("--rotate-refresh-tokens", "true");
  const { refresh } = JSON.parse((await send("/jwt/create/", logIn("ada", "correct horse"))).text);
  const successors = new Set<string>();
  for (let i = 0; i < 3; i++) {
    const answer = await send("/jwt/refresh/", postJson({ refresh }));
    assert.is(answer.status, 200, answer.text);
    successors.add(JSON.parse(answer.text).refresh);
  }
  assert.is(successors.size, 1);
});

it("RTK Query refreshes by the cookie, with an empty body", async () => {
  const { send } = await begin("--cookies-carry", "refresh", "--cookies-secure", "false");
  const login = await send("/jwt/create/", logIn("ada", "correct horse"));
  const cookie = login.headers["set-cookie"]!.split(";", 1)[0]!;
  const answer = await send("/jwt/refresh/", { method: "POST", headers: { cookie } });
  assert.is(answer.status, 200, answer.text);
  assert.type(JSON.parse(answer.text).access, "string");
});

it.run();
