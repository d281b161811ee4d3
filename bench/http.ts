/**
 * The real server over sockets, beside a bare `node:http` server that parses JSON and answers `{}`: each in its own
 * process, in turns, load from this one.
 */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import process from "node:process";
import { Pool } from "undici";
import { runtime, start, until } from "../test/runtime.ts";
import { makeTokens, median, print, quick, rotated, rounded, secret } from "./tools.ts";

const rounds = quick ? 3 : 9;
const roundMs = quick ? 300 : 1000;
const connections = 32;

function serveBare(): void {
  const headers = { "content-type": "application/json", "content-length": "2" };
  const server = createServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    request.on("end", () => {
      JSON.parse(Buffer.concat(chunks).toString());
      response.writeHead(200, headers).end("{}");
    });
  });
  server.listen(0, "127.0.0.1", () => {
    console.log(`http://127.0.0.1:${(server.address() as { port: number }).port}`);
  });
  process.once("SIGTERM", () => process.exit(0));
}

interface Started {
  child: ChildProcess;
  url: string;
  told: string;
}

async function started(file: string, args: string[], env: Record<string, string> = {}): Promise<Started> {
  const child = start(file, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"] });
  let told = "";
  child.stdout!.on("data", (chunk: Uint8Array) => (told += chunk.toString()));
  const url = () => /http:\/\/127\.0\.0\.1:\d+/.exec(told)?.[0];
  const isComplete = () => url() !== undefined && (args.includes("--bare") || told.includes("curl"));
  await until(() => isComplete() || child.exitCode !== null, `${file} listens`, 30_000);
  if (child.exitCode !== null) throw new Error(`${file} ended with code ${child.exitCode}`);
  return { child, url: url()!, told };
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
  title: string;
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
  const isKnown = cpuBefore !== undefined && cpuAfter !== undefined;
  return { rate, cpuPerRequest: isKnown ? ((cpuAfter - cpuBefore) * 1000) / requests : undefined };
}

async function measure(): Promise<void> {
  const flags = ["--port", "0", "--store", "memory:", "--request-log", "false", "--hashing-iterations", "1"];
  const server = await started(`src/serve/${runtime}.ts`, flags, { JWT_SIGNING_KEY: secret });
  const bare = await started("bench/http.ts", ["--bare"]);
  const pools = [server, bare].map(({ url }) => new Pool(url, { connections, pipelining: 1 }));
  try {
    await compare(server, bare, pools[0]!, pools[1]!);
  } finally {
    await Promise.all(pools.map((pool) => pool.close()));
    for (const { child } of [server, bare]) {
      child.kill("SIGTERM");
      await once(child, "exit");
    }
  }
}

async function compare(server: Started, bare: Started, serverPool: Pool, barePool: Pool): Promise<void> {
  const credentials = /-d '(\{.*\})'/.exec(server.told)![1]!;
  const login = await serverPool.request({
    method: "POST",
    path: "/jwt/create/",
    headers: { "content-type": "application/json" },
    body: credentials,
  });
  const { refresh } = (await login.body.json()) as { refresh: string };
  const bodies = makeTokens(quick ? 20_000 : 100_000, "1").map((token) => JSON.stringify({ token }));
  let next = 0;
  const nextBody = () => bodies[(next = (next + 1) % bodies.length)]!;
  const isEmpty = (text: string) => text === "{}";
  const isAccess = (text: string) => text.startsWith('{"access":"');
  const isPair = (text: string) => text.startsWith('{"refresh":"');

  const ours = { pid: server.child.pid!, pool: serverPool };
  const theirs = { pid: bare.child.pid!, pool: barePool };
  const subjects: Subject[] = [
    { title: "bare node:http", ...theirs, path: "/", body: nextBody, isGood: isEmpty },
    { title: "verify, tokens in turn", ...ours, path: "/jwt/verify/", body: nextBody, isGood: isEmpty },
    { title: "verify, one token", ...ours, path: "/jwt/verify/", body: () => bodies[0]!, isGood: isEmpty },
    { title: "refresh", ...ours, path: "/jwt/refresh/", body: () => JSON.stringify({ refresh }), isGood: isAccess },
    { title: "create, hash of 1 iteration", ...ours, path: "/jwt/create/", body: () => credentials, isGood: isPair },
  ];
  const results = new Map(subjects.map((subject) => [subject, [] as Round[]]));
  for (let round = -1; round < rounds; round++) {
    for (const subject of rotated(subjects, Math.max(0, round))) {
      const result = await load(subject, roundMs);
      if (round >= 0) results.get(subject)!.push(result); // the first round warms up
    }
  }

  const bareRate = median(results.get(subjects[0]!)!.map(({ rate }) => rate));
  const rows = [...results].map(([{ title }, all]) => {
    const rate = median(all.map((round) => round.rate));
    const cpu = all.map(({ cpuPerRequest }) => cpuPerRequest).filter((value) => value !== undefined);
    return [title, rounded(rate), (rate / bareRate).toFixed(2), cpu.length === 0 ? "-" : median(cpu).toFixed(0)];
  });
  const title = `over HTTP, ${connections} connections, median of ${rounds} rounds`;
  print(title, ["", "per second", "to bare", "server CPU µs/request"], rows);
  console.log(
    `  ${Object.entries(statuses)
      .map(([name, count]) => `${name} ${rounded(count)}`)
      .join(", ")}`,
  );
  if (statuses.good === 0 || statuses["4xx"] + statuses["5xx"] + statuses.other > 0) process.exitCode = 1;
}

if (process.argv.includes("--bare")) serveBare();
else if (runtime === "bun") console.log("\nhttp: Bun's own undici has no Pool; run this one under Node or Deno");
else await measure();
