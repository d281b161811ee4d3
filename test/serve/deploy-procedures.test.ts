/**
 * The procedures of the READMEs (backup, restore, a lost password), run as they are written there, with the real programs,
 * beside servers at work.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createPasswords } from "../../src/index.ts";
import { openStore } from "../../src/stores/open.ts";
import type { Store } from "../../src/stores/store.ts";
import { isPasswordOf, usersOf } from "../support/commands.ts";
import { commandsIn } from "../support/documents.ts";
import { type Binaries, findBinaries, startPostgres } from "../support/postgres.ts";
import { finished, until } from "../support/processes.ts";
import { command, environmentWith, runtime, startProgram, temporaryFolder } from "../support/runtime.ts";
import { type Running, json, logIn, serve } from "../support/server.ts";
import { hasTerminal, shellLine, typeAt } from "../support/terminal.ts";

const it = suite(`${runtime} procedures of deployment`);

const guide = "src/serve/deploy/README.md";
const documentedFolder = "/var/lib/jwt-endpoints";
const flags = ["--rotate-refresh-tokens", "true", "--refresh-grace", "0"];
const environment = environmentWith({ JWT_HASHING_ITERATIONS: "1000" });
const passwordHash = await createPasswords({ iterations: 1000 }).hash("correct horse");

/** Makes a folder to work in, in which the shell finds this runtime's program as `jwt-endpoints`. */
function workplace(): { folder: string; env: Record<string, string> } {
  const folder = temporaryFolder();
  const program = path.join(folder, "bin/jwt-endpoints");
  mkdirSync(path.dirname(program));
  writeFileSync(program, `#!/bin/sh\nexec ${shellLine(...command("src/cli/main.ts"))} "$@"\n`);
  chmodSync(program, 0o755);
  return { folder, env: { ...environment, PATH: `${path.dirname(program)}:${process.env["PATH"]}` } };
}

type Place = ReturnType<typeof workplace>;

/** Runs commands as they are written, but for the names given, and checks that each ends well and without a warning. */
async function run(commands: string, names: Record<string, string>, { folder, env }: Place): Promise<string> {
  const here = Object.entries(names).reduce((text, [name, value]) => text.replaceAll(name, value), commands);
  const { code, stdout, stderr } = await finished(startProgram("sh", ["-ec", here], { cwd: folder, env }));
  assert.equal([code, stderr], [0, ""], here);
  return stdout;
}

interface Pair {
  refresh: string;
  access: string;
}

/** A client of a server, which keeps what it was told. */
function clientOf({ send }: Running) {
  const post = async (route: string, data: unknown) => {
    const { status, text } = await send(route, { method: "POST", headers: json, body: JSON.stringify(data) });
    return { status, body: JSON.parse(text) as Pair };
  };
  return {
    async logIn(username: string, password = "correct horse"): Promise<Pair> {
      const { status, text } = await send("/jwt/create/", logIn(username, password));
      assert.is(status, 200, text);
      return JSON.parse(text) as Pair;
    },
    async refresh({ refresh }: Pair): Promise<Pair> {
      const { status, body } = await post("/jwt/refresh/", { refresh });
      assert.is(status, 200, JSON.stringify(body));
      return body;
    },
    logOut: async ({ refresh }: Pair) => assert.is((await post("/jwt/logout/", { refresh })).status, 200),
    isRefused: async ({ refresh }: Pair): Promise<boolean> => (await post("/jwt/refresh/", { refresh })).status === 400,
    isKnown: async ({ access }: Pair): Promise<boolean> =>
      (await send("/users/me/", { headers: { authorization: `Bearer ${access}` } })).status === 200,
  };
}

type Client = ReturnType<typeof clientOf>;

/** Logs users in, refreshes, logs out and removes, and returns what a backup must know of that. */
async function makeHistory(store: Store, client: Client) {
  for (let i = 0; i < 30; i++) await store.addUser({ username: `user${i}`, passwordHash });
  const revoked: Pair[] = [];
  const used: Pair[] = [];
  const valid: Pair[] = [];
  for (let i = 0; i < 6; i++) {
    const first = await client.logIn(`user${i}`);
    const second = await client.refresh(first);
    if (i % 2 === 0) {
      await client.logOut(second);
      revoked.push(first, second);
    } else {
      valid.push(second);
      used.push(first);
    }
  }
  assert.ok(await store.removeUser((await store.findUserByUsername("user29"))!.id));
  return { revoked, used, valid };
}

