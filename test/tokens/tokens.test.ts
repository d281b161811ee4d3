/**
 * What a token must be to be accepted, and what a token of ours is: one rule, one test, on a frozen clock. Most bad
 * tokens here carry a good signature, made by hand over exactly the text they show, so that no other rule can refuse
 * them first.
 */
import {
  type JWK,
  decodeJwt,
  decodeProtectedHeader,
  exportJWK,
  exportPKCS8,
  exportSPKI,
  generateKeyPair,
  jwtVerify,
} from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtEndpointsSettings, type LogEvent, createJwtEndpoints, createPasswords } from "../../src/index.ts";
import { parseSettings } from "../../src/settings/parse.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { keysFrom } from "../../src/keys/key-set.ts";
import { isCanonicalBase64url } from "../../src/tokens/strict-json.ts";
import { verifyToken } from "../../src/tokens/verify.ts";
import { keptIn } from "../support/runtime.ts";

/** The secret that the recorded tokens were made with; 64 bytes, enough for HS512. */
const secret = "django-insecure-0123456789abcdefghijklmnopqrstuvwxyz-0123456789-";
const now = 1_850_000_000;
const iterations = 1;
const credentials = { username: "ada", password: "correct horse" };
const passwordHash = await createPasswords({ iterations }).hash(credentials.password);

const utf8 = new TextEncoder();
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

function base64url(data: string | Uint8Array): string {
  const bytes = typeof data === "string" ? utf8.encode(data) : data;
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

async function hmac(text: string, key: string | Uint8Array = secret, hash = "SHA-256"): Promise<string> {
  const raw = typeof key === "string" ? utf8.encode(key) : Uint8Array.from(key);
  const imported = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash }, false, ["sign"]);
  return base64url(new Uint8Array(await crypto.subtle.sign("HMAC", imported, utf8.encode(text))));
}

const ourHeader = '{"alg":"HS256","typ":"JWT"}';
const jti = "0123456789abcdef0123456789abcdef";
const goodClaims = { token_type: "refresh", exp: now + 3600, iat: now - 60, jti, user_id: "1" };

/** A token of exactly these segments, with a good signature over them. */
const signSegments = async (...segments: [header: string, payload: string]) =>
  `${segments.join(".")}.${await hmac(segments.join("."))}`;
/** A token of exactly this payload text. */
const signText = (payload: string, header = ourHeader) => signSegments(base64url(header), base64url(payload));
/** A good token but for these claims; `undefined` takes one away. */
const sign = (changes: Record<string, unknown> = {}, header = ourHeader) =>
  signText(JSON.stringify({ ...goodClaims, ...changes }), header);

async function open(more: Partial<JwtEndpointsSettings> = {}) {
  const store = memoryStore({ now: () => now * 1000 });
  await store.addUser({ id: "1", username: "ada", passwordHash });
  const log: LogEvent[] = [];
  const settings: JwtEndpointsSettings = {
    store,
    signingKey: secret,
    hashing: { iterations },
    now: () => now * 1000,
    log: keptIn(log),
    ...more,
  };
  const endpoints = createJwtEndpoints(settings);
  const post = async (name: string, data: unknown) => {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(data) };
    const response = await endpoints.fetch(new Request(`http://localhost/jwt/${name}/`, init));
    const text = await response.text();
    return { status: response.status, text, body: JSON.parse(text) };
  };
  /** What a token is answered with: `"ok"`, or the text of the refusal. */
  const judge = async (name: "verify" | "refresh", token: string): Promise<string> => {
    const { status, body } = await post(name, name === "verify" ? { token } : { refresh: token });
    return status === 200 ? "ok" : `${status} ${body.non_field_errors.join()}`;
  };
  const login = async (): Promise<{ access: string; refresh: string }> => {
    const { status, text, body } = await post("create", credentials);
    assert.is(status, 200, text);
    return body;
  };
  /** The token step itself, which gets the text as it is (the endpoints trim theirs). */
  const step = async (token: string): Promise<string> => {
    const parsed = parseSettings(settings);
    try {
      await verifyToken(parsed, await keysFrom(parsed)(), token);
      return "ok";
    } catch (error) {
      return (error as Error).message;
    }
  };
  return { endpoints, store, log, post, judge, login, step };
}

const invalid = "400 Token is invalid or expired";
const plain = await open();

async function accepted(token: string, { judge, step } = plain): Promise<void> {
  assert.is(await step(token), "ok", token);
  assert.is(await judge("verify", token), "ok", token);
  assert.is(await judge("refresh", token), "ok", token);
}

