/**
 * Verifying while every core hashes passwords: how long others wait during a storm of logins, here and at what a user would
 * pick instead; and how many logins per second that makes, beside the bare hash. Every server is a process of its own on
 * this runtime, and so is its load, which runs on Node whatever serves, so that all are measured with the same clock.
 *
 * The load verifies at a fixed pace, new tokens each time: a closed loop would saturate a server by itself, and what is to
 * be seen is how long an answer takes, not how many there are. A connection whose turn comes while it still waits skips it.
 */
import { Buffer } from "node:buffer";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { pbkdf2, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { createPasswords } from "../src/passwords/index.ts";
import { missingPackages, prepareDatabase } from "../test/fixtures/djoser/site.ts";
import { projectRoot, runtime, start, temporaryFolder, until } from "../test/runtime.ts";
import { expressApp, fastifyApp, invalid, serveFetch, tell } from "./contestants.ts";
import { type Column, report, versionsOf } from "./results.ts";
import {
  credentialsIn,
  makeTokens,
  median,
  percentile,
  perSecond,
  quick,
  rotated,
  rounded,
  secret,
  tidy,
  urlIn,
} from "./tools.ts";

const cores = availableParallelism();
/** Logins kept under way: no core is idle for want of one. */
const loginsAtOnce = 4 * cores;
const verifyConnections = 4;
/** Of each connection; together some percent of what a core can do. */
const verifiesPerSecond = 100;

const rounds = quick ? 1 : 5;
const idleMs = quick ? 500 : 2000;
const stormMs = quick ? 1500 : 6000;

const password = "correct horse";
const ours = "jwt-endpoints";
/** Where Debian puts Djoser, as for the tests. */
const python = "/usr/bin/python3";

// The peers: verify and log in, as small as their documentation makes it.

/** The same hash as ours, off the main thread. On Deno `node:crypto` takes four times as long as WebCrypto. */
async function isPassword(given: string, stored: string): Promise<boolean> {
  const [, count, salt, hash] = stored.split("$");
  const iterations = Number(count);
  let derived: Uint8Array;
  if (runtime === "deno") {
    const key = await crypto.subtle.importKey("raw", Buffer.from(given), "PBKDF2", false, ["deriveBits"]);
    const parameters = { name: "PBKDF2", hash: "SHA-256", salt: Buffer.from(salt!), iterations };
    derived = new Uint8Array(await crypto.subtle.deriveBits(parameters, key, 256));
  } else derived = await promisify(pbkdf2)(given, salt!, iterations, 32, "sha256");
  return timingSafeEqual(derived, Buffer.from(hash!, "base64"));
}

interface Credentials {
  username: string;
  password: string;
}
const claims = (token_type: string, seconds: number) => {
  const iat = Math.floor(Date.now() / 1000);
  return { token_type, exp: iat + seconds, iat, jti: crypto.randomUUID().replaceAll("-", ""), user_id: "1" };
};
const pairClaims = () => ({ refresh: claims("refresh", 86_400), access: claims("access", 300) });
const refused = { non_field_errors: ["Unable to log in with provided credentials."] };

async function fastifyPeer(stored: string): Promise<void> {
  const { app, sign } = await fastifyApp(false);
  app.post<{ Body: Credentials }>("/jwt/create/", async ({ body }, reply) => {
    if (!(await isPassword(body.password, stored))) return reply.code(400).send(refused);
    const { refresh, access } = pairClaims();
    return { refresh: sign(refresh), access: sign(access) };
  });
  tell(Number(new URL(await app.listen({ port: 0, host: "127.0.0.1" })).port));
}

async function expressPeer(stored: string): Promise<void> {
  const { app, jwt } = await expressApp();
  app.post("/jwt/create/", async ({ body }, response) => {
    if (!(await isPassword(body.password, stored))) return void response.status(400).json(refused);
    const { refresh, access } = pairClaims();
    response.json({ refresh: jwt.sign(refresh, secret), access: jwt.sign(access, secret) });
  });
  const server = app.listen(0, "127.0.0.1", () => tell((server.address() as { port: number }).port));
}

async function honoPeer(stored: string): Promise<void> {
  const { Hono } = await import("hono");
  const { SignJWT, jwtVerify } = await import("jose");
  const key = new TextEncoder().encode(secret);
  const sign = (all: object) => new SignJWT({ ...all }).setProtectedHeader({ alg: "HS256", typ: "JWT" }).sign(key);
  const app = new Hono();
  app.post("/jwt/verify/", async (c) => {
    const { token } = await c.req.json<{ token: string }>();
    try {
      await jwtVerify(token, key, { algorithms: ["HS256"] });
      return c.json({});
    } catch {
      return c.json(invalid, 400);
    }
  });
  app.post("/jwt/create/", async (c) => {
    const body = await c.req.json<Credentials>();
    if (!(await isPassword(body.password, stored))) return c.json(refused, 400);
    const { refresh, access } = pairClaims();
    return c.json({ refresh: await sign(refresh), access: await sign(access) });
  });
  await serveFetch(app.fetch);
}

const peers: Record<string, (stored: string) => Promise<void>> = {
  "Fastify, fast-jwt": fastifyPeer,
  "Express, jsonwebtoken": expressPeer,
  "Hono, jose": honoPeer,
};

// Starting servers.

interface Server {
  child: ChildProcess;
  url: string;
  /** In front of `/jwt/…`. */
  prefix: string;
  credentials: Credentials;
}

async function addressOf(child: ChildProcess, title: string, isComplete = (_told: string) => true): Promise<string> {
  let told = "";
  const hear = (chunk: Uint8Array) => (told += chunk.toString());
  child.stdout?.on("data", hear);
  child.stderr?.on("data", hear);
  const hasEnded = () => child.exitCode !== null;
  await until(() => hasEnded() || (told.includes("http://") && isComplete(told)), `${title} listens`, 30_000);
  if (hasEnded()) throw new Error(`${title} ended with code ${child.exitCode}: ${told}`);
  return told;
}

async function startOurs(): Promise<Server> {
  const flags = ["--port", "0", "--store", "memory:", "--request-log", "false"];
  const env = { ...process.env, NODE_ENV: "production", JWT_SIGNING_KEY: secret };
  const child = start(`src/serve/${runtime}.ts`, flags, { env });
  const told = await addressOf(child, ours, (text) => text.includes("curl"));
  return { child, url: urlIn(told)!, prefix: "", credentials: credentialsIn(told) };
}

async function startPeer(title: string, stored: string): Promise<Server> {
  const env = { ...process.env, NODE_ENV: "production" };
  const child = start("bench/storm.ts", ["--serve", title, stored], { env });
  return { child, url: urlIn(await addressOf(child, title))!, prefix: "", credentials: { username: "ada", password } };
}

/** The Django site of the tests, but with as strong a hash as ours and a worker process for every core. */
async function startDjoser(iterations: number): Promise<Server> {
  const site = path.join(projectRoot, "test/fixtures/djoser");
  const { database } = prepareDatabase({ secret }, [{ username: "ada", password }]);
  const folder = temporaryFolder();
  const hasher = "from django.contrib.auth.hashers import PBKDF2PasswordHasher as Base";
  writeFileSync(
    path.join(folder, "strong_hasher.py"),
    `${hasher}\nclass Hasher(Base):\n    iterations = ${iterations}\n`,
  );
  const settings = 'from settings import *\nPASSWORD_HASHERS = ["strong_hasher.Hasher"]\n';
  writeFileSync(path.join(folder, "strong_settings.py"), settings);
  const args = ["-m", "gunicorn", "-w", String(cores), "--graceful-timeout", "1", "-b", "127.0.0.1:0", "wsgi"];
  const env = {
    ...process.env,
    DJANGO_SETTINGS_MODULE: "strong_settings",
    DJOSER_SITE: JSON.stringify({ secret, database }),
    PYTHONDONTWRITEBYTECODE: "1",
    PYTHONPATH: folder,
  };
  const child = spawn(python, args, { cwd: site, env, stdio: ["ignore", "ignore", "pipe"] });
  process.on("exit", () => child.kill("SIGTERM")); // gunicorn then ends its workers too
  const url = urlIn(await addressOf(child, "gunicorn"))!;
  return { child, url, prefix: "/auth", credentials: { username: "ada", password } };
}

// The load: a program that is told a phase per line, and answers each with a line of figures.

interface Phase {
  ms: number;
  /** Whether tokens are verified meanwhile. */
  verify: boolean;
  /** Logins kept under way. */
  logins: number;
}

interface Figures {
  p50: number;
  p99: number;
  max: number;
  verifies: number;
  loginsPerSecond: number;
  /** Logins refused with 503, because too many wait already. */
  busy: number;
  /** All other answers but the right ones, and connections that broke. */
  errors: number;
  firstError?: string;
}

/** The load's side of a phase. */
async function runPhase({ url, prefix, credentials }: Omit<Server, "child">, phase: Phase): Promise<Figures> {
  const { Pool } = await import("undici"); // here, since Bun's own has none
  const headers = { "content-type": "application/json" };
  const found: Figures = { p50: 0, p99: 0, max: 0, verifies: 0, loginsPerSecond: 0, busy: 0, errors: 0 };
  const ask = async (pool: InstanceType<typeof Pool>, route: string, body: string): Promise<[number, string]> => {
    try {
      const path = `${prefix}/jwt/${route}/`;
      const answer = await pool.request({ method: "POST", path, headers, body });
      return [answer.statusCode, await answer.body.text()];
    } catch (error) {
      return [0, (error as Error).message];
    }
  };
  const wrong = (route: string, status: number): void => {
    found.errors++;
    found.firstError ??= `${route} answered ${status === 0 ? "nothing" : status}`;
  };

  const loginPool = new Pool(url, { connections: loginsAtOnce, pipelining: 1 });
  let isOver = false;
  let done = 0;
  const begin = performance.now();
  let lastEnd = begin;
  const loginBody = JSON.stringify(credentials);
  const keepLoggingIn = async () => {
    while (!isOver) {
      const [status, text] = await ask(loginPool, "create", loginBody);
      lastEnd = performance.now();
      if (status === 200 && text.includes('"access"')) done++;
      else if (status === 503) {
        found.busy++;
        await sleep(100);
      } else {
        wrong("create", status);
        await sleep(100);
      }
    }
  };
  const storm = Array.from({ length: phase.logins }, keepLoggingIn);
  while (phase.logins > 0 && done + found.busy + found.errors === 0) await sleep(10);

  const verifyPool = new Pool(url, { connections: verifyConnections, pipelining: 1 });
  const times: number[] = [];
  const verifyAtPace = async (connection: number) => {
    const every = 1000 / verifiesPerSecond;
    const bodies = makeTokens(Math.ceil(phase.ms / every) + 1, "1").map((token) => JSON.stringify({ token }));
    const first = performance.now() + (connection * every) / verifyConnections;
    const end = first + phase.ms;
    for (let turn = first; turn < end;) {
      await sleep(turn - performance.now());
      const sent = performance.now();
      const [status, text] = await ask(verifyPool, "verify", bodies.pop()!);
      const ended = performance.now();
      times.push(ended - sent);
      if (status !== 200 || text !== "{}") wrong("verify", status);
      do turn += every;
      while (turn < ended);
    }
  };
  if (phase.verify) await Promise.all(Array.from({ length: verifyConnections }, (_, i) => verifyAtPace(i)));
  else await sleep(phase.ms);
  isOver = true;
  await Promise.all(storm);
  await Promise.all([loginPool.close(), verifyPool.close()]);

  times.sort((a, b) => a - b);
  const at = (share: number) => percentile(times, share);
  const loginsPerSecond = done === 0 ? 0 : done / ((lastEnd - begin) / 1000);
  return { ...found, p50: at(0.5), p99: at(0.99), max: at(1), verifies: times.length, loginsPerSecond };
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function serveLoad(server: Omit<Server, "child">): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await runPhase(server, JSON.parse(line) as Phase)));
  }
}

