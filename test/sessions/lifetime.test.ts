/** The absolute lifetime of a session (`sessionLifetime`). */
import { decodeJwt } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JwtEndpointsSettings } from "../../src/index.ts";
import { begin, expectRevoked, setUp, signed, stores } from "../support/sessions.ts";

for (const [name, openStore] of stores) {
  const it = suite(`session lifetime, ${name} store`);
  const setUpHere = (more?: Partial<JwtEndpointsSettings>) => setUp(more, openStore);

  it("lets no token outlive sessionLifetime, however often it is refreshed", async () => {
    const here = await setUpHere({ sessionLifetime: "1h", refreshTokenLifetime: "30m", accessTokenLifetime: "20m" });
    let pair = await here.logIn();
    for (let i = 0; i < 5; i++) {
      here.clock.seconds += 700;
      const answer = await here.refresh(pair.refresh);
      assert.is(answer.status, 200);
      pair = answer.body;
      for (const token of [pair.refresh, pair.access]) assert.ok(decodeJwt(token).exp! <= begin + 3600);
    }
    here.clock.seconds = begin + 3600.5;
    await expectRevoked(here, pair);
  });

  it("caps the sessions of tokens that Django made as well", async () => {
    const foreign = { token_type: "refresh", exp: begin + 86_000, jti: "e".repeat(32), user_id: "1" };
    for (const rotateRefreshTokens of [true, false]) {
      const here = await setUpHere({ rotateRefreshTokens, sessionLifetime: "10m", refreshTokenLifetime: "5m" });
      const cases: [Record<string, unknown>, ends: number][] = [
        [{ iat: begin - 10 }, begin + 590],
        [{ iat: begin - 10, auth_time: "2020-01-01" }, begin + 590],
        [{ iat: begin - 10, auth_time: null }, begin + 590],
        [{ iat: begin - 10, auth_time: begin - 500 }, begin + 100],
        [{ iat: begin - 601 }, begin],
        [{}, begin + 600.5], // refused, or as if it began now
      ];
      for (const [index, [more, ends]] of cases.entries()) {
        here.clock.seconds = begin + 0.5;
        let token = await signed({ ...foreign, jti: `${index}`, ...more });
        for (; here.clock.seconds < begin + 700; here.clock.seconds += 99) {
          const { status, body } = await here.refresh(token);
          if (status !== 200) {
            assert.is(status, 400);
            break;
          }
          assert.ok(here.clock.seconds < ends, JSON.stringify(more));
          assert.ok(decodeJwt(body.access).exp! <= ends, JSON.stringify(more));
          assert.is(await here.verify(body.access), 200, JSON.stringify(more));
          token = body.refresh ?? token;
        }
        assert.ok(here.clock.seconds < begin + 700);
      }
      await here.store.close();
    }
  });

  it.run();
}

const sliding = suite("session lifetime of sliding tokens");

sliding("ends the session of a sliding token at sessionLifetime, however often it is refreshed", async () => {
  const here = await setUp({ authTokenClasses: ["SlidingToken"], sessionLifetime: "10m" });
  let { token } = await here.logIn();
  const django = {
    token_type: "sliding",
    exp: begin + 300,
    iat: begin,
    refresh_exp: begin + 80_000,
    jti: "s",
    user_id: 1,
  };
  let foreign = await signed(django);
  for (let i = 0; i < 2; i++) {
    here.clock.seconds += 280;
    for (const [now, set] of [
      [token, (next: string) => (token = next)],
      [foreign, (next: string) => (foreign = next)],
    ] as const) {
      const { status, body } = await here.post("refresh", { token: now });
      assert.is(status, 200);
      assert.ok(decodeJwt(body.token).exp! <= begin + 600, `${decodeJwt(body.token).exp! - begin}`);
      set(body.token);
    }
  }
  here.clock.seconds = begin + 600.5;
  for (const each of [token, foreign]) {
    assert.is((await here.post("refresh", { token: each })).status, 400);
    assert.is(await here.guard(each), 401);
  }
});

sliding.run();