async function refused(token: string, { judge, step } = plain): Promise<void> {
  assert.is(await step(token), "Token is invalid or expired", token);
  assert.is(await judge("verify", token), invalid, token);
  assert.is(await judge("refresh", token), invalid, token);
}

/** The other spellings of a segment: the same bytes for a reader that passes over the last character's spare bits. */
function otherSpellings(segment: string): string[] {
  const spare = segment.length % 4 === 2 ? 4 : segment.length % 4 === 3 ? 2 : 0;
  const last = alphabet.indexOf(segment.at(-1)!);
  const others = Array.from({ length: 2 ** spare - 1 }, (_, i) => alphabet[last + i + 1]!);
  return others.map((char) => segment.slice(0, -1) + char);
}

/** Header or payload text grown by spaces until its base64url has spare bits: 4 for `rest` 1, 2 for `rest` 2. */
function grown(text: string, rest: number): string {
  while (utf8.encode(text).length % 3 !== rest) text += " ";
  return text;
}

const shape = suite("the shape of a token");

shape("is accepted when it is canonical, whatever spare bits its segments have", async () => {
  for (const rest of [0, 1, 2]) {
    await accepted(await signText(grown(JSON.stringify(goodClaims), rest)));
    await accepted(await sign({}, grown(ourHeader, rest)));
  }
});

shape("is refused with changed spare bits in the header, though signed over that very text", async () => {
  for (const rest of [1, 2]) {
    const header = base64url(grown(ourHeader, rest));
    const spellings = otherSpellings(header);
    assert.is(spellings.length, rest === 1 ? 15 : 3);
    for (const other of spellings) await refused(await signSegments(other, base64url(JSON.stringify(goodClaims))));
  }
});

shape("is refused with changed spare bits in the payload, though signed over that very text", async () => {
  for (const rest of [1, 2]) {
    const payload = base64url(grown(JSON.stringify(goodClaims), rest));
    for (const other of otherSpellings(payload)) await refused(await signSegments(base64url(ourHeader), other));
  }
});

shape("is refused with changed spare bits in the signature", async () => {
  const [header, payload, signature] = (await sign()).split(".");
  const others = otherSpellings(signature!);
  assert.is(others.length, 3);
  for (const other of others) await refused(`${header}.${payload}.${other}`);
  const long = await open({ algorithm: "HS512" });
  const text = `${base64url('{"alg":"HS512","typ":"JWT"}')}.${payload}`;
  const mac = await hmac(text, secret, "SHA-512");
  await accepted(`${text}.${mac}`, long);
  assert.is(otherSpellings(mac).length, 15);
  for (const other of otherSpellings(mac)) await refused(`${text}.${other}`, long);
});

shape("is refused with padding on any segment, though signed over that very text", async () => {
  const header = base64url(grown(ourHeader, 1));
  const payload = base64url(grown(JSON.stringify(goodClaims), 2));
  await accepted(await signSegments(header, payload));
  await refused(await signSegments(`${header}==`, payload));
  await refused(await signSegments(`${header}=`, payload));
  await refused(await signSegments(header, `${payload}=`));
  await refused(`${await sign()}=`);
  await refused(await signSegments(`${base64url(ourHeader)}====`, payload));
});

shape("is refused with white space anywhere inside, though signed over that very text", async () => {
  const [header, payload, signature] = (await sign()).split(".") as [string, string, string];
  for (const space of [" ", "\t", "\n", "\r", "\f", "\v", "\u00a0", "\u2028", "\ufeff", "\u3000"]) {
    await refused(await signSegments(`${header.slice(0, 5)}${space}${header.slice(5)}`, payload));
    await refused(await signSegments(`${header}${space}`, payload));
    await refused(await signSegments(header, `${space}${payload}`));
    await refused(await signSegments(header, `${payload.slice(0, 9)}${space}${payload.slice(9)}`));
    await refused(await signSegments(header, `${payload}${space}`));
    await refused(`${header}.${payload}.${space}${signature}`);
    await refused(`${header}.${payload}.${signature.slice(0, 3)}${space}${signature.slice(3)}`);
  }
});