/** This side of it. The program ends when its standard input does, so with this process at the latest. */
function startLoad({ url, prefix, credentials }: Server): (phase: Phase) => Promise<Figures> {
  const target = JSON.stringify({ url, prefix, credentials });
  const args = ["--import", "tsx", "bench/storm.ts", "--load", target];
  const child = spawn("node", args, { cwd: projectRoot, stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return async (phase) => {
    child.stdin.write(`${JSON.stringify(phase)}\n`);
    const { value, done } = await lines.next();
    if (done) throw new Error("the load has ended");
    return JSON.parse(value) as Figures;
  };
}

// Measuring.

/** Hashes per second with nothing around them, in a process of its own. */
async function bareHashes(stored: string): Promise<number> {
  const env = { ...process.env, UV_THREADPOOL_SIZE: String(Math.max(4, cores)) };
  const child = start("bench/storm.ts", ["--hash", stored, ...(quick ? ["--quick"] : [])], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let text = "";
  child.stdout!.on("data", (chunk: Uint8Array) => (text += chunk.toString()));
  await once(child, "close");
  return Number(text);
}

interface Measured {
  idle: Figures[];
  storm: Figures[];
}

async function measure(): Promise<void> {
  const stored = await createPasswords().hash(password);
  const iterations = Number(stored.split("$")[1]);
  const servers = new Map<string, Server>();
  const notes: string[] = [];
  try {
    servers.set(ours, await startOurs());
    for (const title of Object.keys(peers)) servers.set(title, await startPeer(title, stored));
    const missing = missingPackages();
    if (missing.length === 0) servers.set("Djoser, gunicorn", await startDjoser(iterations));
    else notes.push(`Djoser is not measured: ${missing.join(", ")} not installed`);
    await compare(servers, stored, notes);
  } finally {
    for (const { child } of servers.values()) {
      if (child.exitCode !== null) continue;
      child.kill(child.spawnfile.includes("python") ? "SIGQUIT" : "SIGKILL"); // gunicorn ends its workers first
      await once(child, "exit");
    }
  }
}

async function compare(servers: Map<string, Server>, stored: string, notes: string[]): Promise<void> {
  const loads = new Map([...servers].map(([title, server]) => [title, startLoad(server)]));
  const found = new Map([...servers.keys()].map((title): [string, Measured] => [title, { idle: [], storm: [] }]));
  const creates: { ours: number; bare: number }[] = [];
  for (const load of loads.values()) {
    await load({ ms: quick ? 200 : 1000, verify: true, logins: loginsAtOnce }); // warms up; Djoser stores a strong hash
    await load({ ms: quick ? 200 : 1000, verify: true, logins: 0 });
  }
  for (let round = 0; round < rounds; round++) {
    for (const title of rotated([...servers.keys()], round)) {
      const load = loads.get(title)!;
      found.get(title)!.idle.push(await load({ ms: idleMs, verify: true, logins: 0 }));
      found.get(title)!.storm.push(await load({ ms: stormMs, verify: true, logins: loginsAtOnce }));
      progress(`round ${round + 1} of ${rounds}, ${title}`);
    }
    const logIn = async () =>
      (await loads.get(ours)!({ ms: stormMs, verify: false, logins: loginsAtOnce })).loginsPerSecond;
    const first = round % 2 === 0 ? await logIn() : undefined; // who comes first changes
    const bare = await bareHashes(stored);
    creates.push({ bare, ours: first ?? (await logIn()) });
  }
  progress("");
  tellAll(found, creates, notes);
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

/** Of the peers: packages in `node_modules`, and Djoser where it is measured. */
function peerVersions(): Record<string, string> {
  const versions = versionsOf(["fastify", "fast-jwt", "express", "jsonwebtoken", "hono", "jose"]);
  if (missingPackages().length > 0) return versions;
  for (const name of ["djoser", "django", "gunicorn"]) {
    const program = `import importlib.metadata as m; print(m.version("${name}"))`;
    const { status, stdout } = spawnSync(python, ["-c", program], { encoding: "utf8" });
    if (status === 0) versions[name] = stdout.trim();
  }
  return versions;
}

function tellAll(found: Map<string, Measured>, creates: { ours: number; bare: number }[], notes: string[]): void {
  const ms = (value: number) => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
  const times = (value: number) => value.toFixed(value < 10 ? 2 : 1);
  const columns: Column[] = [
    { key: "server", title: "server" },
    { key: "idle_p50_ms", title: "idle p50 ms", text: ms },
    { key: "idle_p99_ms", title: "p99", text: ms },
    { key: "idle_max_ms", title: "max", text: ms },
    { key: "storm_p50_ms", title: "storm p50 ms", text: ms },
    { key: "storm_p99_ms", title: "p99", text: ms },
    { key: "storm_max_ms", title: "max", text: ms },
    { key: "p99_to_idle", title: "p99 to idle", text: times },
    { key: "verifies_per_second", title: "verified per s", text: rounded },
    { key: "logins_per_second", title: "logins per s", text: (value) => value.toFixed(1) },
    { key: "refused_busy", title: "503 busy", text: rounded },
    { key: "errors", title: "errors", text: rounded },
  ];
  const of = (all: Figures[], field: "p50" | "p99" | "loginsPerSecond" | "verifies") =>
    tidy(median(all.map((figures) => figures[field])));
  const maxOf = (all: Figures[]) => tidy(Math.max(...all.map(({ max }) => max)));
  const sum = (all: Figures[], field: "busy" | "errors") => all.reduce((total, figures) => total + figures[field], 0);
  const rows = [...found].map(([server, { idle, storm }]) => ({
    server,
    idle_p50_ms: of(idle, "p50"),
    idle_p99_ms: of(idle, "p99"),
    idle_max_ms: maxOf(idle),
    storm_p50_ms: of(storm, "p50"),
    storm_p99_ms: of(storm, "p99"),
    storm_max_ms: maxOf(storm),
    p99_to_idle: tidy(of(storm, "p99") / of(idle, "p99")),
    verifies_per_second: tidy(of(storm, "verifies") / (stormMs / 1000)),
    logins_per_second: of(storm, "loginsPerSecond"),
    refused_busy: sum([...idle, ...storm], "busy"),
    errors: sum([...idle, ...storm], "errors"),
  }));
  const asked = verifyConnections * verifiesPerSecond;
  const title = `verify, ${asked} per second on ${verifyConnections} connections, idle and while ${loginsAtOnce} logins are under way, median of ${rounds} rounds (max of all)`;
  const create = {
    logins_per_second: tidy(median(creates.map((round) => round.ours))),
    hashes_per_second: tidy(median(creates.map((round) => round.bare))),
    ratio: tidy(median(creates.map((round) => round.ours / round.bare))),
  };
  const createColumns: Column[] = [
    { key: "logins_per_second", title: "logins per s", text: (value) => value.toFixed(1) },
    { key: "hashes_per_second", title: "bare hashes per s", text: (value) => value.toFixed(1) },
    { key: "ratio", title: "ratio", text: (value) => value.toFixed(3) },
  ];
  const createTitle = `create, ${loginsAtOnce} at a time, to the bare hash, ${rounds} rounds`;
  const tables = [
    { title, columns, rows },
    { title: createTitle, columns: createColumns, rows: [create] },
  ];
  report("storm", tables, peerVersions());
  for (const note of notes) console.log(`  ${note}`);
  for (const [server, { idle, storm }] of found) {
    const first = [...idle, ...storm].find(({ firstError }) => firstError !== undefined)?.firstError;
    if (first !== undefined) console.log(`  ${server}: ${first}`);
    if (first !== undefined && server === ours) process.exitCode = 1;
  }
}

const [role, ...rest] = process.argv.slice(2);
if (role === "--serve") await peers[rest[0]!]!(rest[1]!);
else if (role === "--load") await serveLoad(JSON.parse(rest[0]!) as Omit<Server, "child">);
else if (role === "--hash") {
  const hash = () => isPassword(password, rest[0]!);
  await hash();
  console.log(await perSecond(hash, stormMs, loginsAtOnce));
} else {
  await measure();
  process.exit(); // ends the loads
}
