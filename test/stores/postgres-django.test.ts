/** Django on the same database: its users log in here, and each side sees the changes of the other. */
import { spawn, spawnSync } from "node:child_process";
import path from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type JwtEndpoints, createJwtEndpoints } from "../../src/index.ts";
import { type Database, connect } from "../../src/stores/postgres/connection.ts";
import { migratePostgres, postgresStore } from "../../src/stores/postgres/index.ts";
import { readPostgresUrl } from "../../src/stores/postgres/options.ts";
import type { SessionStore, Store } from "../../src/stores/store.ts";
import { type TestServer, databasePassword, skipWithoutPostgres, startPostgres } from "../support/postgres.ts";
import { projectRoot } from "../support/runtime.ts";
import { until } from "../support/processes.ts";

const python = "/usr/bin/python3";
const packages = { psycopg2: "python3-psycopg2", rest_framework_simplejwt: "python3-djangorestframework-simplejwt" };
const isThere = (module: string) => spawnSync(python, ["-c", `import ${module}`], { stdio: "ignore" }).status === 0;
const missing = Object.entries(packages).flatMap(([module, name]) => (isThere(module) ? [] : [name]));
const secret = "the secret that the Django site and the endpoints share, 64 bytes";

interface Django {
  do<T = unknown>(name: string, ...args: unknown[]): Promise<T>;
  stop(): void;
}

