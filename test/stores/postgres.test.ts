/** The conformance suite on a real PostgreSQL server: plain, over TLS, through PgBouncer, and two servers by turns. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { messageCases, storeCases } from "../../src/stores/conformance.ts";
import { connect } from "../../src/stores/postgres/connection.ts";
import { migratePostgres, postgresStore } from "../../src/stores/postgres/index.ts";
import { readPostgresUrl } from "../../src/stores/postgres/options.ts";
import type { Store } from "../../src/stores/store.ts";
import { until } from "../support/processes.ts";
import { skipWithoutPostgres, startPooler, startPostgres } from "../support/postgres.ts";

const server = await startPostgres({ tls: true });
if (server === undefined) skipWithoutPostgres("store: PostgreSQL");
else {
  const pooler = await startPooler(server);
  let schemas = 0;
  /** Makes a store; returns its URL and functions that empty and close it. */
  async function makeStore(parameters: Record<string, string>) {
    const url = server!.url("postgres", { schema: `s${++schemas}`, pool: "4", ...parameters });
    await migratePostgres({ url });
    const database = await connect(readPostgresUrl(url));
    // In one transaction, so that no store hears of users that the trigger reports as removed; several times as cheap as to
    // truncate, after which each connection plans its statements anew.
    const clear = () =>
      database.transaction("begin", async (run) => {
        for (const name of ["users", "marks", "removed", "facts", "sessions"]) {
          await run(`delete from ${database.schema}.${name}`);
        }
      });
    return { url, clear, close: database.close };
  }
  const variants: [name: string, parameters: Record<string, string>][] = [
    ["plain", { sslmode: "disable" }],
    ["over TLS", { sslmode: "verify-full", sslrootcert: server.caFile }],
  ];
  for (const [name, parameters] of variants) {
    conformance(name, parameters, async (url) => {
      const store = await postgresStore({ url });
      return [store, () => store.close()];
    });
  }
  if (pooler === undefined) {
    console.log("skipped, as there is no pooler to go through: apt-get install pgbouncer");
    const skipped = suite("store: PostgreSQL, through PgBouncer in transaction mode");
    skipped.skip("takes PgBouncer");
    skipped.run();
  } else {
    conformance("through PgBouncer in transaction mode", {}, async (direct) => {
      const url = new URL(direct);
      url.port = String(pooler.port);
      url.searchParams.set("pooler", "transaction");
      const store = await postgresStore({ url: url.href });
      return [store, () => store.close()];
    });
  }
  conformance("two servers by turns", {}, async (url) => {
    const stores = [await postgresStore({ url }), await postgresStore({ url })];
    let turn = 0;
    const byTurns = new Proxy({} as Store, { get: (_, method: keyof Store) => stores[++turn % 2]![method] });
    return [byTurns, async () => void (await Promise.all(stores.map((store) => store.close())))];
  });

  function conformance(
    name: string,
    parameters: Record<string, string>,
    open: (url: string) => Promise<[store: Store, close: () => unknown]>,
  ): void {
    const it = suite(`store: PostgreSQL, ${name}`);
    let made: Awaited<ReturnType<typeof makeStore>>;
    let opened: Awaited<ReturnType<typeof open>>;
    it.before(async () => {
      made = await makeStore(parameters);
      opened = await open(made.url);
    });
    it.before.each(async () => void (await made.clear()));
    it.after(async () => {
      await opened[1]();
      await made.close();
    });
    for (const [title, run] of storeCases) it(title, () => run(opened[0]));
    it.run();
  }

  const messages = suite("store: PostgreSQL, messages");
  for (const [title, run] of messageCases) {
    messages(title, async () => {
      const { url, close } = await makeStore({});
      const pair = [await postgresStore({ url }), await postgresStore({ url })] as const;
      await run(...pair);
      await Promise.all(pair.map((store) => store.close()));
      await close();
    });
  }
  messages("go on after every connection was ended", async () => {
    const { url, close } = await makeStore({});
    const database = await connect(readPostgresUrl(url));
    const pair = [await postgresStore({ url }), await postgresStore({ url })] as const;
    const received: string[] = [];
    pair[1].subscribe!((text) => received.push(text));
    for (let i = 0; i < 3; i++) {
      await database.run("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()");
      const isHeard = () => {
        pair[0].publish!(`round ${i}`);
        return received.includes(`round ${i}`);
      };
      await until(isHeard, "a message arrives");
    }
    await Promise.all([...pair, database].map((each) => each.close()));
    await close();
  });
  messages("are no part of a store behind a pooler that passes none on, nor of one that ends soon", async () => {
    const { url, close } = await makeStore({});
    const direct = new URL(url);
    direct.searchParams.set("pooler", "transaction");
    for (const store of [await postgresStore({ url: direct.href }), await postgresStore({ url, endsSoon: true })]) {
      assert.equal([store.publish, store.subscribe], [undefined, undefined]);
      await store.close();
    }
    await close();
  });
  messages.run();

  const last = suite("the server of this suite");
  last("stops", async () => {
    await pooler?.stop();
    await server.stop();
  });
  last.run();
}
