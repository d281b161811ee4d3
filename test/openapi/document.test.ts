/** The OpenAPI document: valid, and the one of the settings that run. */
import { Validator } from "@seriousme/openapi-schema-validator";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JwtEndpointsSettings } from "../../src/index.ts";
import { openapiDocument } from "../../src/openapi/index.ts";
import { type OpenapiDocument, responseCheck } from "../support/contract-openapi.ts";
import { credentials, endpointsWith } from "../support/endpoints.ts";

const it = suite("openapi");

const open = (settings: Partial<JwtEndpointsSettings> = {}) => endpointsWith({ openapi: openapiDocument, ...settings });

async function documentOf(settings: Partial<JwtEndpointsSettings> = {}): Promise<any> {
  const { status, headers, text } = await (await open(settings)).send("/openapi.json", {});
  assert.is(status, 200, text);
  assert.is(headers["content-type"], "application/json");
  return JSON.parse(text);
}

const variants: Record<string, Partial<JwtEndpointsSettings>> = {
  "the defaults": {},
  "simplejwt, prefix, rotation": { responses: "simplejwt", prefix: "/auth", rotateRefreshTokens: true },
  "sliding tokens": { authTokenClasses: ["SlidingToken"] },
  "refresh tokens in cookies": { cookies: { carry: ["refresh"] } },
  "all tokens in cookies": { cookies: { carry: ["refresh", "access"], secure: false }, responses: "simplejwt" },
  "sliding tokens in cookies": { cookies: { carry: ["refresh"] }, authTokenClasses: ["SlidingToken"] },
  "rotation, limited by session": { rotateRefreshTokens: true, throttleRotations: "600/hour" },
  "sessions, limits": { sessions: true, throttle: "20/min", throttleRefresh: "1/s", throttleVerify: "1/s" },
  "another header, logins by email": { authHeaderTypes: ["JWT"], usernameField: "email", setPasswordRetype: true },
  "other texts and fields": { texts: { token_expired: "Abgelaufen" }, userFields: () => ({}), me: true },
  "public keys alone": { signingKey: undefined!, jwkUrl: "https://example.org/keys", algorithm: "RS256" },
};

