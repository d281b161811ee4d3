import { suite } from "uvu";
import * as assert from "uvu/assert";
import { credentials, endpointsWith } from "../support/endpoints.ts";

const it = suite("throttle");

it("responds 429 with the seconds to wait, for each client on its own", async () => {
  let time = 1_800_000_000_000;
  const { post } = await endpointsWith({
    throttle: "2/min",
    clientAddress: (request) => request.headers.get("x-client") ?? undefined,
    now: () => time,
  });
  const wrong = { username: "ada", password: "wrong" };
  assert.is((await post("/jwt/create/", wrong, { "x-client": "a" })).status, 400);
  time += 10_000;
  assert.is((await post("/jwt/create/", wrong, { "x-client": "a" })).status, 400);
  const refused = await post("/jwt/create/", credentials, { "x-client": "a" });
  assert.is(refused.status, 429);
  assert.is(refused.text, '{"detail":"Request was throttled. Expected available in 50 seconds."}');
  assert.is(refused.headers["retry-after"], "50");
  assert.is((await post("/jwt/create/", credentials, { "x-client": "b" })).status, 200);
  assert.is((await post("/jwt/verify/", {}, { "x-client": "a" })).status, 400, "only logins count");
  time += 50_000;
  assert.is((await post("/jwt/create/", credentials, { "x-client": "a" })).status, 200);
});

it("forgets what was counted before the clock was set back", async () => {
  let time = 1_800_000_000_000;
  const { post } = await endpointsWith({ throttle: "1/min", clientAddress: () => "a", now: () => time });
  assert.is((await post("/jwt/create/", credentials)).status, 200);
  assert.is((await post("/jwt/create/", credentials)).status, 429);
  time -= 3_600_000;
  assert.is((await post("/jwt/create/", credentials)).status, 200);
  assert.is((await post("/jwt/create/", credentials)).headers["retry-after"], "60");
});

it("warns once when it can't tell clients apart", async () => {
  const { post, log } = await endpointsWith({ throttle: "1/min" });
  assert.is((await post("/jwt/create/", credentials)).status, 200);
  assert.is((await post("/jwt/create/", credentials)).status, 429);
  assert.equal(
    log.map((event) => (event as { code: string }).code),
    ["client_address_unknown"],
  );
});

it.run();