function startDjango(server: TestServer): Django {
  const database = { NAME: "postgres", USER: "postgres", PASSWORD: databasePassword, HOST: "127.0.0.1" };
  const site = { secret, database: { ...database, PORT: String(server.port) } };
  const child = spawn(python, [path.join(projectRoot, "test/fixtures/postgres/django_site.py")], {
    env: { ...process.env, DJANGO_SITE: JSON.stringify(site), PYTHONDONTWRITEBYTECODE: "1" },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const waiting: ((line: string) => void)[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => waiting.shift()!(line));
  return {
    async do<T>(name: string, ...args: unknown[]) {
      const line = await new Promise<string>((resolve) => {
        waiting.push(resolve);
        child.stdin.write(`${JSON.stringify([name, ...args])}\n`);
      });
      const [result, error] = JSON.parse(line) as [T, string | null];
      if (error !== null) throw new Error(`Django: ${error}`);
      return result;
    },
    stop: () => void child.kill(),
  };
}

const server = missing.length === 0 ? await startPostgres() : undefined;
if (missing.length > 0) {
  console.log(`skipped, as there is no Django site to share a database with: apt-get install ${missing.join(" ")}`);
  const skipped = suite("PostgreSQL shared with Django");
  skipped.skip("takes Django");
  skipped.run();
} else if (server === undefined) skipWithoutPostgres("PostgreSQL shared with Django");
else {
  const it = suite("PostgreSQL shared with Django");
  const url = server.url("postgres", { django: "auth_user", pool: "3" });
  let site: Django;
  let store: Store & SessionStore;
  let app: JwtEndpoints;
  let db: Database;
  const post = async (name: string, data: object): Promise<[number, Record<string, string>]> => {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(data) };
    const response = await app.fetch(new Request(`http://localhost/jwt/${name}/`, init));
    return [response.status, (await response.json()) as Record<string, string>];
  };
  const logIn = (username: string, password: string) => post("create", { username, password });
  const isRefused = (token: string | undefined) => async () => (await post("verify", { token }))[0] === 400;

  it.before(async () => {
    site = startDjango(server);
    await site.do("migrate");
    await site.do("add", "early", "correct horse");
    const blacklisted = await site.do<string>("token_of", "early");
    await site.do("blacklist", blacklisted);
    await migratePostgres({ url });
    store = await postgresStore({ url });
    db = await connect(readPostgresUrl(url));
    const settings = { store, signingKey: secret, updateLastLogin: true, hashing: { iterations: 1000 } };
    app = createJwtEndpoints({ ...settings, sessions: true });
    assert.is((await post("refresh", { refresh: blacklisted }))[0], 400, "what was blacklisted before is refused");
  });

  it("adds nothing that Django would migrate, and nothing when it is migrated again", async () => {
    assert.equal(await migratePostgres({ url }), []);
    await site.do("check");
  });

  it("logs in the users that Django made, and writes Django's columns", async () => {
    const id = await site.do<string>("add", "ada", "correct horse");
    const [status, { refresh }] = await logIn("ada", "correct horse");
    assert.is(status, 200);
    assert.is(await site.do("has_logged_in", "ada"), true);
    assert.is(await site.do("refused", refresh), null, "Django takes the token");
    assert.is((await logIn("ada", "wrong"))[0], 400);
    const user = await store.findUserById(id);
    assert.equal([user?.username, user?.email, user?.isActive], ["ada", "ada@example.org", true]);
    assert.is(await store.findUserById("no number"), undefined);
    assert.is((await store.findUserByUsername("ADA", "case-insensitive"))?.id, id);
  });

  it("accepts a password that was changed on either side", async () => {
    await site.do("add", "bea", "first password");
    const [, { access }] = await logIn("bea", "first password");
    await site.do("change", "bea", { password: "second password" });
    assert.is((await logIn("bea", "first password"))[0], 400);
    await until(isRefused(access), "a token from before the change is refused");
    const [status, pair] = await logIn("bea", "second password");
    assert.is(status, 200);
    assert.is((await post("verify", { token: pair.access }))[0], 200);
    const { id, passwordHash } = (await store.findUserByUsername("ada"))!;
    const bea = (await store.findUserByUsername("bea"))!;
    await store.updateUser(bea.id, { passwordHash });
    assert.is(await site.do("authenticates", "bea", "correct horse"), true, "hashes are Django's");
    assert.is((await post("verify", { token: pair.access }))[0], 200, "the store ends no session by itself");
    assert.is((await store.findUserById(id))?.passwordHash, passwordHash);
  });

  it("refuses whom the other side disabled or removed", async () => {
    await site.do("add", "carl", "correct horse");
    const [, { refresh, access }] = await logIn("carl", "correct horse");
    await site.do("change", "carl", { is_active: false });
    assert.is((await post("refresh", { refresh }))[0], 400);
    await until(isRefused(access), "the disabled user's token is refused");
    const carl = (await store.findUserByUsername("carl"))!;
    await store.updateUser(carl.id, { isActive: true });
    assert.is(await site.do("is_active", "carl"), true);
    const [, again] = await logIn("carl", "correct horse");
    await site.do("delete", "carl");
    await until(isRefused(again.access), "the removed user's token is refused");
    await site.do("add", "carl", "correct horse");
    const anew = await store.findUserByUsername("carl");
    assert.ok(anew!.tokensValidFrom! > 0, "the next user with the name has no earlier tokens");
  });

  it("keeps the blacklists in step, both ways, without a token's text", async () => {
    await site.do("add", "dora", "correct horse");
    const [, { refresh }] = await logIn("dora", "correct horse");
    assert.is(await site.do("refused", refresh), null);
    assert.is((await post("logout", { refresh }))[0], 200);
    assert.is(await site.do("refused", refresh), "Token is blacklisted");
    const token = await site.do<string>("token_of", "dora");
    assert.is((await post("refresh", { refresh: token }))[0], 200);
    await site.do("blacklist", token);
    assert.is((await post("refresh", { refresh: token }))[0], 400);
    await until(isRefused(token), "verify refuses it");
    const rows = await db.run<{ token: string }>(
      `select o.token from token_blacklist_outstandingtoken o join token_blacklist_blacklistedtoken b on b.token_id = o.id
       where o.jti = $1`,
      [JSON.parse(atob(refresh!.split(".")[1]!)).jti],
    );
    assert.equal(rows, [{ token: "" }]);
  });

  it("records the sessions of Django's users, and drops them with the user", async () => {
    const id = await site.do<string>("add", "finn", "correct horse");
    const [, { refresh, access }] = await logIn("finn", "correct horse");
    await logIn("finn", "correct horse");
    const request = new Request("http://localhost/jwt/sessions/", { headers: { authorization: `Bearer ${access}` } });
    const response = await app.fetch(request);
    assert.is(response.status, 200);
    assert.is((await store.listSessions(id)).length, 2);
    await post("logout", { refresh });
    assert.is((await store.listSessions(id)).length, 1);
    await site.do("delete", "finn");
    assert.equal(await store.listSessions(id), []);
    await site.do("check");
  });

  it("adds users that Django can use, and refuses taken names", async () => {
    const { passwordHash } = (await store.findUserByUsername("ada"))!;
    const user = await store.addUser({ username: "eve", passwordHash, email: "e@example.org" });
    assert.match(user.id, /^\d+$/);
    assert.is(await site.do("authenticates", "eve", "correct horse"), true);
    for (const username of ["eve", "EVE"]) {
      try {
        await store.addUser({ username, passwordHash }, "case-insensitive");
        assert.unreachable();
      } catch (error) {
        assert.is((error as { code?: string }).code, "USER_EXISTS");
      }
    }
    assert.is(await store.removeUser(user.id), true);
    assert.is(await store.wasRemoved("id", user.id), true);
    await site.do("check");
  });

  it("reads a custom model with UUIDs, where the e-mail address is the name", async () => {
    await db.run(`create table app_user (id uuid primary key, password varchar(128) not null, last_login timestamptz,
      is_superuser boolean not null, email varchar(254) not null unique, is_active boolean not null, bio text not null)`);
    const custom = server.url("postgres", { django: "public.app_user", django_username: "email", schema: "other" });
    await migratePostgres({ url: custom });
    const users = await postgresStore({ url: custom });
    const user = await users.addUser({ username: "f@example.org", passwordHash: "x", lastLogin: 5.25 });
    assert.equal(await users.findUserByUsername("f@example.org"), user);
    assert.equal(
      [user.email, user.lastLogin, (await users.findUserById(user.id.toUpperCase()))?.id],
      ["f@example.org", 5.25, user.id],
    );
    assert.is((await users.latestState!(user.id, [])).user?.username, "f@example.org");
    assert.is(await users.removeUser(user.id), true);
    assert.is((await users.recentState!(user.id, [])).wasRemoved, true);
    await users.close();
  });

  it("says which table or column is missing", async () => {
    for (const [parameters, expected] of [
      [{ django: "auth_person" }, /has no table auth_person; migrate the Django site first/],
      [{ django: "auth_user", django_username: "nick" }, /has no column nick in the table auth_user/],
      [{ django: "auth_user", schema: "none" }, /lacks the tables of this store; run: npm run db -- migrate/],
    ] as [Record<string, string>, RegExp][]) {
      const error = await postgresStore({ url: server.url("postgres", parameters) }).catch((reason: Error) => reason);
      assert.match((error as Error).message, expected);
    }
  });

  it.after(async () => {
    await store.close();
    await db.close();
    site.stop();
    await server.stop();
  });
  it.run();
}
