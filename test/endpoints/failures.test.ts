/** Responses and log events when a store, hook or hasher fails. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { memoryStore } from "../../src/stores/memory.ts";
import { StoreError } from "../../src/stores/store.ts";
import { addContractUsers } from "../support/contract-client.ts";
import { until } from "../support/processes.ts";
import { credentials, endpointsWith } from "../support/endpoints.ts";

const it = suite("failures");

it("responds 503 with Retry-After while the store is unavailable, and logs it", async () => {
  const inner = memoryStore();
  await addContractUsers(inner);
  let isDown = true;
  const store = {
    ...inner,
    ping() {
      if (isDown) throw new StoreError("STORE_UNAVAILABLE", "no space left");
    },
    findUserByUsername(username: string) {
      if (isDown) throw new StoreError("STORE_UNAVAILABLE", "no space left");
      return inner.findUserByUsername(username);
    },
  };
  const { post, send, log, endpoints } = await endpointsWith({ store });
  for (const response of [await post("/jwt/create/", credentials), await send("/readyz", {})]) {
    assert.is(response.status, 503);
    assert.match(response.headers["retry-after"]!, /^\d+$/);
    assert.is(response.text, '{"detail":"The store is unavailable. Try again later."}');
  }
  assert.is(log.length, 2);
  assert.is((await send("/healthz", {})).status, 200);
  const problem = await endpoints.ready().then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.is((problem as StoreError).code, "STORE_UNAVAILABLE");
  isDown = false;
  assert.is((await post("/jwt/create/", credentials)).status, 200);
});

it("is not ready while the keys can't be read or no login finds a place in the queue", async () => {
  let areThere = false;
  const keys = () => {
    if (!areThere) throw new Error("no such folder");
    return { active: { kty: "oct", kid: "a", alg: "HS256", k: "q".repeat(43) } };
  };
  const statusOf = async ({ send }: Pick<Awaited<ReturnType<typeof endpointsWith>>, "send">) => {
    const { status, text, headers } = await send("/readyz", {});
    return [status, text, headers["retry-after"] !== undefined];
  };
  const withKeys = await endpointsWith({ keys, signingKey: undefined });
  assert.equal(await statusOf(withKeys), [
    503,
    '{"detail":"The keys to verify tokens with are unavailable. Try again later."}',
    true,
  ]);
  areThere = true;
  assert.is((await statusOf(withKeys))[0], 200);

  const busy = await endpointsWith({ hashing: { iterations: 2_000_000, concurrency: 1, queue: 1 } });
  assert.is((await statusOf(busy))[0], 200);
  const logins = [1, 2].map(() => busy.post("/jwt/create/", { username: "nobody", password: "x" }));
  await until(() => busy.endpoints.loginQueue().waiting === 1, "the second login waits");
  assert.is((await statusOf(busy))[0], 503);
  assert.equal(
    (await Promise.all(logins)).map(({ status }) => status),
    [400, 400],
  );
  assert.is((await statusOf(busy))[0], 200);
});

it("responds a bare 500 to an unexpected error, with the cause in the log alone", async () => {
  const store = {
    ...memoryStore(),
    findUserByUsername(): never {
      throw new Error("secret detail");
    },
  };
  const { post, log } = await endpointsWith({ store });
  const response = await post("/jwt/create/", credentials);
  assert.is(response.status, 500);
  assert.is(response.text, '{"detail":"Internal server error."}');
  assert.is(((log[0] as { error: Error }).error as Error).message, "secret detail");
});

it("responds although the log hook fails, and writes the event to standard error", async () => {
  const store = {
    ...memoryStore(),
    findUserByUsername(): never {
      throw new Error("secret detail");
    },
  };
  const write = console.error;
  const lines: string[] = [];
  console.error = (line: string) => void lines.push(line);
  try {
    for (const log of [
      () => {
        throw new Error("no log");
      },
      async () => {
        throw new Error("no log");
      },
    ]) {
      const { post } = await endpointsWith({ store, log, hashing: {} }); // which is nothing to warn of
      const response = await post("/jwt/create/", credentials);
      assert.equal([response.status, response.text], [500, '{"detail":"Internal server error."}']);
      await new Promise((resolve) => setTimeout(resolve)); // a rejection that nobody handles would end the process
      const events = lines.splice(0).map((line) => JSON.parse(line) as { code: string; error: string });
      assert.equal(
        events.map(({ code }) => code),
        ["internal_error", "log_failed"],
      );
      assert.match(events[0]!.error, "secret detail");
      assert.match(events[1]!.error, "no log");
    }
  } finally {
    console.error = write;
  }
});

it.run();
