import { suite } from "uvu";
import * as assert from "uvu/assert";
import { describeSettings } from "../../src/index.ts";
import { didYouMean } from "../../src/settings/describe.ts";
import { settingsSchema } from "../../src/settings/schema.ts";

const it = suite("described settings");

const described = new Map(describeSettings().map((setting) => [setting.name, setting]));

it("are all of the schema's but the store", () => {
  const names = Object.keys(settingsSchema.entries).filter((name) => name !== "store");
  assert.equal([...new Set([...described.keys()].map((name) => name.split(".")[0]))], names);
});

it("have a description that is a sentence", () => {
  for (const { name, description } of described.values()) assert.match(description, /^[A-Z`].*\.$/, name);
});

it("have the form, flag, variable and Simple JWT's name that follow from their row", () => {
  const cases: Record<string, [form: string, flag: string, env: string, simpleJwtName?: string]> = {
    signingKey: ["text", "signing-key", "JWT_SIGNING_KEY", "SIGNING_KEY"],
    keys: ["none", "keys", "JWT_KEYS"],
    algorithm: ["text", "algorithm", "JWT_ALGORITHM", "ALGORITHM"],
    accessTokenLifetime: ["duration", "access-token-lifetime", "JWT_ACCESS_TOKEN_LIFETIME", "ACCESS_TOKEN_LIFETIME"],
    refreshGrace: ["duration", "refresh-grace", "JWT_REFRESH_GRACE"],
    leeway: ["duration", "leeway", "JWT_LEEWAY", "LEEWAY"],
    rotateRefreshTokens: ["boolean", "rotate-refresh-tokens", "JWT_ROTATE_REFRESH_TOKENS", "ROTATE_REFRESH_TOKENS"],
    audience: ["list", "audience", "JWT_AUDIENCE", "AUDIENCE"],
    authTokenClasses: ["list", "auth-token-classes", "JWT_AUTH_TOKEN_CLASSES", "AUTH_TOKEN_CLASSES"],
    maxBodySize: ["number", "max-body-size", "JWT_MAX_BODY_SIZE"],
    throttle: ["text", "throttle", "JWT_THROTTLE"],
    cors: ["list", "cors", "JWT_CORS"],
    "hashing.queue": ["number", "hashing-queue", "JWT_HASHING_QUEUE"],
    "cookies.carry": ["list", "cookies-carry", "JWT_COOKIES_CARRY"],
    "cookies.sameSite": ["text", "cookies-same-site", "JWT_COOKIES_SAME_SITE"],
    onLoginFailed: ["none", "on-login-failed", "JWT_ON_LOGIN_FAILED", "ON_LOGIN_FAILED"],
  };
  for (const [name, [form, flag, env, simpleJwtName]] of Object.entries(cases)) {
    const setting = described.get(name)!;
    assert.equal([setting.form, setting.flag, setting.env, setting.simpleJwtName], [form, flag, env, simpleJwtName]);
  }
});

it("have flags of their own, and are functions where they have none", () => {
  assert.is(new Set([...described.values()].map(({ flag }) => flag)).size, described.size);
  const inCode = [...described.values()].filter(({ form }) => form === "none").map(({ name }) => name);
  const hooks = ["userAuthenticationRule", "onLoginSuccess", "onLoginFailed", "claims", "userFields", "passwordRules"];
  assert.equal(inCode, ["keys", ...hooks, "openapi", "clientAddress", "now", "log", "audit"]);
});

it("are suggested for a name that is nearly theirs, in any spelling", () => {
  const cases: [name: string, suggested: string | undefined][] = [
    ["acessTokenLifetime", "accessTokenLifetime"],
    ["ACCESS_TOKEN_LIFETIME", "accessTokenLifetime"],
    ["JWT_ACCESS_TOKEN_LIFETIME", "accessTokenLifetime"],
    ["hashing.iteration", "hashing.iterations"],
    ["Throtle", "throttle"],
    ["zzzzzzzzzz", undefined],
  ];
  for (const [name, suggested] of cases) {
    assert.is(didYouMean(name, [...described.keys()]), suggested === undefined ? "" : `; did you mean ${suggested}?`);
  }
});

it.run();
