/**
 * Loads a server's socket by undici or by wrk. Both run as programs of their own, the same for every server: undici runs on
 * Node and reads each response's text; wrk takes a third of the CPU time per request and reads only the status.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { temporaryFolder } from "../../test/support/runtime.ts";
import { cpuMsOf } from "../../test/support/processes.ts";
import { makeTokens } from "../../test/support/tokens.ts";
import { serveLines, startLineServer } from "./programs.ts";
import { versionsOf } from "./results.ts";
import { quick, secret } from "./tools.ts";

export const connections = 64;
/** Far more than any token cache holds. */
const tokenCount = quick ? 20_000 : 200_000;
const wrkTokenCount = quick ? 20_000 : 100_000;

export interface Work {
  url: string;
  path: string;
  /** Without one, `{"token"}` with the next token of the pool. */
  body?: string;
  /** The text that every right response begins with. */
  answer: string;
  /** wrk counts in whole seconds. */
  ms: number;
}

export interface Done {
  requests: number;
  ms: number;
  /** That the load took itself. */
  cpuMs: number;
  /** Responses with another status or body than expected. */
  wrong: { "4xx": number; "5xx": number; other: number };
}

export interface Load {
  name: string;
  /** Different tokens that it sends. */
  tokens: number;
  run(work: Work): Promise<Done>;
  stop(): void;
}

export interface Measured {
  perSecond: number;
  /** Of the server, per request. */
  cpuMicroseconds: number | undefined;
  serverBusy: number | undefined;
  loadBusy: number;
}

const counts = { right: 0, "4xx": 0, "5xx": 0, other: 0 };

/** @param pids the server's processes, whose CPU time is measured. */
export async function measureUnder(load: Load, work: Work, pids: readonly number[]): Promise<Measured> {
  const before = cpuMsOf(pids);
  const { requests, ms, cpuMs, wrong } = await load.run(work);
  const after = cpuMsOf(pids);
  for (const kind of ["4xx", "5xx", "other"] as const) counts[kind] += wrong[kind];
  counts.right += requests - wrong["4xx"] - wrong["5xx"] - wrong.other;
  const taken = before === undefined || after === undefined || after === before ? undefined : after - before;
  return {
    perSecond: requests / (ms / 1000),
    cpuMicroseconds: taken && (taken * 1000) / requests,
    serverBusy: taken && taken / ms,
    loadBusy: cpuMs / ms,
  };
}

/** Reports all responses of the run; a wrong one fails the bench. */
export function reportResponses(): void {
  const { right, ...wrong } = counts;
  console.log(`  responses: ${[["right", right], ...Object.entries(wrong)].map((pair) => pair.join(" ")).join(", ")}`);
  if (right === 0 || Object.values(wrong).some((count) => count > 0)) process.exitCode = 1;
}

/** Sends requests over {@link connections}, on each the next one after the response to the last. */
async function loadWithUndici(): Promise<void> {
  const { Pool } = await import("undici"); // here, because Bun's own undici has no Pool
  const pools = new Map<string, InstanceType<typeof Pool>>();
  const bodies = makeTokens(secret, tokenCount, "1").map((token) => JSON.stringify({ token }));
  const headers = { "content-type": "application/json" };
  let next = 0;
  await serveLines<Work, Done>(async (work) => {
    const pool = pools.get(work.url) ?? new Pool(work.url, { connections, pipelining: 1 });
    pools.set(work.url, pool);
    const wrong = { "4xx": 0, "5xx": 0, other: 0 };
    let requests = 0;
    const before = process.cpuUsage();
    const begin = performance.now();
    const ask = async () => {
      for (; performance.now() - begin < work.ms; requests++) {
        const body = work.body ?? bodies[(next = (next + 1) % bodies.length)]!;
        try {
          const answer = await pool.request({ method: "POST", path: work.path, headers, body });
          const text = await answer.body.text();
          if (answer.statusCode >= 500) wrong["5xx"]++;
          else if (answer.statusCode >= 400) wrong["4xx"]++;
          else if (answer.statusCode !== 200 || !text.startsWith(work.answer)) wrong.other++;
        } catch {
          wrong.other++;
        }
      }
    };
    await Promise.all(Array.from({ length: connections }, ask));
    const ms = performance.now() - begin;
    const { user, system } = process.cpuUsage(before);
    return { requests, ms, cpuMs: (user + system) / 1000, wrong };
  });
}

