/** Three servers, one of each runtime, on one database: random interleavings of all that issues and revokes, against a model. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { Agent, request } from "undici";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createJwtEndpoints } from "../../src/index.ts";
import { migratePostgres, postgresStore } from "../../src/stores/postgres/index.ts";
import type { Store } from "../../src/stores/store.ts";
import { until } from "../support/processes.ts";
import { skipWithoutPostgres, startPostgres } from "../support/postgres.ts";
import { type Random, randomFrom, seedFrom } from "../support/random.ts";
import { command, environmentWith, projectRoot } from "../support/runtime.ts";
import { unlimited } from "../support/server.ts";
import { type Pair, jtiOf, passwordHash, rotating, secret } from "../support/sessions.ts";

const bin = (name: string): string => path.join(projectRoot, "node_modules/.bin", name);
const runtimes: [name: string, program: string, args: string[]][] = [
  ["node", ...command("src/serve/node.ts")], // this suite runs on Node
  ["deno", bin("deno"), ["run", "-A", "src/serve/deno.ts"]],
  ["bun", bin("bun"), ["run", "src/serve/bun.ts"]],
];
/**
 * A memory of revocations that is older than this, in milliseconds, is not used: so a request that is sent later than this
 * after the acknowledgement has to be refused, however busy the machine is.
 */
const bound = 100;
const batches = 25;
const names = ["ada", "bea", "cid"];

interface Lineage {
  user: string;
  /** Refresh tokens in their order; `wasUsed` once one was exchanged for the next. */
  tokens: { text: string; wasUsed: boolean }[];
  access: string[];
  /** `undefined` after a login beside something that ends all sessions of the user: either may have been first. */
  ended: boolean | undefined;
  /** It changed the password and went on: its tokens then name the new mark, and those issued beside the change may not. */
  isKept?: true;
}

interface Reply {
  status: number;
  body: Pair & { non_field_errors?: string[] };
}

async function startServers(url: string, flags: string[]) {
  const dispatcher = new Agent({ connections: 20 });
  const args = ["--store", url, "--port", "0", "--hashing-iterations", "1", ...unlimited, ...rotating, ...flags];
  const children = runtimes.map(([, program, before]) =>
    spawn(program, [...before, ...args], {
      cwd: projectRoot,
      env: environmentWith({ JWT_SIGNING_KEY: secret }),
      stdio: ["ignore", "pipe", "pipe"],
    }),
  );
  process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));
  const origins = await Promise.all(
    children.map(async (child, index) => {
      let [told, errors] = ["", ""];
      child.stdout.on("data", (chunk: Uint8Array) => (told += chunk.toString()));
      child.stderr.on("data", (chunk: Uint8Array) => (errors += chunk.toString()));
      await until(
        () => told.includes("runtime  ") || child.exitCode !== null,
        `${runtimes[index]![0]} has started`,
        60_000,
      );
      assert.is(child.exitCode, null, errors);
      return /http:\/\/[^/\s]+/.exec(told)![0];
    }),
  );
  const headers = { "content-type": "application/json" };
  return {
    async post(server: number, endpoint: string, data: unknown, access?: string): Promise<Reply> {
      const authorization = access === undefined ? {} : { authorization: `Bearer ${access}` };
      const options = { method: "POST", headers: { ...headers, ...authorization }, dispatcher } as const;
      const response = await request(`${origins[server]}/${endpoint}/`, { ...options, body: JSON.stringify(data) });
      const text = await response.body.text();
      return { status: response.statusCode, body: (text === "" ? {} : JSON.parse(text)) as Reply["body"] };
    },
    async guard(server: number, access: string): Promise<number> {
      const options = { headers: { authorization: `Bearer ${access}` }, dispatcher };
      const response = await request(`${origins[server]}/users/me/`, options);
      await response.body.text();
      return response.statusCode;
    },
    async stop() {
      await dispatcher.close?.(); // not in the undici that Bun brings
      await Promise.all(
        children.map((child) => {
          const ended = new Promise((resolve) => child.once("exit", resolve));
          process.kill(child.pid!, "SIGTERM");
          return ended;
        }),
      );
    },
  };
}
type Servers = Awaited<ReturnType<typeof startServers>>;

/** What ends all sessions of a user, but for the one that changes the password. */
type Ending = "revoke" | "disable" | "change";