/** Logs in, refreshes, and adds users, without a pause until it is stopped. */
function startWriting(store: Store, client: Client) {
  let [isStopped, count] = [false, 0];
  const work = async (name: string) => {
    for (let pair = await client.logIn(name); !isStopped; count++) {
      pair = count % 5 === 0 ? await client.logIn(name) : await client.refresh(pair);
      await store.addUser({ username: `late${name}-${count}`, passwordHash });
    }
  };
  const all = Promise.all(["user10", "user11", "user12", "user13"].map(work));
  return {
    count: () => count,
    async stop() {
      isStopped = true;
      await all;
    },
  };
}

const namesOf = async (url: string): Promise<string[]> => (await usersOf(url)).map(({ username }) => username);

/** Returns the warnings and failures of a server, but for the few iterations of tests and the reuse that these provoke. */
const complaintsOf = (server: Running): string =>
  server.errors().replaceAll(/^.*"code":"(weak_setting|refresh_reuse)".*\n/gm, "");

/** Checks that a restored server knows all that was acknowledged before the backup. */
async function checkRestored(
  client: Client,
  { revoked, used, valid }: Awaited<ReturnType<typeof makeHistory>>,
): Promise<Pair[]> {
  for (const pair of revoked) assert.ok(await client.isRefused(pair), "a revoked token stays revoked");
  const next: Pair[] = [];
  for (const pair of valid) next.push(await client.refresh(pair));
  assert.ok(await client.isRefused(used[0]!), "a used token is known to be used");
  assert.ok(await client.isRefused(next[0]!), "and ends its session");
  return next.slice(1);
}

it("a backup of a live store has all that was acknowledged before, and restores into an empty folder", async () => {
  const place = workplace();
  const [live, restored] = ["live", "restored"].map((name) => path.join(place.folder, name)) as [string, string];
  const server = await serve(["--store", `file:${live}`, ...flags]);
  await until(() => server.output().includes("curl"), "the first user is made");
  const password = /shown only once: (\S+)/.exec(server.output())![1]!;
  const client = clientOf(server);
  const store = await openStore(`file:${live}`);
  const history = await makeHistory(store, client);
  const writing = startWriting(store, client);
  await until(() => writing.count() > 20, "there are writes", 20_000);
  const before = await namesOf(`file:${live}`);
  const begun = writing.count();
  const listed = await run(commandsIn(guide, /cp -a \S+ backup/), { [documentedFolder]: live }, place);
  assert.ok(writing.count() > begun, "writes went on");
  await writing.stop();
  await store.close();
  assert.match(listed, /^admin /m);
  assert.is(await server.stop(), 0);

  await run(commandsIn(guide, /cp -a backup/), { [documentedFolder]: restored }, place);
  assert.is(statSync(restored).mode & 0o777, 0o700);
  for (const name of readdirSync(restored)) assert.is(statSync(path.join(restored, name)).mode & 0o777, 0o600, name);
  const second = await serve(["--store", `file:${restored}`, ...flags, "--audit-log", "off"]);
  const known = new Set(await namesOf(`file:${restored}`));
  for (const name of before) assert.ok(known.has(name), name);
  assert.not.ok(known.has("user29"), "a removed user stays removed");
  const its = clientOf(second);
  const left = await checkRestored(its, history);
  const admin = await its.logIn("admin", password);

  await run(commandsIn(guide, /keys rotate/), { [documentedFolder]: restored }, place);
  await until(async () => !(await its.isKnown(admin)), "earlier tokens are invalid");
  for (const pair of left) assert.ok(await its.isRefused(pair));
  assert.ok(await its.isKnown(await its.logIn("admin", password)));
  assert.is(await second.stop(), 0);
  assert.is(complaintsOf(second), "");
});

const resetsPassword =
  "a lost admin password is set on a running server, which needs no restart, and ends the old sessions";