shape("is refused by the token step with white space around it, which the endpoints trim as DRF does", async () => {
  const token = await sign();
  for (const space of [" ", "\n", "\t", "\r\n"]) {
    for (const spaced of [`${space}${token}`, `${token}${space}`]) {
      assert.is(await plain.step(spaced), "Token is invalid or expired");
      assert.is(await plain.judge("verify", spaced), "ok");
    }
  }
  for (const spaced of [`\ufeff${token}`, `${token}\ufeff`]) await refused(spaced); // no space to Python
});

shape("is refused in the other base64 alphabet", async () => {
  const payload = base64url(`${JSON.stringify(goodClaims).slice(0, -1)},"x":"${"\u00ff\u00fe?>~".repeat(3)}"}`);
  assert.match(payload, /[-_]/);
  await accepted(await signSegments(base64url(ourHeader), payload));
  const standard = payload.replaceAll("-", "+").replaceAll("_", "/");
  await refused(await signSegments(base64url(ourHeader), standard));
});

shape("is refused with a count of segments other than three, or an empty one", async () => {
  const token = await sign();
  const [header, payload, signature] = token.split(".") as [string, string, string];
  for (const text of [
    `${token}.`,
    `.${token}`,
    `${token}.${signature}`,
    `${header}.${payload}`,
    `${header}.${payload}.`,
    header,
    `.${payload}.${signature}`,
    `${header}..${signature}`,
    "..",
    ".",
    "...",
    `${header}.${payload}.${signature}..`,
  ]) {
    await refused(text);
  }
});

shape("is refused when header or payload is not a JSON object in UTF-8", async () => {
  const good = JSON.stringify(goodClaims);
  for (const text of ["[]", "null", "1", '"text"', "{", `${good}x`, `\ufeff${good}`]) {
    await refused(await signText(text));
    await refused(await signText(good, text));
  }
  const bytes = utf8.encode(`${JSON.stringify(goodClaims).slice(0, -1)},"x":"~"}`);
  bytes[bytes.indexOf(0x7e)] = 0xff;
  await refused(await signSegments(base64url(ourHeader), base64url(bytes)));
});

shape("is judged for canonical base64url as an exhaustive reader would", () => {
  for (const a of alphabet) {
    assert.is(isCanonicalBase64url(`A${a}`), alphabet.indexOf(a) % 16 === 0, `A${a}`);
    assert.is(isCanonicalBase64url(`AA${a}`), alphabet.indexOf(a) % 4 === 0, `AA${a}`);
    assert.is(isCanonicalBase64url(`AAA${a}`), true);
    assert.is(isCanonicalBase64url(a), false);
  }
});

shape.run();

const duplicates = suite("duplicate keys");
const open_ = JSON.stringify(goodClaims).slice(0, -1);

duplicates("in the payload are refused, though properly signed", async () => {
  await accepted(await signText(`${open_},"x":1}`));
  await refused(await signText(`${open_},"x":1,"x":1}`));
  await refused(await signText(`${open_},"exp":${now + 9999}}`));
  await refused(await signText(`{"exp":${now + 9999},${open_.slice(1)}}`));
  await refused(await signText(`${open_},"user_id":"2"}`));
  await refused(await signText(`${open_},"jti" : "other"}`));
  await refused(await signText(`${open_},"__proto__":1,"__proto__":1}`));
  await refused(await signText(`${open_},"":1,"":2}`));
});

duplicates("in the header are refused, though properly signed", async () => {
  await accepted(await sign({}, '{"typ":"JWT","alg":"HS256","x":1}'));
  await refused(await sign({}, '{"alg":"HS256","typ":"JWT","alg":"HS256"}'));
  await refused(await sign({}, '{"alg":"none","alg":"HS256","typ":"JWT"}'));
  await refused(await sign({}, '{"alg":"HS256","typ":"JWT","typ":"JWT"}'));
  await refused(await sign({}, '{"alg":"HS256","typ":"JWT","\\u0061lg":"HS256"}'));
});

duplicates("in escaped spellings are refused", async () => {
  await accepted(await signText(`${open_.replace('"exp"', '"\\u0065xp"')}}`));
  await refused(await signText(`${open_},"\\u0065xp":${now + 9999}}`));
  await refused(await signText(`${open_},"\\u0065\\u0078\\u0070":${now + 9999}}`));
  await refused(await signText(`${open_},"a\\/b":1,"a/b":2}`));
  await refused(await signText(`${open_},"\\"":1,"\\u0022":2}`));
  await refused(await signText(`${open_},"\\\\":1,"\\u005c":2}`));
  await accepted(await signText(`${open_},"\\\\":1,"\\"":2,"a\\":":3,"a":4}`));
});

