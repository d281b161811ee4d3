/** The tokens that we write, byte for byte. */
import { decodeJwt, jwtVerify } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JwtEndpointsSettings } from "../../src/index.ts";
import { base64url, now, open, ourHeader, plain, secret, utf8 } from "../support/token-fixtures.ts";

const ours = suite("a token of ours");

ours("has the header's exact bytes, 32 hex digits of jti, and claims in Simple JWT's order", async () => {
  const { access, refresh } = await plain.login();
  const ids = new Set<unknown>();
  for (const [token, type, lifetime] of [
    [refresh, "refresh", 86_400],
    [access, "access", 300],
  ] as const) {
    const [head, body] = token.split(".") as [string, string];
    assert.is(atob(head), ourHeader);
    const { jti: id, ...rest } = JSON.parse(atob(body));
    assert.match(id, /^[0-9a-f]{32}$/);
    ids.add(id);
    assert.equal(rest, { token_type: type, exp: now + lifetime, iat: now, user_id: "1", auth_time: now });
    assert.equal(Object.keys(JSON.parse(atob(body))), ["token_type", "exp", "iat", "jti", "user_id", "auth_time"]);
  }
  assert.is(ids.size, 2);
});

ours("has whole seconds, whatever the clock says", async () => {
  const server = await open({ now: () => now * 1000 + 999.75 });
  const { iat, exp } = decodeJwt((await server.login()).access);
  assert.equal([iat, exp], [now, now + 300]);
});

ours("is valid for jose, and is signed alike whether the secret is text, bytes or a JWK", async () => {
  const realUuid = crypto.randomUUID;
  const answers: string[] = [];
  const bytes = utf8.encode(secret);
  const forms: JwtEndpointsSettings["signingKey"][] = [secret, bytes, { kty: "oct", k: base64url(bytes) }];
  try {
    crypto.randomUUID = () => "01234567-89ab-4def-8123-456789abcdef";
    for (const signingKey of forms) answers.push(JSON.stringify(await (await open({ signingKey })).login()));
  } finally {
    crypto.randomUUID = realUuid;
  }
  assert.is(new Set(answers).size, 1);
  const options = { algorithms: ["HS256"], currentDate: new Date(now * 1000) };
  for (const token of Object.values(JSON.parse(answers[0]!))) await jwtVerify(String(token), bytes, options);
});

ours.run();
