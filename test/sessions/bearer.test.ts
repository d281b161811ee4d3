/** `authenticate` and `protect`: bearer tokens (RFC 6750). */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { begin, setUp, signed } from "../support/sessions.ts";

const it = suite("bearer tokens");

it("accepts by type and by claims, and responds with the errors of RFC 6750", async () => {
  const here = await setUp({ claims: () => ({ role: "admin", groups: ["a", "b"] }) });
  const { access, refresh } = await here.logIn();
  const ask = async (options: Parameters<typeof here.endpoints.protect>[1], header?: string) => {
    const guarded = here.endpoints.protect(
      (_, { user, claims }) => Response.json([user.username, claims.role]),
      options,
    );
    const init = header === undefined ? {} : { headers: { authorization: header } };
    const answer = await guarded(new Request("http://localhost/", init));
    return [answer.status, answer.headers.get("www-authenticate"), await answer.json()] as const;
  };
  assert.equal(await ask({}, `Bearer ${access}`), [200, null, ["ada", "admin"]]);
  assert.equal((await ask({ tokenTypes: ["refresh"] }, `Bearer ${refresh}`))[0], 200);
  assert.equal((await ask({ tokenTypes: ["access", "refresh"] }, `Bearer ${refresh}`))[0], 200);
  assert.equal((await ask({ claims: { role: "admin", groups: "b" } }, `Bearer ${access}`))[0], 200);
  assert.equal((await ask({}))[1], 'Bearer realm="api"');
  assert.match(
    (await ask({}, "Bearer x"))[1]!,
    /^Bearer realm="api", error="invalid_token", error_description="[^"]+"$/,
  );
  assert.equal((await ask({}, `Bearer ${refresh}`))[0], 401);
  for (const claims of [{ role: "root" }, { groups: "c" }, { missing: 1 }, { toString: 1 }]) {
    const [status, challenge] = await ask({ claims }, `Bearer ${access}`);
    assert.is(status, 403);
    assert.match(challenge!, 'error="insufficient_scope"');
  }
});

it("names the rule that a token breaks, and the configured scheme", async () => {
  const here = await setUp({ authHeaderTypes: ["JWT", "Bearer"], accessTokenLifetime: "1d" });
  const [ended, gone, disabled, expired] = [
    await here.logIn(),
    await here.logIn("bea"),
    await here.logIn("cid"),
    await here.logIn(),
  ];
  await here.post("logout", { refresh: ended.refresh });
  await here.store.removeUser("2");
  await here.store.updateUser("3", { isActive: false });
  const ask = async (token: string, scheme = "jwt") => {
    const headers = { authorization: `${scheme} ${token}` };
    const answer = await here.endpoints.protect(() => new Response("in"))(
      new Request("http://localhost/", { headers }),
    );
    const { detail } = (await answer.json()) as { detail: string };
    return [answer.status, answer.headers.get("www-authenticate"), detail];
  };
  const refused = (text: string, error = "invalid_token") => [
    401,
    `JWT realm="api", error="${error}", error_description="${text}"`,
    text,
  ];
  assert.equal(await ask(ended.access), refused("Given token not valid for any token type"));
  assert.equal(await ask(gone.access), refused("User not found"));
  assert.equal(await ask(disabled.access, "Bearer"), refused("User is inactive"));
  const nobody = await signed({ token_type: "access", exp: begin + 9, iat: begin, jti: "j" });
  assert.equal(await ask(nobody), refused("Token contained no recognizable user identification"));
  const twoValues = "Authorization header must contain two space-delimited values";
  assert.equal(await ask("a b"), refused(twoValues, "invalid_request"));
  assert.equal(await ask(expired.access, "Basic"), [
    401,
    'JWT realm="api"',
    "Authentication credentials were not provided.",
  ]);
  here.clock.seconds += 86_400;
  assert.equal(await ask(expired.access), refused("Given token not valid for any token type"));
});

it("refuses a rotated refresh token after its grace period", async () => {
  const here = await setUp({ refreshGrace: 0 });
  const { refresh: token } = await here.logIn();
  const guarded = here.endpoints.protect(() => new Response("in"), { tokenTypes: ["refresh"] });
  const ask = async () =>
    (await guarded(new Request("http://localhost/", { headers: { authorization: `Bearer ${token}` } }))).status;
  assert.is(await ask(), 200);
  await here.refresh(token);
  assert.is(await ask(), 401);
  assert.equal(here.log, [], "to show it at a guard is not to use it again");
});

it("returns a copy of the claims, not those in the cache", async () => {
  const { endpoints, logIn } = await setUp({ claims: () => ({ nested: { role: "user" } }) });
  const { access } = await logIn();
  const headers = { authorization: `Bearer ${access}` };
  for (let i = 0; i < 3; i++) {
    const { claims } = await endpoints.authenticate(new Request("http://localhost/", { headers }));
    assert.equal([claims.user_id, (claims.nested as { role: string }).role], ["1", "user"]);
    claims.user_id = "2";
    (claims.nested as { role: string }).role = "admin";
  }
});

it.run();
