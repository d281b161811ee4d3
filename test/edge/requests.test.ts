/**
 * Requests that reach a cold isolate of `workerd` together. A promise of one request may never settle there: its fetches and
 * timers end with it, and the runtime ends a request that has nothing of its own left to wait for. So no request may wait
 * for another's promise, also where Node's requests share one.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { SignJWT, importJWK } from "jose";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { pairOf } from "../support/key-fixtures.ts";
import { temporaryFolder, until } from "../support/runtime.ts";
import { type RunningWorker, buildWorker } from "./support.ts";

const startWorker = await buildWorker("edge-requests.ts");
const pair = await pairOf("RS256", "a");
const other = await pairOf("RS256", "b");
const responseMs = 300;
let firstMs = responseMs;
let fetches = 0;
/** Key sets that are published one after another, before the usual one. */
let scripted: object[] = [];

const signToken = async (kid = "a", { jwk } = pair): Promise<string> =>
  new SignJWT({ token_type: "access", user_id: "1" })
    .setProtectedHeader({ alg: "RS256", typ: "JWT", kid })
    .setJti("0".repeat(32))
    .setIssuedAt()
    .setExpirationTime("1h")
    .sign(await importJWK(jwk, "RS256"));

/** Publishes the key as a key set, and as the setting `keys` takes it. Slow, so that requests meet while they wait. */
const publisher = createServer(({ url }, response) => {
  fetches++;
  const keys = url === "/jwks" ? (scripted.shift() ?? { keys: [pair.publicJwk] }) : { active: pair.jwk };
  setTimeout(() => response.end(JSON.stringify(keys)), fetches === 1 ? firstMs : responseMs);
}).listen(0, "127.0.0.1");
await once(publisher, "listening");
const published = `http://127.0.0.1:${(publisher.address() as AddressInfo).port}`;

const credentials = { username: "ada", password: "correct horse" };

/** Posts, and returns the status and what a pair of tokens would be in. */
async function post(
  { origin }: RunningWorker,
  path: string,
  data: object,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ status: number | string; refresh?: string; access?: string }> {
  const init = {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(data),
    signal: AbortSignal.timeout(5_000),
  };
  try {
    const response = await fetch(`${origin}/jwt/${path}/`, init);
    return { ...((await response.json()) as object), status: response.status };
  } catch (error) {
    return { status: (error as Error).name };
  }
}

/** Calls a function many times at once, and returns how often which status came. */
async function statuses(send: () => Promise<{ status: number | string }>, times = 20): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { status } of await Promise.all(Array.from({ length: times }, send))) {
    counts[status] = (counts[status] ?? 0) + 1;
  }
  return counts;
}

/** Ends a request while it waits for its keys, and returns what the requests that come meanwhile get. */
async function endFirst(worker: RunningWorker, path: string, data: object): Promise<Record<string, number>> {
  fetches = 0;
  const first = post(worker, path, data, { "x-leave-after": String(responseMs / 2) });
  await until(() => fetches > 0, "the first request fetches the keys");
  const others = statuses(() => post(worker, path, data));
  assert.is((await first).status, 499);
  return others;
}

const it = suite("requests of one isolate");

it.after(() => {
  publisher.closeAllConnections();
  publisher.close();
});

