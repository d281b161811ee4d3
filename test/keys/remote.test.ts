/** Keys that another party publishes at `jwkUrl`. */
import fs from "node:fs";
import http from "node:http";
import { type JWK, exportJWK } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { jwks } from "../../src/endpoints/jwks.ts";
import { createJwtEndpoints } from "../../src/index.ts";
import {
  type Respond,
  claims,
  clock,
  epoch,
  hmacToken,
  json,
  open,
  pairOf,
  problem,
  publisher,
  publishers,
  rsa,
  rsa2,
  secret,
  secretJwk,
  utf8,
} from "../support/key-fixtures.ts";
import { temporaryFolder } from "../support/runtime.ts";
import { until } from "../support/processes.ts";

const remote = suite("jwkUrl");
remote.before.each(() => {
  clock.now = epoch;
});
remote.after(() => {
  for (const server of publishers) {
    server.closeAllConnections();
    server.close();
  }
});

for (const algorithm of ["RS256", "PS384", "ES256", "ES384", "EdDSA"] as const) {
  remote(`verifies ${algorithm} tokens signed elsewhere, and asks once for many`, async () => {
    const [one, two, stranger] = await Promise.all(["a", "b", "a"].map((kid) => pairOf(algorithm, kid)));
    const there = await publisher(json({ keys: [one!.publicJwk, two!.publicJwk] }));
    const { judge, log, keys } = open({ algorithm, jwkUrl: there.url });
    const tokens = await Promise.all([one!, two!, one!].map((pair) => pair.sign()));
    assert.equal(await Promise.all(tokens.map(judge)), ["ok", "ok", "ok"]);
    assert.is(await judge(await one!.sign({ kid: undefined })), "ok");
    assert.is(await judge(await one!.sign({ kid: "b" })), "token_invalid");
    assert.is(await judge(await stranger!.sign()), "token_invalid");
    assert.is(await judge(await stranger!.sign({ kid: undefined })), "token_invalid");
    for (const kid of [1, null, {}, ""]) assert.is(await judge(await one!.sign({ kid })), "token_invalid");
    assert.is(there.hits, 1);
    assert.equal(log, []);
    assert.is((await keys()).signing, undefined);
    assert.equal(await jwks({ keys }), { keys: [] });
  });
}

remote("leaves tokens of signingKey valid, without a look at the URL", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk] }));
  const { judge, sign } = open({ algorithm: "RS256", jwkUrl: there.url, signingKey: rsa2.jwk });
  assert.is(await judge(await sign()), "ok");
  assert.is(there.hits, 0);
  assert.is(await judge(await rsa.sign()), "ok");
  assert.is(there.hits, 1);
});

remote("causes 503 with Retry-After when it is down, and is not fetched again for five seconds", async () => {
  const there = await publisher(json({}, 503));
  const { judge, log, input } = open({ algorithm: "RS256", jwkUrl: there.url });
  const token = await rsa.sign();
  const answers = await Promise.all(Array.from({ length: 20 }, () => judge(token)));
  assert.equal(new Set(answers), new Set(["keys_unavailable 5"]));
  assert.is(there.hits, 1);
  clock.now += 4;
  assert.is(await judge(token), "keys_unavailable 1");
  assert.is(there.hits, 1);
  assert.equal(
    log.map(({ code }) => code),
    ["keys_unavailable"],
  );
  clock.now += 1;
  there.respond = json({ keys: [rsa.publicJwk] });
  assert.is(await judge(token), "ok");
  assert.is(there.hits, 2);

  there.respond = json({}, 503);
  const endpoints = createJwtEndpoints(input);
  await endpoints.ready(); // it starts all the same
  const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token }) };
  const response = await endpoints.fetch(new Request("http://localhost/jwt/verify/", init));
  assert.is(response.status, 503);
  assert.is(response.headers.get("retry-after"), "5");
  assert.not.match(await response.text(), "127.0.0.1");
});

remote("counts as down when it responds with anything but a key set", async () => {
  const there = await publisher(json({}));
  const file = `file://${temporaryFolder()}/keys.json`;
  fs.writeFileSync(new URL(file), JSON.stringify({ keys: [rsa.publicJwk] }));
  const valid = { keys: [rsa.publicJwk] };
  const answers: [string, Respond][] = [
    ["HTML", (response) => response.writeHead(200, { "content-type": "text/html" }).end("<h1>Keys</h1>")],
    ["an empty body", (response) => response.end()],
    ["another object", json({ error: "no" })],
    ["a list", json([rsa.publicJwk])],
    ["keys that are no list", json({ keys: rsa.publicJwk })],
    ["keys that are no objects", json({ keys: ["x"] })],
    ["null", json(null)],
    ["500", json(valid, 500)],
    ["404", json(valid, 404)],
    ["204", (response) => response.writeHead(204).end()],
    ["a redirect to a file", json(valid, 302, { location: file })],
    ["a redirect elsewhere", json(valid, 307, { location: there.url })],
    ["too much", (response) => response.end(JSON.stringify({ ...valid, x: "x".repeat(1_048_576) }))],
    [
      "an end too soon",
      (response) => response.writeHead(200, { "content-length": 5000 }).write("{", () => response.destroy()),
    ],
  ];
  for (const [name, respond] of answers) {
    there.respond = respond;
    there.hits = 0;
    const { judge } = open({ algorithm: "RS256", jwkUrl: there.url });
    assert.is(await judge(await rsa.sign()), "keys_unavailable 5", name);
    assert.is(there.hits, 1, name);
  }
});

