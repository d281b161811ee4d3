/**
 * What a store costs over HTTP, by ES256 and durable: login, verify, refresh without and with rotation, for the file store,
 * for PostgreSQL, and for Djoser on the same database, with 1, 2 and 4 server processes.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { Agent, request } from "undici";
import { createPasswords } from "../src/passwords/index.ts";
import { openStore } from "../src/stores/open.ts";
import { type Database, connect } from "../src/stores/postgres/connection.ts";
import { migratePostgres } from "../src/stores/postgres/index.ts";
import { readPostgresUrl } from "../src/stores/postgres/options.ts";
import { environment as djangoEnvironment, missingPackages, python } from "../test/fixtures/djoser/site.ts";
import { databasePassword, startPostgres } from "../test/support/postgres.ts";
import { cpuMsOf, familyOf } from "../test/support/processes.ts";
import { environmentWith, projectRoot, runtime, start, temporaryFolder } from "../test/support/runtime.ts";
import { unlimited } from "../test/support/server.ts";
import { median } from "../test/support/statistics.ts";
import { build, djoser, toldBy, versionsOfServers } from "./lib/programs.ts";
import { type Column, report } from "./lib/results.ts";
import { progressOf, quick, rotated, rounded, roundsOr, tidy, urlIn } from "./lib/tools.ts";

const rounds = roundsOr(quick ? 1 : 5);
const roundMs = quick ? 200 : 2000;
/** How many processes a server has, in turn. */
const processCounts = quick ? [2] : [1, 2, 4];
const chains = 32;
/** As many as Django's site of the tests has: what is measured here is all but the hash of a password. */
const iterations = 1000;
const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const signingKey = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const verifyingKey = createPublicKey(signingKey).export({ type: "spki", format: "pem" }).toString();
const agent = new Agent({ connections: chains });

const cases = ["login", "verify", "refresh", "refresh with rotation"] as const;
type Case = (typeof cases)[number];

interface Contestant {
  name: string;
  processes: number;
  username: string;
  prefix: string;
  start(isRotating: boolean): Promise<ChildProcess>;
  usesDatabase: boolean;
}

interface Measured {
  perSecond: number;
  /** Milliseconds of each for a request. */
  serverCpu: number;
  databaseCpu: number;
  inStatements: number;
}

async function post(url: string, data: object): Promise<Record<string, string>> {
  const options = { method: "POST", headers: { "content-type": "application/json" }, dispatcher: agent } as const;
  const { statusCode, body } = await request(url, { ...options, body: JSON.stringify(data) });
  const text = await body.text();
  if (statusCode !== 200) throw new Error(`${new URL(url).pathname}: ${statusCode} ${text}`);
  return JSON.parse(text) as Record<string, string>;
}

/** Starts our server on a store: on Node the built package, elsewhere the source. */
function startOurs(store: string, workers: number, isRotating: boolean): ChildProcess {
  const flags = ["--store", store, "--algorithm", "ES256", "--port", "0", "--request-log", "false", ...unlimited];
  flags.push("--hashing-iterations", String(iterations), "--workers", String(workers));
  flags.push("--rotate-refresh-tokens", String(isRotating), "--audit-log", "off");
  const env = environmentWith({ JWT_SIGNING_KEY: signingKey, NODE_ENV: "production" });
  if (runtime !== "node") return start(`src/serve/${runtime}.ts`, flags, { env });
  return spawn(process.execPath, ["dist/serve/node.js", ...flags], { cwd: projectRoot, env });
}

