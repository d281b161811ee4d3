/** `exp`, `iat` and `nbf`. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  accepted,
  expired,
  validClaims,
  invalid,
  now,
  open,
  plain,
  refused,
  sign,
  signText,
} from "../support/token-fixtures.ts";

const times = suite("times");

times("must include exp", async () => {
  const token = await sign({ exp: undefined });
  assert.is(await plain.judge("verify", token), "400 Token has no 'exp' claim");
  assert.is(await plain.judge("refresh", token), "400 Token has no 'exp' claim");
  assert.is(await plain.step(token), "Token has no 'exp' claim");
});

for (const name of ["exp", "iat", "nbf"]) {
  times(`refuse ${name} when it is not a finite number`, async () => {
    const soon = now + 60;
    for (const value of [`"${soon}"`, '""', "null", "1e999", "-1e999", "[]", `[${soon}]`, "{}", "true", "false"]) {
      const rest = Object.entries(validClaims).filter(([other]) => other !== name);
      const payload = `${JSON.stringify(Object.fromEntries(rest)).slice(0, -1)},"${name}":${value}}`;
      await refused(await signText(payload));
    }
  });
}

times("may be fractions, and negative where that makes sense", async () => {
  await accepted(await sign({ exp: now + 0.5, iat: now - 0.5, nbf: -1 }));
  await expired(await sign({ exp: -1 }));
});

times("refuse a token exactly at exp, and with leeway exactly at exp + leeway", async () => {
  await accepted(await sign({ exp: now + 1 }));
  await expired(await sign({ exp: now }));
  await expired(await sign({ exp: now - 1 }));
  const lenient = await open({ leeway: 30 });
  await accepted(await sign({ exp: now - 29 }), lenient);
  await expired(await sign({ exp: now - 30 }), lenient);
  await expired(await sign({ exp: now - 31 }), lenient);
});

times("report a token as expired only when every earlier check of PyJWT passes", async () => {
  const exp = now - 1;
  for (const wrong of [{ iat: now + 1 }, { nbf: now + 1 }, { iat: null }, { nbf: "soon" }]) {
    await refused(await sign({ exp, ...wrong }));
  }
  await refused(`${await sign({ exp })}A`);
  const strict = await open({ issuer: "the issuer", audience: "here" });
  for (const later of [{}, { iss: "another" }, { jti: undefined }, { token_type: "access" }]) {
    await expired(await sign({ exp, ...later }), strict);
  }
  await refused(await sign({ iss: "another", aud: "here" }), strict);
});

for (const name of ["iat", "nbf"]) {
  times(`refuse ${name} in the future beyond leeway, and forgive it within`, async () => {
    await accepted(await sign({ [name]: now }));
    await refused(await sign({ [name]: now + 1 }));
    const lenient = await open({ leeway: "30s" });
    await accepted(await sign({ [name]: now + 30 }), lenient);
    await refused(await sign({ [name]: now + 31 }), lenient);
  });
}

times("make a token of ours valid for its lifetime to the second", async () => {
  let clock = now;
  const moving = await open({ now: () => clock * 1000, accessTokenLifetime: "5m", refreshTokenLifetime: "1d" });
  const { access, refresh } = await moving.login();
  clock = now + 299.999;
  assert.is(await moving.judge("verify", access), "ok");
  clock = now + 300;
  assert.is(await moving.judge("verify", access), invalid);
  clock = now + 86_399;
  assert.is(await moving.judge("refresh", refresh), "ok");
  clock = now + 86_400;
  assert.is(await moving.judge("refresh", refresh), invalid);
  clock = now - 1;
  assert.is(await moving.judge("verify", refresh), invalid);
});

times.run();