remote("counts as down when it closes or refuses the connection", async () => {
  const token = await rsa.sign();
  const rude = await publisher((response) => response.destroy()); // some runtimes try it twice
  const nobody = `http://127.0.0.1:1/keys`;
  for (const jwkUrl of [rude.url, nobody]) {
    assert.is(await open({ algorithm: "RS256", jwkUrl }).judge(token), "keys_unavailable 5");
  }
});

remote("fails after five seconds when its response never ends", async () => {
  const token = await rsa.sign();
  const silent = await publisher(() => {});
  const endless = await publisher((response) => response.writeHead(200).write('{"keys":['));
  const began = performance.now();
  const answers = await Promise.all(
    [silent, endless].map(({ url }) => open({ algorithm: "RS256", jwkUrl: url }).judge(token)),
  );
  assert.equal(answers, ["keys_unavailable 5", "keys_unavailable 5"]);
  assert.ok(performance.now() - began < 9_000);
});

remote("is fetched again for an unknown kid after thirty seconds, not before", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk] }));
  const { judge } = open({ algorithm: "RS256", jwkUrl: there.url });
  assert.is(await judge(await rsa.sign()), "ok");
  there.respond = json({ keys: [rsa2.publicJwk, rsa.publicJwk] });
  clock.now += 29;
  for (let i = 0; i < 5; i++) assert.is(await judge(await rsa2.sign({ kid: `x${i}` })), "token_invalid");
  assert.is(await judge(await rsa2.sign()), "token_invalid");
  assert.is(there.hits, 1);
  clock.now += 1;
  assert.equal(await Promise.all([rsa2, rsa2, rsa].map(async (pair) => judge(await pair.sign()))), ["ok", "ok", "ok"]);
  assert.is(there.hits, 2);
  assert.is(await judge(await rsa.sign({ kid: "x" })), "token_invalid");
  assert.is(there.hits, 2);
});

remote("drops a key that is no longer published within ten minutes", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk, rsa2.publicJwk] }));
  const { judge } = open({ algorithm: "RS256", jwkUrl: there.url });
  const token = await rsa.sign();
  assert.is(await judge(token), "ok");
  there.respond = json({ keys: [rsa2.publicJwk] });
  clock.now += 599;
  assert.is(await judge(token), "ok");
  assert.is(there.hits, 1);
  clock.now += 1;
  // At once, unless this machine takes longer than a request waits for newer keys.
  await until(async () => (await judge(token)) === "token_invalid", "the newer keys are there");
  assert.is(there.hits, 2);
});

remote("is fetched again when the clock is set back", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk] }));
  const { judge } = open({ algorithm: "RS256", jwkUrl: there.url });
  clock.now += 1000;
  assert.is(await judge(await rsa.sign()), "ok");
  there.respond = json({}, 500);
  clock.now += 86_400;
  assert.is(await judge(await rsa.sign()), "keys_unavailable 5");
  // The times of the last fetch and of the last failure are both a day ahead.
  there.respond = json({ keys: [rsa2.publicJwk] });
  clock.now -= 86_400 - 60;
  assert.is(await judge(await rsa2.sign()), "ok");
  assert.is(there.hits, 3);
  there.respond = json({ keys: [rsa.publicJwk] });
  clock.now -= 1000;
  assert.is(await judge(await rsa2.sign()), "token_invalid");
  assert.is(await judge(await rsa.sign()), "ok");
});

remote("leaves the last keys in use for an hour when it goes down", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk] }));
  const { judge } = open({ algorithm: "RS256", jwkUrl: there.url });
  const token = await rsa.sign();
  assert.is(await judge(token), "ok");
  there.respond = json({}, 500);
  clock.now += 601;
  assert.is(await judge(token), "ok");
  assert.is(there.hits, 2);
  // A key that may be there, if only one could ask: not a 401.
  assert.is(await judge(await rsa2.sign()), "keys_unavailable 5");
  assert.is(there.hits, 2);
  // From here on nobody waits for a URL that hangs.
  there.respond = () => {};
  clock.now += 5;
  const began = performance.now();
  assert.is(await judge(token), "ok");
  assert.ok(performance.now() - began < 2_000);
  await until(() => there.hits === 3, "it is requested again meanwhile");
  clock.now = epoch + 3_599;
  assert.is(await judge(token), "ok");

  const lately = await publisher(json({ keys: [rsa.publicJwk] }));
  const late = open({ algorithm: "RS256", jwkUrl: lately.url });
  assert.is(await late.judge(token), "ok");
  lately.respond = json({}, 500);
  clock.now += 3_600;
  assert.is(await late.judge(token), "keys_unavailable 5");
  lately.respond = json({ keys: [rsa.publicJwk] });
  clock.now += 5;
  assert.is(await late.judge(token), "ok");
});