for (const [name, settings] of Object.entries(variants)) {
  it(`is valid OpenAPI 3.1 with ${name}`, async () => {
    const document = await documentOf(settings);
    const validator = new Validator();
    const result = await validator.validate(structuredClone(document));
    assert.ok(result.valid, JSON.stringify(result.errors, null, 1));
    assert.is(validator.version, "3.1");
    const ids = Object.values<any>(document.paths).flatMap((path) =>
      Object.values<any>(path).map((row) => row.operationId),
    );
    assert.is(new Set(ids).size, ids.length, "every operation has a name of its own");
    assert.not.match(JSON.stringify(document), /undefined|NaN|\[object/);
  });
}

it("has examples that its own schemas accept", async () => {
  for (const settings of Object.values(variants)) {
    const document: any = await documentOf(settings);
    const check = responseCheck(document as OpenapiDocument);
    for (const [path, methods] of Object.entries<any>(document.paths)) {
      for (const [method, { responses }] of Object.entries<any>(methods)) {
        for (const [status, { content }] of Object.entries<any>(responses)) {
          const examples: any = content?.["application/json"]?.examples ?? {};
          for (const { value } of Object.values<any>(examples)) {
            const headers = { "content-type": "application/json" };
            const response = { status: Number(status), headers, text: JSON.stringify(value) };
            check(path, { method: method.toUpperCase() }, response);
          }
        }
      }
    }
  }
});

it("has the routes that are on, under the prefix", async () => {
  const pathsOf = async (settings: Partial<JwtEndpointsSettings>) => Object.keys((await documentOf(settings)).paths);
  const jwt = ["create", "refresh", "verify", "blacklist", "logout"].map((name) => `/jwt/${name}/`);
  const users = ["/users/me/", "/users/set_password/"];
  const server = ["/healthz", "/readyz", "/.well-known/jwks.json"];
  assert.equal(await pathsOf({}), [...jwt, ...users, ...server]);
  const prefixed = [...jwt, "/jwt/sessions/", "/jwt/sessions/{id}/", ...users].map((path) => `/auth${path}`);
  assert.equal(await pathsOf({ prefix: "/auth", sessions: true }), [...prefixed, ...server]);
  assert.not.ok((await pathsOf({ me: false })).includes("/users/me/"));
});

it("has the statuses and texts of the profile that runs", async () => {
  const refused = async (settings: Partial<JwtEndpointsSettings>) => {
    const { responses } = (await documentOf(settings)).paths["/jwt/refresh/"].post;
    return [
      Object.keys(responses),
      (responses[401] ?? responses[400]).content["application/json"].examples.token_expired,
    ];
  };
  const others = ["406", "413", "415", "500", "503"];
  const djoser = { value: { non_field_errors: ["Token is invalid or expired"] } };
  assert.equal(await refused({}), [["200", "400", ...others], djoser]);
  const simplejwt = { value: { detail: "Abgelaufen", code: "token_not_valid" } };
  const texts = { token_expired: "Abgelaufen" };
  assert.equal(await refused({ responses: "simplejwt", texts }), [["200", "400", "401", ...others], simplejwt]);
  const limited = await refused({ throttleRefresh: "1/s", cookies: { carry: ["refresh"] } });
  assert.equal(limited[0], ["200", "400", "403", "406", "413", "415", "429", "500", "503"]);
  const throttleRotations = "600/hour";
  const rotating = await refused({ throttleRotations, rotateRefreshTokens: true });
  assert.equal(rotating[0], ["200", "400", "406", "413", "415", "429", "500", "503"]);
  const idle = { throttleRotations, rotateRefreshTokens: true, blacklistAfterRotation: false };
  for (const settings of [{ throttleRotations }, idle]) {
    assert.equal((await refused(settings))[0], ["200", "400", ...others], "it has no effect there");
  }
});

it("tells of 429 wherever guesses at a password are counted", async () => {
  const { paths } = await documentOf({ throttleFailures: "10/hour" });
  for (const path of ["/jwt/create/", "/users/set_password/"]) assert.ok(paths[path].post.responses[429], path);
});

it("has the fields, the tokens and the credentials of the settings", async () => {
  const of = async (settings: Partial<JwtEndpointsSettings>) => {
    const { paths, components } = await documentOf(settings);
    const schemaOf = (path: string) => paths[path].post.responses[200].content["application/json"].schema.required;
    const body = paths["/jwt/refresh/"].post.requestBody;
    const fields = paths["/jwt/create/"].post.requestBody.content["application/json"].schema.required;
    return [fields, schemaOf("/jwt/create/"), schemaOf("/jwt/refresh/"), body.required, components.securitySchemes];
  };
  const bearer = { type: "http", scheme: "bearer", bearerFormat: "JWT" };
  const fields = ["username", "password"];
  assert.equal(await of({}), [fields, ["refresh", "access"], ["access"], true, { bearer }]);
  assert.equal(await of({ rotateRefreshTokens: true, usernameField: "email" }), [
    ["email", "password"],
    ["refresh", "access"],
    ["access", "refresh"],
    true,
    { bearer },
  ]);
  const cookie = { type: "apiKey", in: "cookie", name: "__Host-access" };
  assert.equal(await of({ cookies: { carry: ["access"] } }), [
    fields,
    ["refresh"],
    undefined,
    true,
    { bearer, cookie },
  ]);
  assert.equal(await of({ cookies: { carry: ["refresh"] } }), [fields, ["access"], ["access"], false, { bearer }]);
  assert.equal(await of({ authTokenClasses: ["SlidingToken"] }), [fields, ["token"], ["token"], true, { bearer }]);
  const [, , , , schemes] = await of({ authHeaderTypes: ["JWT"] });
  assert.is((schemes as any).bearer.in, "header");
});

it("describes the responses of sessions and of cookies", async () => {
  const settings: Partial<JwtEndpointsSettings> = { sessions: true, cookies: { carry: ["refresh"] } };
  const { send } = await open(settings);
  const check = responseCheck((await documentOf(settings)) as OpenapiDocument);
  const checked = async (path: string, request: Parameters<typeof send>[1] = {}) => {
    const response = await send(path, request);
    check(path, request, response);
    return response;
  };
  const headers = { "content-type": "application/json", origin: "http://localhost" };
  const body = JSON.stringify(credentials);
  const login = await checked("/jwt/create/", { method: "POST", headers, body });
  const authorization = `Bearer ${(JSON.parse(login.text) as { access: string }).access}`;
  const list = await checked("/jwt/sessions/", { headers: { authorization } });
  const [{ id }] = JSON.parse(list.text) as [{ id: string }];
  assert.is((await checked("/jwt/refresh/", { method: "POST", headers, body: "{}" })).status, 400);
  const foreign = { ...headers, origin: "https://example.com" };
  assert.is((await checked("/jwt/refresh/", { method: "POST", headers: foreign, body: "{}" })).status, 403);
  assert.is((await checked("/jwt/sessions/nobody/", { method: "DELETE", headers: { authorization } })).status, 404);
  assert.is((await checked("/jwt/sessions/", { method: "DELETE" })).status, 401);
  assert.is((await checked(`/jwt/sessions/${id}/`, { method: "DELETE", headers: { authorization } })).status, 204);
});

it("is made once, and not without the setting", async () => {
  let count = 0;
  const { send } = await open({
    openapi: (api) => {
      count++;
      return { ...openapiDocument(api), "x-routes": api.routes.length };
    },
  });
  assert.is(count, 0, "before anybody asks");
  for (const method of ["GET", "GET", "HEAD"]) assert.is((await send("/openapi.json", { method })).status, 200);
  assert.is(count, 1);
  assert.is((await (await open({ openapi: undefined! })).send("/openapi.json", {})).status, 404);
});

it.run();
