/** The tokens of a session that changed the password, and of all others, in every way to refresh. */
import { decodeJwt } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JwtEndpointsSettings } from "../../src/index.ts";
import { type OpenStore, type Pair, codesOf, markUser, refreshing, setUp, stores } from "../support/sessions.ts";

const it = suite("sessions after set_password");

const [old, next] = ["correct horse", "a new Passw0rd, please"];
const bearerOf = (pair: Pair): string => pair.access ?? pair.token;

async function open(more: Partial<JwtEndpointsSettings>, openStore?: OpenStore) {
  const opened = await setUp(more, openStore);
  const field = more.authTokenClasses === undefined ? "refresh" : "token";
  const setPassword = async (pair: Pair, from = old, to = next): Promise<number> => {
    const headers = { authorization: `Bearer ${bearerOf(pair)}`, "content-type": "application/json" };
    const body = JSON.stringify({ current_password: from, new_password: to });
    const request = new Request("http://localhost/users/set_password/", { method: "POST", headers, body });
    return (await opened.endpoints.fetch(request)).status;
  };
  /** Refreshes, and returns all tokens of the session as a client then has them. */
  const renew = async (pair: Pair): Promise<Pair | string> => {
    const { status, body, text } = await opened.post("refresh", { [field]: pair[field] });
    return status === 200 ? { ...pair, ...body } : text!;
  };
  const statesOf = async (pair: Pair) =>
    Promise.all([opened.guard(bearerOf(pair)), opened.verify(bearerOf(pair)), opened.verify(pair[field])]);
  return { ...opened, field, setPassword, renew, statesOf };
}

for (const [storeName, openStore] of stores) {
  for (const [how, more] of refreshing) {
    for (const sessions of [false, true]) {
      it(`one goes on through refreshes, a second change and until a logout: ${storeName}, ${how}, ${sessions}`, async () => {
        const here = await open({ ...more, sessions }, openStore);
        const { clock, setPassword, renew, statesOf, store } = here;
        const before = await here.logIn();
        clock.seconds += 10;
        let own = await here.logIn();
        clock.seconds += 10;
        const last = await here.logIn();
        assert.is(await setPassword(own), 204);
        for (const other of [before, last]) {
          assert.equal(await statesOf(other), [401, 400, 400]);
          assert.is(await renew(other), "Token is blacklisted");
        }
        assert.equal(await statesOf(own), [200, 200, 200]);
        for (let round = 0; round < 3; round++) {
          clock.seconds += 30;
          own = (await renew(own)) as Pair;
          assert.equal(await statesOf(own), [200, 200, 200], `round ${round}`);
        }
        const later = await here.post("create", { username: "ada", password: next }).then(({ body }) => body);
        clock.seconds += 10;
        assert.is(await setPassword(own, next, old), 204);
        assert.equal(await statesOf(later), [401, 400, 400]);
        own = (await renew(own)) as Pair;
        assert.equal(await statesOf(own), [200, 200, 200], "past a second mark");
        if (sessions)
          assert.equal(
            (await store.listSessions!("1")).map(({ id }) => id),
            [decodeJwt(bearerOf(own)).sid],
          );
        clock.seconds += 10;
        await markUser(here, "1");
        assert.equal(await statesOf(own), [401, 400, 400], "a logout ends it like any other");
        assert.is(await renew(own), "Token is blacklisted");
        await store.close();
      });
    }
  }
}

it("a refresh token used before the change still ends its session when it comes again", async () => {
  const here = await open({ rotateRefreshTokens: true });
  const first = await here.logIn();
  const own = (await here.renew(first)) as Pair;
  assert.is(await here.setPassword(own), 204);
  here.clock.seconds += 5;
  assert.equal(((await here.renew(first)) as Pair).refresh !== undefined, true, "within the grace period");
  here.clock.seconds += 10;
  assert.is(await here.renew(first), "Token is blacklisted");
  assert.equal(codesOf(here.log), ["refresh_reuse"]);
  assert.equal(await here.statesOf(own), [401, 400, 400]);
});

it("a refresh that is under way during the change returns tokens that are valid in its own session alone", async () => {
  for (const [how, more] of refreshing) {
    const here = await open(more);
    const other = await here.logIn();
    here.clock.seconds += 5;
    const own = await here.logIn();
    const [status, mine, others] = await Promise.all([here.setPassword(own), here.renew(own), here.renew(other)]);
    assert.is(status, 204);
    assert.equal(await here.statesOf(mine as Pair), [200, 200, 200], how);
    assert.is.not(typeof others, "string", "it came before the change");
    assert.equal(await here.statesOf(others as Pair), [401, 400, 400], how);
  }
});

it("all end with checkRevokeToken, the own one too, as it compares passwords", async () => {
  const here = await open({ checkRevokeToken: true });
  const own = await here.logIn();
  assert.is(await here.setPassword(own), 204);
  assert.equal(await here.statesOf(own), [401, 400, 400]);
});

it.run();
