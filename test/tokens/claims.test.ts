/** The other claims: which are required, which are carried over, which a host may add. */
import { decodeJwt } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { accepted, jti, now, open, plain, refused, sign, signText, validClaims } from "../support/token-fixtures.ts";

const claims = suite("claims");

claims("must include jti, as text", async () => {
  const none = await sign({ jti: undefined });
  assert.is(await plain.judge("verify", none), "400 Token has no id");
  assert.is(await plain.judge("refresh", none), "400 Token has no id");
  for (const value of [null, "", 1, [], ["x"], {}, true]) await refused(await sign({ jti: value }));
});

claims("must say refresh where one is expected, and nothing at verify", async () => {
  const cases: [type: unknown, refresh: string][] = [
    [undefined, "400 Token has no type"],
    ...[null, "", "access", "Refresh", "sliding", 1, ["refresh"], {}].map((type): [unknown, string] => [
      type,
      "400 Token has wrong type",
    ]),
  ];
  for (const [token_type, expected] of cases) {
    const token = await sign({ token_type });
    assert.is(await plain.judge("refresh", token), expected, JSON.stringify(token_type));
    assert.is(await plain.judge("verify", token), "ok", JSON.stringify(token_type));
  }
});

claims("of an access token are not taken at blacklist, nor those of a refresh token as access", async () => {
  const { access, refresh } = await plain.login();
  assert.is((await plain.post("blacklist", { refresh: access })).body.non_field_errors[0], "Token has wrong type");
  const request = new Request("http://localhost/", { headers: { authorization: `Bearer ${refresh}` } });
  const caught = await plain.endpoints.authenticate(request).then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.equal((caught as { data: { reasons: unknown } }).data.reasons, [["access", "token_wrong_type"]]);
});

claims("may write user_id as text or as a number, and as nothing else", async () => {
  for (const user_id of ["1", 1]) assert.is(await plain.judge("refresh", await sign({ user_id })), "ok");
  for (const user_id of [undefined, null, "", 1.5, 1e300, true, [1], ["1"], {}, "2", 2, "01", " 1"]) {
    const result = await plain.judge("refresh", await sign({ user_id }));
    assert.is(result, "400 No active account found for the given token.", JSON.stringify(user_id));
  }
});

claims("of the refresh token pass to its access tokens, but for type, exp, iat and jti", async () => {
  const extra = { role: "admin", nested: { a: [1, null, "ü"] }, "": 0, constructor: "x", nbf: now - 5, user_id: 1 };
  const token = await sign({ ...extra, exp: now + 77, iat: now - 10 });
  const { access } = (await plain.post("refresh", { refresh: token })).body;
  const { token_type, exp, iat, jti: id, ...rest } = decodeJwt(access);
  assert.equal([token_type, exp, iat], ["access", now + 300, now]);
  assert.is.not(id, jti);
  assert.match(String(id), /^[0-9a-f]{32}$/);
  assert.equal(rest, { ...extra, auth_time: now - 10 } as Record<string, unknown>);
});

claims("read the time of the login from the earliest time in a token", async () => {
  for (const [times, login] of [
    [{ iat: now - 10 }, now - 10],
    [{ iat: now - 10, auth_time: now - 500.5 }, now - 500.5],
    [{ iat: now - 10, auth_time: now + 500 }, now - 10],
    [{ iat: now - 10, auth_time: "today" }, now - 10],
    [{ iat: now - 10, auth_time: null }, now - 10],
    [{ iat: undefined, auth_time: now - 10 }, 0],
    [{ iat: undefined }, 0],
  ] as const) {
    for (const server of [plain, await open({ rotateRefreshTokens: true })]) {
      const { body } = await server.post("refresh", { refresh: await sign({ ...times, jti: crypto.randomUUID() }) });
      for (const token of Object.values<string>(body)) {
        assert.is(decodeJwt(token).auth_time, login, JSON.stringify(times));
        assert.is(await server.judge("verify", token), "ok");
      }
    }
  }
});