export function startUndici(): Load {
  const { ask, stop } = startLineServer<Work, Done>("bench/lib/load.ts", "--undici", ...(quick ? ["--quick"] : []));
  return { name: `undici ${versionsOf(["undici"]).undici}`, tokens: tokenCount, run: ask, stop };
}

/** Its arguments: a file of bodies, and how many of them to pass over. */
const wrkScript = `
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local requests, last, worker = {}, 0, nil
function setup(thread) worker = thread end
function init(args)
  for body in io.lines(args[1]) do requests[#requests + 1] = wrk.format(nil, nil, nil, body) end
  last = tonumber(args[2])
  begin = os.clock()
end
function request()
  last = last % #requests + 1
  return requests[last]
end
function done(all)
  local e = all.errors
  local text = '{"requests":%d,"ms":%f,"cpuMs":%f,"wrong":{"4xx":%d,"5xx":0,"other":%d}}\\n'
  local cpu = (os.clock() - worker:get("begin")) * 1000
  io.write(text:format(all.requests, all.duration / 1000, cpu, e.status, e.connect + e.read + e.write + e.timeout))
end
`;

/** Returns `undefined` when wrk is not on the path. It counts all statuses of 400 and above together, here as `4xx`. */
export async function startWrk(): Promise<Load | undefined> {
  const version = await wrkVersion();
  if (version === undefined) return undefined;
  const folder = temporaryFolder();
  const script = path.join(folder, "load.lua");
  const [tokens, one] = [path.join(folder, "tokens"), path.join(folder, "one")];
  writeFileSync(script, wrkScript);
  const bodies = makeTokens(secret, wrkTokenCount, "1").map((token) => `${JSON.stringify({ token })}\n`);
  writeFileSync(tokens, bodies.join(""), { mode: 0o600 });
  let used = 0;
  return {
    name: `wrk ${version}`,
    tokens: wrkTokenCount,
    async run({ url, path: target, body, ms }) {
      if (body !== undefined) writeFileSync(one, `${body}\n`, { mode: 0o600 });
      const file = body === undefined ? tokens : one;
      const seconds = Math.max(1, Math.round(ms / 1000));
      const load = ["-t1", `-c${connections}`, `-d${seconds}s`, "-s", script, `${url}${target}`];
      const child = spawn("wrk", [...load, "--", file, String(used)], { stdio: ["ignore", "pipe", "inherit"] });
      let told = "";
      child.stdout.on("data", (chunk: Uint8Array) => (told += chunk.toString()));
      const [code] = (await once(child, "close")) as [number | null];
      const found = /^\{"requests".*\}$/m.exec(told);
      if (code !== 0 || found === null) throw new Error(`wrk ended with code ${code}`);
      const done = JSON.parse(found[0]) as Done;
      if (body === undefined) used = (used + done.requests) % wrkTokenCount;
      return done;
    },
    stop() {},
  };
}

async function wrkVersion(): Promise<string | undefined> {
  const child = spawn("wrk", ["-v"], { stdio: ["ignore", "pipe", "ignore"] });
  let told = "";
  child.stdout.on("data", (chunk: Uint8Array) => (told += chunk.toString()));
  const isThere = await new Promise<boolean>((resolve) => {
    child.once("error", () => resolve(false));
    child.once("close", () => resolve(true));
  });
  return isThere ? (/^wrk \D*([\d.]+)/.exec(told)?.[1] ?? "") : undefined;
}

if (process.argv.includes("--undici")) await loadWithUndici();
