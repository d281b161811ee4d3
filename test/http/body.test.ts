/** Reading a body: its encoding, its size, and when it is left alone. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createJwtEndpoints } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { secret } from "../support/contract-client.ts";
import { endpointsWith } from "../support/endpoints.ts";

const it = suite("body");

it("refuses invalid UTF-8 with 400, also a character that is cut off", async () => {
  const { endpoints } = await endpointsWith();
  const ask = async (bytes: number[], declared: boolean) => {
    const body = new Uint8Array([
      ...new TextEncoder().encode('{"token":"'),
      ...bytes,
      ...new TextEncoder().encode('"}'),
    ]);
    const headers: Record<string, string> = { "content-type": "application/json" };
    if (declared) headers["content-length"] = String(body.length);
    const init = { method: "POST", headers, body };
    return (await endpoints.fetch(new Request("http://localhost/jwt/verify/", init))).text();
  };
  for (const declared of [true, false]) {
    for (const bytes of [
      [0xf0, 0x9f, 0x98],
      [0xe2, 0x82],
      [0xc3],
      [0xff],
      [0xed, 0xa0, 0x80],
      [0xef, 0xbf, 0xbd, 0xf0, 0x9f, 0x98],
    ]) {
      const wanted = '{"non_field_errors":["JSON parse error - the body is not UTF-8"]}';
      assert.is(await ask(bytes, declared), wanted, String(bytes));
    }
    assert.match(await ask([0xef, 0xbf, 0xbd, 0xf0, 0x9f, 0x98, 0x80], declared), "Token is invalid");
  }
});

it("refuses a body that was read before with 400, and logs once what to do", async () => {
  const { endpoints, log } = await endpointsWith();
  for (let i = 0; i < 2; i++) {
    const request = new Request("http://localhost/jwt/verify/", { method: "POST", body: "{}" });
    await request.text();
    const response = await endpoints.fetch(request);
    const text = "The request body could not be read: something read it before, such as a body parser.";
    assert.equal([response.status, await response.json()], [400, { non_field_errors: [text] }]);
  }
  assert.equal(
    log.map((event) => (event as { code: string }).code),
    ["body_already_read"],
    "said once",
  );
});

it("stops reading at the limit when no length is declared", async () => {
  const { endpoints } = await endpointsWith({ maxBodySize: 100 });
  let sent = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      sent += 64;
      if (sent > 1_000_000) controller.close();
      else controller.enqueue(new Uint8Array(64));
    },
  });
  const init = { method: "POST", body, duplex: "half" } as RequestInit;
  assert.is((await endpoints.fetch(new Request("http://localhost/jwt/verify/", init))).status, 413);
  assert.ok(sent < 10_000, "reading stops at the limit");
});

it("responds before the body has come, and leaves it unread, where no endpoint takes it", async () => {
  const { fetch } = createJwtEndpoints({ store: memoryStore(), signingKey: secret });
  const headers = { "content-type": "application/json", "content-length": "2", accept: "application/json" };
  for (const [path, method, more, status] of [
    ["/comments/", "POST", {}, 404],
    ["/jwt/verify/", "PUT", {}, 405],
    ["/jwt/verify/", "POST", { accept: "text/html" }, 406],
  ] as const) {
    const body = new ReadableStream(); // which never ends
    const init = { method, headers: { ...headers, ...more }, body, duplex: "half" };
    const request = new Request(`http://localhost${path}`, init);
    assert.is((await fetch(request)).status, status);
    assert.is(request.bodyUsed, false, path);
  }
});

it.run();
