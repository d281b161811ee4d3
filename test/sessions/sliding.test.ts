/** Sliding tokens. */
import { decodeJwt } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { begin, jtiOf, setUp, signed } from "../support/sessions.ts";

const it = suite("sliding tokens");

it("returns one sliding token, which keeps its id when it is refreshed", async () => {
  const here = await setUp({
    authTokenClasses: ["SlidingToken"],
    slidingTokenLifetime: "5m",
    slidingTokenRefreshLifetime: "1h",
  });
  const login = await here.logIn();
  assert.equal(Object.keys(login), ["token"]);
  const claims = decodeJwt(login.token);
  assert.equal(Object.keys(claims), ["token_type", "exp", "iat", "jti", "refresh_exp", "user_id", "auth_time"]);
  assert.equal([claims.token_type, claims.exp! - claims.iat!, claims.refresh_exp], ["sliding", 300, begin + 3600]);
  here.clock.seconds += 200;
  const { body } = await here.post("refresh", { token: login.token });
  assert.equal([jtiOf(body.token), decodeJwt(body.token).exp], [claims.jti, begin + 500]);
  assert.equal([decodeJwt(body.token).iat, decodeJwt(body.token).auth_time], [begin + 200, begin], "of its login");
  assert.equal([await here.guard(body.token), await here.verify(body.token)], [200, 200]);
  const late = await signed({ ...claims, exp: begin + 9000, refresh_exp: begin + 100 });
  assert.is((await here.post("refresh", { token: late })).text, "Token 'refresh_exp' claim has expired");
  const never = await signed({ ...claims, exp: begin + 9000, refresh_exp: undefined });
  assert.is((await here.post("refresh", { token: never })).text, "Token has no 'refresh_exp' claim");
  assert.equal((await here.post("refresh", {})).body.token as unknown, ["This field is required."]);
  const disabled = await signed({ ...claims, exp: begin + 9000, refresh_exp: begin + 100, user_id: "2" });
  await here.store.updateUser("2", { isActive: false });
  assert.is((await here.post("refresh", { token: disabled })).text, "Token 'refresh_exp' claim has expired");
  assert.is((await here.post("logout", { token: login.token })).status, 200);
  for (const token of [login.token, body.token]) {
    assert.equal(
      [await here.verify(token), await here.guard(token)],
      [400, 401],
      "all tokens with this id are revoked",
    );
    assert.is((await here.post("refresh", { token })).status, 400);
  }
});

it.run();
