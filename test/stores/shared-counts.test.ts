/** Throttles of two processes on one store: they count together, and believe nothing that could harm them. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { JwtEndpointsSettings } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import type { Store } from "../../src/stores/store.ts";
import { addContractUsers } from "../support/contract-client.ts";
import { closed, limits, processOn, sharedStores, stopped, wrong } from "../support/counting.ts";
import { credentials } from "../support/endpoints.ts";
import { until } from "../support/processes.ts";
import { randomFrom, seedFrom } from "../support/random.ts";

const { kinds, stop } = await sharedStores("counts shared over PostgreSQL");

/** Resolves when what was counted has to be known in every process. */
const told = () => new Promise((resolve) => setTimeout(resolve, 1000));

for (const [name, make] of kinds) {
  const it = suite(`counts shared over a store: ${name}`);

  /** Runs with two processes on a new store that has the users of the contract. */
  const withTwo =
    (
      settings: Partial<JwtEndpointsSettings>,
      use: (
        one: Awaited<ReturnType<typeof processOn>>,
        other: Awaited<ReturnType<typeof processOn>>,
        store: Store,
      ) => Promise<void>,
    ) =>
    async () => {
      const open = await make();
      const stores = [await open(), await open(), await open()] as const;
      await addContractUsers(stores[0]);
      try {
        await use(await processOn(stores[0], settings), await processOn(stores[1], settings), stores[2]);
      } finally {
        await Promise.all(stores.filter((store) => !closed.has(store)).map((store) => store.close()));
      }
    };

  it(
    "allow the logins of a client once, not once for each process",
    withTwo({ throttle: "4/hour" }, async (one, other) => {
      for (let i = 0; i < 4; i++) assert.is(await one.logIn("a"), 400);
      await told();
      assert.is(await other.logIn("a"), 429);
      assert.is(await other.logIn("b"), 400);
      assert.is(await one.logIn("a"), 429);
    }),
  );

  it(
    "count for handlers of the same prefix alone",
    withTwo({ throttle: "2/hour" }, async (one, other, store) => {
      const elsewhere = await processOn(store, { throttle: "2/hour", prefix: "/else" });
      for (let i = 0; i < 2; i++) assert.is(await one.logIn("a"), 400);
      await told();
      assert.is(await elsewhere.logIn("a", wrong, "/else"), 400);
      assert.is(await other.logIn("a"), 429);
    }),
  );

  it(
    "are told to the end when a process stops",
    withTwo({ throttle: "2/hour" }, async (one, other) => {
      for (let i = 0; i < 2; i++) assert.is(await one.logIn("a"), 400);
      await one.close();
      await told();
      assert.is(await other.logIn("a"), 429);
    }),
  );

  it(
    "add up when both processes count",
    withTwo({ throttleVerify: "200/hour" }, async (one, other) => {
      const verify = async (each: typeof one, times: number) => {
        let passed = 0;
        for (let i = 0; i < times; i++) {
          if ((await each.post("/jwt/verify/", {}, { "x-client": "a" })).status === 400) passed++;
        }
        return passed;
      };
      assert.is((await verify(one, 90)) + (await verify(other, 90)), 180);
      await told();
      assert.is(await verify(one, 50), 20);
    }),
  );

  it(
    "delay guesses at an account in the other process, and not a client that logged in at either",
    withTwo({ throttleFailures: "3/hour", now: () => stopped }, async (one, other) => {
      assert.is(await one.logIn("home", credentials), 200);
      for (const client of ["b", "c", "d"]) assert.is(await one.logIn(client), 400);
      await told();
      assert.is(await other.logIn("e"), 429);
      assert.is(await other.logIn("home", credentials), 200, "its own success was told");
      assert.is(await other.logIn("e", { username: "nobody", password: "x" }), 400);
    }),
  );

  it(
    "take an attempt back everywhere when the password was right",
    withTwo({ throttleFailures: "3/hour" }, async (one, other) => {
      for (let i = 0; i < 5; i++) assert.is(await one.logIn(`client ${i}`, credentials), 200);
      await told();
      for (let i = 0; i < 3; i++) assert.is(await other.logIn("x"), 400);
      assert.is(await other.logIn("x"), 429);
    }),
  );

  it(
    "limit the rotations of a session in both processes together",
    withTwo({ rotateRefreshTokens: true, throttleRotations: "4/hour" }, async (one, other) => {
      let { refresh } = JSON.parse((await one.post("/jwt/create/", credentials)).text) as { refresh: string };
      for (let i = 0; i < 4; i++) {
        const response = await one.post("/jwt/refresh/", { refresh });
        assert.is(response.status, 200);
        ({ refresh } = JSON.parse(response.text) as { refresh: string });
      }
      await told();
      assert.is((await other.post("/jwt/refresh/", { refresh })).status, 429);
    }),
  );

  it(
    "tell no name that was typed, and the same digest in every process",
    withTwo({ throttleFailures: "3/hour", throttle: "99/hour" }, async (one, other, store) => {
      const texts: string[] = [];
      store.subscribe!((text) => texts.push(text));
      const typed = { username: "hunter2 is my pässword", password: "wrong" };
      await one.logIn("a", typed);
      await until(() => texts.length >= 2, "it is told", 2000);
      await other.logIn("b", typed);
      await until(() => texts.length >= 4, "it is told", 2000);
      assert.not.ok(texts.some((text) => /hunter2|ssword|ada/.test(text)));
      const digests = texts.filter((text) => text.startsWith("loginFailed")).map((text) => text.split(" ")[2]);
      assert.is(digests.length, 2);
      assert.is(digests[0], digests[1]);
      assert.match(digests[0]!, /^[\w-]{43}$/);
    }),
  );

  it.run();
}

