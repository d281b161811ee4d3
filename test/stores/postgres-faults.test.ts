/** A database that fails in many ways while two servers write and verify. */
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Database, connect } from "../../src/stores/postgres/connection.ts";
import { migratePostgres, postgresStore } from "../../src/stores/postgres/index.ts";
import { readPostgresUrl } from "../../src/stores/postgres/options.ts";
import type { Store } from "../../src/stores/store.ts";
import { type TestServer, databasePassword, skipWithoutPostgres, startPostgres } from "../support/postgres.ts";
import { familyOf, until } from "../support/processes.ts";
import { fillDisk, mountTmpfs } from "../support/runtime.ts";

const soon = (): number => Math.ceil(Date.now() / 1000) + 3600;
const codeOf = (error: unknown): unknown => (error as { code?: unknown }).code;
const parameters = { pool: "4", statement_timeout: "700", connect_timeout: "1" };

interface Setting {
  server: TestServer;
  stores: Store[];
  db: Database;
  close(): Promise<void>;
}

async function setUp(server: TestServer): Promise<Setting> {
  const url = server.url("postgres", parameters);
  await migratePostgres({ url });
  const stores = [await postgresStore({ url }), await postgresStore({ url })];
  const db = await connect(readPostgresUrl(server.url("postgres", { pool: "1" })));
  return {
    server,
    stores,
    db,
    async close() {
      await Promise.all([...stores, db].map((each) => each.close()));
      await server.stop();
    },
  };
}

/** Sends a signal to a process of the server, which may have ended by itself meanwhile. */
function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

let turns = 0;
/**
 * Both servers revoke tokens while a fault happens. Every failure has to be told as one, every revocation that was
 * acknowledged has to hold on both afterwards, and both have to work again by themselves.
 */
async function during({ stores, db }: Setting, fault: () => Promise<unknown>): Promise<{ failures: string[] }> {
  const acknowledged: string[] = [];
  const failures: string[] = [];
  let isOver = false;
  const write = async (store: Store): Promise<boolean> => {
    const id = `jti-${turns++}`;
    try {
      await store.putIfAbsent("blacklist", id, "1", soon());
      acknowledged.push(id);
      return true;
    } catch (error) {
      assert.is(codeOf(error), "STORE_UNAVAILABLE", (error as Error).stack);
      assert.not.ok((error as Error).message.includes(databasePassword));
      failures.push((error as Error).message);
      return false;
    }
  };
  const writers = stores.flatMap((store) =>
    [1, 2].map(async () => {
      while (!isOver) await (await write(store), sleep(5));
    }),
  );
  try {
    await sleep(100);
    await fault();
    for (const store of stores) await until(() => write(store), "the server writes again", 20_000);
    await sleep(50);
  } finally {
    isOver = true;
    await Promise.all(writers);
  }
  assert.ok(acknowledged.length > 4, `${acknowledged.length} acknowledged`);
  const standing = await db
    .run<{ id: string }>(`select id from jwt_endpoints.facts where id = any($1)`, [acknowledged])
    .catch(() => db.run<{ id: string }>(`select id from jwt_endpoints.facts where id = any($1)`, [acknowledged]));
  assert.is(standing.length, acknowledged.length, "no acknowledged write is lost");
  for (const store of stores) {
    await until(
      async () => {
        for (const id of acknowledged) {
          if (!(await store.recentState!(undefined, [["blacklist", id]])).hasFact) return false;
        }
        return true;
      },
      "each revocation holds on each server",
      5000,
    );
  }
  return { failures };
}

