/** What one server writes, as the memory of the others learns of it, and the look-ups that take one round trip. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtEndpoints, type LogEvent, createJwtEndpoints, createPasswords } from "../../src/index.ts";
import { type Database, connect } from "../../src/stores/postgres/connection.ts";
import { migratePostgres, postgresStore } from "../../src/stores/postgres/index.ts";
import { readPostgresUrl } from "../../src/stores/postgres/options.ts";
import type { FactKey, Store } from "../../src/stores/store.ts";
import { type TestServer, skipWithoutPostgres, startPostgres } from "../support/postgres.ts";
import { keptIn } from "../support/runtime.ts";
import { until } from "../support/processes.ts";

const server = (await startPostgres({ settings: { shared_preload_libraries: "'pg_stat_statements'" } })) as TestServer;
if (server === undefined) skipWithoutPostgres("the feed of PostgreSQL");
else {
  let schemas = 0;
  const opened: { close(): unknown }[] = [];
  async function freshUrl(parameters: Record<string, string> = {}): Promise<string> {
    const url = server.url("postgres", { schema: `s${++schemas}`, pool: "3", ...parameters });
    await migratePostgres({ url });
    return url;
  }
  async function open(url: string, endsSoon = false): Promise<Store> {
    const store = await postgresStore({ url, endsSoon });
    opened.push(store);
    return store;
  }
  async function database(url: string): Promise<Database> {
    const made = await connect(readPostgresUrl(url));
    opened.push(made);
    return made;
  }
  /** Feeds that are not followed any more would go on asking, until the end of the process. */
  async function closeAll(): Promise<void> {
    for (let each = opened.pop(); each !== undefined; each = opened.pop()) await each.close();
  }
  const soon = (): number => Math.ceil(Date.now() / 1000) + 3600;
  const hasFact = async (store: Store, ...keys: FactKey[]) => (await store.recentState!(undefined, keys)).hasFact;

  for (const [name, parameters] of [
    ["told by notices", {}],
    ["by polling alone, as poolers need it", { pooler: "transaction" }],
  ] as const) {
    const it = suite(`the feed of PostgreSQL, ${name}`);
    let [one, two]: Store[] = [];
    let db: Database;
    it.before(async () => {
      const url = await freshUrl(parameters);
      [one, two] = [await open(url), await open(url)];
      db = await database(url);
    });

    it("makes a revocation by one server known to the others, usually within 100 ms", async () => {
      const delays: number[] = [];
      for (let i = 0; i < 40; i++) {
        const key = ["blacklist", `jti-${i}`] as const;
        assert.is(await hasFact(two!, key), false);
        await one!.putIfAbsent(...key, "1", soon());
        const began = performance.now();
        assert.is(await hasFact(one!, key), true, "the server that wrote it knows at once");
        while (!(await hasFact(two!, key))) await new Promise((resolve) => setTimeout(resolve, 1));
        delays.push(performance.now() - began);
      }
      delays.sort((a, b) => a - b);
      console.log(`heard after ${delays[20]!.toFixed(0)} ms in the middle, ${delays.at(-1)!.toFixed(0)} ms at most`);
      assert.ok(delays[20]! < 100, `${delays}`);
    });

    it("misses no transaction that commits after later ones", async () => {
      await db.transaction("begin", async (run) => {
        const insert = `insert into ${db.schema}.facts values ($1, $2, '1', $3)`;
        await run(insert, ["blacklist", "slow", soon()]);
        for (let i = 0; i < 20; i++) {
          await one!.putIfAbsent("blacklist", `fast-${i}`, "1", soon());
          await until(() => hasFact(two!, ["blacklist", `fast-${i}`]), "the later one is heard");
        }
        assert.is(await hasFact(two!, ["blacklist", "slow"]), false, "it has not ended yet");
      });
      const began = performance.now();
      await until(() => hasFact(two!, ["blacklist", "slow"]), "the slow one is heard");
      assert.ok(performance.now() - began < 1000);
    });

    it("reports marks and removals, and forgets a mark that is taken back", async () => {
      const { id } = await one!.addUser({ username: "ada", passwordHash: "x" });
      assert.equal(await two!.recentState!(id, []), { tokensValidFrom: null, wasRemoved: false, hasFact: false });
      await one!.updateUser(id, { tokensValidFrom: 1234.5 });
      await until(async () => (await two!.recentState!(id, [])).tokensValidFrom === 1234.5, "the mark is heard");
      await one!.updateUser(id, { tokensValidFrom: null });
      await until(async () => (await two!.recentState!(id, [])).tokensValidFrom === null, "it is taken back");
      await one!.removeUser(id);
      assert.is((await one!.recentState!(id, [])).wasRemoved, true);
      await until(async () => (await two!.recentState!(id, [])).wasRemoved, "the removal is heard");
    });

    it("reads what was there before, and counts an expired fact as absent", async () => {
      const url = await freshUrl(parameters);
      const first = await open(url);
      await first.putIfAbsent("session", "old", "ended", soon());
      await first.putIfAbsent("session", "brief", "ended", Date.now() / 1000 + 0.5);
      const late = await open(url);
      assert.is(await hasFact(late, ["session", "old"]), true);
      await until(async () => !(await hasFact(late, ["session", "brief"])), "the brief one expires", 3000);
    });

    it("follows again after its connection was ended", async () => {
      for (let i = 0; i < 3; i++) {
        await db.run("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()");
        const write = async () => one!.putIfAbsent("blacklist", `after-${i}`, "1", soon());
        await until(() => write().then(Boolean, () => false), "it writes again");
        await until(() => hasFact(two!, ["blacklist", `after-${i}`]), "the other hears it");
      }
    });
    it.after(closeAll);
    it.run();
  }

  const notices = suite("the notices of PostgreSQL");
  notices("leave a server at most every 20 ms, however much it writes, and none when it writes nothing", async () => {
    const url = await freshUrl();
    const [writer, db] = [await open(url), await database(url)];
    let heard = 0;
    const channel = `${readPostgresUrl(url).schema}_news`;
    const listener = await db.listen(
      channel,
      () => heard++,
      () => {},
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.is(heard, 0);
    let written = 0;
    const began = performance.now();
    const write = async () => {
      while (performance.now() - began < 600) await writer.putIfAbsent("blacklist", `n-${written++}`, "1", soon());
    };
    await Promise.all([write(), write(), write()]);
    await until(async () => heard > 0, "something is heard");
    await new Promise((resolve) => setTimeout(resolve, 50));
    const most = (performance.now() - began) / 19 + 1; // timers may fire a millisecond early
    console.log(`${heard} notices for ${written} writes`);
    assert.ok(heard <= most && written > heard, `${heard} notices, at most ${most}, for ${written} writes`);
    let before = -1;
    while (before !== heard) {
      before = heard;
      await new Promise((resolve) => setTimeout(resolve, 300)); // the last one may be late
    }
    await writer.putIfAbsent("successor", "of a rotated token", "1", soon());
    await new Promise((resolve) => setTimeout(resolve, 60));
    assert.is(heard, before, "what no server holds in memory is not announced");
    await listener.close();
  });

  notices("reach the servers of one schema alone, whatever the length of its name", async () => {
    for (const length of [58, 59, 63]) {
      const name = `s${++schemas}`.padEnd(length - 1, "_");
      const stores: Store[] = [];
      for (const schema of [`${name}a`, `${name}a`, `${name}b`]) stores.push(await open(await freshUrl({ schema })));
      const texts: string[][] = stores.map(() => []);
      for (const [i, store] of stores.entries()) store.subscribe!((text) => texts[i]!.push(text));
      stores[0]!.publish!("one");
      stores[2]!.publish!("other");
      await until(() => texts[1]!.length > 0, `a message arrives, ${length} characters`);
      assert.equal(texts, [[], ["one"], []]);
    }
  });
  notices.after.each(closeAll);
  notices.run();

  const states = suite("the state of a token in PostgreSQL");
  states("is read from the database where nothing is followed, or too long ago", async () => {
    const url = await freshUrl();
    const [writer, short] = [await open(url), await open(url, true)];
    const { id } = await writer.addUser({ username: "bob", passwordHash: "x", tokensValidFrom: 5 });
    await writer.putIfAbsent("blacklist", "j", "1", soon());
    const state = await short.recentState!(id, [["blacklist", "j"]]);
    assert.equal(state, { tokensValidFrom: 5, wasRemoved: false, hasFact: true });
    assert.is(await hasFact(short, ["blacklist", "k"]), false);
    assert.is(await hasFact(writer, ["other", "k"]), false, "kinds that are not held are read from the database");
  });

  states("holds as long as a server whose clock is an hour behind takes a token for valid", async () => {
    const url = await freshUrl();
    const [store, late] = [await open(url), await open(url, true)];
    const { id } = await store.addUser({ username: "ivy", passwordHash: "x" });
    const keys = ["blacklist", "successor"].map((kind) => [kind, "jti"] as const);
    const expiresAt = Date.now() / 1000 + 0.3;
    for (const key of keys) await store.putIfAbsent(...key, "first", expiresAt);
    await new Promise((resolve) => setTimeout(resolve, 400));
    assert.is(await store.get(...keys[0]!), undefined, "expired by a clock that is right");
    const { now } = Date;
    Date.now = () => now() - 3_600_000;
    try {
      const write = { key: keys[1]!, value: "second", expiresAt: soon() + 3600, unlessMarkedSince: 1 };
      for (const each of [store, late]) {
        assert.is(await each.get(...keys[0]!), "first");
        assert.is((await each.recentState!(id, [keys[0]!])).hasFact, true);
        assert.is((await each.latestState!(id, [keys[0]!], write)).hasFact, true);
        assert.is((await each.latestState!(id, [], write)).written, "first", "no second successor");
        assert.is(await each.putIfAbsent(...keys[1]!, "third", soon() + 3600), "first");
      }
    } finally {
      Date.now = now;
    }
    assert.is(await store.putIfAbsent(...keys[1]!, "anew", soon()), "anew");
  });

  states("stays in memory beside a clock that is a day ahead for a while", async () => {
    const store = await open(await freshUrl());
    const keys = Array.from({ length: 400 }, (_, i) => ["blacklist", crypto.randomUUID() + i] as const);
    for (const key of keys) await store.putIfAbsent(...key, "1", soon());
    const { now } = Date;
    Date.now = () => now() + 86_400_000;
    try {
      await new Promise((resolve) => setTimeout(resolve, 2500)); // some forty sweeps, each of one shard
    } finally {
      Date.now = now;
    }
    for (const key of keys) assert.is(await hasFact(store, key), true);
  });

  states("comes with the user, and writes a fact only where everything allows it", async () => {
    const store = await open(await freshUrl());
    const { id } = await store.addUser({ username: "eve", passwordHash: "x" });
    const write = (name: string, value: string, unlessMarkedSince = 100) =>
      store.latestState!(
        id,
        [
          ["blacklist", "j"],
          ["session", "s"],
        ],
        {
          key: ["successor", name],
          value,
          expiresAt: soon(),
          unlessMarkedSince,
        },
      );
    const first = await write("a", "mine");
    assert.equal([first.user?.username, first.user?.id, first.hasFact, first.written], ["eve", id, false, "mine"]);
    assert.is((await write("a", "second")).written, "mine", "the first writer wins");
    await store.updateUser(id, { tokensValidFrom: 100 });
    assert.is((await write("b", "marked")).written, undefined);
    assert.is((await write("b", "later", 100.5)).written, "later");
    await store.updateUser(id, { isActive: false });
    assert.is((await write("c", "inactive", 200)).written, undefined);
    await store.updateUser(id, { isActive: true });
    await store.putIfAbsent("session", "s", "ended", soon());
    const revoked = await write("c", "revoked", 200);
    assert.equal([revoked.hasFact, revoked.written], [true, undefined]);
    assert.is(await store.get("successor", "c"), undefined);
    const nobody = await store.latestState!("nobody", [], {
      key: ["k", "i"],
      value: "v",
      expiresAt: soon(),
      unlessMarkedSince: 1,
    });
    assert.equal(nobody, { user: undefined, hasFact: false, written: undefined });
  });
  states.after.each(closeAll);
  states.run();

  const endpoints = suite("the endpoints on two servers of one database");
  const signingKey = "k".repeat(40);
  let apps: JwtEndpoints[];
  let stores: Store[];
  let db: Database;
  const post = async (app: JwtEndpoints, name: string, data: object): Promise<[number, Record<string, string>]> => {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(data) };
    const response = await app.fetch(new Request(`http://localhost/jwt/${name}/`, init));
    return [response.status, (await response.json()) as Record<string, string>];
  };
  /** Counts the statements of requests: neither those of the feed nor the one that learns which hashes are stored. */
  async function statementsDuring(work: () => Promise<unknown>): Promise<number> {
    await db.run("select pg_stat_statements_reset()");
    await work();
    const [row] = await db.run<{ calls: string }>(
      "select sum(calls)::text as calls from pg_stat_statements where query !~ 'pg_current_snapshot|pg_notify|pg_stat|split_part'",
    );
    return Number(row!.calls ?? 0);
  }
  endpoints.before(async () => {
    const url = await freshUrl();
    db = await database(url);
    const log = keptIn<LogEvent>([]);
    stores = [await open(url), await open(url)];
    const passwordHash = await createPasswords({ iterations: 1 }).hash("correct horse");
    for (const username of ["ada", "bob"]) await stores[0]!.addUser({ username, passwordHash });
    apps = stores.map((store) =>
      createJwtEndpoints({ store, signingKey, rotateRefreshTokens: true, hashing: { iterations: 1 }, log }),
    );
  });

  endpoints("rotate to the same successor wherever a token is used", async () => {
    const [, { refresh }] = await post(apps[0]!, "create", { username: "ada", password: "correct horse" });
    const all = await Promise.all(Array.from({ length: 20 }, (_, i) => post(apps[i % 2]!, "refresh", { refresh })));
    assert.equal([...new Set(all.map(([status]) => status))], [200]);
    assert.is(new Set(all.map(([, { refresh: next }]) => next)).size, 1);
  });

  endpoints(
    "refuse at once what another revoked where tokens are issued, and soon where they are verified",
    async () => {
      const [, { refresh, access }] = await post(apps[0]!, "create", { username: "ada", password: "correct horse" });
      assert.is((await post(apps[1]!, "verify", { token: access }))[0], 200);
      assert.is((await post(apps[0]!, "logout", { refresh }))[0], 200);
      assert.is((await post(apps[1]!, "refresh", { refresh }))[0], 400);
      await until(async () => (await post(apps[1]!, "verify", { token: access }))[0] === 400, "it is refused", 1000);
    },
  );

  endpoints("end the sessions of a user everywhere", async () => {
    const [, { refresh, access }] = await post(apps[0]!, "create", { username: "ada", password: "correct horse" });
    const [, { access: own }] = await post(apps[1]!, "refresh", { refresh });
    const { id } = (await stores[1]!.findUserByUsername("ada"))!;
    await apps[1]!.revokeUser(id);
    assert.is((await post(apps[0]!, "refresh", { refresh }))[0], 400);
    for (const token of [access, own]) {
      await until(async () => (await post(apps[0]!, "verify", { token }))[0] === 400, "it is refused", 1000);
    }
  });

  endpoints("take one statement for a refresh, with rotation or without, and none for verify", async () => {
    await db.run("create extension pg_stat_statements");
    const [, { refresh = "", access }] = await post(apps[0]!, "create", { username: "bob", password: "correct horse" });
    const rotations = await statementsDuring(async () => {
      for (let [i, token] = [0, refresh]; i < 10; i++) {
        const [status, { refresh: next = "" }] = await post(apps[i % 2]!, "refresh", { refresh: token });
        assert.is(status, 200);
        token = next;
      }
    });
    assert.is(rotations, 10);
    const verifications = await statementsDuring(async () => {
      for (let i = 0; i < 10; i++) assert.is((await post(apps[i % 2]!, "verify", { token: access }))[0], 200);
    });
    assert.is(verifications, 0);
    const { protect } = apps[1]!;
    const guard = async () => {
      const headers = { authorization: `Bearer ${access}` };
      const response = await protect(() => new Response("in"))(new Request("http://localhost/me", { headers }));
      return response.status;
    };
    const guarded = await statementsDuring(async () => {
      for (let i = 0; i < 10; i++) assert.is(await guard(), 200);
    });
    assert.is(guarded, 10, "a protected resource asks for the user and the facts at once");
    const plain = createJwtEndpoints({ store: stores[0]!, signingKey, hashing: { iterations: 1 }, log: () => {} });
    const [, pair] = await post(plain, "create", { username: "bob", password: "correct horse" });
    const refreshes = await statementsDuring(async () => {
      for (let i = 0; i < 10; i++) assert.is((await post(plain, "refresh", { refresh: pair.refresh }))[0], 200);
    });
    assert.is(refreshes, 10);
    await post(apps[0]!, "logout", { refresh });
    assert.is(await guard(), 401, "known at once at a resource of the other server");
  });

  endpoints("limit the rotations of a session, and write none beyond it along with the look-up", async () => {
    const settings = { store: stores[0]!, signingKey, hashing: { iterations: 1 }, log: () => {} };
    const limited = createJwtEndpoints({ ...settings, rotateRefreshTokens: true, throttleRotations: "3/hour" });
    const [, { refresh = "" }] = await post(limited, "create", { username: "bob", password: "correct horse" });
    const tokens = [refresh];
    const rotateTwice = async (i: number) => {
      const [, { refresh: next = "" }] = await post(limited, "refresh", { refresh: tokens[i] });
      await post(limited, "refresh", { refresh: tokens[i] }); // a retry, which does not count
      tokens.push(next);
    };
    const statements = await statementsDuring(async () => {
      for (let i = 0; i < 2; i++) await rotateTwice(i);
    });
    assert.is(statements, 4);
    await rotateTwice(2);
    const recorded = async () => (await db.run(`select from ${db.schema}.facts where kind = 'successor'`)).length;
    const before = await recorded();
    assert.is((await post(limited, "refresh", { refresh: tokens[3] }))[0], 429);
    assert.is((await post(limited, "refresh", { refresh: tokens[2] }))[1].refresh, tokens[3], "a retry at the limit");
    assert.is(await recorded(), before);
    const unlimited = createJwtEndpoints({ ...settings, rotateRefreshTokens: true });
    assert.is((await post(unlimited, "refresh", { refresh: tokens[3] }))[0], 200, "it is still valid");
  });

  endpoints("have about the number of facts from the database's statistics", async () => {
    const before = await stores[0]!.estimateFacts!();
    for (let i = 0; i < 30; i++) await stores[0]!.putIfAbsent("estimated", String(i), "x", soon());
    const count = async () => (await db.run(`select from ${db.schema}.facts`)).length;
    const expected = await count();
    // A connection reports its rows with a statement that comes a second after them, and an idle one only after ten.
    const writers = () => Promise.all([1, 2, 3].map(() => stores[0]!.ping()));
    const isCounted = async () => (await writers(), (await stores[1]!.estimateFacts!()) === expected);
    await until(isCounted, "the statistics are up to date", 30_000);
    assert.ok(before <= expected - 30);
  });

  endpoints.after(async () => {
    await closeAll();
    await server.stop();
  });
  endpoints.run();
}
