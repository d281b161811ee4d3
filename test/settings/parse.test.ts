import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtEndpointsSettings, SettingError, createJwtEndpoints } from "../../src/index.ts";
import { parseHashing, parseSettings } from "../../src/settings/parse.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { secret } from "../support/contract-client.ts";

const settings = suite("settings");

settings("name the one that can't be read, with the cause and nothing of its text", () => {
  const store = memoryStore();
  const cause = new Error(secret);
  const get = (): never => {
    throw cause;
  };
  const throwing = (name: string) => Object.defineProperty({}, name, { enumerable: true, get });
  const given = { store, signingKey: secret };
  const list = Object.defineProperty([""], 0, { get });
  const cases: [input: object, name: string][] = [
    [{ ...given, hashing: throwing("iterations") }, "hashing"],
    [{ ...given, cookies: throwing("carry") }, "cookies"],
    [{ ...given, texts: throwing("token_invalid") }, "texts"],
    [{ ...given, authHeaderTypes: list }, "authHeaderTypes"],
    [{ ...given, signingKey: throwing("kty") }, "signingKey"],
    [{ ...given, store: throwing("findUserByUsername") }, "store"],
    [Object.defineProperties(throwing("throttle"), Object.getOwnPropertyDescriptors(given)), "throttle"],
  ];
  for (const [input, name] of cases) {
    try {
      createJwtEndpoints(input as JwtEndpointsSettings);
      assert.unreachable(name);
    } catch (error) {
      const { message, cause: found } = error as Error;
      assert.ok(error instanceof SettingError, name);
      assert.is(message, `setting ${name} can't be read: code of the host throws`);
      assert.is(found, cause);
    }
  }
});

settings("say that one can't be read, though its getter throws only once", () => {
  let reads = 0;
  const input = {
    store: memoryStore(),
    get signingKey() {
      if (++reads === 1) throw new Error("the vault is locked");
      return secret;
    },
  };
  assert.throws(
    () => createJwtEndpoints(input),
    (error: Error) =>
      error instanceof SettingError && error.message === "settings can't be read: code of the host throws",
  );
});