const forged = suite("counts that are shared, with forged messages");

/** Endpoints on a store whose messages come from the test. */
async function withForger(settings: Partial<JwtEndpointsSettings>, time = { now: 1_800_000_000_000 }) {
  const store = memoryStore({ now: () => time.now });
  await addContractUsers(store);
  let forge: (text: string) => void = () => {};
  const sent: string[] = [];
  const shared = {
    ...store,
    publish: (text: string) => void sent.push(text),
    subscribe: (receive: typeof forge) => void (forge = receive),
  };
  const here = await processOn(shared, { now: () => time.now, ...settings });
  return { ...here, sent, time, forge: (text: string) => forge(text) };
}

const parts = ["throttle", "throttleVerify", "throttleRotations", "loginFailed", "loginTakenBack", "clientKnown"].map(
  (name) => `${name}:3/60`,
);

forged("are passed over when they are malformed, and everything still works", async () => {
  const { below, pick, chance, bytes } = randomFrom(seedFrom());
  const { forge, logIn, post, time } = await withForger(limits);
  const names = [...parts, "constructor", "__proto__", "", "throttle throttle", "throttle", "throttle:9/60"];
  const times = ["NaN", "-1", "1e9", "Infinity", "9".repeat(16), "9".repeat(400), "0", "", "1.5", String(time.now)];
  const odd = () => String.fromCharCode(...bytes(below(40)), below(65_536));
  for (let i = 0; i < 50_000; i++) {
    const separator = chance(0.9) ? " " : odd();
    const key = chance(0.5) ? odd() : pick(["a", "b", "x".repeat(299), "x".repeat(301), "", "\0"]);
    forge(`${chance(0.9) ? pick(names) : odd()}${separator}${chance(0.9) ? pick(times) : odd()}${separator}${key}`);
  }
  for (const client of ["a", "b", ""]) {
    const { status, headers } = await post("/jwt/create/", credentials, { "x-client": client });
    assert.ok(status === 200 || (status === 429 && Number(headers["retry-after"]) <= 60), `${status}`);
  }
  time.now += 60_000;
  assert.is(await logIn("a", credentials), 200, "no time in the future was kept");
  assert.is((await post("/jwt/verify/", {}, { "x-client": "a" })).status, 400);
});

forged("count a time in the future as now, and one before the window not at all", async () => {
  const { forge, logIn, time } = await withForger({ throttle: "2/min" });
  for (let i = 0; i < 9; i++) forge(`throttle:2/60 ${time.now - 60_000} a`);
  assert.is(await logIn("a"), 400);
  forge(`throttle:2/60 ${time.now + 3_600_000} a`);
  assert.is(await logIn("a"), 429);
  time.now += 59_999;
  assert.is(await logIn("a"), 429);
  time.now += 1;
  assert.is(await logIn("a"), 400);
});

