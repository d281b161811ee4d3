/**
 * The real server over sockets beside what a user would pick instead and beside the runtime's bare server, each in its own
 * process, in turns; the load comes from this one. It may well be this side that is saturated, so the main figure is
 * requests per second of the server's own CPU time. Where the system allows it, servers share one core and the load has
 * the others.
 */
import { type ChildProcess, execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import process from "node:process";
import { Pool } from "undici";
import { runtime, start, until } from "../test/runtime.ts";
import { contestants } from "./contestants.ts";
import { credentialsIn, makeTokens, median, print, quick, rotated, rounded, secret, urlIn } from "./tools.ts";

const rounds = quick ? 2 : 9;
const roundMs = quick ? 200 : 1000;
const connections = 32;
const poolSize = quick ? 20_000 : 200_000;

interface Started {
  child: ChildProcess;
  pool: Pool;
  told: string;
}

async function started(file: string, args: string[], env: Record<string, string> = {}): Promise<Started> {
  const child = start(file, args, {
    env: { ...process.env, NODE_ENV: "production", ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let told = "";
  child.stdout!.on("data", (chunk: Uint8Array) => (told += chunk.toString()));
  const isComplete = () => urlIn(told) !== undefined && (file.includes("contestants") || told.includes("curl"));
  await until(() => isComplete() || child.exitCode !== null, `${file} ${args[0]} listens`, 30_000);
  if (child.exitCode !== null) throw new Error(`${file} ${args[0]} ended with code ${child.exitCode}`);
  pinTo(child.pid!, "0");
  return { child, pool: new Pool(urlIn(told)!, { connections, pipelining: 1 }), told };
}

/** Not every system can, and not every container may: then the system's scheduler has its way. */
function pinTo(pid: number, cores: string): void {
  if (availableParallelism() < 2) return;
  try {
    execFileSync("taskset", ["-a", "-c", "-p", cores, String(pid)], { stdio: "ignore" });
  } catch {
    // unpinned
  }
}

/** User and system time of a process, in ms; Linux only. */
function cpuMs(pid: number): number | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]!.split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10; // in ticks of 1/100 s
  } catch {
    return undefined;
  }
}

interface Subject {
  server: string;
  case: string;
  pid: number;
  pool: Pool;
  path: string;
  body: () => string;
  isGood: (text: string) => boolean;
}

interface Round {
  rate: number;
  cpuPerRequest: number | undefined;
}

const statuses = { good: 0, "4xx": 0, "5xx": 0, other: 0 };

async function load({ pid, pool, path, body, isGood }: Subject, ms: number): Promise<Round> {
  const headers = { "content-type": "application/json" };
  const begin = performance.now();
  const cpuBefore = cpuMs(pid);
  let requests = 0;
  const work = async () => {
    for (; performance.now() - begin < ms; requests++) {
      const answer = await pool.request({ method: "POST", path, headers, body: body() });
      const text = await answer.body.text();
      if (answer.statusCode >= 500) statuses["5xx"]++;
      else if (answer.statusCode >= 400) statuses["4xx"]++;
      else if (answer.statusCode === 200 && isGood(text)) statuses.good++;
      else statuses.other++;
    }
  };
  await Promise.all(Array.from({ length: connections }, work));
  const rate = requests / ((performance.now() - begin) / 1000);
  const cpuAfter = cpuMs(pid);
  const isKnown = cpuBefore !== undefined && cpuAfter !== undefined && requests > 0;
  return { rate, cpuPerRequest: isKnown ? ((cpuAfter - cpuBefore) * 1000) / requests : undefined };
}

async function measure(): Promise<void> {
  const flags = ["--port", "0", "--store", "memory:", "--request-log", "false", "--hashing-iterations", "1"];
  const servers = new Map<string, Started>();
  try {
    for (const title of Object.keys(contestants)) servers.set(title, await started("bench/contestants.ts", [title]));
    servers.set("ours", await started(`src/serve/${runtime}.ts`, flags, { JWT_SIGNING_KEY: secret }));
    pinTo(process.pid, `1-${availableParallelism() - 1}`);
    await compare(servers);
  } finally {
    for (const { child, pool } of servers.values()) {
      await pool.close();
      child.kill("SIGTERM");
      await once(child, "exit");
    }
  }
}

async function compare(servers: Map<string, Started>): Promise<void> {
  const ours = servers.get("ours")!;
  const credentials = JSON.stringify(credentialsIn(ours.told));
  const headers = { "content-type": "application/json" };
  const login = await ours.pool.request({ method: "POST", path: "/jwt/create/", headers, body: credentials });
  const { refresh } = (await login.body.json()) as { refresh: string };
  const bodies = makeTokens(poolSize, "1").map((token) => JSON.stringify({ token }));
  let next = 0;
  const nextBody = () => bodies[(next = (next + 1) % bodies.length)]!;
  const isEmpty = (text: string) => text === "{}";
  const cases: Omit<Subject, "server" | "pid" | "pool">[] = [
    { case: "verify, every token new", path: "/jwt/verify/", body: nextBody, isGood: isEmpty },
    { case: "verify, one token", path: "/jwt/verify/", body: () => bodies[0]!, isGood: isEmpty },
    {
      case: "refresh",
      path: "/jwt/refresh/",
      body: () => JSON.stringify({ refresh }),
      isGood: (text) => text.startsWith('{"access":"'),
    },
  ];
  const create = { path: "/jwt/create/", body: () => credentials, isGood: (text: string) => text.includes('"access"') };
  const subjects: Subject[] = [...servers].flatMap(([server, { child, pool }]) => {
    const own = { server, pid: child.pid!, pool };
    if (server === "bare") return [{ ...own, ...cases[0]!, case: "JSON" }];
    const subject = cases.map((each) => ({ ...own, ...each }));
    return server === "ours" ? [...subject, { ...own, ...create, case: "create, hash of 1 iteration" }] : subject;
  });

  const results = new Map(subjects.map((subject) => [subject, [] as Round[]]));
  for (let round = -1; round < rounds; round++) {
    for (const subject of rotated(subjects, Math.max(0, round))) {
      const result = await load(subject, roundMs);
      if (round >= 0) results.get(subject)!.push(result); // the first round warms up
    }
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Kround ${round + 1} of ${rounds}`);
  }
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");

  const cpuOf = (all: Round[]) => {
    const known = all.map(({ cpuPerRequest }) => cpuPerRequest).filter((value) => value !== undefined);
    return known.length === 0 ? undefined : median(known);
  };
  const [bareRounds] = [...results.values()];
  const [bareRate, bareCpu] = [median(bareRounds!.map(({ rate }) => rate)), cpuOf(bareRounds!)];
  const byCase = [...results].sort(([a], [b]) => a.case.localeCompare(b.case) || a.server.localeCompare(b.server));
  const rows = byCase.map(([{ server, case: title }, all]) => {
    const rate = median(all.map((round) => round.rate));
    const cpu = cpuOf(all);
    const spread = cpu === undefined ? [] : all.map(({ cpuPerRequest }) => cpuPerRequest!);
    return [
      title,
      server,
      cpu === undefined ? "-" : rounded(1e6 / cpu),
      cpu === undefined || bareCpu === undefined ? "-" : (bareCpu / cpu).toFixed(2),
      cpu === undefined
        ? "-"
        : `${cpu.toFixed(0)} (${Math.min(...spread).toFixed(0)}-${Math.max(...spread).toFixed(0)})`,
      rounded(rate),
      (rate / bareRate).toFixed(2),
    ];
  });
  const head = ["case", "server", "per CPU second", "to bare", "CPU µs (spread)", "per second", "to bare"];
  print(`over HTTP, ${connections} connections, ${poolSize} tokens, median of ${rounds} rounds`, head, rows);
  const counts = Object.entries(statuses).map(([name, count]) => `${name} ${rounded(count)}`);
  console.log(`  ${counts.join(", ")}`);
  if (statuses.good === 0 || statuses["4xx"] + statuses["5xx"] + statuses.other > 0) process.exitCode = 1;
}

if (runtime === "bun") console.log("\nhttp: Bun's own undici has no Pool; run this one under Node or Deno");
else await measure();