async function interleave(servers: Servers, store: Store, grace: string, random: Random, seed: number): Promise<void> {
  const { below, pick } = random;
  const operator = createJwtEndpoints({ store, signingKey: secret, hashing: { iterations: 1 }, log: () => {} });
  const passwords = new Map(names.map((name) => [name, "correct horse"]));
  const ids = new Map<string, string>();
  for (const name of names) ids.set(name, (await store.findUserByUsername(name))!.id);
  const disabled = new Set<string>();
  const anywhere = (): number => below(runtimes.length);
  let lineages: Lineage[] = [];
  let batch = 0;
  const explain = (what: string) => `${what} (SEED=${seed}, grace ${grace}, batch ${batch})`;
  const begun = async (user: string): Promise<Lineage | undefined> => {
    const credentials = { username: user, password: passwords.get(user) };
    const { status, body } = await servers.post(anywhere(), "jwt/create", credentials);
    if (status !== 200) return undefined;
    return { user, tokens: [{ text: body.refresh, wasUsed: false }], access: [body.access], ended: false };
  };
  const isRefused = async (server: number, token: string): Promise<boolean> => {
    const { status } = await servers.post(server, "jwt/verify", { token });
    assert.ok(status === 200 || status === 400, explain(`verify: ${status}`));
    return status === 400;
  };
  const delays: number[] = [];

  for (batch = 0; batch < batches; batch++) {
    for (const user of disabled) await store.updateUser(ids.get(user)!, { isActive: true });
    disabled.clear();
    while (lineages.filter(({ ended }) => ended === false).length < 3) lineages.push((await begun(pick(names)))!);
    // All is drawn before anything is sent, so that the seed alone decides.
    const ending = below(3) === 0 ? pick(["revoke", "disable", "change"] as const) : undefined;
    const changing = ending === "change" ? pick(lineages.filter(({ ended }) => ended === false)) : undefined;
    if (changing !== undefined) changing.isKept = true;
    const endedUser = ending === undefined ? undefined : (changing?.user ?? pick(names));
    const logins = below(3) === 0 ? [pick(names), pick(names)] : [];
    const requested = Array.from({ length: 2 + below(6) }, () => {
      const lineage = pick(lineages);
      const index = below(3) === 0 ? below(lineage.tokens.length) : lineage.tokens.length - 1;
      const kind = lineage !== changing && below(8) === 0 ? "logout" : "refresh";
      return { lineage, index, kind, server: anywhere(), text: lineage.tokens[index]!.text };
    });
    // Some tokens are used at all servers at once.
    for (const each of requested.filter(() => below(3) === 0)) {
      for (const [server] of runtimes.entries()) requested.push({ ...each, server });
    }
    const ends = new Set<Lineage>();
    const mayEnd = new Set<Lineage>();
    for (const { lineage, index, kind } of requested) {
      if (kind === "logout") ends.add(lineage);
      const successor = lineage.tokens[index + 1];
      if (kind === "logout" || grace !== "until-used" || successor === undefined) continue;
      if (successor.wasUsed) ends.add(lineage);
      else if (requested.some((other) => other.kind === "refresh" && other.text === successor.text))
        mayEnd.add(lineage);
    }
    // A session that ends beside its change of the password may or may not have been in time.
    const mayFail = changing !== undefined && (ends.has(changing) || mayEnd.has(changing));
    const next = `correct horse number ${batch} of ${grace}`;

    async function endSessions(what: Ending, user: string): Promise<boolean> {
      const id = ids.get(user)!;
      if (what === "revoke") return operator.revokeUser(id);
      if (what === "disable") {
        const mark = Math.round(Date.now()) / 1000;
        await store.updateUser(id, { isActive: false, tokensValidFrom: mark });
        return true;
      }
      const data = { current_password: passwords.get(user), new_password: next };
      const { status, body } = await servers.post(anywhere(), "users/set_password", data, changing!.access.at(-1));
      if (status !== 204) assert.ok(mayFail, explain(`set_password: ${status} ${JSON.stringify(body)}`));
      return status === 204;
    }
    const refusedBefore = new Set(lineages.filter(({ ended }) => ended === true));
    const [replies, fresh, hasEnded] = await Promise.all([
      Promise.all(
        requested.map(({ kind, server, text }) =>
          servers.post(server, kind === "logout" ? "jwt/logout" : "jwt/refresh", { refresh: text }),
        ),
      ),
      Promise.all(logins.map(begun)),
      ending !== undefined && endSessions(ending, endedUser!),
    ]);
    const acknowledged = performance.now();
    if (hasEnded) {
      for (const lineage of lineages) if (lineage.user === endedUser && lineage !== changing) ends.add(lineage);
    }
    if (ending === "change" && hasEnded) passwords.set(endedUser!, next);
    if (ending === "disable") disabled.add(endedUser!);

    for (const [i, { lineage, index, kind }] of requested.entries()) {
      const { status, body } = replies[i]!;
      if (kind === "logout") assert.is(status, 200, explain("logout"));
      else if (status === 400) {
        assert.ok(
          lineage.ended !== false || ends.has(lineage) || mayEnd.has(lineage),
          explain("refused, though alive"),
        );
        ends.add(lineage);
      } else {
        assert.is(status, 200, explain(`refresh: ${JSON.stringify(body)}`));
        assert.not.ok(refusedBefore.has(lineage), explain("an ended session came back"));
        lineage.access.push(body.access);
        lineage.tokens[index]!.wasUsed = true;
        const successor = (lineage.tokens[index + 1] ??= { text: body.refresh, wasUsed: false });
        const [mine, theirs] = [body.refresh, successor.text].map(lineage.isKept ? jtiOf : String);
        assert.is(mine, theirs, explain("two successors of one token"));
      }
    }
    for (const lineage of ends) lineage.ended = true;
    for (const [i, lineage] of fresh.entries()) {
      if (lineage === undefined) assert.is(logins[i], endedUser, explain("a login was refused"));
      else lineages.push({ ...lineage, ended: lineage.user === endedUser ? undefined : false });
    }

    // Where tokens are issued and at protected resources the database decides, so there is nothing to wait for.
    const gone = lineages.filter(({ ended }) => ended === true);
    for (const { tokens, access } of gone.slice(-6)) {
      const text = tokens.at(-1)!.text;
      assert.is((await servers.post(anywhere(), "jwt/refresh", { refresh: text })).status, 400, explain("refresh"));
      assert.is(await servers.guard(anywhere(), pick(access)), 401, explain("a protected resource"));
    }
    const [first] = ends;
    if (first !== undefined) {
      for (const [server] of runtimes.entries()) {
        while (!(await isRefused(server, first.access.at(-1)!))) await sleep(1);
      }
      delays.push(performance.now() - acknowledged);
    }
    await sleep(Math.max(0, acknowledged + bound - performance.now()));
    const checks = lineages.slice(-8).flatMap((lineage) => runtimes.map((_, server) => ({ lineage, server })));
    for (const lineage of lineages) {
      if (lineage.ended === undefined) lineage.ended = await isRefused(anywhere(), lineage.tokens.at(-1)!.text);
    }
    await Promise.all(
      checks.map(async ({ lineage, server }) => {
        for (const token of [lineage.tokens.at(-1)!.text, pick(lineage.access)]) {
          assert.is(await isRefused(server, token), lineage.ended, explain(`verify by ${runtimes[server]![0]}`));
        }
      }),
    );
    for (const user of names) {
      if (disabled.has(user)) assert.is(await begun(user), undefined, explain("a disabled user logged in"));
    }
    lineages = lineages.slice(-12);
  }
  delays.sort((a, b) => a - b);
  const middle = delays[delays.length >> 1] ?? 0;
  console.log(
    `refused by all ${middle.toFixed(0)} ms after the acknowledgement in the middle, ${delays.at(-1)!.toFixed(0)} at most`,
  );
}

const missing = runtimes.filter(([, program]) => !existsSync(program)).map(([name]) => name);
const server = missing.length === 0 ? await startPostgres() : undefined;
if (missing.length > 0) {
  console.log(`skipped, as this needs servers of all three runtimes: ${missing.join(" and ")} is not installed`);
  const skipped = suite("three servers on one database");
  skipped.skip("takes Node, Deno and Bun");
  skipped.run();
} else if (server === undefined) skipWithoutPostgres("three servers on one database");
else {
  const it = suite("three servers on one database");
  const seed = seedFrom();
  for (const grace of ["1h", "until-used"]) {
    it(`agree with a model through random interleavings, with the grace period ${grace}`, async () => {
      const url = server.url("postgres", { schema: `g_${grace.replace("-", "_")}`, max_lag: String(bound), pool: "6" });
      await migratePostgres({ url });
      const store = await postgresStore({ url, endsSoon: true });
      for (const username of names) await store.addUser({ username, passwordHash });
      const servers = await startServers(url, ["--refresh-grace", grace, "--sessions", "true"]);
      try {
        await interleave(servers, store, grace, randomFrom(seed), seed);
      } finally {
        await servers.stop();
        await store.close();
      }
    });
  }
  it.after(() => server.stop());
  it.run();
}
