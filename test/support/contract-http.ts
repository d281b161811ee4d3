/** The part of the contract about HTTP: bodies, paths, methods, content negotiation. */
import type { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type ContractClient,
  both,
  fieldErrors,
  invalid,
  loginRefused,
  makeToken,
  nonField,
} from "./contract-client.ts";

export function addHttpCases(
  it: ReturnType<typeof suite>,
  { targetOf, post, logIn, expectResponse, expectUnknownPath }: ContractClient,
): void {
  it("create accepts JSON, with or without charset, form and multipart bodies", async () => {
    const multipart =
      '--x\r\nContent-Disposition: form-data; name="username"\r\n\r\nada\r\n' +
      '--x\r\nContent-Disposition: form-data; name="password"\r\n\r\ncorrect horse\r\n--x--\r\n';
    const bodies: [string, string][] = [
      ["application/json; charset=utf-8", '{"username":"ada","password":"correct horse"}'],
      ["APPLICATION/JSON", '{"username":"ada","password":"correct horse"}'],
      ["application/x-www-form-urlencoded", "username=ada&password=correct+horse"],
      ["application/x-www-form-urlencoded; charset=UTF-8", "username=no&username=%61da&password=correct%20horse"],
      ["multipart/form-data; boundary=x", multipart],
    ];
    for (const [type, body] of bodies) {
      const response = await post("create", body, { "content-type": type });
      assert.is(response.status, 200, `${type}: ${response.text}`);
    }
  });

  it("accepts any character in a value, the replacement character too", async () => {
    for (const password of ["pässwörd", "🦊", "\ufffd", "\ufeffx"]) {
      expectResponse(await post("create", { username: "ada", password }), loginRefused);
    }
  });

  it("treats an empty body as an empty object, whatever its type", async () => {
    const wanted = fieldErrors({ token: ["This field is required."] });
    expectResponse(await post("verify", ""), wanted);
    expectResponse(await post("verify", "", { "content-type": "text/plain" }), wanted);
    expectResponse(await post("verify", "", { "content-type": "application/x-www-form-urlencoded" }), wanted);
  });

  it("refuses a body that can't be parsed and names the position, as Python's json module does", async () => {
    const cases: [string | Uint8Array, string][] = [
      ["{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"],
      ["x", "Expecting value: line 1 column 1 (char 0)"],
      ['{"a":1}}', "Extra data: line 1 column 8 (char 7)"],
      ['{"a" 1}', "Expecting ':' delimiter: line 1 column 6 (char 5)"],
      ['{"a":1\n"b":2}', "Expecting ',' delimiter: line 2 column 1 (char 7)"],
      ['{"a":"b', "Unterminated string starting at: line 1 column 6 (char 5)"],
      ['{"a":"\\x"}', "Invalid \\escape: line 1 column 7 (char 6)"],
      [new Uint8Array([0x7b, 0xff, 0x7d]), "the body is not UTF-8"],
      [new Uint8Array([0x22, 0xc3, 0x28, 0x22]), "the body is not UTF-8"],
      [
        new Uint8Array([0xef, 0xbb, 0xbf, 0x7b, 0x7d]),
        "Unexpected UTF-8 BOM (decode using utf-8-sig): line 1 column 1 (char 0)",
      ],
    ];
    for (const [body, text] of cases) {
      expectResponse(await post("create", body), {
        djoser: nonField(`JSON parse error - ${text}`),
        simplejwt: [400, { detail: `JSON parse error - ${text}` }],
      });
    }
    const response = await post("create", "garbage", { "content-type": "multipart/form-data" });
    assert.is(response.status, 400);
    assert.match(response.text, "Multipart form parse error");
  });

  it("returns the same with an Authorization header or a stale cookie", async () => {
    const headers = {
      authorization: `Bearer ${await makeToken({ exp: 1 })}`,
      cookie: "sessionid=stale; access=expired",
    };
    const response = await post("create", { username: "ada", password: "correct horse" }, headers);
    assert.is(response.status, 200);
    expectResponse(await post("verify", { token: "x" }, headers), invalid);
  });

  it("accepts paths with and without the last slash, with a query, and percent-encoded", async () => {
    for (const path of ["/jwt/verify", "/jwt/verify/", "/jwt/verify/?next=/", "/jwt/%76erify/"]) {
      const response = await targetOf().send(targetOf().prefix + path, { method: "POST" });
      assert.is(response.status, 400, path);
    }
  });

  it("responds 404 to unknown paths", async () => {
    const { prefix, mount = "" } = targetOf();
    for (const path of ["/", "/jwt/", "/jwt/create//", "/jwt/nothing/", "/JWT/create/", "/jwt/create/x", "/jwt/%zz"]) {
      expectUnknownPath(await targetOf().send(mount + path, { method: "POST" }), path);
    }
    if (prefix !== "") assert.is((await targetOf().send("/jwt/create/", { method: "POST" })).status, 404);
  });

  it("responds 405 with Allow to other methods, to HEAD without a body", async () => {
    for (const method of ["GET", "PUT", "PATCH", "DELETE"]) {
      const response = await targetOf().send(`${targetOf().prefix}/jwt/create/`, { method });
      expectResponse(response, both(405, { detail: `Method "${method}" not allowed.` }));
      assert.is(response.headers.allow, "POST, OPTIONS");
    }
    const head = await targetOf().send(`${targetOf().prefix}/jwt/create/`, { method: "HEAD" });
    assert.is(head.status, 405);
    assert.is(head.text, "");
  });

  it("responds 406 when JSON is not accepted", async () => {
    for (const accept of ["text/html", "application/xml, text/*", "application/json;q=0"]) {
      const response = await post("verify", {}, { accept });
      expectResponse(response, both(406, { detail: "Could not satisfy the request Accept header." }));
    }
    for (const accept of ["*/*", "application/*", "text/html, application/json;q=0.9"]) {
      assert.is((await post("verify", {}, { accept })).status, 400, accept);
    }
  });

  it("responds 413 beyond the body limit", async () => {
    const response = await post("verify", JSON.stringify({ token: "x".repeat(70_000) }));
    expectResponse(response, both(413, { detail: "Request body is larger than 65536 bytes." }));
    assert.is(
      (await post("verify", JSON.stringify({ token: "x".repeat(60_000) }))).status,
      targetOf().profile === "djoser" ? 400 : 401,
    );
  });

  it("responds 415 to other media types and names them", async () => {
    for (const type of ["text/plain", "application/xml; a=b", "application/jsonx"]) {
      const response = await post("verify", "{}", { "content-type": type });
      expectResponse(response, both(415, { detail: `Unsupported media type "${type}" in request.` }));
    }
  });

  it("describes each endpoint on OPTIONS", async () => {
    const response = await targetOf().send(`${targetOf().prefix}/jwt/create/`, { method: "OPTIONS" });
    assert.is(response.status, 200);
    assert.is(response.headers.allow, "POST, OPTIONS");
    const body = JSON.parse(response.text);
    assert.equal(Object.keys(body), ["name", "description", "renders", "parses", "actions"]);
    assert.equal(Object.keys(body.actions.POST), ["username", "password"]);
    assert.equal(body.parses, ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"]);
  });

  it("reports that it is alive and ready", async () => {
    for (const path of ["/healthz", "/readyz"].map((each) => (targetOf().mount ?? "") + each)) {
      const response = await targetOf().send(path, { method: "GET" });
      assert.is(response.status, 200);
      assert.is(response.text, '{"status":"ok"}');
      const head = await targetOf().send(path, { method: "HEAD" });
      assert.is(head.status, 200);
      assert.is(head.text, "");
      assert.is((await targetOf().send(path, { method: "POST" })).status, 405);
    }
  });

  it("serves many requests at once", async () => {
    const { access } = await logIn();
    const responses = await Promise.all(Array.from({ length: 100 }, () => post("verify", { token: access })));
    assert.ok(responses.every(({ status, text }) => status === 200 && text === "{}"));
  });
}