if (!hasTerminal) {
  console.log(`skipped, as there is no util-linux \`script\` to make a terminal: ${resetsPassword}`);
  it.skip(resetsPassword);
} else {
  it(resetsPassword, async () => {
    const place = workplace();
    const folder = path.join(place.folder, "data");
    const server = await serve(["--store", `file:${folder}`, ...flags]);
    await until(() => server.output().includes("curl"), "the first user is made");
    const lost = /shown only once: (\S+)/.exec(server.output())![1]!;
    const client = clientOf(server);
    const old = await client.logIn("admin", lost);
    assert.ok(await client.isKnown(old));
    const line = commandsIn(guide, /user passwd/).replaceAll(documentedFolder, folder);
    const answer = "hunter with a new password\r";
    const { code, screen } = await typeAt(line, [answer, answer], { cwd: place.folder, env: place.env });
    assert.match(screen, 'changed the password of "admin"');
    assert.is(code, 0);
    const early: Pair[] = []; // of logins before the server has read the change
    const isChanged = async () => {
      const { status, text } = await server.send("/jwt/create/", logIn("admin", lost));
      if (status === 200) early.push(JSON.parse(text) as Pair);
      return status === 400;
    };
    await until(isChanged, "the lost password is refused", 1000);
    for (const pair of [old, ...early]) assert.not.ok(await client.isKnown(pair));
    for (const pair of early) assert.ok(await client.isRefused(pair));
    assert.ok(await client.isRefused(old));
    assert.ok(await client.isKnown(await client.logIn("admin", answer.trim())));
    assert.is(await server.stop(), 0);
  });
}

/** Returns PostgreSQL binaries of a version that the installed `pg_dump` can read, or why there are none. */
async function serverForDump(): Promise<Binaries | string> {
  const dump = spawnSync("pg_dump", ["--version"], { encoding: "utf8" }).stdout;
  const major = / (\d+)/.exec(dump ?? "")?.[1];
  if (major === undefined) return "there is no pg_dump: apt-get install postgresql";
  const folder = `/usr/lib/postgresql/${major}/bin`;
  if (existsSync(`${folder}/postgres`)) return { postgres: `${folder}/postgres`, initdb: `${folder}/initdb` };
  const ours = await findBinaries();
  const version = ours && spawnSync(ours.postgres, ["--version"], { encoding: "utf8" }).stdout;
  if (ours === undefined || Number(/ (\d+)/.exec(version!)![1]) > Number(major)) {
    return `pg_dump ${major} is too old, and there is no server of its version: apt-get install postgresql`;
  }
  return ours;
}

const restoresDatabase =
  "a dump of a live database has all that was acknowledged before, and restores into another server";
const binaries = await serverForDump();
if (typeof binaries === "string") {
  console.log(`skipped, as ${binaries}: ${restoresDatabase}`);
  it.skip(restoresDatabase);
} else {
  it(restoresDatabase, async () => {
    const place = workplace();
    const [old, another] = [await startPostgres({ binaries }), await startPostgres({ binaries })];
    const [from, to] = [old!, another!].map((each) => each.url().replaceAll("'", "%27")) as [string, string];
    const env = { JWT_SIGNING_KEY: "a key of the servers on one database" };
    await run(`jwt-endpoints db migrate --store '${from}'`, {}, place);
    const server = await serve(flags, { ...env, JWT_STORE: from });
    const client = clientOf(server);
    const store = await openStore(from);
    const history = await makeHistory(store, client);
    const writing = startWriting(store, client);
    await until(() => writing.count() > 20, "there are writes", 20_000);
    const before = await namesOf(from);
    const commands = commandsIn("src/stores/postgres/README.md", /pg_dump/);
    const names = {
      "postgres://jwt:secret@db.example.org/site": from,
      "postgres://jwt:secret@new.example.org/site": to,
    };
    await run(commands, names, place);
    await writing.stop();
    await store.close();
    assert.is(await server.stop(), 0);
    await old!.stop();

    const second = await serve([...flags, "--audit-log", "off"], { ...env, JWT_STORE: to });
    const users = await usersOf(to);
    for (const name of before)
      assert.ok(
        users.some(({ username }) => username === name),
        name,
      );
    assert.ok(
      await isPasswordOf(
        users.find(({ username }) => username === "user20"),
        "correct horse",
      ),
    );
    const its = clientOf(second);
    await checkRestored(its, history);
    assert.ok(await its.isKnown(await its.logIn("user20")));
    assert.is(await second.stop(), 0);
    assert.is(complaintsOf(second), "");
    await another!.stop();
  });
}

it.run();