/** The environment of the Django site of the tests on a database of this server. */
function siteOn(port: number, isRotating: boolean): NodeJS.ProcessEnv {
  const folder = temporaryFolder();
  const database = { ENGINE: "django.db.backends.postgresql", NAME: "postgres", USER: "postgres", HOST: "127.0.0.1" };
  const all = { default: { ...database, PORT: String(port), PASSWORD: databasePassword, CONN_MAX_AGE: 600 } };
  const code = `import json\nfrom settings import *\nDATABASES = json.loads(${JSON.stringify(JSON.stringify(all))})\n`;
  writeFileSync(path.join(folder, "postgres_settings.py"), code);
  const jwt = { ALGORITHM: "ES256", SIGNING_KEY: signingKey, VERIFYING_KEY: verifyingKey };
  const rotation = { ROTATE_REFRESH_TOKENS: isRotating, BLACKLIST_AFTER_ROTATION: isRotating };
  const site = { secret: "the secret of a Django site that signs by ES256", simple_jwt: { ...jwt, ...rotation } };
  return { ...djangoEnvironment(site, ""), DJANGO_SETTINGS_MODULE: "postgres_settings", PYTHONPATH: folder };
}

const siteFolder = path.join(projectRoot, "test/fixtures/djoser");

function prepareSite(port: number): void {
  const input = JSON.stringify({ prepare: [{ username: "ada", password: "correct horse" }] });
  const options = { cwd: siteFolder, env: siteOn(port, false), input, encoding: "utf8" } as const;
  const { status, stderr } = spawnSync(python, ["manage.py"], options);
  if (status !== 0) throw new Error(`manage.py ended with ${status}: ${stderr}`);
}

async function addUser(url: string): Promise<void> {
  const store = await openStore(url, { endsSoon: true });
  const passwordHash = await createPasswords({ iterations }).hash("correct horse");
  await store.addUser({ username: "bench", passwordHash });
  await store.close();
}

/** CPU time of a process and its children so far, in milliseconds. */
const cpuOf = (pid: number): number => cpuMsOf(familyOf(pid)) ?? 0;

/** How long the database has spent in statements so far, in milliseconds. */
async function timeInStatements(db: Database): Promise<number> {
  const [row] = await db.run<{ ms: number }>(
    "select coalesce(sum(total_exec_time), 0)::double precision as ms from pg_stat_statements",
  );
  return row!.ms;
}

/** Starts a contestant, and measures what can be done with or without rotation. */
async function measure(
  contestant: Contestant,
  isRotating: boolean,
  db: Database,
  databasePid: number,
): Promise<[Case, Measured][]> {
  const child = await contestant.start(isRotating);
  const told = await toldBy(child, contestant.name, (text) => /runtime {2}|Booting worker/.test(text));
  const base = `${urlIn(told)}${contestant.prefix}/jwt`;
  const credentials = { username: contestant.username, password: "correct horse" };
  const found: [Case, Measured][] = [];
  try {
    for (const what of cases) {
      if ((what === "refresh with rotation") !== isRotating) continue;
      const pairs = await Promise.all(Array.from({ length: chains }, () => post(`${base}/create/`, credentials)));
      const once = async (pair: Record<string, string>): Promise<unknown> => {
        if (what === "login") return post(`${base}/create/`, credentials);
        if (what === "verify") return post(`${base}/verify/`, { token: pair.access });
        return Object.assign(pair, await post(`${base}/refresh/`, { refresh: pair.refresh }));
      };
      const run = async (ms: number): Promise<number> => {
        let done = 0;
        const end = performance.now() + ms;
        const chain = async (pair: Record<string, string>): Promise<void> => {
          for (; performance.now() < end; done++) await once(pair);
        };
        await Promise.all(pairs.map(chain));
        return done;
      };
      await run(roundMs / 5);
      const look = async () => [cpuOf(child.pid!), cpuOf(databasePid), await timeInStatements(db), performance.now()];
      const before = await look();
      const done = await run(roundMs);
      const [own, database, statements, ms] = (await look()).map((value, i) => value - before[i]!) as number[];
      const databaseCpu = contestant.usesDatabase ? database! / done : 0;
      const inStatements = contestant.usesDatabase ? statements! / done : 0;
      found.push([what, { perSecond: (1000 * done) / ms!, serverCpu: own! / done, databaseCpu, inStatements }]);
    }
  } finally {
    child.kill(child.spawnfile === python ? "SIGQUIT" : "SIGTERM"); // gunicorn ends its workers first
    if (child.exitCode === null) await once(child, "exit");
  }
  return found;
}