remote("delays no request when it hangs once the keys are ten minutes old", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk] }));
  const { judge, log } = open({ algorithm: "RS256", jwkUrl: there.url });
  const token = await rsa.sign();
  assert.is(await judge(token), "ok");
  for (const respond of [
    () => {},
    (response: http.ServerResponse) => response.writeHead(200).write('{"keys":['), // begins, and never ends
  ]) {
    there.respond = respond;
    there.hits = 0;
    clock.now += 601;
    const began = performance.now();
    // At once, and again while the first request to the URL still hangs.
    for (let turn = 0; turn < 3; turn++) {
      assert.equal(await Promise.all([judge(token), judge(token)]), ["ok", "ok"]);
    }
    assert.ok(performance.now() - began < 2_500, `${performance.now() - began} ms`);
    assert.is(there.hits, 1);
    // A key that may be there is waited for, and not for ever.
    assert.is(await judge(await rsa2.sign()), "keys_unavailable 5");
    assert.ok(performance.now() - began < 9_000, `${performance.now() - began} ms`);
    clock.now += 5;
    there.respond = json({ keys: [rsa.publicJwk] });
    await until(async () => (await judge(token)) === "ok" && there.hits > 1, "it is requested again");
    await until(async () => (await judge(await rsa2.sign())) === "token_invalid", "and answers");
  }
  assert.is(log.length, 2);
});

remote("may publish keys that are ignored: weak, private, symmetric, or for another use", async () => {
  const publicExponent = Uint8Array.of(1, 0, 1);
  const params = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", modulusLength: 1024, publicExponent };
  const weak = await crypto.subtle.generateKey(params, true, ["sign", "verify"]);
  const input = `${btoa('{"alg":"RS256","kid":"r1"}')}.${btoa(JSON.stringify(claims))}`.replaceAll("=", "");
  const signature = new Uint8Array(await crypto.subtle.sign(params.name, weak.privateKey, utf8.encode(input)));
  const weakToken = `${input}.${btoa(String.fromCharCode(...signature))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "")}`;
  const { kty, n, e } = rsa.publicJwk;
  const bad: [string, JWK, string][] = [
    ["weak", { ...(await exportJWK(weak.publicKey)), kid: "r1" }, weakToken],
    ["private", rsa.jwk, await rsa.sign()],
    ["another alg", { ...rsa.publicJwk, alg: "RS512" }, await rsa.sign()],
    ["for encryption", { ...rsa.publicJwk, use: "enc" }, await rsa.sign()],
    ["no verification", { ...rsa.publicJwk, key_ops: ["encrypt"] }, await rsa.sign()],
    ["another kty", (await pairOf("ES256", "r1")).publicJwk, await rsa.sign()],
    ["broken", { kty: kty!, kid: "r1", e: e!, n: "AA" }, await rsa.sign()],
    ["a secret", { ...secretJwk("r1", "A") }, await hmacToken(secretJwk("r1", "A"))],
    [
      "its text as a secret",
      { kty: kty!, n: n!, e: e!, kid: "r1" },
      await hmacToken({ ...secretJwk("r1", "A"), k: btoa(n!) }),
    ],
  ];
  for (const [name, jwk, token] of bad) {
    const there = await publisher(json({ keys: [jwk, rsa2.publicJwk] }));
    const { judge } = open({ algorithm: "RS256", jwkUrl: there.url });
    assert.is(await judge(token), "token_invalid", name);
    assert.is(await judge(await rsa2.sign()), "ok", name);
  }
});

remote("is the only source of keys: jku, jwk and x5u of a token are never followed", async () => {
  const there = await publisher(json({ keys: [rsa.publicJwk] }));
  const theirs = await publisher(json({ keys: [rsa2.publicJwk] }));
  const { judge } = open({ algorithm: "RS256", jwkUrl: there.url });
  for (const header of [{ jku: theirs.url }, { x5u: theirs.url }, { jwk: rsa2.publicJwk }]) {
    assert.is(await judge(await rsa2.sign({ ...header, kid: "r1" })), "token_invalid");
    assert.is(await judge(await rsa2.sign(header)), "token_invalid");
  }
  assert.is(theirs.hits, 0);
});

remote("needs an http URL and an algorithm with public keys", async () => {
  const jwkUrl = "https://keys.example/jwks.json";
  assert.match(
    await problem({ jwkUrl, signingKey: secret }),
    /^setting jwkUrl can't be used with algorithm HS256; acc/,
  );
  for (const wrong of ["file:///etc/keys.json", "keys.json", "", "ftp://keys.example/", "data:,{}", "//keys.example"]) {
    assert.match(
      await problem({ jwkUrl: wrong, algorithm: "RS256" }),
      /^setting jwkUrl is not an address of keys; accep/,
    );
  }
  const withPassword = await problem({ jwkUrl: "https://u:hunter2@keys.example/", algorithm: "RS256" });
  assert.match(withPassword, /^setting jwkUrl is not .* without a user name or password$/);
  assert.not.match(withPassword, "hunter2");
  assert.match(await problem({}), /^setting signingKey is missing; accepted: /);
});

remote.run();