claims("named __proto__ in a refresh token stay plain claims", async () => {
  const token = await signText(
    `${JSON.stringify(validClaims).slice(0, -1)},"__proto__":{"token_type":"access","admin":true}}`,
  );
  const { access } = (await plain.post("refresh", { refresh: token })).body;
  assert.match(atob(access.split(".")[1]), '"__proto__":{"token_type":"access","admin":true}');
  const noType = await signText(`{"exp":${now + 60},"jti":"x","user_id":"1","__proto__":{"token_type":"refresh"}}`);
  assert.is(await plain.judge("refresh", noType), "400 Token has no type");
  const noJti = await signText(`{"exp":${now + 60},"token_type":"refresh","__proto__":{"jti":"x"}}`);
  assert.is(await plain.judge("refresh", noJti), "400 Token has no id");
});

claims("of a host's hook survive refresh, and overwrite no reserved claim", async () => {
  const server = await open({
    claims: async (user) =>
      JSON.parse(
        `{"name":"${user.username}","token_type":"access","exp":9999999999,"iat":1,"jti":"mine","user_id":"2",` +
          '"nbf":1,"iss":"me","aud":"you","__proto__":{"user_id":"3","polluted":true},"constructor":"c",' +
          '"toString":"t"}',
      ),
  });
  const { access, refresh } = await server.login();
  const again = (await server.post("refresh", { refresh })).body.access;
  for (const [token, type, lifetime] of [
    [refresh, "refresh", 86_400],
    [access, "access", 300],
    [again, "access", 300],
  ]) {
    const text = atob(String(token).split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/"));
    const read = JSON.parse(text);
    assert.is(read.token_type, type);
    assert.is(read.exp, now + Number(lifetime));
    assert.is(read.iat, now);
    assert.match(read.jti, /^[0-9a-f]{32}$/);
    assert.is(read.user_id, "1");
    assert.is(read.name, "ada");
    assert.is(read.constructor, "c");
    assert.is(read.toString, "t");
    for (const reserved of ["nbf", "iss", "aud"]) assert.not.ok(Object.hasOwn(read, reserved), reserved);
    assert.match(text, '"__proto__":{"user_id":"3","polluted":true}');
    assert.is(await server.judge("verify", String(token)), "ok");
  }
  assert.is((Object.prototype as { polluted?: unknown }).polluted, undefined);
});

claims("have the names that the settings give them", async () => {
  const names = { userIdClaim: "uid", tokenTypeClaim: "typ", jtiClaim: "id" };
  const server = await open({ ...names, claims: () => ({ typ: "x", id: "x", uid: "x", user_id: "free" }) });
  const { access, refresh } = await server.login();
  const { uid, typ, id, user_id } = decodeJwt(access);
  assert.equal([uid, typ, user_id], ["1", "access", "free"]);
  assert.match(String(id), /^[0-9a-f]{32}$/);
  assert.is(await server.judge("refresh", refresh), "ok");
  assert.is(await server.judge("refresh", await sign()), "400 Token has no id");
});

claims("iss and aud are written and required", async () => {
  const server = await open({ issuer: "https://issuer.example", audience: ["web", "app"] });
  const { access, refresh } = await server.login();
  const again = (await server.post("refresh", { refresh })).body.access;
  for (const token of [access, refresh, again]) {
    const { iss, aud } = decodeJwt(token);
    assert.equal([iss, aud], ["https://issuer.example", ["web", "app"]]);
    assert.is(await server.judge("verify", token), "ok");
  }
  const iss = "https://issuer.example";
  for (const aud of ["web", "app", ["other", "app"]]) await accepted(await sign({ iss, aud }), server);
  for (const aud of [undefined, null, "other", "web,app", [], ["other"], [["web"]], { web: 1 }, 0, ""]) {
    await refused(await sign({ iss, aud }), server);
  }
  for (const bad of [undefined, null, "", "https://issuer.example/", [iss], 1]) {
    await refused(await sign({ iss: bad, aud: "web" }), server);
  }
});

claims.run();