async function bench(): Promise<void> {
  if (runtime === "node") build();
  const server = await startPostgres({
    settings: { fsync: "on", max_connections: 200, shared_preload_libraries: "'pg_stat_statements'" },
  });
  if (server === undefined) throw new Error("npm has no PostgreSQL binaries for this platform");
  const own = server.url("postgres", { schema: "own" });
  const shared = server.url("postgres", { schema: "shared", django: "auth_user" });
  const file = `file:${temporaryFolder()}/data`;
  const db = await connect(readPostgresUrl(server.url("postgres", { pool: "1" })));
  await db.run("create extension pg_stat_statements");
  const missing = missingPackages();
  if (missing.length === 0) prepareSite(server.port);
  else console.log(`Djoser is not measured: ${missing.join(", ")} not installed`);
  for (const url of [own, ...(missing.length === 0 ? [shared] : [])]) await migratePostgres({ url });
  for (const url of [file, own, ...(missing.length === 0 ? [shared] : [])]) await addUser(url);

  const ours = (name: string, store: string) => (processes: number) => ({
    name,
    processes,
    username: "bench",
    prefix: "",
    usesDatabase: store !== file,
    start: async (isRotating: boolean) => startOurs(store, processes, isRotating),
  });
  const contestants: Contestant[] = [
    ...processCounts.map(ours("file", file)),
    ...processCounts.map(ours("PostgreSQL", own)),
  ];
  if (missing.length === 0) {
    contestants.push(...processCounts.map(ours("PostgreSQL, Django's tables", shared)));
    for (const processes of processCounts) {
      const args = ["-m", "gunicorn", "-w", String(processes), "--graceful-timeout", "1", "-b", "127.0.0.1:0", "wsgi"];
      const startSite = async (isRotating: boolean) =>
        spawn(python, args, {
          cwd: siteFolder,
          env: siteOn(server.port, isRotating),
          stdio: ["ignore", "ignore", "pipe"],
        });
      contestants.push({
        name: djoser,
        processes,
        username: "ada",
        prefix: "/auth",
        usesDatabase: true,
        start: startSite,
      });
    }
  }

  const found = new Map<string, { contestant: Contestant; what: Case; all: Measured[] }>();
  const step = progressOf("postgres", rounds - 1, contestants.length); // each case warms up by itself
  for (let round = 0; round < rounds; round++) {
    for (const contestant of rotated(contestants, round)) {
      for (const isRotating of [false, true]) {
        for (const [what, measured] of await measure(contestant, isRotating, db, server.pid())) {
          const key = [what, contestant.name, contestant.processes].join();
          const entry = found.get(key) ?? { contestant, what, all: [] };
          found.set(key, entry);
          entry.all.push(measured);
        }
      }
      step();
    }
  }
  await agent.close();
  await db.close();
  await server.stop();

  const rows = [...found.values()].map(({ contestant: { name, processes }, what, all }) => {
    const of = (value: (measured: Measured) => number): number => tidy(median(all.map(value)));
    return {
      case: what,
      store: name,
      processes,
      per_second: of(({ perSecond }) => perSecond),
      per_cpu_second: of(({ serverCpu }) => 1000 / serverCpu),
      with_database: of(({ serverCpu, databaseCpu }) => 1000 / (serverCpu + databaseCpu)),
      statements_us: of(({ inStatements }) => 1000 * inStatements),
    };
  });
  rows.sort((a, b) => cases.indexOf(a.case) - cases.indexOf(b.case));
  const columns: Column[] = [
    { key: "case", title: "case" },
    { key: "store", title: "store" },
    { key: "processes", title: "processes" },
    { key: "per_second", title: "per second", text: rounded },
    { key: "per_cpu_second", title: "per CPU second", text: rounded },
    { key: "with_database", title: "with the database's", text: rounded },
    { key: "statements_us", title: "µs in statements", text: rounded },
  ];
  const title = `ES256, durable, ${chains} connections, load and database on the same cores, median of ${rounds} round${rounds === 1 ? "" : "s"}`;
  report("postgres", [{ title, columns, rows }], versionsOfServers(["pg", "jose"]));
}

await bench();
process.exit(0);