duplicates("nested at any depth are refused, and equal names in different objects are not", async () => {
  await refused(await signText(`${open_},"a":{"b":1,"b":2}}`));
  await refused(await signText(`${open_},"a":[[{"b":{"c":[],"c":{}}}]]}`));
  await refused(await signText(`${open_},"a":[{"x":{}},{"y":1,"y":1}]}`));
  await refused(await signText(`${open_},"a":{"b":{"x":1},"b":2}}`));
  await accepted(await signText(`${open_},"a":{"a":{"a":[{"a":1},{"a":1}]}},"b":{"a":1}}`));
  await accepted(await signText(`${open_},"a":["exp","exp","{","}"],"b":"\\"exp\\":1,\\"exp\\":2"}`));
});

duplicates("are looked for in a token as long as a body may be", async () => {
  const filler = `"filler":"${'x\\\\\\"'.repeat(5000)}"`;
  await accepted(await signText(`${open_},${filler}}`));
  await refused(await signText(`${open_},${filler},"filler":1}`));
});

duplicates.run();

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
      const rest = Object.entries(goodClaims).filter(([other]) => other !== name);
      const payload = `${JSON.stringify(Object.fromEntries(rest)).slice(0, -1)},"${name}":${value}}`;
      await refused(await signText(payload));
    }
  });
}

times("may be fractions, and negative where that makes sense", async () => {
  await accepted(await sign({ exp: now + 0.5, iat: now - 0.5, nbf: -1 }));
  await refused(await sign({ exp: -1 }));
});

