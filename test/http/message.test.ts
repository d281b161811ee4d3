/** `Host` and path of a request, and the log events when the host mounts the endpoints under another path. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { endpointsWith } from "../support/endpoints.ts";

const it = suite("message");

it("refuses an invalid Host with 400, before anything else", async () => {
  for (const [responses, text] of [
    ["djoser", '{"non_field_errors":["Invalid Host header."]}'],
    ["simplejwt", '{"detail":"Invalid Host header."}'],
  ] as const) {
    const { endpoints } = await endpointsWith({ responses, cors: ["https://app.example.org"] });
    const ask = async (host: string, path: string, method: string) => {
      const init = {
        method,
        headers: { host, origin: "https://app.example.org", "access-control-request-method": "POST" },
      };
      const response = await endpoints.fetch(new Request(`http://localhost${path}`, init));
      return [response.status, await response.text()];
    };
    for (const host of ["a/jwt/create/?", "a?b", "a#b", "a@b", "a\\b", "a b", "a\tb", "a, b", "a, a", "/"]) {
      for (const [path, method] of [
        ["/jwt/create/", "POST"],
        ["/healthz", "GET"],
        ["/nowhere", "GET"],
        ["/jwt/create/", "OPTIONS"],
      ] as const) {
        assert.equal(await ask(host, path, method), [400, text], `${method} ${path} at ${host}`);
      }
      assert.equal(await ask(host, "/healthz", "HEAD"), [400, ""]);
    }
    for (const host of [
      "localhost",
      "app.example.org:8443",
      "127.0.0.1",
      "[::1]:80",
      "",
      "a_b.example",
      "xn--bcher-kva.example",
    ]) {
      assert.is((await ask(host, "/healthz", "GET"))[0], 200, host);
    }
  }
});

it("responds 404 when the host mounts the endpoints under another path, and logs once what to do", async () => {
  for (const [prefix, path, code, message] of [
    [
      "/auth",
      "/jwt/create/",
      "path_stripped",
      /^a request for \/jwt\/create\/ is answered 404, .* at \/auth\/jwt\/create\/: .*prefix/,
    ],
    ["/api/auth", "/auth/jwt/verify", "path_stripped", /at \/api\/auth\/jwt\/verify:/],
    ["", "/hunter2/jwt/create/", "path_prefixed", /^a request whose path ends in \/jwt\/create\/, .* set prefix to/],
    ["/auth", "/api/auth/jwt/refresh", "path_prefixed", /ends in \/auth\/jwt\/refresh,/],
  ] as const) {
    const { send, log } = await endpointsWith({ prefix });
    for (let i = 0; i < 2; i++) {
      const response = await send(path, { method: "POST" });
      assert.equal([response.status, response.text], [404, '{"detail":"Not found."}']);
    }
    for (const other of ["/", "/jwt", "/jwt/", "/create/", "/jwt/nothing/", "/healthz/x", "/a/healthz"])
      await send(other, {});
    assert.is(log.length, 1, "said once, and not for other paths");
    const event = log[0] as { level: string; code: string; message: string };
    assert.equal([event.level, event.code], ["warn", code]);
    assert.match(event.message, message);
    assert.not.match(event.message, "hunter2");
  }
});

it.run();
