/**
 * Runs a mix of requests for minutes and checks that memory and open descriptors stay level and every response is right.
 * `--minutes M` sets the duration (default 5).
 *
 * Sessions last seconds here. Facts of rotation expire with their tokens, so the store soon stops growing, and anything that
 * still grows is a leak. The load runs on Node, on whichever runtime the server runs.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { setInterval } from "node:timers";
import { projectRoot, runtime, start, temporaryFolder } from "../test/support/runtime.ts";
import { until } from "../test/support/processes.ts";
import { residentOf } from "../test/support/processes.ts";
import { median, percentile } from "../test/support/statistics.ts";
import { makeTokens } from "../test/support/tokens.ts";
import { isAllOfOurs, toldBy } from "./lib/programs.ts";
import { type Column, report } from "./lib/results.ts";
import { credentialsIn, ours, quick, rounded, secret, tidy, urlIn } from "./lib/tools.ts";

/** How often figures are taken. */
const sampleMs = quick ? 500 : 2000;
const refreshLifetime = quick ? 2 : 20; // seconds

function minutesAsked(): number {
  const at = process.argv.indexOf("--minutes");
  const minutes = at === -1 ? (quick ? 0.1 : 5) : Number(process.argv[at + 1]);
  if (minutes > 0 && Number.isFinite(minutes)) return minutes;
  console.error("--minutes takes a positive number");
  process.exit(1);
}

// The server: the real one, with its settings from the environment, that also tells how much of its heap is in use.

async function serve(): Promise<void> {
  process.argv.splice(2); // the server would take our arguments for its own
  const tell = () => console.log(`heap ${process.memoryUsage().heapUsed}`);
  setInterval(tell, sampleMs).unref();
  await import(`../src/serve/${runtime}.ts`);
}

// The load: a program that prints a line of figures with every sample.

interface Sample {
  /** Milliseconds to verify a new token. */
  p50: number;
  p99: number;
  /** Requests of all kinds since the last sample. */
  requests: number;
  /** Wrong responses with a count each, sent with a sample; they add up. */
  wrong: Record<string, number>;
}

interface Target {
  url: string;
  credentials: { username: string; password: string };
}

/** So many of each kind work at the same time. */
const workers = { verify: 12, "verify one": 4, "verify bad": 2, session: 8, login: 1, connection: 2 };
/** Between two refreshes of a session: thousands of facts are live at a time, not hundreds of thousands. */
const refreshPauseMs = 20;
const refreshesPerSession = 25;