/** The last flag is the behaviour of workers whose compatibility date is before October 2024. */
for (const flags of [[], ["nodejs_compat"], ["no_handle_cross_request_promise_resolution"]]) {
  const title = flags.length === 0 ? "" : ` (${flags.join()})`;

  /** Runs a test on a worker whose isolate has seen no request but `/healthz`. */
  const onCold = async (
    texts: Record<string, string>,
    test: (worker: RunningWorker) => Promise<void>,
    disk?: string,
  ) => {
    const worker = await startWorker({ flags, texts, disk: disk ?? temporaryFolder() });
    try {
      await test(worker);
      assert.is(worker.errors(), "");
    } finally {
      worker.child.kill();
      await once(worker.child, "close");
    }
  };

  it(`wait for keys at jwkUrl each by itself${title}`, async () => {
    const token = await signToken();
    const texts = { JWK_URL: `${published}/jwks` };
    await onCold(texts, async (worker) => {
      assert.equal(await statuses(() => post(worker, "verify", { token })), { 200: 20 });
      fetches = 0;
      assert.equal(await statuses(() => post(worker, "verify", { token })), { 200: 20 });
      assert.is(fetches, 0);
    });
    await onCold(texts, async (worker) => {
      assert.equal(await endFirst(worker, "verify", { token }), { 200: 20 });
    });
  });

  it(`renew the keys at a jwkUrl that is slow${title}`, async () => {
    const token = await signToken();
    await onCold({ JWK_URL: `${published}/jwks` }, async (worker) => {
      assert.is((await post(worker, "verify", { token })).status, 200);
      fetches = 0;
      const later = { "x-clock-ahead": String(11 * 60_000) };
      assert.equal(await statuses(() => post(worker, "verify", { token }, later)), { 200: 20 });
      assert.is(fetches, 1, "while one request fetches, the others use the keys at hand");
      assert.equal(await statuses(() => post(worker, "verify", { token })), { 200: 20 });
      assert.is(fetches, 1);
    });
  });

  it(`keep the keys of the later fetch where an earlier one ends last${title}`, async () => {
    const [old, token] = [await signToken(), await signToken("b", other)];
    const later = { keys: [other.publicJwk] };
    for (const earlier of [{ keys: [pair.publicJwk] }, { error: "no key set" }]) {
      await onCold({ JWK_URL: `${published}/jwks` }, async (worker) => {
        [fetches, firstMs, scripted] = [0, 3 * responseMs, [earlier, later]];
        const early = post(worker, "verify", { token: old });
        await until(() => fetches > 0, "the first request fetches the keys");
        firstMs = responseMs;
        assert.is((await post(worker, "verify", { token })).status, 200);
        assert.is((await early).status, 400);
        assert.is((await post(worker, "verify", { token })).status, 200);
        assert.is((await post(worker, "verify", { token: old })).status, 400);
        assert.is(fetches, 2);
      });
    }
  });

  it(`read the stored hashes to the end${title}`, async () => {
    const disk = temporaryFolder();
    const readings = async ({ origin }: RunningWorker) => (await fetch(`${origin}/readings`)).json();
    await onCold({}, async ({ origin }) => assert.is((await fetch(`${origin}/add-user`)).status, 200), disk);
    const texts = { HASHES_URL: `${published}/hashes` };
    const onWorker = (test: (worker: RunningWorker) => Promise<void>) => onCold(texts, test, disk);
    await onWorker(async (worker) => {
      fetches = 0;
      assert.equal(await statuses(() => post(worker, "create", credentials)), { 200: 20 });
      assert.equal([await readings(worker), fetches], [1, 1]);
    });
    await onWorker(async (worker) => {
      assert.equal(await endFirst(worker, "create", credentials), { 200: 20 });
      assert.is(await readings(worker), 0);
      const later = { "x-clock-ahead": "5100" }; // now the reading counts as ended
      assert.is((await post(worker, "create", credentials, later)).status, 200);
      assert.equal([await readings(worker), fetches], [1, 2]);
    });
  });

  it(`wait for the setting keys each by itself${title}`, async () => {
    const token = await signToken();
    const texts = { KEYS_URL: `${published}/keys` };
    await onCold(texts, async (worker) => {
      assert.equal(await statuses(() => post(worker, "verify", { token })), { 200: 20 });
      await new Promise((resolve) => setTimeout(resolve, 2_100)); // now the set is stale
      assert.equal(await endFirst(worker, "verify", { token }), { 200: 20 });
      const unknown = await signToken("b");
      assert.equal(await endFirst(worker, "verify", { token: unknown }), { 400: 20 });
    });
    await onCold(texts, async (worker) => {
      assert.equal(await endFirst(worker, "verify", { token }), { 200: 20 });
    });
  });

  it(`count together where each makes a handler of its own${title}`, async () => {
    await onCold({ LIMIT: "3/hour" }, async (worker) => {
      assert.equal(await statuses(() => post(worker, "verify", {})), { 400: 3, 429: 17 });
    });
  });

  it(`log in together, though one password is hashed at a time${title}`, async () => {
    const disk = temporaryFolder();
    await onCold({}, async ({ origin }) => assert.is((await fetch(`${origin}/add-user`)).status, 200), disk);
    const tokens: (string | undefined)[] = [];
    const logIn = async (worker: RunningWorker) => {
      const login = await post(worker, "create", credentials);
      tokens.push(login.refresh);
      return login;
    };
    await onCold({}, async (worker) => assert.equal(await statuses(() => logIn(worker)), { 200: 20 }), disk);
    await onCold(
      {},
      async (worker) => {
        const first = post(worker, "create", credentials, { "x-leave-after": "30" });
        assert.equal(await statuses(() => post(worker, "create", credentials)), { 200: 20 });
        await first;
      },
      disk,
    );
    await onCold(
      {},
      async (worker) => {
        const [refresh] = tokens;
        assert.equal(await statuses(() => post(worker, "refresh", { refresh })), { 200: 20 });
        assert.equal(await statuses(() => post(worker, "verify", { token: refresh })), { 200: 20 });
      },
      disk,
    );
  });
}

it.run();