times("refuse a token exactly at exp, and with leeway exactly at exp + leeway", async () => {
  await accepted(await sign({ exp: now + 1 }));
  await refused(await sign({ exp: now }));
  await refused(await sign({ exp: now - 1 }));
  const lenient = await open({ leeway: 30 });
  await accepted(await sign({ exp: now - 29 }), lenient);
  await refused(await sign({ exp: now - 30 }), lenient);
  await refused(await sign({ exp: now - 31 }), lenient);
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

times("make a token of ours good for its lifetime to the second", async () => {
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

const header = suite("the header");

header("is refused with any crit", async () => {
  for (const crit of ['["exp"]', '["b64"]', "[]", "null", '""', "{}", '["alg"]', '["x"]']) {
    await refused(await sign({}, `{"alg":"HS256","typ":"JWT","crit":${crit},"x":1}`));
  }
  await refused(await sign({}, '{"alg":"HS256","b64":true,"crit":["b64"]}'));
  await refused(await sign({}, '{"alg":"HS256","\\u0063rit":["x"],"x":1}'));
});

header("is refused with an unencoded payload (RFC 7797), whether crit names it or not", async () => {
  const payload = JSON.stringify(goodClaims);
  for (const b64 of ["false", "null", "0", '"false"', "[]"]) {
    for (const more of ["", ',"crit":["b64"]', ',"crit":["exp"]']) {
      const text = `{"alg":"HS256","typ":"JWT","b64":${b64}${more}}`;
      await refused(await sign({}, text));
      await refused(`${base64url(text)}.${payload}.${await hmac(`${base64url(text)}.${payload}`)}`);
    }
  }
  await accepted(await sign({}, '{"alg":"HS256","typ":"JWT","b64":true}')); // the default, spelled out
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  const keys = { signingKey: await exportPKCS8(privateKey), verifyingKey: await exportSPKI(publicKey) };
  const public_ = await open({ algorithm: "ES256", ...keys });
  const text = `${base64url('{"alg":"ES256","typ":"JWT","b64":false}')}.${base64url(payload)}`;
  const parameters = { name: "ECDSA", hash: "SHA-256" };
  const signature = new Uint8Array(await crypto.subtle.sign(parameters, privateKey, utf8.encode(text)));
  await refused(`${text}.${base64url(signature)}`, public_);
});

header("is refused with alg none, in any spelling, signed or not", async () => {
  const payload = base64url(JSON.stringify(goodClaims));
  for (const alg of ["none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HS257"]) {
    const segment = base64url(JSON.stringify({ alg, typ: "JWT" }));
    await refused(await signSegments(segment, payload));
    await refused(`${segment}.${payload}.`);
  }
  await refused(await sign({}, '{"typ":"JWT"}'));
  for (const alg of ["null", "[]", '["HS256"]', "256", "{}"]) await refused(await sign({}, `{"alg":${alg}}`));
});

header("is refused with another HMAC than the configured one, though its signature holds", async () => {
  const payload = base64url(JSON.stringify(goodClaims));
  const hashes = { HS256: "SHA-256", HS384: "SHA-384", HS512: "SHA-512" };
  for (const algorithm of ["HS256", "HS384", "HS512"] as const) {
    const server = await open({ algorithm });
    for (const [alg, hash] of Object.entries(hashes)) {
      const text = `${base64url(JSON.stringify({ alg, typ: "JWT" }))}.${payload}`;
      const token = `${text}.${await hmac(text, secret, hash)}`;
      await (alg === algorithm ? accepted(token, server) : refused(token, server));
    }
  }
});

header("is refused when it names one algorithm and is signed with another", async () => {
  const text = `${base64url(ourHeader)}.${base64url(JSON.stringify(goodClaims))}`;
  for (const hash of ["SHA-1", "SHA-384", "SHA-512"]) await refused(`${text}.${await hmac(text, secret, hash)}`);
  const mac = await hmac(text);
  await refused(`${text}.${mac.slice(0, 22)}`); // 128 of its 256 bits
});

header("cannot turn an RSA public key into an HMAC secret", async () => {
  const pair = await generateKeyPair("RS256", { extractable: true });
  const pem = await exportSPKI(pair.publicKey);
  const jwk = JSON.stringify(await exportJWK(pair.publicKey));
  const server = await open({ algorithm: "RS256", signingKey: await exportPKCS8(pair.privateKey) });
  const text = `${base64url(ourHeader)}.${base64url(JSON.stringify(goodClaims))}`;
  for (const key of [pem, pem.trim(), `${pem}\n`, jwk, secret]) {
    await refused(`${text}.${await hmac(text, key)}`, server);
  }
  const asRsa = `${base64url('{"alg":"RS256","typ":"JWT"}')}.${base64url(JSON.stringify(goodClaims))}`;
  await refused(`${asRsa}.${await hmac(asRsa, pem)}`, server);
});

header("may name any kid while the configured key has none: nothing to pick", async () => {
  for (const kid of ["a", "", "../../dev/null", "' or 1=1", "__proto__"]) {
    await accepted(await sign({}, JSON.stringify({ alg: "HS256", kid })));
  }
});

header("is refused with another kid than the configured key's, and accepted with it or without one", async () => {
  const server = await open({ signingKey: { kty: "oct", k: base64url(secret), kid: "k1" } });
  await accepted(await sign({}, '{"alg":"HS256","kid":"k1"}'), server);
  await accepted(await sign(), server);
  for (const kid of ['"k2"', '"K1"', '""', '"__proto__"', "null", "1", '["k1"]', "{}"]) {
    await refused(await sign({}, `{"alg":"HS256","kid":${kid}}`), server);
  }
  const { access } = await server.login();
  assert.is(decodeProtectedHeader(access).kid, "k1");
});

header("cannot bring its own key: jku, jwk, x5u and x5c are never followed", async () => {
  const attacker = "an attacker's own secret, of 32 bytes or more";
  const k = base64url(attacker);
  const called: unknown[] = [];
  const realFetch = globalThis.fetch;
  globalThis.fetch = ((...args: unknown[]) => {
    called.push(args);
    return Promise.reject(new Error("no network here"));
  }) as typeof fetch;
  try {
    const url = "http://localhost:9/keys";
    const tricks = [{ jwk: { kty: "oct", k } }, { jku: url }, { x5u: url }, { x5c: [k] }];
    for (const trick of tricks) {
      const head = JSON.stringify({ alg: "HS256", typ: "JWT", ...trick });
      const text = `${base64url(head)}.${base64url(JSON.stringify(goodClaims))}`;
      await refused(`${text}.${await hmac(text, attacker)}`);
      await accepted(await sign({}, head)); // ignored, so no reason to refuse either
    }
  } finally {
    globalThis.fetch = realFetch;
  }
  assert.equal(called, []);
});

header.run();

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
    const answer = await plain.judge("refresh", await sign({ user_id }));
    assert.is(answer, "400 No active account found for the given token.", JSON.stringify(user_id));
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

claims("tell when the login was, by the earliest time that a token knows of it", async () => {
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
  const token = await signText(`${open_},"__proto__":{"token_type":"access","admin":true}}`);
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

claims("are under the names that the settings give them", async () => {
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

ours("is good for jose, and is signed alike whether the secret is text, bytes or a JWK", async () => {
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

const recorded = suite("tokens recorded from PyJWT 2.6, as Simple JWT calls it");
const hs256 = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

const recordings: [algorithm: "HS256" | "HS384" | "HS512", name: string, token: string][] = [
  [
    "HS256",
    "access, user_id as text",
    `${hs256}.eyJ0b2tlbl90eXBlIjoiYWNjZXNzIiwiZXhwIjoxOTAwMDAwMDAwLCJpYXQiOjE4MDAwMDAwMDAsImp0aSI6ImFhYWFhYWFhYWF` +
      "hYWFhYWFhYWFhYWFhYWFhYWFhYWFhIiwidXNlcl9pZCI6IjEifQ.Ka0cAUdEdZUk3f8ANU6GmhI8q7Mgi77m2oRy4HhQz3E",
  ],
  [
    "HS256",
    "refresh, user_id as text",
    `${hs256}.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTkwMDAwMDAwMCwiaWF0IjoxODAwMDAwMDAwLCJqdGkiOiJkZGRkZGRkZGR` +
      "kZGRkZGRkZGRkZGRkZGRkZGRkZGRkZCIsInVzZXJfaWQiOiIxIn0.5hjYcUIxQuOfXIXO5Y5SIuUmISW9lVMo_Nor02Q9xB0",
  ],
  [
    "HS256",
    "refresh, user_id as a number and a claim of the site's own",
    `${hs256}.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCIsImV4cCI6MTkwMDAwMDAwMCwiaWF0IjoxODAwMDAwMDAwLCJqdGkiOiJjY2NjY2NjY2N` +
      "jY2NjY2NjY2NjY2NjY2NjY2NjY2NjYyIsInVzZXJfaWQiOjEsInRpZXIiOiJnb2xkIn0.NWMNbSi77VYXaXI38HgsOTfjHelTBIF" +
      "xi4csabRp0AE",
  ],
  [
    "HS384",
    "HS384",
    "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJ0b2tlbl90eXBlIjoiYWNjZXNzIiwiZXhwIjoxOTAwMDAwMDAwLCJpYXQiOjE" +
      "4MDAwMDAwMDAsImp0aSI6ImFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhIiwidXNlcl9pZCI6IjEifQ.dhO49PNaRSY4" +
      "C9YHgHr4yAq0T7q7Qpydpv9nyGDA1k8G6Tebu6D55rWzd-OnqYVA",
  ],
  [
    "HS512",
    "HS512 with kid, nested and escaped claims",
    "eyJhbGciOiJIUzUxMiIsImtpZCI6ImsxIiwidHlwIjoiSldUIn0.eyJ0b2tlbl90eXBlIjoiYWNjZXNzIiwiZXhwIjoxOTAwMDAw" +
      "MDAwLCJpYXQiOjE4MDAwMDAwMDAsImp0aSI6ImFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhIiwidXNlcl9pZCI6IjEi" +
      "LCJuYW1lIjoiSlx1MDBmY3JnZW4gXHUyNjAzIFx1ZDgzZFx1ZGUwMCIsIm5lc3RlZCI6eyJhIjpbMSwyLjUsbnVsbF19fQ.A99Jm" +
      "jistVtwhMfLYOE5EHHPmN1OnvSVVRg6qpcESPt350r9LLVmHwDSuRgCdDjB0z_R7NLR8CFkoHDdhlx7TA",
  ],
];

for (const [algorithm, name, token] of recordings) {
  recorded(`verify: ${name}`, async () => {
    const server = await open({ algorithm });
    assert.is(await server.judge("verify", token), "ok");
    assert.is(await server.judge("verify", `${token.slice(0, -2)}${token.at(-1)}${token.at(-2)}`), invalid);
    const isRefresh = decodeJwt(token).token_type === "refresh";
    assert.is(await server.judge("refresh", token), isRefresh ? "ok" : "400 Token has wrong type");
    assert.is(await (await open({ algorithm, signingKey: `${secret}x` })).judge("verify", token), invalid);
  });
}

recorded("carry over into ours, the user's id as it stood", async () => {
  const { access } = (await plain.post("refresh", { refresh: recordings[2]![2] })).body;
  const { user_id, tier, token_type } = decodeJwt(access);
  assert.equal([user_id, tier, token_type], [1, "gold", "access"]);
  assert.ok(access.startsWith(`${hs256}.`));
});

recorded.run();

const keys = suite("keys");

for (const [algorithm, least] of [
  ["HS256", 32],
  ["HS384", 48],
  ["HS512", 64],
] as const) {
  keys(`for ${algorithm} have ${least} bytes or more, or the construction stops`, async () => {
    const bytes = new Uint8Array(least - 1).fill(65);
    const message = `setting signingKey is ${least - 1} bytes`;
    for (const signingKey of ["A".repeat(least - 1), bytes, { kty: "oct", k: base64url(bytes) }]) {
      assert.throws(
        () => createJwtEndpoints({ store: memoryStore(), algorithm, signingKey }),
        (error: Error) => error.name === "SettingError" && error.message.startsWith(message),
      );
    }
    assert.is(await (await open({ algorithm, signingKey: "A".repeat(least) })).judge("verify", "x"), invalid);
    // bytes, not characters
    await (await open({ algorithm, signingKey: "é".repeat(least / 2) })).login();
  });
}

const asymmetric = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"] as const;
for (const algorithm of asymmetric) {
  keys(`of ${algorithm} as PEM and as JWK go round create, refresh and verify`, async () => {
    const pair = await generateKeyPair(algorithm, { extractable: true });
    const pem = await exportPKCS8(pair.privateKey);
    const jwk = await exportJWK(pair.privateKey);
    const publicPem = await exportSPKI(pair.publicKey);
    const publicJwk = await exportJWK(pair.publicKey);
    const forms: Partial<JwtEndpointsSettings>[] = [
      { signingKey: pem },
      { signingKey: jwk },
      { signingKey: { ...jwk, kid: "k1", alg: algorithm } },
      { signingKey: pem, verifyingKey: publicPem },
      { signingKey: jwk, verifyingKey: publicJwk },
    ];
    let last: string | undefined;
    for (const form of forms) {
      const server = await open({ algorithm, ...form });
      await server.endpoints.ready();
      const { access, refresh } = await server.login();
      const again = (await server.post("refresh", { refresh })).body.access;
      for (const token of [access, refresh, again, last ?? access]) {
        assert.is(await server.judge("verify", token), "ok");
        assert.is(decodeProtectedHeader(token).alg, algorithm);
        await jwtVerify(token, pair.publicKey, { algorithms: [algorithm], currentDate: new Date(now * 1000) });
      }
      const damaged = `${again.slice(0, -8)}${again.at(-8) === "A" ? "B" : "A"}${again.slice(-7)}`;
      assert.is(await server.judge("verify", damaged), invalid);
      assert.is(await server.judge("refresh", await sign()), invalid);
      const unsigned = `${again.split(".").slice(0, 2).join(".")}.AAAA`;
      assert.is(await server.judge("verify", unsigned), invalid);
      if ((form.signingKey as JWK).kid === undefined) last = access;
      assert.equal(server.log, []);
    }
    const stranger = await generateKeyPair(algorithm, { extractable: true });
    const other = await open({ algorithm, signingKey: await exportPKCS8(stranger.privateKey) });
    assert.is(await other.judge("verify", last!), invalid);
  });
}

/** What `ready` rejects with. */
async function problem(more: Partial<JwtEndpointsSettings>): Promise<Error> {
  try {
    await (await open(more)).endpoints.ready();
  } catch (error) {
    return error as Error;
  }
  throw new Error(`nothing was wrong with ${more.algorithm}`);
}

keys("of RSA under 2048 bits are refused by ready", async () => {
  const publicExponent = Uint8Array.of(1, 0, 1);
  const algorithm = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", modulusLength: 1024, publicExponent };
  const pair = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  for (const signingKey of [await exportPKCS8(pair.privateKey), await exportJWK(pair.privateKey)]) {
    const error = await problem({ algorithm: "RS256", signingKey });
    assert.is(error.name, "SettingError");
    assert.is(error.message, "setting signingKey has 1024 bits; accepted: RSA of 2048 or more");
  }
});

keys("that do not fit the algorithm are refused by ready, without a word of the key", async () => {
  const made = async (alg: string) => {
    const pair = await generateKeyPair(alg, { extractable: true });
    const { privateKey, publicKey } = pair;
    return { pem: await exportPKCS8(privateKey), jwk: await exportJWK(privateKey), spki: await exportSPKI(publicKey) };
  };
  const rsa = await made("RS256");
  const ec = await made("ES256");
  const ec384 = await made("ES384");
  const ed = await made("EdDSA");
  const notDer = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----";
  const bad: Partial<JwtEndpointsSettings>[] = [
    { algorithm: "ES256", signingKey: rsa.pem },
    { algorithm: "ES256", signingKey: rsa.jwk },
    { algorithm: "ES256", signingKey: ec384.pem },
    { algorithm: "ES256", signingKey: ec384.jwk },
    { algorithm: "ES256", signingKey: ed.pem },
    { algorithm: "ES384", signingKey: ec.pem },
    { algorithm: "RS256", signingKey: ec.pem },
    { algorithm: "RS256", signingKey: ec.jwk },
    { algorithm: "PS256", signingKey: ed.pem },
    { algorithm: "EdDSA", signingKey: rsa.pem },
    { algorithm: "EdDSA", signingKey: ec.jwk },
    { algorithm: "RS256", signingKey: { ...rsa.jwk, alg: "PS256" } },
    { algorithm: "RS256", signingKey: secret },
    { algorithm: "RS256", signingKey: utf8.encode(secret) },
    { algorithm: "RS256", signingKey: rsa.spki },
    { algorithm: "RS256", signingKey: rsa.pem, verifyingKey: rsa.pem },
    { algorithm: "RS256", signingKey: rsa.pem, verifyingKey: ec.spki },
    { algorithm: "ES256", signingKey: ec.pem, verifyingKey: notDer },
  ];
  for (const more of bad) {
    const error = await problem(more);
    assert.is(error.name, "SettingError", error.stack);
    assert.match(error.message, /^setting (signing|verifying)Key [^\n]+$/);
    for (const piece of [rsa.pem.slice(100, 140), rsa.jwk.n!, ec.jwk.x!, ed.jwk.x!, "BEGIN", "django"]) {
      assert.not.match(error.message, piece);
    }
  }
});

keys("of the wrong kind for HMAC stop the construction", async () => {
  const pair = await generateKeyPair("ES256", { extractable: true });
  const jwk = await exportJWK(pair.privateKey);
  const bad: Partial<JwtEndpointsSettings>[] = [
    { signingKey: await exportPKCS8(pair.privateKey) },
    { signingKey: await exportSPKI(pair.publicKey) },
    { signingKey: jwk },
    { signingKey: { kty: "oct" } },
    { signingKey: { kty: "oct", k: base64url(secret), alg: "HS512" } },
    { signingKey: { kty: "oct", k: "%".repeat(60) } },
    { signingKey: secret, verifyingKey: secret },
  ];
  for (const more of bad) {
    const settings = { store: memoryStore(), signingKey: secret, ...more };
    assert.throws(
      () => createJwtEndpoints(settings),
      (error: Error) =>
        error.name === "SettingError" && ![jwk.d!, "django", "%%"].some((piece) => error.message.includes(piece)),
    );
  }
});

keys.run();

const secrecy = suite("secrecy");

secrecy("no answer, error or log line holds a token or the key", async () => {
  const server = await open();
  const { access, refresh } = await server.login();
  const [head, body, signature] = refresh.split(".") as [string, string, string];
  const said: string[] = [];
  for (const token of [
    `${refresh}x`,
    `${head}.${body}.${signature.slice(1)}A`,
    await sign({ exp: now - 5 }),
    await sign({ jti: undefined }),
    await sign({ token_type: "x" }),
    await sign({ user_id: "9" }),
    `${body}.${body}.${body}`,
  ]) {
    said.push((await server.post("verify", { token })).text, (await server.post("refresh", { refresh: token })).text);
    said.push(await server.step(token));
  }
  const authorization = `Bearer ${access.slice(0, -1)}`;
  await server.endpoints
    .authenticate(new Request("http://localhost/", { headers: { authorization } }))
    .catch((error: Error) => said.push(`${error.message} ${error.stack} ${JSON.stringify(error)}`));
  // A store that breaks in the middle of a refresh: the log gets its error, and nothing of the request.
  server.store.get = () => {
    throw new Error("boom");
  };
  said.push((await server.post("refresh", { refresh })).text, (await server.post("verify", { token: access })).text);
  assert.is(server.log.length, 2);
  for (const event of server.log) {
    const { error, ...rest } = event as { error?: Error };
    said.push(JSON.stringify(rest), String(error?.stack), JSON.stringify(error));
  }
  const all = said.join("\n");
  assert.match(all, "boom");
  assert.match(all, "invalid or expired");
  for (const piece of [secret, head, body.slice(0, 24), signature, access.split(".")[2]!, jti, 'refresh":"ey']) {
    assert.not.match(all, piece);
  }
});

secrecy.run();