settings("stop the start with one line that names what is wrong, and never a secret", async () => {
  const store = memoryStore();
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ store }, /^setting signingKey /],
    [{ signingKey: secret }, /^setting store is required/],
    [{ store, signingKey: "hunter2" }, /^setting signingKey is 7 bytes long; accepted: 32 or more for HS256/],
    [
      { store, signingKey: secret, acessTokenLifetime: "5m" },
      /^setting acessTokenLifetime is not a setting; did you mean accessTokenLifetime\?$/,
    ],
    [
      { store, signingKey: secret, ROTATE_REFRESH_TOKENS: true },
      /^setting ROTATE_REFRESH_TOKENS is not a setting; did you mean rotateRefreshTokens\?$/,
    ],
    [
      { store, signingKey: secret, hashing: { iteration: 1 } },
      /^setting hashing.iteration is not a setting; did you mean hashing.iterations\?$/,
    ],
    [{ store, signingKey: secret, hashing: { rounds: 1 } }, /^setting hashing.rounds is not a setting$/],
    [
      { store, signingKey: secret, accessTokenLifetime: "5 minutes" },
      /^setting accessTokenLifetime: "5 minutes" is not/,
    ],
    [{ store, signingKey: secret, refreshTokenLifetime: -1 }, /^setting refreshTokenLifetime: -1 /],
    [{ store, signingKey: secret, algorithm: "none" }, /^setting algorithm: "none" is not known; accepted: HS256/],
    [{ store, signingKey: secret, algorithm: "HS512" }, /^setting signingKey is 48 bytes long; accepted: 64/],
    [{ store, signingKey: secret, responses: "drf" }, /^setting responses: "drf" .*accepted: djoser, simplejwt$/],
    [{ store, signingKey: secret, maxBodySize: 0 }, /^setting maxBodySize: 0 /],
    [{ store, signingKey: secret, throttle: "often" }, /^setting throttle: "often" is not a rate/],
    [
      { store, signingKey: secret, trustedProxies: ["10.0.0.0/33"] },
      /^setting trustedProxies is not a list of proxies/,
    ],
    [{ store, signingKey: secret, trustedProxies: ["010.1.1.1"] }, /^setting trustedProxies is not a list of proxies/],
    [{ store, signingKey: secret, trustedProxies: [Symbol()] }, /^setting trustedProxies is not a list of proxies/],
    [{ store, signingKey: secret, trustedProxies: 0 }, /^setting trustedProxies: 0 is not a list of proxies/],
    [
      { store, signingKey: secret, cors: ["https://a.example/path"] },
      /^setting cors.0: "https:\/\/a.example\/path" is not an origin; accepted/,
    ],
    [
      { store, signingKey: secret, texts: { token_expird: "x" } },
      /^setting texts.token_expird is not the code of a text; did you mean texts.token_expired\?$/,
    ],
    [
      { store, signingKey: secret, texts: { field_errors: "x" } },
      /^setting texts.field_errors is not the code of a text/,
    ],
    ...["", " \n"].map((text): [Record<string, unknown>, RegExp] => [
      { store, signingKey: secret, texts: { token_expired: text } },
      /^setting texts.token_expired: ".*" is empty; accepted: a text$/,
    ]),
    [{ store, signingKey: secret, texts: { token_expired: null } }, /^setting texts.token_expired is not text$/],
    [{ store, signingKey: secret, texts: "./texts.json" }, /^setting texts: ".*" is not an object; accepted: such as /],
    [{ store: {}, signingKey: secret }, /^setting store /],
    ...["Bearer\n", "", "a b", "Bearer,", "schéma"].map((scheme): [Record<string, unknown>, RegExp] => [
      { store, signingKey: secret, authHeaderTypes: ["JWT", scheme] },
      /^setting authHeaderTypes.1: ".*" is not an authentication scheme; accepted: one word, such as "Bearer"$/,
    ]),
    ...["a b", "", "example.org;", "example.org\r\n", "-a.org", "https://example.org", "example.org:443", "a..b"].map(
      (domain): [Record<string, unknown>, RegExp] => [
        { store, signingKey: secret, cookies: { carry: ["refresh"], domain } },
        /^setting cookies.domain: ".*" is not a domain; accepted: such as "example.org"$/,
      ],
    ),
  ];
  for (const [input, message] of cases) {
    try {
      createJwtEndpoints(input as unknown as JwtEndpointsSettings);
    } catch (error) {
      assert.instance(error, TypeError);
      assert.match((error as Error).message, message);
      assert.not.match((error as Error).message, /hunter2|a secret of/);
      assert.not.match((error as Error).message, "\n");
      continue;
    }
    assert.unreachable(`nothing was thrown for ${Object.keys(input).join()}`);
  }
});

settings("are filled in with defaults, converted and frozen", () => {
  const store = memoryStore();
  const parsed = parseSettings({
    store,
    signingKey: secret,
    accessTokenLifetime: "1h30m",
    cookies: { domain: "a.org" },
  });
  const { accessTokenLifetime, refreshTokenLifetime, throttle, cookies, issuer } = parsed;
  assert.is(parsed.store, store);
  assert.equal([accessTokenLifetime, refreshTokenLifetime, throttle, issuer], [5400, 86_400, false, undefined]);
  assert.equal(cookies, { carry: [], sameSite: "strict", secure: true, domain: "a.org" });
  assert.ok(Object.isFrozen(parsed));
});

settings("of hashing are parsed alone, with the same errors", () => {
  const { concurrency, ...others } = parseHashing({ iterations: 5 });
  assert.equal(others, { preferred: "pbkdf2_sha256", queue: 100, iterations: 5 });
  assert.ok(concurrency >= 1);
  const wrong = { preferred: "bcrypt" } as unknown as JwtEndpointsSettings["hashing"];
  assert.throws(() => parseHashing(wrong), /^setting hashing.preferred: "bcrypt" is only verified, not made, since/);
});

settings.run();
