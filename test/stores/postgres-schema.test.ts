/** The tables of the store in PostgreSQL: made, brought up to date, refused, and what an operator is told to run. */
import { readFileSync } from "node:fs";
import path from "node:path";
import * as assert from "uvu/assert";
import { openStore } from "../../src/stores/open.ts";
import { connect } from "../../src/stores/postgres/connection.ts";
import { migratePostgres, postgresStore } from "../../src/stores/postgres/index.ts";
import { readPostgresUrl } from "../../src/stores/postgres/options.ts";
import { run } from "../support/commands.ts";
import { freePort } from "../support/processes.ts";
import { databasePassword, postgresSuite } from "../support/postgres.ts";
import { entry, unlimited } from "../support/server.ts";
import { rejection } from "../support/stores.ts";
import { projectRoot } from "../support/runtime.ts";

await postgresSuite("the tables in PostgreSQL", (it, server, db) => {
  let names = 0;
  const soon = Math.ceil(Date.now() / 1000) + 3600;
  /** Makes an empty database and returns its URL for a user. */
  async function newDatabase(user?: string): Promise<{ name: string; url: string }> {
    const name = `d${++names}`;
    await db.run(`create database ${name}`);
    const url = new URL(server.url(name));
    if (user !== undefined) [url.username, url.password] = [user, `secret of ${user}`];
    return { name, url: url.href };
  }
  /** Does something as the superuser in a database, statement by statement. */
  async function inDatabase<R>(name: string, ...statements: string[]): Promise<R[]> {
    const own = await connect(readPostgresUrl(server.url(name, { pool: "1" })));
    try {
      let rows: R[] = [];
      for (const statement of statements) rows = await own.run<R>(statement);
      return rows;
    } finally {
      await own.close();
    }
  }
  const tablesOf = (name: string) =>
    inDatabase<{ name: string }>(
      name,
      "select tablename as name from pg_tables where schemaname = 'jwt_endpoints' order by tablename",
    );
  const migrate = (url: string, ...more: string[]) => run("db", ["migrate", "--store", url, ...more]);

  it.before(async () => {
    for (const role of ["app", "maker"]) await db.run(`create role ${role} login password 'secret of ${role}'`);
  });

  it("are brought from version 1 to this one, with all that stands in them", async () => {
    const { name, url } = await newDatabase();
    const schema = readFileSync(path.join(projectRoot, "test/fixtures/postgres/schema-1.sql"), "utf8");
    await inDatabase(
      name,
      ...schema.split(/;\n(?=create|insert|$)/).filter((statement) => statement.trim() !== ""),
      `insert into jwt_endpoints.users (id, username, folded, email, password_hash, is_active, last_login)
       values ('1', 'ada', 'ada', 'a@example.org', 'x', true, 5.5), ('b\\\\ 2', 'bea', 'bea', '', 'y', false, null)`,
      `insert into jwt_endpoints.facts values ('blacklist', 'j', '1', ${soon})`,
      "insert into jwt_endpoints.marks values ('1', 77.25)",
      "insert into jwt_endpoints.removed values ('id', 'gone')",
    );
    const old = await rejection(() => postgresStore({ url }));
    assert.match(old.message, /has tables of version 1, not 2; run: npm run db -- migrate --store/);
    const statements = await migratePostgres({ url });
    assert.match(statements.join("\n"), /create table "jwt_endpoints"\.sessions/);
    assert.not.match(statements.join("\n"), /drop|create table "jwt_endpoints"\.facts/);
    assert.equal(await migratePostgres({ url }), [], "a second time does nothing");
    const store = await postgresStore({ url });
    const ada = { id: "1", username: "ada", email: "a@example.org", passwordHash: "x", isActive: true, lastLogin: 5.5 };
    assert.equal(await store.findUserById("1"), { ...ada, tokensValidFrom: 77.25 });
    assert.is(await store.get("blacklist", "j"), "1");
    assert.is(await store.wasRemoved("id", "gone"), true);
    const bea = await store.findUserByUsername("bea");
    const times = { createdAt: 1, lastUsedAt: 1, expiresAt: soon, ip: null, userAgent: null };
    for (const userId of ["1", bea!.id]) await store.addSession({ id: `of ${userId}`, userId, ...times });
    for (const id of ["1", bea!.id]) {
      assert.is((await store.listSessions(id)).length, 1);
      await store.removeUser(id);
      assert.equal(await store.listSessions(id), [], "the trigger that stood drops the sessions of a removed user");
    }
    await store.close();
  });

  it("are made once by servers that make them at the same time", async () => {
    const { name, url } = await newDatabase();
    const made = await Promise.all([1, 2, 3, 4].map(() => migratePostgres({ url })));
    assert.is(made.filter((statements) => statements.length > 0).length, 1);
    assert.equal(await inDatabase(name, "select version from jwt_endpoints.version"), [{ version: 2 }]);
  });

  it("are shown and not made by a dry run", async () => {
    const { name, url } = await newDatabase();
    const { code, stdout, stderr } = await migrate(url, "--dry-run");
    assert.equal([code, stderr], [0, ""]);
    assert.equal(await tablesOf(name), []);
    assert.match(stdout, /^create schema "jwt_endpoints";\n/);
    assert.is((await migrate(url)).code, 0);
    const after = await tablesOf(name);
    for (const table of after) assert.match(stdout, new RegExp(`create table "jwt_endpoints"\\.${table.name} `));
    assert.is((await migrate(url, "--dry-run")).stdout, "-- nothing is missing\n");
    // What it shows is all that is needed: an operator may run it by hand.
    const byHand = await newDatabase();
    await inDatabase(byHand.name, ...stdout.split(/;\n(?=create|insert|$)/).filter(Boolean));
    assert.equal(await tablesOf(byHand.name), after);
    const store = await postgresStore({ url: byHand.url, endsSoon: true });
    await store.close();
  });

  it("of a newer release are refused, by servers and by the command", async () => {
    const { name, url } = await newDatabase();
    await migratePostgres({ url });
    await inDatabase(name, "update jwt_endpoints.version set version = 3");
    for (const use of [() => postgresStore({ url }), () => migratePostgres({ url })]) {
      assert.match(
        (await rejection(use)).message,
        /are of version 3, made by a newer release; this one knows 2; update/,
      );
    }
    assert.equal(await inDatabase(name, "select version from jwt_endpoints.version"), [{ version: 3 }]);
  });

  it("tell a user without rights which one is missing and what grants it", async () => {
    const { name, url } = await newDatabase("app");
    await migratePostgres({ url: server.url(name) });
    const grants: string[] = [];
    const messages: string[] = [];
    for (;;) {
      const error = await postgresStore({ url, endsSoon: true }).then(
        (store) => store.close(),
        (reason: Error) => reason,
      );
      if (error === undefined) break;
      const { message } = error as Error;
      messages.push(message);
      const [, grant] = /run as the owner: (grant .*)$/.exec(message) ?? [];
      assert.ok(grant !== undefined && !grants.includes(grant), message);
      grants.push(grant);
      await inDatabase(name, grant);
    }
    assert.ok(grants.length > 0, "it had no rights at first");
    for (const [right, table] of [
      ["insert", "facts"],
      ["delete", "sessions"],
      ["update", "forgetting"],
      ["select", "removed"],
    ]) {
      await inDatabase(name, `revoke ${right} on jwt_endpoints.${table} from app`);
      const { message } = await rejection(() => postgresStore({ url, endsSoon: true }));
      assert.match(
        message,
        new RegExp(`^PostgreSQL at localhost:\\d+ does not let the user "app" ${right} in the table `),
      );
      assert.match(message, new RegExp(`"jwt_endpoints".${table}; run as the owner: grant select, insert, .* to app$`));
      await inDatabase(name, /run as the owner: (.*)$/.exec(message)![1]!);
    }
    const store = await postgresStore({ url });
    const { id } = await store.addUser({ username: "ada", passwordHash: "x" });
    await store.updateUser(id, { username: "bea", tokensValidFrom: 5 });
    assert.is(await store.putIfAbsent("k", "i", "v", soon), "v");
    assert.is(await store.removeUser(id), true, "what the trigger writes takes no rights of the server's");
    await store.flushExpired();
    await store.close();
  });

  it("tell a user who may not make them what grants it, and then are made", async () => {
    const { name, url } = await newDatabase("maker");
    const first = (await rejection(() => migratePostgres({ url }))).message;
    assert.match(
      first,
      /does not let the user "maker" make the schema jwt_endpoints in the database "d\d+"; run as the/,
    );
    await inDatabase(name, "create schema jwt_endpoints");
    for (let i = 0; i < 2; i++) {
      const { message } = await rejection(() => migratePostgres({ url }));
      const [, grant] = /run as the owner: (grant .*)$/.exec(message) ?? [];
      assert.ok(grant, message);
      await inDatabase(name, grant!);
      if (grant!.startsWith("grant create")) break;
    }
    assert.ok((await migratePostgres({ url })).length > 5);
    await (await postgresStore({ url })).close();
  });

  it("end the start of a server with one line where they can't be used", async () => {
    const { name, url } = await newDatabase("app");
    const start = async (store: string): Promise<string> => {
      const args = ["--store", store, "--port", "0", ...unlimited];
      const { code, stdout, stderr } = await run(entry, args, { env: { JWT_SIGNING_KEY: "k".repeat(40) } });
      assert.equal([code, stdout], [1, ""], stderr);
      assert.is(stderr.trimEnd().split("\n").length, 1, stderr);
      assert.not.match(stderr, /secret/);
      return stderr;
    };
    assert.match(await start(url), /lacks the tables of this store; run: npm run db -- migrate/);
    await migratePostgres({ url: server.url(name) });
    assert.match(await start(url), /run as the owner: grant usage on schema "jwt_endpoints" to app/);
    await inDatabase(name, 'grant usage on schema "jwt_endpoints" to app');
    assert.match(await start(url), /the user "app" select in the table .*; run as the owner: grant select, insert/);
  });

  it("are looked for at no URL that is wrong, and no password is repeated", async () => {
    const { name } = await newDatabase();
    await migratePostgres({ url: server.url(name) });
    const port = await freePort();
    const changed = (change: (url: URL) => unknown): string => {
      const url = new URL(server.url(name));
      change(url);
      return url.href;
    };
    const cases: [url: string, message: RegExp][] = [
      [changed((url) => (url.port = String(port))), /refuses connections: it is not running, or not there$/],
      [
        changed((url) => (url.pathname = "/none")),
        /has no database "none"; create it, then run: npm run db -- migrate/,
      ],
      [changed((url) => (url.password = "hunter2")), /refuses the password of the user "postgres"$/],
      [changed((url) => (url.username = "stranger")), /refuses the password of the user "stranger"$/],
      [changed((url) => url.searchParams.set("sslmode", "require")), /offers no TLS; add sslmode=disable/],
      [changed((url) => url.searchParams.set("sslmode", "prefer")), /sslmode .*accepted: disable, require, verify-ca/],
      [changed((url) => url.searchParams.set("max_lag", "soon")), /the parameter max_lag .*is no whole number/],
      [changed((url) => url.searchParams.set("password", "hunter2")), /"password" of the postgres: URL is unknown/],
      [changed((url) => url.searchParams.set("schema", "a b")), /the parameter schema .*is no name/],
      [`postgres://me:hunter2%@localhost:${port}/d`, /the password of the postgres: URL has a % that begins no code$/],
      ["postgres://me:hunter2@localhost:port/d", /^setting store is no URL; accepted: postgres:\/\/user/],
    ];
    for (const [url, expected] of cases) {
      const { message } = await rejection(() => openStore(url, { endsSoon: true }));
      assert.match(message, expected);
      for (const password of ["hunter2", databasePassword, encodeURIComponent(databasePassword), "\n"]) {
        assert.not.ok(message.includes(password), message);
      }
    }
  });
});
