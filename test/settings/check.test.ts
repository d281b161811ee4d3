import { exportSPKI, generateKeyPair } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtEndpointsSettings, type LogEvent, createJwtEndpoints } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { secret } from "../support/contract-client.ts";

const settings = suite("settings together");

settings("refuse what the store can't do, and claims that share a name", async () => {
  const { findUserById, findUserByUsername } = memoryStore();
  const poor = { findUserById, findUserByUsername };
  const cases: [Partial<JwtEndpointsSettings>, RegExp][] = [
    [
      { store: poor },
      /^setting blacklistAfterRotation can't be on: the store can't revoke tokens; accepted: false, or a store with putIfAbsent and get$/,
    ],
    [{ store: poor, blacklistAfterRotation: true }, /^setting blacklistAfterRotation can't be on/],
    [{ store: poor, rotateRefreshTokens: false, updateLastLogin: true }, /^setting updateLastLogin can't be on/],
    [
      { userIdField: "uuid" },
      /^setting userIdField: "uuid" can't be looked up; accepted: id, username, or a store with/,
    ],
    [
      { store: poor, rotateRefreshTokens: false, sessions: true },
      /^setting sessions can't be on: the store keeps none;/,
    ],
    [{ maxSessions: 0 }, /^setting maxSessions: 0 is out of range; accepted: a whole number from 1$/],
    [{ jtiClaim: null as unknown as string }, /^setting jtiClaim is not text$/],
    [{ tokenTypeClaim: null as unknown as string }, /^setting tokenTypeClaim is not text$/],
    [{ userIdClaim: "__proto__" }, /^setting userIdClaim: "__proto__" is taken, or no name of a claim$/],
    [{ jtiClaim: "exp" }, /^setting jtiClaim: "exp" is taken, or no name of a claim$/],
    [{ tokenTypeClaim: "user_id" }, /^setting tokenTypeClaim: "user_id" is taken, or no name of a claim$/],
    [{ refreshGrace: "365d" }, /^setting refreshGrace: "365d" is too long; accepted: up to "1h", or "until-used"$/],
    [{ refreshGrace: 3600.5 }, /^setting refreshGrace: 3600.5 is too long/],
    [{ leeway: "30d" }, /^setting leeway: "30d" is too long; accepted: up to "10m"$/],
    [{ leeway: 601 }, /^setting leeway: 601 is too long/],
    [{ refreshGrace: "soon" }, /^setting refreshGrace: "soon" is not a duration; accepted: .*"until-used"$/],
    [
      { authTokenClasses: ["RefreshToken" as "AccessToken"] },
      /^setting authTokenClasses.0: "RefreshToken" is not known/,
    ],
    [{ usernameField: "password" }, /^setting usernameField: "password" /], // onLoginFailed would be told passwords
    [{ authHeaderName: "two words" }, /^setting authHeaderName: "two words" is not the name of a header/],
    [
      { usernameMatching: "lower" as "exact" },
      /^setting usernameMatching: "lower" is not known; accepted: exact, case-/,
    ],
  ];
  for (const [more, message] of cases) {
    assert.throws(
      () => createJwtEndpoints({ store: memoryStore(), signingKey: secret, rotateRefreshTokens: true, ...more }),
      (error: Error) => message.test(error.message) || assert.unreachable(error.message),
    );
  }
});

settings("refuse an algorithm, origins and cookies that can't work beside another setting", () => {
  const cases: [Partial<JwtEndpointsSettings>, string][] = [
    [
      { jwkUrl: "https://keys.example.org/jwks.json" },
      "setting jwkUrl can't be used with algorithm HS256; accepted: an algorithm with public keys, such as RS256 or ES256",
    ],
    [
      { cors: "*", cookies: { carry: ["refresh"] } },
      'setting cors: "*" can\'t be used with cookies; accepted: exact origins',
    ],
    [
      { cookies: { sameSite: "none", secure: false } },
      "setting cookies.secure can't be off with cookies.sameSite none: browsers drop such cookies",
    ],
  ];
  for (const [more, message] of cases) {
    assert.throws(
      () => createJwtEndpoints({ store: memoryStore(), signingKey: secret, ...more }),
      (error: Error) => error.message === message || assert.unreachable(error.message),
    );
  }
});

settings("that have no effect together are reported in one warning, if they were set", async () => {
  const fixed = { store: memoryStore(), signingKey: secret };
  const spki = await exportSPKI((await generateKeyPair("ES256", { extractable: true })).publicKey);
  const cases: [Partial<JwtEndpointsSettings>, string | undefined][] = [
    [{}, undefined],
    [{ refreshGrace: "10s" }, "refreshGrace without rotateRefreshTokens"],
    [{ refreshGrace: "10s", rotateRefreshTokens: true }, undefined],
    [{ throttleRotations: "9/min" }, "throttleRotations without rotateRefreshTokens"],
    [{ throttleRotations: false }, undefined],
    [{ throttleRotations: "9/min", rotateRefreshTokens: true }, undefined],
    [
      { throttleRotations: "9/min", rotateRefreshTokens: true, blacklistAfterRotation: false },
      "throttleRotations without blacklistAfterRotation",
    ],
    [
      { throttleRotations: "9/min", authTokenClasses: ["SlidingToken"] },
      "throttleRotations with SlidingToken first in authTokenClasses",
    ],
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
    [{ clientAddress: () => "::1" }, undefined], // the login queue reads it as well
    [{ forwardedHeader: "forwarded" }, "forwardedHeader without trustedProxies"],
    [{ clientAddress: () => "::1", throttle: "5/min" }, undefined],
    [{ clientAddress: () => "::1", audit: () => {} }, undefined],
    [{ auditEvents: ["login"] }, "auditEvents without audit"],
    [{ maxSessions: 3 }, "maxSessions without sessions"],
    [{ maxSessions: 3, sessions: true }, undefined],
    [{ me: false, userFields: () => ({}) }, "userFields without me"],
    [
      { store: { ...memoryStore(), updateUser: undefined }, setPasswordRetype: true, passwordRules: () => [] },
      "passwordRules, setPasswordRetype with a store that has no updateUser",
    ],
    [{ auditEvents: ["login"], audit: () => {} }, undefined],
    [
      {
        signingKey: undefined,
        verifyingKey: spki,
        algorithm: "ES256",
        throttle: "5/min",
        updateLastLogin: true,
        sessions: true,
        maxSessions: 3,
      },
      "throttle, maxSessions, updateLastLogin without signingKey or keys, as nobody can log in",
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

settings("of a key that is easy to guess are a warning without the key", () => {
  const cases: [signingKey: JwtEndpointsSettings["signingKey"], message: RegExp | undefined][] = [
    ["k".repeat(64), /^setting signingKey consists of a few characters that are repeated; recommended: 48 random/],
    ["changeme".repeat(8), /^setting signingKey consists of a few/],
    [new Uint8Array(32), /^setting signingKey consists of a few/],
    ["django-insecure-0f8vk3l9s7q2x5z1w4m6", /^setting signingKey is the one that Django makes for development;/],
    ["0f8vk3l9s7q2x5z1w4m6-0f8vk3l9s7q2x5z1w4m6", undefined],
    [crypto.getRandomValues(new Uint8Array(32)), undefined],
  ];
  for (const [signingKey, message] of cases) {
    const log: LogEvent[] = [];
    createJwtEndpoints({ store: memoryStore(), signingKey, log: (event) => void log.push(event) });
    assert.equal(
      log.map(({ code }) => code),
      message === undefined ? [] : ["weak_setting"],
      String(signingKey),
    );
    if (message !== undefined) assert.match(log[0]!.message, message);
  }
});

settings.run();