const server = await startPostgres({ settings: { max_connections: 16, fsync: "on" } });
if (server === undefined) skipWithoutPostgres("PostgreSQL that fails");
else {
  const it = suite("PostgreSQL that fails");
  let setting: Setting;
  it.before(async () => {
    setting = await setUp(server);
  });
  it.after(() => setting.close());

  for (const [how, signal] of [
    ["fast", "SIGINT"],
    ["immediately", "SIGQUIT"],
    ["by a crash", "SIGKILL"],
  ] as const) {
    it(`is restarted ${how}`, async () => {
      const { failures } = await during(setting, async () => {
        const [main = 0, ...rest] = familyOf(server.pid());
        if (signal === "SIGKILL") for (const pid of rest) send(pid, signal); // no backend outlives it
        await server.stop(signal);
        await sleep(300 + (main > 0 ? 0 : 1));
        await server.start();
      });
      assert.ok(failures.length > 0);
      for (const failure of failures) assert.match(failure, /^PostgreSQL at localhost:\d+ /);
    });
  }

  it("stands still for seconds", async () => {
    const { stores } = setting;
    await stores[0]!.putIfAbsent("blacklist", "before", "1", soon());
    await until(
      async () => (await stores[1]!.recentState!(undefined, [["blacklist", "before"]])).hasFact,
      "it is heard",
    );
    const { failures } = await during(setting, async () => {
      const family = familyOf(server.pid());
      for (const pid of family) send(pid, "SIGSTOP");
      try {
        const began = performance.now();
        for (let i = 0; i < 20; i++) {
          const state = stores[1]!.recentState!(undefined, [["blacklist", "before"]]);
          assert.not.instance(state, Promise, "verify waits for nobody while what it knows is fresh");
          assert.is((state as { hasFact: boolean }).hasFact, true);
        }
        assert.ok(performance.now() - began < 500);
        await sleep(3000);
      } finally {
        for (const pid of family) send(pid, "SIGCONT");
      }
    });
    assert.ok(
      failures.some((failure) => /did not reply in time/.test(failure)),
      failures.join("\n"),
    );
  });

  it("responds 503 in place of stale state where the settings say so", async () => {
    const strict = await postgresStore({
      url: server.url("postgres", { ...parameters, when_behind: "fail", max_lag: "300" }),
    });
    const ask = () => strict.recentState!(undefined, [["blacklist", "x"]]);
    await ask();
    const family = familyOf(server.pid());
    for (const pid of family) send(pid, "SIGSTOP");
    try {
      await sleep(500);
      assert.throws(ask, (error: unknown) => codeOf(error) === "STORE_UNAVAILABLE");
    } finally {
      for (const pid of family) send(pid, "SIGCONT");
    }
    await until(async () => {
      try {
        return (await ask()) !== undefined;
      } catch {
        return false;
      }
    }, "it goes on");
    await strict.close();
  });

  it("fails no request when its connections are closed one by one", async () => {
    await during(setting, async () => {
      for (let i = 0; i < 10; i++) {
        await setting.db
          .run(
            `select pg_terminate_backend(pid) from pg_stat_activity
             where pid <> pg_backend_pid() and application_name = 'jwt-endpoints' order by random() limit 1`,
          )
          .catch(() => {});
        await sleep(30);
      }
    });
  });

  it("has no connection left", async () => {
    const clients: Database[] = [];
    await setting.db.run("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()");
    const { failures } = await during(setting, async () => {
      for (let i = 0; i < 30; i++) {
        const client = await connect(readPostgresUrl(server.url("postgres", { pool: "1" })));
        clients.push(client);
        await client.run("select 1").catch(() => {});
      }
      await setting.db.run("select 1").catch(() => {});
      const fresh = await postgresStore({ url: server.url("postgres", parameters) }).catch((error: Error) => error);
      assert.match((fresh as Error).message, /has no connection left|failed: .*connection slots/);
      await Promise.all(clients.map((client) => client.close()));
    });
    console.log(`${failures.length} writes were refused meanwhile`);
  });

  it("turns read-only", async () => {
    const { stores, db } = setting;
    const { failures } = await during(setting, async () => {
      await db.run("alter system set default_transaction_read_only = on");
      await db.run("select pg_reload_conf()");
      await until(async () => {
        try {
          return (await stores[0]!.ping(), false);
        } catch (error) {
          return codeOf(error) === "STORE_UNAVAILABLE";
        }
      }, "the ping tells it");
      await sleep(200);
      const state = await stores[0]!.recentState!(undefined, [["blacklist", "before"]]);
      assert.is(state.hasFact, true, "tokens are verified all the same");
      await db.transaction("begin read write", async () => {}); // allowed, as for the operator
      await db.run("set default_transaction_read_only = off");
      await db.run("alter system reset default_transaction_read_only");
      await db.run("select pg_reload_conf()");
    });
    assert.ok(
      failures.some((failure) => /takes no writes/.test(failure)),
      failures.join("\n"),
    );
  });
  it.run();

  const disk = mountTmpfs("160m");
  const full = suite("PostgreSQL on a full disk");
  const title = "refuses writes while there is no room, and goes on when there is";
  if (disk === undefined) {
    console.log("skipped: a small file system takes root on Linux");
    full.skip(title);
  } else {
    full(title, async () => {
      const settings = { fsync: "on", max_wal_size: "48MB", min_wal_size: "32MB", shared_buffers: "16MB" };
      const small = (await startPostgres({ folder: disk, settings }))!;
      const own = await setUp(small);
      const { failures } = await during(own, async () => {
        const makeRoom = fillDisk(disk);
        const big = "x".repeat(100_000);
        const isFull = async (): Promise<boolean> => {
          try {
            await own.stores[0]!.putIfAbsent("big", `big-${turns++}`, big + crypto.randomUUID(), soon());
            return false;
          } catch (error) {
            return codeOf(error) === "STORE_UNAVAILABLE";
          }
        };
        await until(isFull, "the disk is full", 30_000);
        await sleep(300);
        makeRoom();
        await small.stop("SIGQUIT"); // it may have ended by itself: without room for its log it panics
        await small.start();
      });
      assert.ok(failures.length > 0);
      await own.close();
    });
  }
  full.run();
}