forged("count in any order, and by the newest times when there are more than the limit", async () => {
  const { forge, post, time } = await withForger({ throttle: "2/min" });
  for (const ago of [10_000, 50_000, 20_000, 30_000, 40_000]) forge(`throttle:2/60 ${time.now - ago} a`);
  const { status, headers } = await post("/jwt/create/", wrong, { "x-client": "a" });
  assert.equal([status, headers["retry-after"]], [429, "40"]);
});

forged("make nobody wait for longer than the process's own counts do", async () => {
  const { forge, logIn, post, time, sent } = await withForger({ ...limits, throttle: false });
  const { access, refresh } = JSON.parse((await post("/jwt/create/", credentials)).text) as Record<string, string>;
  assert.ok(access);
  const { sid } = JSON.parse(atob(refresh!.split(".")[1]!)) as { sid: string };
  const digest = sent.find((text) => text.startsWith("loginFailed"))!.split(" ")[2]!;
  for (let i = 0; i < 10_000; i++) {
    forge(`throttleRotations:3/60 ${time.now} ${sid}`);
    forge(`loginFailed:3/60 ${time.now} ${digest}`);
  }
  assert.is((await post("/jwt/refresh/", { refresh })).headers["retry-after"], "20");
  assert.is(await logIn("stranger"), 429);
  time.now += 60_000;
  assert.is(await logIn("stranger"), 400);
  for (let i = 0; i < 10_000; i++) forge(`loginTakenBack:3/60 ${time.now} ${digest}`);
  for (let i = 0; i < 3; i++) assert.is(await logIn("stranger"), 400, "at most what was counted is taken back");
  assert.is(await logIn("stranger"), 429);
});

forged("fill no memory: what was counted longest ago is forgotten", async () => {
  const { forge, logIn, post, time, sent } = await withForger({ ...limits, throttle: "1/min" });
  const { refresh } = JSON.parse((await post("/jwt/create/", credentials)).text) as { refresh: string };
  const { sid } = JSON.parse(atob(refresh.split(".")[1]!)) as { sid: string };
  const digest = sent.find((text) => text.startsWith("loginFailed"))!.split(" ")[2]!;
  for (let i = 0; i < 3; i++) {
    forge(`loginFailed:3/60 ${time.now} ${digest}`);
    forge(`throttleRotations:3/60 ${time.now} ${sid}`);
  }
  const counted = ["throttle:1/60", ...parts].filter((name) => !name.startsWith("loginTakenBack"));
  for (let i = 0; i < 120_000; i++) {
    // a throttle remembers 100,000
    for (const name of counted) forge(`${name} ${time.now} forged ${i}`);
  }
  assert.is(await logIn("forged 119999"), 429);
  assert.is(await logIn("forged 0"), 400);
  assert.is((await post("/jwt/refresh/", { refresh })).status, 200);
});

forged("leave a client alone whose address is too long to be told", async () => {
  const { logIn, sent } = await withForger({ throttle: "1/min" });
  const client = "x".repeat(301);
  assert.is(await logIn(client), 400);
  assert.is(await logIn(client), 429, "it counts here");
  assert.equal(sent, []);
});

forged("keep counting alone while the store takes no secret", async () => {
  const store = memoryStore();
  await addContractUsers(store);
  let [isReadOnly, tries, time] = [true, 0, Date.now()];
  const sent: string[] = [];
  const here = await processOn(
    {
      ...store,
      publish: (text) => void sent.push(text),
      subscribe: () => {},
      async putIfAbsent(...fact) {
        tries++;
        if (isReadOnly) throw new Error("read-only");
        return store.putIfAbsent(...fact);
      },
    },
    { throttleFailures: "2/hour", now: () => time },
  );
  for (const expected of [400, 400, 429]) assert.is(await here.logIn("a"), expected);
  assert.equal([sent, tries], [[], 1], "it does not try again at once");
  isReadOnly = false;
  time += 5_001;
  await here.logIn("a");
  assert.is(sent.length, 1, "and shares its counts from then on");
});

forged.run();

const last = suite("the server of this suite");
last("stops", async () => void (await stop()));
last.run();