async function runLoad({ url, credentials }: Target): Promise<void> {
  const { Client, Pool } = await import("undici"); // here, since Bun's own has none
  const pool = new Pool(url, { connections: 32, pipelining: 1 });
  const headers = { "content-type": "application/json" };
  const wrong: Record<string, number> = {};
  let times: number[] = [];
  let requests = 0;
  let isOver = false;

  type Asking = { request: InstanceType<typeof Pool>["request"] };
  async function ask(route: string, body: unknown, from: Asking = pool): Promise<[status: number, text: string]> {
    requests++;
    try {
      const request = { method: "POST", path: `/jwt/${route}/`, headers, body: JSON.stringify(body) } as const;
      const answer = await from.request(request);
      return [answer.statusCode, await answer.body.text()];
    } catch (error) {
      return [0, (error as Error).message];
    }
  }
  /** Counts a wrong response, without its text, which may contain a token. */
  const expect = (what: string, isRight: boolean, status: number): boolean => {
    const name = `${what}: ${status === 0 ? "no response" : status}`;
    if (!isRight) wrong[name] = (wrong[name] ?? 0) + 1;
    return isRight;
  };
  let fresh: string[] = [];
  const freshToken = (): string => {
    if (fresh.length === 0) fresh = makeTokens(secret, 500, "1");
    return fresh.pop()!;
  };
  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  const pairIn = (text: string) => JSON.parse(text) as { refresh: string; access: string };

  async function verifyGood(what: string, token: string, from?: Asking): Promise<void> {
    const begin = performance.now();
    const [status, text] = await ask("verify", { token }, from);
    if (what === "verify") times.push(performance.now() - begin);
    expect(what, status === 200 && text === "{}", status);
  }
  async function verifyBad(token: string): Promise<void> {
    const [status, text] = await ask("verify", { token });
    expect("verify bad", status === 400 && text === '{"non_field_errors":["Token is invalid or expired"]}', status);
  }

  const one = makeTokens(secret, 1, "1")[0]!;
  const isPair = (status: number, text: string) =>
    status === 200 && text.includes('"refresh"') && text.includes('"access"');
  const kinds: Record<keyof typeof workers, () => Promise<void>> = {
    verify: () => verifyGood("verify", freshToken()),
    "verify one": () => verifyGood("verify one", one),
    "verify bad": async () => {
      const token = freshToken();
      await verifyBad(`${token.slice(0, -8)}AAAAAAAA`);
      await verifyBad(token.slice(0, 40));
    },
    /** A login, refreshes that each return the next token, the last but one sent twice, and a logout. */
    async session() {
      const [status, text] = await ask("create", credentials);
      if (!expect("create", isPair(status, text), status)) return pause(100);
      let { refresh } = pairIn(text);
      for (let i = 0; i < refreshesPerSession && !isOver; i++) {
        const [refreshed, answer] = await ask("refresh", { refresh });
        if (!expect("refresh", isPair(refreshed, answer), refreshed)) return pause(100);
        const next = pairIn(answer).refresh;
        expect("refresh gives another token", next !== refresh, refreshed);
        if (i === refreshesPerSession - 1) {
          const [again, repeated] = await ask("refresh", { refresh });
          expect("refresh again, the same successor", again === 200 && pairIn(repeated).refresh === next, again);
        }
        refresh = next;
        await pause(refreshPauseMs);
      }
      const [out, nothing] = await ask("blacklist", { refresh });
      expect("blacklist", out === 200 && nothing === "{}", out);
      const [after, refusal] = await ask("refresh", { refresh });
      expect("refresh after logout", after === 400 && refusal.includes("Token is blacklisted"), after);
    },
    async login() {
      const [status, text] = await ask("create", credentials);
      if (expect("create", isPair(status, text), status)) await verifyGood("verify issued", pairIn(text).access);
      const [refused, answer] = await ask("create", { ...credentials, password: "wrong" });
      expect("create, wrong password", refused === 400 && answer.includes("Unable to log in"), refused);
      await pause(20);
    },
    /** Comes, asks once or a few times, and goes: every third one in the middle of a request. */
    async connection() {
      const client = new Client(url, { pipelining: 1 });
      const count = Math.floor(Math.random() * 4);
      for (let i = 0; i < count; i++) await verifyGood("verify on a connection of its own", freshToken(), client);
      if (count === 0) {
        void client.request({ method: "POST", path: "/jwt/verify/", headers, body: one }).catch(() => {});
        await pause(1);
        await client.destroy();
      } else await client.close();
      await pause(5);
    },
  };
  const working = Object.entries(workers).flatMap(([kind, count]) =>
    Array.from({ length: count }, async () => {
      while (!isOver) await kinds[kind as keyof typeof workers]();
    }),
  );
  const tell = () => {
    times.sort((a, b) => a - b);
    const sample: Sample = { p50: percentile(times, 0.5), p99: percentile(times, 0.99), requests, wrong };
    console.log(JSON.stringify(sample));
    times = [];
    requests = 0;
  };
  const timer = setInterval(tell, sampleMs);
  for await (const _ of process.stdin); // ends when the parent closes it or has ended
  isOver = true;
  await Promise.all(working);
  clearInterval(timer);
  await pool.close();
  tell();
}

// Watching.

interface Watched extends Sample {
  seconds: number;
  rss?: number;
  heap?: number;
  descriptors?: number;
}

const mebibyte = 1 << 20;

