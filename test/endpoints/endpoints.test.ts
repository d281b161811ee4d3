import { exportSPKI, generateKeyPair } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtEndpointsSettings, type LogEvent, createJwtEndpoints } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { secret } from "../support/contract-client.ts";

const settings = suite("settings");

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
      { store, signingKey: secret, cors: ["https://a.example/path"] },
      /^setting cors.0: "https:\/\/a.example\/path" is not an origin; accepted/,
    ],
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

settings("that do nothing together are told of in one warning, when they were set", async () => {
  const fixed = { store: memoryStore(), signingKey: secret };
  const spki = await exportSPKI((await generateKeyPair("ES256", { extractable: true })).publicKey);
  const cases: [Partial<JwtEndpointsSettings>, string | undefined][] = [
    [{}, undefined],
    [{ refreshGrace: "10s" }, "refreshGrace without rotateRefreshTokens"],
    [{ refreshGrace: "10s", rotateRefreshTokens: true }, undefined],
    [
      { refreshGrace: 0, rotateRefreshTokens: true, blacklistAfterRotation: false },
      "refreshGrace without blacklistAfterRotation",
    ],
    [
      { refreshGrace: 5, blacklistAfterRotation: true, rotateRefreshTokens: false },
      "blacklistAfterRotation, refreshGrace without rotateRefreshTokens",
    ],
    // What a Django site carries over from Simple JWT's page of defaults.
    [
      { rotateRefreshTokens: false, blacklistAfterRotation: false, checkRevokeToken: false, updateLastLogin: false },
      undefined,
    ],
    [
      { slidingTokenLifetime: "5m", slidingTokenRefreshExpClaim: "refresh_exp", authTokenClasses: ["AccessToken"] },
      "slidingTokenLifetime without SlidingToken first in authTokenClasses; slidingTokenRefreshExpClaim without SlidingToken in authTokenClasses",
    ],
    [{ slidingTokenLifetime: "5m", authTokenClasses: ["SlidingToken"] }, undefined],
    [
      { authTokenClasses: ["SlidingToken"], rotateRefreshTokens: true, accessTokenLifetime: "5m", refreshGrace: 1 },
      "accessTokenLifetime, rotateRefreshTokens, refreshGrace with SlidingToken first in authTokenClasses",
    ],
    [
      { cookies: { secure: false, domain: "example.org" }, revokeTokenClaim: "hash" },
      "cookies.secure, cookies.domain without cookies.carry; revokeTokenClaim without checkRevokeToken",
    ],
    [{ cookies: { carry: ["refresh"], secure: false } }, undefined],
    [{ clientAddress: () => "::1" }, "clientAddress without throttle"],
    [{ clientAddress: () => "::1", throttle: "5/min" }, undefined],
    [
      { signingKey: undefined, verifyingKey: spki, algorithm: "ES256", throttle: "5/min", updateLastLogin: true },
      "throttle, updateLastLogin without signingKey or keys, as nobody can log in",
    ],
  ];
  for (const [given, told] of cases) {
    const log: LogEvent[] = [];
    createJwtEndpoints({ ...fixed, log: (event) => void log.push(event), ...given });
    const message = `settings without effect: ${told}`;
    const expected = told === undefined ? [] : [{ level: "warn", code: "setting_without_effect", message }];
    assert.equal(log, expected, Object.keys(given).join());
  }
});

settings("of few iterations are a warning that names the setting", () => {
  const cases: [hashing: JwtEndpointsSettings["hashing"], isWeak: boolean][] = [
    [undefined, false],
    [{ iterations: 1 }, true],
    [{ iterations: 99_999, preferred: "pbkdf2_sha1" }, true],
    [{ iterations: 100_000 }, false],
    [{ iterations: 1, preferred: "scrypt" }, false], // whose hashes have no iterations
  ];
  for (const [hashing, isWeak] of cases) {
    const log: LogEvent[] = [];
    const given = hashing === undefined ? {} : { hashing };
    createJwtEndpoints({ store: memoryStore(), signingKey: secret, log: (event) => void log.push(event), ...given });
    const told = log.filter(({ code }) => code === "weak_setting");
    assert.is(told.length, isWeak ? 1 : 0, JSON.stringify(hashing));
    if (!isWeak) continue;
    assert.is(told[0]!.level, "warn");
    assert.match(told[0]!.message, `setting hashing.iterations: ${hashing!.iterations} makes passwords easy to find`);
  }
});

settings.run();
