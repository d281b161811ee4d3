import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JwtEndpointsSettings } from "../../src/index.ts";
import { credentials, endpointsWith } from "../support/endpoints.ts";

const it = suite("CORS");

it("allows credentials to exact origins, with and without cookies, and never to all", async () => {
  const preflight = { "access-control-request-method": "POST", "access-control-request-headers": "content-type" };
  const origin = "https://app.example.org";
  for (const [more, credentialed] of [
    [{ cors: [origin] }, "true"],
    [{ cors: [origin], cookies: { carry: ["refresh" as const] } }, "true"],
    [{ cors: "*" as const }, undefined],
  ] as const) {
    const { send, post } = await endpointsWith(more as Partial<JwtEndpointsSettings>);
    for (const response of [
      await send("/jwt/create/", { method: "OPTIONS", headers: { origin, ...preflight } }),
      await post("/jwt/create/", credentials, { origin }),
    ]) {
      assert.is(response.headers["access-control-allow-credentials"], credentialed);
    }
    const other = await post("/jwt/create/", credentials, { origin: "https://evil.example" });
    assert.is(other.headers["access-control-allow-credentials"], undefined);
  }
});

it("allows the header of authHeaderName beside Authorization", async () => {
  for (const [authHeaderName, allowed] of [
    ["Authorization", "authorization, content-type"],
    ["X-Access-Token", "authorization, content-type, x-access-token"],
  ]) {
    const { send } = await endpointsWith({ cors: ["https://app.example.org"], authHeaderName });
    const headers = { origin: "https://app.example.org", "access-control-request-method": "POST" };
    const response = await send("/jwt/verify/", { method: "OPTIONS", headers });
    assert.is(response.headers["access-control-allow-headers"], allowed);
  }
});

it("allows exact origins and no others", async () => {
  const { send, post } = await endpointsWith({ cors: ["https://app.example.org"] });
  const preflight = { "access-control-request-method": "POST", "access-control-request-headers": "content-type" };
  const allowed = await send("/jwt/create/", {
    method: "OPTIONS",
    headers: { origin: "https://app.example.org", ...preflight },
  });
  assert.is(allowed.status, 204);
  assert.is(allowed.headers["access-control-allow-origin"], "https://app.example.org");
  assert.match(allowed.headers["access-control-allow-headers"]!, "content-type");
  const response = await post("/jwt/create/", credentials, { origin: "https://app.example.org" });
  assert.is(response.headers["access-control-allow-origin"], "https://app.example.org");
  assert.is(response.headers.vary, "Origin");
  for (const origin of ["https://evil.example", "null"]) {
    const refused = await post("/jwt/create/", credentials, { origin });
    assert.is(refused.headers["access-control-allow-origin"], undefined);
    assert.is(refused.headers.vary, "Origin");
  }
});

it("allows the methods of the resource, and lets the client read the response for an unknown path", async () => {
  const { send } = await endpointsWith({ cors: ["https://app.example.org"] });
  const headers = { origin: "https://app.example.org", "access-control-request-method": "GET" };
  for (const [path, methods] of [
    ["/jwt/create/", "POST, OPTIONS"],
    ["/healthz", "GET, HEAD, OPTIONS"],
    ["/unknown/", "POST, OPTIONS"],
  ] as const) {
    const response = await send(path, { method: "OPTIONS", headers });
    assert.is(response.status, 204);
    assert.is(response.headers["access-control-allow-methods"], methods);
  }
});

it.run();