/** Of another process; `undefined` where there is no `/proc`. */
function descriptorsOf(pid: number): number | undefined {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return undefined;
  }
}
async function startServer(): Promise<{ child: ChildProcess; target: Target; heap: () => number | undefined }> {
  const env = {
    ...process.env,
    NODE_ENV: "production",
    PORT: "0",
    JWT_STORE: `file:${temporaryFolder()}`,
    JWT_SIGNING_KEY: secret,
    JWT_REQUEST_LOG: "false",
    JWT_THROTTLE: "false",
    JWT_THROTTLE_FAILURES: "false",
    JWT_THROTTLE_ROTATIONS: "false",
    JWT_HASHING_ITERATIONS: "1000",
    JWT_ROTATE_REFRESH_TOKENS: "true",
    JWT_REFRESH_TOKEN_LIFETIME: `${refreshLifetime}s`,
    JWT_ACCESS_TOKEN_LIFETIME: `${refreshLifetime}s`,
  };
  const args = ["--serve", ...(quick ? ["--quick"] : [])];
  const child = start("bench/soak.ts", args, { env, stdio: ["ignore", "pipe", "inherit"] });
  let heap: number | undefined;
  child.stdout!.on("data", (chunk: Uint8Array) => {
    const found = /heap (\d+)/.exec(chunk.toString());
    if (found !== null) heap = Number(found[1]);
  });
  const told = await toldBy(child, ours, isAllOfOurs);
  return { child, target: { url: urlIn(told)!, credentials: credentialsIn(told) }, heap: () => heap };
}

