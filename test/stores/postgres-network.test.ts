/** What lies between a server and its database: distance, a pooler that restarts, a connection that hangs, another name. */
import net from "node:net";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import * as assert from "uvu/assert";
import { migratePostgres, postgresStore } from "../../src/stores/postgres/index.ts";
import type { Store } from "../../src/stores/store.ts";
import { freePort, until } from "../support/processes.ts";
import { postgresSuite, startPooler } from "../support/postgres.ts";

const soon = Math.ceil(Date.now() / 1000) + 3600;
const codeOf = (error: unknown): unknown => (error as { code?: unknown }).code;

/** Passes bytes on between a port of its own and another, each after a delay. */
async function startDelay(port: number, ms: number): Promise<{ port: number; close(): void }> {
  const own = await freePort();
  const sockets = new Set<net.Socket>();
  const proxy = net.createServer((near) => {
    const far = net.connect(port, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.on("data", (chunk: Uint8Array) => setTimeout(() => to.writable && to.write(chunk), ms));
      from.on("error", () => to.destroy());
      from.on("close", () => setTimeout(() => to.destroy(), ms));
    }
  });
  await new Promise<void>((resolve) => proxy.listen(own, "127.0.0.1", resolve));
  return {
    port: own,
    close() {
      proxy.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

await postgresSuite("PostgreSQL over a network", (it, server, db) => {
  let names = 0;
  const parameters = { pool: "3", statement_timeout: "1000", connect_timeout: "2" };
  const url = (more: Record<string, string> = {}, port = server.port): string => {
    const made = new URL(server.url("postgres", { ...parameters, schema: `s${names}`, ...more }));
    made.port = String(port);
    return made.href;
  };
  const prepare = async (): Promise<unknown> => ((names += 1), migratePostgres({ url: url() }));
  const isRevoked = async (store: Store, id: string) =>
    (await store.recentState!(undefined, [["blacklist", id]])).hasFact;
  /** What a case opens ends with the case, even if that fails: a feed would keep this process alive. */
  const opened: { close(): unknown }[] = [];
  async function open(at: string): Promise<Store> {
    const store = await postgresStore({ url: at });
    opened.push(store);
    return store;
  }
  it.after.each(async () => {
    for (let each = opened.pop(); each !== undefined; each = opened.pop()) await each.close();
  });

  it("50 ms away refuses what a near server revoked, and lets one successor stand", async () => {
    await prepare();
    const delay = await startDelay(server.port, 25);
    opened.push(delay);
    const near = await open(url());
    const far = await open(url({ max_lag: "200" }, delay.port));
    const delays: number[] = [];
    for (let i = 0; i < 20; i++) {
      const [one, two] = await Promise.all(
        [near, far].map((store, at) => store.putIfAbsent("successor", `s-${i}`, `by ${at}`, soon)),
      );
      assert.is(one, two);
      await near.putIfAbsent("blacklist", `jti-${i}`, "1", soon);
      const acknowledged = performance.now();
      while (!(await isRevoked(far, `jti-${i}`))) await sleep(1);
      delays.push(performance.now() - acknowledged);
      await far.putIfAbsent("blacklist", `back-${i}`, "1", soon);
      await until(() => isRevoked(near, `back-${i}`), "the near server hears it");
    }
    delays.sort((a, b) => a - b);
    console.log(
      `heard 50 ms away after ${delays[10]!.toFixed(0)} ms in the middle, ${delays.at(-1)!.toFixed(0)} at most`,
    );
  });

  it("does without the connection of its feed when that hangs, and makes another", async () => {
    await prepare();
    const own = await open(url());
    const other = await open(url({ max_lag: "100" }));
    let feeds: { pid: number }[] = [];
    const areKnown = async (): Promise<boolean> => {
      feeds = await db.run("select pid from pg_stat_activity where query like $1 and pid <> pg_backend_pid()", [
        `%pg_current_snapshot%"s${names}".facts%`,
      ]);
      return feeds.length === 2;
    };
    await until(areKnown, "both feeds have sent the statement by which they are known");
    for (const { pid } of feeds) process.kill(pid, "SIGSTOP"); // silently: nobody closes anything
    try {
      for (let i = 0; i < 30; i++) {
        await own.putIfAbsent("blacklist", `jti-${i}`, "1", soon);
        await sleep(110);
        assert.is(
          await isRevoked(other, `jti-${i}`),
          true,
          "what the memory does not know is looked up in the database",
        );
      }
      const isFresh = () => !(other.recentState!(undefined, [["blacklist", "x"]]) instanceof Promise);
      await until(isFresh, "another connection feeds the memory", 10_000);
    } finally {
      for (const { pid } of feeds) process.kill(pid, "SIGCONT");
    }
  });

  it("goes on after its database was renamed and has its name again, and says so meanwhile", async () => {
    await db.run("create database site");
    const here = new URL(url());
    here.pathname = "/site";
    await migratePostgres({ url: here.href });
    const store = await open(here.href);
    await store.putIfAbsent("blacklist", "before", "1", soon);
    const end = "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'site'";
    const rename = async (from: string, to: string): Promise<boolean> => {
      await db.run(end);
      return db.run(`alter database ${from} rename to ${to}`).then(
        () => true,
        () => false, // somebody was faster to connect again
      );
    };
    await until(() => rename("site", "moved"), "it is renamed");
    const write = async (id: string) => store.putIfAbsent("blacklist", id, "1", soon);
    await until(
      () =>
        write("meanwhile").then(
          () => false,
          (error: Error) => codeOf(error) === "STORE_UNAVAILABLE" && /has no database "site"/.test(error.message),
        ),
      "a write says that there is no such database",
    );
    assert.is(await db.run("alter database moved rename to site").then(() => true), true);
    await until(() => write("after").then(Boolean, () => false), "it writes again");
    await until(() => isRevoked(store, "before"), "it knows what it knew");
    await until(() => !(store.recentState!(undefined, [["blacklist", "x"]]) instanceof Promise), "it follows again");
  });

  it("goes on after its pooler was restarted", async () => {
    let pooler = await startPooler(server);
    if (pooler === undefined) return console.log("skipped: there is no PgBouncer: apt-get install pgbouncer");
    await prepare();
    opened.push({ close: () => pooler!.stop() });
    const direct = await open(url());
    const store = await open(url({ pooler: "transaction" }, pooler.port));
    const acknowledged: string[] = [];
    let isOver = false;
    const writing = (async () => {
      for (let i = 0; !isOver; i++) {
        try {
          await store.putIfAbsent("blacklist", `jti-${i}`, "1", soon);
          acknowledged.push(`jti-${i}`);
        } catch (error) {
          assert.is(codeOf(error), "STORE_UNAVAILABLE");
        }
        await sleep(5);
      }
    })();
    try {
      await sleep(200);
      await pooler.stop();
      await sleep(300);
      const before = acknowledged.length;
      pooler = (await startPooler(server, pooler.port))!;
      await until(() => acknowledged.length > before + 5, "it writes again");
    } finally {
      isOver = true;
      await writing;
    }
    for (const id of acknowledged) await until(() => isRevoked(direct, id), `${id} is known everywhere`);
    await direct.putIfAbsent("blacklist", "last", "1", soon);
    await until(() => isRevoked(store, "last"), "it follows again");
  });
});
