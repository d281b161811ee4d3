/** Hosts that make a handler for each request, on one store that stays: what is counted and who waits stays too, and nothing piles up. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { memoryStore } from "../../src/stores/memory.ts";
import type { Store } from "../../src/stores/store.ts";
import { addContractUsers } from "../support/contract-client.ts";
import { type StoreKind, limits, processOn, sharedStores, stopped, wrong } from "../support/counting.ts";
import { credentials } from "../support/endpoints.ts";

const { kinds, stop } = await sharedStores("handlers on one store in PostgreSQL");
const memory: StoreKind = ["memory", async () => async () => memoryStore()];

const it = suite("counts of handlers that a host makes for each request");

for (const [name, make] of [memory, ...kinds]) {
  /** Runs on a store that counts its subscriptions. */
  const onStore = (use: (store: Store, subscriptions: () => number) => Promise<void>) => async () => {
    const store = await (await make())();
    let subscriptions = 0;
    const subscribe: Store["subscribe"] = (receive) => {
      subscriptions++;
      store.subscribe!(receive);
    };
    await addContractUsers(store);
    try {
      await use({ ...store, ...(store.subscribe && { subscribe }) }, () => subscriptions);
    } finally {
      await store.close();
    }
  };

  it(
    `are one for all handlers of a prefix: ${name}`,
    onStore(async (store) => {
      const settings = { throttle: "3/hour", throttleVerify: "3/hour" };
      const codes: number[] = [];
      for (let i = 0; i < 5; i++) codes.push(await (await processOn(store, settings)).logIn("a"));
      assert.equal(codes, [400, 400, 400, 429, 429]);
      const here = await processOn(store, settings);
      assert.is((await here.post("/jwt/verify/", {}, { "x-client": "a" })).status, 400);
      assert.is(await here.logIn("b"), 400);
      assert.is(await (await processOn(store, { ...settings, prefix: "/else" })).logIn("a", wrong, "/else"), 400);
      assert.is(
        await (await processOn(store, { throttle: "4/hour" })).logIn("a"),
        400,
        "another limit is another count",
      );
    }),
  );

  it(
    `delay guesses at an account, and limit rotations: ${name}`,
    onStore(async (store) => {
      const settings = { throttleFailures: "2/hour", throttleRotations: "2/hour", rotateRefreshTokens: true };
      const fresh = () => processOn(store, { ...settings, now: () => stopped });
      assert.is(await (await fresh()).logIn("home", credentials), 200);
      const codes: number[] = [];
      for (let i = 0; i < 3; i++) codes.push(await (await fresh()).logIn(`stranger ${i}`));
      assert.equal(codes, [400, 400, 429]);
      const { text } = await (await fresh()).post("/jwt/create/", credentials, { "x-client": "home" });
      let { refresh } = JSON.parse(text) as { refresh: string };
      for (const expected of [200, 200, 429]) {
        const response = await (await fresh()).post("/jwt/refresh/", { refresh });
        assert.is(response.status, expected);
        ({ refresh } = JSON.parse(response.text) as { refresh: string });
      }
    }),
  );

  it(
    `delay guesses that reach several new handlers at once: ${name}`,
    onStore(async (store) => {
      const putIfAbsent: Store["putIfAbsent"] = async (...fact) => {
        await new Promise((resolve) => setTimeout(resolve, 50)); // as far away as a store may be
        return store.putIfAbsent(...fact);
      };
      const slow = { ...store, putIfAbsent };
      const fresh = () => processOn(slow, { throttleFailures: "2/hour", now: () => stopped });
      const handlers = [await fresh(), await fresh(), await fresh(), await fresh()];
      const codes = await Promise.all(handlers.map(({ logIn }, index) => logIn(`stranger ${index}`)));
      assert.equal(codes.toSorted(), [400, 400, 429, 429]);
      assert.is(await (await fresh()).logIn("another"), 429);
    }),
  );

  it(
    `take one subscription and read one secret, however many handlers there are: ${name}`,
    onStore(async (store, subscriptions) => {
      let secrets = 0;
      const putIfAbsent: Store["putIfAbsent"] = (kind, ...fact) => {
        if (kind === "throttle") secrets++;
        return store.putIfAbsent(kind, ...fact);
      };
      const counting = { ...store, putIfAbsent };
      for (let i = 0; i < 50; i++) {
        const here = await processOn(counting, { ...limits, throttle: false, throttleFailures: "99/min" });
        assert.is(await here.logIn("a"), 400);
      }
      const expected = store.subscribe === undefined ? 0 : 1;
      assert.equal([subscriptions(), secrets], [expected, expected]);
    }),
  );
}

it("stand in one login queue, and read the stored hashes once", async () => {
  const store = memoryStore();
  await addContractUsers(store);
  let readings = 0;
  const passwordHashes: Store["passwordHashes"] = () => {
    readings++;
    return store.passwordHashes!();
  };
  const counting = { ...store, passwordHashes };
  const hashing = { iterations: 100_000, concurrency: 1, queue: 2 };
  const handlers = await Promise.all(Array.from({ length: 6 }, () => processOn(counting, { hashing })));
  const codes = await Promise.all(handlers.map(({ logIn }, i) => logIn(`client ${i}`)));
  assert.equal(codes.toSorted(), [400, 400, 400, 503, 503, 503]);
  assert.is(readings, 1);
  const other = await processOn(counting, { hashing: { ...hashing, queue: 3 } });
  assert.is(await other.logIn("a"), 400, "other settings are another queue");
  assert.is(readings, 2);
});

it("are logged by the handler that refuses", async () => {
  const store = memoryStore();
  await addContractUsers(store);
  const [first, second] = [
    await processOn(store, { throttle: "1/hour" }),
    await processOn(store, { throttle: "1/hour" }),
  ];
  assert.is(await first.logIn("a"), 400);
  assert.is(await second.logIn("a"), 429);
  assert.is(await first.logIn("a"), 429);
  assert.equal([first.log.length, second.log.map(({ code }) => code)], [0, ["throttled"]], "once for a series");
});

it.run();

const last = suite("the server of this suite");
last("stops", async () => void (await stop()));
last.run();