async function measure(minutes: number): Promise<void> {
  const { child: server, target, heap } = await startServer();
  const pid = server.pid!;
  const before = descriptorsOf(pid);
  const args = ["--import", "tsx", "bench/soak.ts", "--load", JSON.stringify(target), ...(quick ? ["--quick"] : [])];
  const load = spawn("node", args, { cwd: projectRoot, stdio: ["pipe", "pipe", "inherit"] });
  const begin = performance.now();
  const watched: Watched[] = [];
  let requests = 0;
  let wrong: Record<string, number> = {};
  let isEnding = false;
  const hasEnded = () => server.exitCode !== null || server.signalCode !== null;
  for await (const line of createInterface({ input: load.stdout })) {
    const sample = JSON.parse(line) as Sample;
    const seconds = (performance.now() - begin) / 1000;
    requests += sample.requests;
    wrong = sample.wrong;
    if (!isEnding) {
      watched.push({ ...sample, seconds, rss: residentOf(pid), heap: heap(), descriptors: descriptorsOf(pid) });
    }
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${Math.round(seconds)} s, ${rounded(requests)} requests`);
    const isOver = seconds > minutes * 60 || hasEnded();
    if (isOver && !isEnding) load.stdin.end();
    isEnding ||= isOver;
  }
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  const endedWith = hasEnded() ? (server.exitCode ?? server.signalCode) : undefined;
  // All clients have disconnected. A runtime may keep their descriptors open for a few seconds.
  const allowance = 4; // the journal's next generation, say
  const isBack = () => (descriptorsOf(pid) ?? 0) <= (before ?? 0) + allowance;
  await until(isBack, "descriptors are closed", 10_000).catch(() => {});
  const after = descriptorsOf(pid);
  server.kill("SIGKILL");
  tellAll(watched, requests, after);

  const problems = Object.entries(wrong).map(([what, count]) => `${rounded(count)} wrong responses: ${what}`);
  if (endedWith !== undefined) problems.push(`the server ended by itself, with ${endedWith}`);
  if (!isBack() && after !== undefined) problems.push(`descriptors leak: ${before} before the load, ${after} after it`);
  const [first, , middle, , last] = fifths(watched, "descriptors");
  if (last! > first! + 8 && last! > middle!) problems.push(`descriptors grow: from ${first} to ${last} under load`);
  const growth = memoryGrowth(watched);
  if (growth !== undefined) problems.push(growth);
  for (const problem of problems) console.error(`  ${problem}`);
  if (problems.length > 0) process.exitCode = 1;
}

/** The first fifth of the time warms up: code is compiled, caches and heap find their size. */
const settled = (watched: Watched[]): Watched[] => watched.slice(Math.floor(watched.length / 5));

/** Medians of the five parts of the time after the warm-up; NaN where nothing is known. */
function fifths(watched: Watched[], field: Exclude<keyof Watched, "wrong">): number[] {
  const all = settled(watched);
  return Array.from({ length: 5 }, (_, i) => {
    const part = all.slice(Math.floor((i * all.length) / 5), Math.floor(((i + 1) * all.length) / 5));
    return median(part.map((sample) => sample[field]).filter((value) => value !== undefined));
  });
}

/** Of the line that fits best, per minute. */
function slope(watched: Watched[], field: Exclude<keyof Watched, "wrong">): number {
  const points = settled(watched).map((sample) => [sample.seconds / 60, sample[field] ?? Number.NaN] as const);
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [x, y] = [mean(points.map((point) => point[0])), mean(points.map((point) => point[1]))];
  return (
    mean(points.map((point) => (point[0] - x) * (point[1] - y))) / mean(points.map((point) => (point[0] - x) ** 2))
  );
}

/**
 * Memory is said to grow without end when the last fifth has a tenth and 16 MiB more than the first, and the second half
 * still has its share of that: a heap that has found its size later than others no longer grows.
 */
function memoryGrowth(watched: Watched[]): string | undefined {
  if (quick) return undefined; // a few seconds tell nothing
  const [first, , middle, , last] = fifths(watched, "rss") as [number, number, number, number, number];
  const growth = last - first;
  if (!(growth > Math.max(first / 10, 16 * mebibyte) && last - middle > growth / 4)) return undefined;
  const perMinute = slope(watched, "rss") / mebibyte;
  const amounts = `from ${(first / mebibyte).toFixed(0)} to ${(last / mebibyte).toFixed(0)} MiB`;
  return `memory grows: ${amounts}, ${perMinute.toFixed(1)} MiB a minute`;
}

function tellAll(watched: Watched[], requests: number, after: number | undefined): void {
  const known = (value: number) => (Number.isNaN(value) ? undefined : tidy(value));
  const row = (what: string, field: Exclude<keyof Watched, "wrong">, unit: number) => {
    const parts = fifths(watched, field).map((value) => known(value / unit));
    const first = { what, first_fifth: parts[0], middle_fifth: parts[2], last_fifth: parts[4] };
    return { ...first, slope_per_minute: known(slope(watched, field) / unit) };
  };
  const seconds = watched.at(-1)?.seconds ?? 0;
  const text = (value: number) => (Number.isInteger(value) ? rounded(value) : value.toFixed(2));
  const columns: Column[] = [
    { key: "what", title: "" },
    { key: "first_fifth", title: "first fifth", text },
    { key: "middle_fifth", title: "middle", text },
    { key: "last_fifth", title: "last fifth", text },
    { key: "slope_per_minute", title: "per minute", text },
  ];
  const rows = [
    row("resident memory, MiB", "rss", mebibyte),
    row("heap in use, MiB", "heap", mebibyte),
    row("open descriptors", "descriptors", 1),
    row("verify p50, ms", "p50", 1),
    row("verify p99, ms", "p99", 1),
    row("requests per second", "requests", sampleMs / 1000),
    { what: "descriptors after all have gone", last_fifth: after },
    { what: "requests in all", last_fifth: requests },
  ];
  const title = `soak, ${rounded(seconds)} s of which a fifth warms up, medians of fifths of the rest`;
  report("soak", [{ title, columns, rows }]);
}

if (process.argv.includes("--serve")) await serve();
else if (process.argv.includes("--load")) {
  await runLoad(JSON.parse(process.argv[process.argv.indexOf("--load") + 1]!) as Target);
} else await measure(minutesAsked());
