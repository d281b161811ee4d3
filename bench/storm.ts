/**
 * Verifying while every core hashes passwords: how long requests take during a storm of logins, here and at the servers that
 * a user would pick instead; how long a refresh with rotation waits for the disk then; and how many logins per second that
 * makes, beside the bare hash. Every server is a process of its own on this runtime. Its load (`lib/storm-load.ts`) is one
 * on Node, whatever serves, so that all are measured with the same clock.
 */
import { Buffer } from "node:buffer";
import { pbkdf2, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import process from "node:process";
import { promisify } from "node:util";
import { createPasswords } from "../src/passwords/index.ts";
import { runtime, start, temporaryFolder } from "../test/support/runtime.ts";
import { median } from "../test/support/statistics.ts";
import { claimsOf } from "../test/support/tokens.ts";
import { byJose, expressApp, fastifyApp, honoApp, packages, serveFetch, serveNode } from "./lib/contestants.ts";
import {
  type Server,
  addDjoser,
  credentials,
  startLineServer,
  startOurs,
  startPeer,
  stopAll,
  versionsOfServers,
} from "./lib/programs.ts";
import { type Column, digits, report } from "./lib/results.ts";
import { type Figures, type Phase, pacedConnections, refreshesPerSecond, verifiesPerSecond } from "./lib/storm-load.ts";
import { ours, perSecond, progressOf, quick, rotated, rounded, roundsOr, tidy } from "./lib/tools.ts";

const cores = availableParallelism();
/** Logins kept under way: no core is idle for want of one. */
const loginsAtOnce = 4 * cores;
/** More hashes at once than Node and Bun have threads for. */
const hashesAtOnce = 8;

const rounds = roundsOr(quick ? 1 : 5);
const idleMs = quick ? 200 : 2000;
const stormMs = quick ? 500 : 6000;

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

type Credentials = Server["credentials"];
const pairClaims = () => ({ refresh: claimsOf("refresh", 86_400), access: claimsOf("access", 300) });
const refused = { non_field_errors: ["Unable to log in with provided credentials."] };

async function fastifyPeer(stored: string): Promise<void> {
  const { app, sign, serve } = await fastifyApp(false);
  app.post<{ Body: Credentials }>("/jwt/create/", async ({ body }, reply) => {
    if (!(await isPassword(body.password, stored))) return reply.code(400).send(refused);
    const { refresh, access } = pairClaims();
    return { refresh: sign(refresh), access: sign(access) };
  });
  await serve();
}

async function expressPeer(stored: string): Promise<void> {
  const { app, sign } = await expressApp();
  app.post("/jwt/create/", async ({ body }, response) => {
    if (!(await isPassword(body.password, stored))) return void response.status(400).json(refused);
    const { refresh, access } = pairClaims();
    response.json({ refresh: sign(refresh), access: sign(access) });
  });
  serveNode(app);
}

async function honoPeer(stored: string): Promise<void> {
  const { sign, verify } = await byJose();
  const app = await honoApp(verify);
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
  const stored = await createPasswords().hash(credentials.password);
  const servers = new Map<string, Server>();
  const loads = new Map<string, LoadOf>();
  try {
    servers.set(ours, await startOurs());
    for (const title of Object.keys(peers)) {
      servers.set(title, await startPeer(title, "bench/storm.ts", "--serve", title, stored));
    }
    const notes = await addDjoser(servers, cores, Number(stored.split("$")[1]));
    for (const [title, { child: _, ...target }] of servers) {
      loads.set(title, startLineServer("bench/lib/storm-load.ts", JSON.stringify(target)));
    }
    await compare(loads, stored, notes, await measureRefreshes());
  } finally {
    for (const { stop } of loads.values()) stop();
    await stopAll(servers.values());
  }
}

/** Measures refreshes with rotation on a server of their own: each successor is on the disk before the response. */
async function measureRefreshes(): Promise<Measured> {
  const store = `file:${temporaryFolder()}/data`;
  const flags = ["--rotate-refresh-tokens", "true", "--hashing-concurrency", String(hashesAtOnce)];
  const server = await startOurs(store, ...flags);
  const { child: _, ...target } = server;
  const { ask, stop } = startLineServer<Phase, Figures>("bench/lib/storm-load.ts", JSON.stringify(target));
  try {
    const found: Measured = { idle: [], storm: [] };
    const logins = 2 * hashesAtOnce;
    await ask({ ms: quick ? 200 : 1000, asks: "refresh", logins });
    for (let round = 0; round < rounds; round++) {
      found.idle.push(await ask({ ms: idleMs, asks: "refresh", logins: 0 }));
      found.storm.push(await ask({ ms: stormMs, asks: "refresh", logins }));
    }
    return found;
  } finally {
    stop();
    await stopAll([server]);
  }
}

type LoadOf = ReturnType<typeof startLineServer<Phase, Figures>>;

async function compare(
  loads: Map<string, LoadOf>,
  stored: string,
  notes: string[],
  refreshes: Measured,
): Promise<void> {
  const found = new Map([...loads.keys()].map((title): [string, Measured] => [title, { idle: [], storm: [] }]));
  const creates: { ours: number; bare: number }[] = [];
  const step = progressOf("storm", rounds, loads.size + 1);
  for (const { ask } of loads.values()) {
    await ask({ ms: quick ? 200 : 1000, asks: "verify", logins: loginsAtOnce }); // warms up; Djoser stores a strong hash
    await ask({ ms: quick ? 200 : 1000, asks: "verify", logins: 0 });
    step();
  }
  step();
  for (let round = 0; round < rounds; round++) {
    for (const [title, { ask }] of rotated([...loads], round)) {
      found.get(title)!.idle.push(await ask({ ms: idleMs, asks: "verify", logins: 0 }));
      found.get(title)!.storm.push(await ask({ ms: stormMs, asks: "verify", logins: loginsAtOnce }));
      step();
    }
    const { ask } = loads.get(ours)!;
    const logIn = async () => (await ask({ ms: stormMs, logins: loginsAtOnce })).loginsPerSecond;
    const first = round % 2 === 0 ? await logIn() : undefined; // who comes first changes
    const bare = await bareHashes(stored);
    creates.push({ bare, ours: first ?? (await logIn()) });
    step();
  }
  tellAll(found, creates, notes, refreshes);
}

function tellAll(
  found: Map<string, Measured>,
  creates: { ours: number; bare: number }[],
  notes: string[],
  refreshes: Measured,
): void {
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
    { key: "logins_per_second", title: "logins per s", text: digits(1) },
    { key: "refused_busy", title: "503 busy", text: rounded },
    { key: "errors", title: "errors", text: rounded },
  ];
  const of = (all: Figures[], field: "p50" | "p95" | "p99" | "loginsPerSecond" | "answers") =>
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
    verifies_per_second: tidy(of(storm, "answers") / (stormMs / 1000)),
    logins_per_second: of(storm, "loginsPerSecond"),
    refused_busy: sum([...idle, ...storm], "busy"),
    errors: sum([...idle, ...storm], "errors"),
  }));
  const asked = pacedConnections * verifiesPerSecond;
  const title = `verify, ${asked} per second on ${pacedConnections} connections, idle and while ${loginsAtOnce} logins are under way, median of ${rounds} rounds (max of all)`;
  const create = {
    logins_per_second: tidy(median(creates.map((round) => round.ours))),
    hashes_per_second: tidy(median(creates.map((round) => round.bare))),
    ratio: tidy(median(creates.map((round) => round.ours / round.bare))),
  };
  const createColumns: Column[] = [
    { key: "logins_per_second", title: "logins per s", text: digits(1) },
    { key: "hashes_per_second", title: "bare hashes per s", text: digits(1) },
    { key: "ratio", title: "ratio", text: digits(3) },
  ];
  const createTitle = `create, ${loginsAtOnce} at a time, to the bare hash, ${rounds} rounds`;
  const refreshRow = (when: string, all: Figures[]) => ({
    when,
    p50_ms: of(all, "p50"),
    p95_ms: of(all, "p95"),
    max_ms: maxOf(all),
    refreshes: all.reduce((total, { answers }) => total + answers, 0),
    errors: sum(all, "errors"),
  });
  const refreshColumns: Column[] = [
    { key: "when", title: "" },
    { key: "p50_ms", title: "p50 ms", text: ms },
    { key: "p95_ms", title: "p95", text: ms },
    { key: "max_ms", title: "max", text: ms },
    { key: "refreshes", title: "refreshes", text: rounded },
    { key: "errors", title: "errors", text: rounded },
  ];
  const refreshTitle = `refresh with rotation, ${pacedConnections * refreshesPerSecond} per second at most, file store, ${rounds} rounds`;
  const refreshRows = [
    refreshRow("idle", refreshes.idle),
    refreshRow(`${2 * hashesAtOnce} logins under way, ${hashesAtOnce} hashed at once`, refreshes.storm),
  ];
  const tables = [
    { title, columns, rows },
    { title: refreshTitle, columns: refreshColumns, rows: refreshRows },
    { title: createTitle, columns: createColumns, rows: [create] },
  ];
  report("storm", tables, versionsOfServers(packages));
  for (const note of notes) console.log(`  ${note}`);
  for (const [server, { idle, storm }] of [...found, [ours, refreshes] as const]) {
    const first = [...idle, ...storm].find(({ firstError }) => firstError !== undefined)?.firstError;
    if (first !== undefined) console.log(`  ${server}: ${first}`);
    if (first !== undefined && server === ours) process.exitCode = 1;
  }
}

const [role, ...rest] = process.argv.slice(2);
if (role === "--serve") await peers[rest[0]!]!(rest[1]!);
else if (role === "--hash") {
  const hash = () => isPassword(credentials.password, rest[0]!);
  await hash();
  console.log(await perSecond(hash, stormMs, loginsAtOnce));
} else await measure();
