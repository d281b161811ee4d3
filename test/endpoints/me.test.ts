/** What `/users/me/` shows under other settings than the contract's. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JwtEndpointsSettings, NewUser } from "../../src/index.ts";
import { endpointsWith } from "../support/endpoints.ts";

const it = suite("users/me");

/** Logs a user in and returns what `/users/me/` shows. */
async function shown(user: Partial<NewUser>, more: Partial<JwtEndpointsSettings> = {}): Promise<string> {
  const { store, send, post } = await endpointsWith(more);
  const { passwordHash } = (await store.findUserById("1"))!;
  await store.addUser({ username: "bob", email: "bob@example.org", passwordHash, ...user });
  const credentials = { [more.usernameField ?? "username"]: user.username ?? "bob", password: "correct horse" };
  const { access } = JSON.parse((await post("/jwt/create/", credentials)).text);
  const response = await send("/users/me/", { headers: { authorization: `Bearer ${access}` } });
  assert.is(response.status, 200);
  return response.text;
}

it("shows an id as a number only where the number has no other spelling", async () => {
  for (const [id, json] of [
    ["0", "0"],
    ["42", "42"],
    ["9007199254740991", "9007199254740991"],
    ["9007199254740993", '"9007199254740993"'],
    ["042", '"042"'],
    ["-1", '"-1"'],
    ["4e2", '"4e2"'],
    ["1.0", '"1.0"'],
    ["0b9f3f7e", '"0b9f3f7e"'],
  ]) {
    assert.is(await shown({ id: id! }), `{"email":"bob@example.org","id":${json},"username":"bob"}`);
  }
});

it("calls the username as usernameField does", async () => {
  assert.is(await shown({ id: "6" }, { usernameField: "login" }), '{"email":"bob@example.org","id":6,"login":"bob"}');
  const user = { id: "6", username: "bob@example.com", email: "" };
  assert.is(await shown(user, { usernameField: "email" }), '{"id":6,"email":"bob@example.com"}');
});

it("shows what the hook userFields returns", async () => {
  const userFields = async ({ id, username }: { id: string; username: string }) => ({ pk: id, name: username });
  assert.is(await shown({ id: "6" }, { userFields }), '{"pk":"6","name":"bob"}');
});

it("is turned off by the setting me", async () => {
  const { send } = await endpointsWith({ me: false });
  assert.is((await send("/users/me/", {})).status, 404);
});

it("takes the access token from the cookie where cookies carry it", async () => {
  const { send, post } = await endpointsWith({ cookies: { carry: ["refresh", "access"] } });
  const created = await post("/jwt/create/", { username: "ada", password: "correct horse" });
  const cookie = /__Host-access=[^;]+/.exec(created.headers["set-cookie"]!)![0];
  assert.is((await send("/users/me/", { headers: { cookie } })).text, '{"email":"","id":1,"username":"ada"}');
  const stale = { cookie, authorization: "Bearer x" };
  assert.is((await send("/users/me/", { headers: stale })).status, 401, "the header comes first");
});

it.run();
