/**
 * The load of the bench `storm`, a program: it reads a phase per line and writes a line of figures for each. It sends
 * verifications or refreshes at a fixed pace: a closed loop would saturate a server by itself, and the bench measures how long
 * a response takes, not how many there are. A connection whose turn comes while it still waits skips it.
 */
import process from "node:process";
import { percentile } from "../../test/support/statistics.ts";
import { makeTokens } from "../../test/support/tokens.ts";
import { type Server, serveLines } from "./programs.ts";
import { secret } from "./tools.ts";

export const pacedConnections = 4;
/** Of each connection; together some percent of what a core can do. */
export const verifiesPerSecond = 100;
export const refreshesPerSecond = 20;

export type Target = Omit<Server, "child">;

export interface Phase {
  ms: number;
  /** What is requested meanwhile, at a fixed pace. */
  asks?: "verify" | "refresh";
  /** Logins kept under way. */
  logins: number;
}

export interface Figures {
  p50: number;
  p95: number;
  p99: number;
  max: number;
  answers: number;
  loginsPerSecond: number;
  /** Logins refused with 503, because too many wait already. */
  busy: number;
  /** All other responses but the right ones, and broken connections. */
  errors: number;
  firstError?: string;
}

async function runPhase({ url, prefix, credentials }: Target, phase: Phase): Promise<Figures> {
  const { Pool } = await import("undici"); // here, since Bun's own has none
  const headers = { "content-type": "application/json" };
  const found: Figures = { p50: 0, p95: 0, p99: 0, max: 0, answers: 0, loginsPerSecond: 0, busy: 0, errors: 0 };
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
    found.firstError ??= `${route} returned ${status === 0 ? "nothing" : status}`;
  };

  const askPool = new Pool(url, { connections: pacedConnections, pipelining: 1 });
  const refreshTokens: string[] = [];
  while (phase.asks === "refresh" && refreshTokens.length < pacedConnections) {
    const [, text] = await ask(askPool, "create", JSON.stringify(credentials));
    refreshTokens.push((JSON.parse(text) as { refresh: string }).refresh);
  }

  const loginPool = new Pool(url, { connections: Math.max(1, phase.logins), pipelining: 1 });
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

  const times: number[] = [];
  const verifyOnce = (bodies: string[]) => async (): Promise<void> => {
    const [status, text] = await ask(askPool, "verify", bodies.pop()!);
    if (status !== 200 || text !== "{}") wrong("verify", status);
  };
  const refreshOnce = (connection: number) => async (): Promise<void> => {
    const [status, text] = await ask(askPool, "refresh", JSON.stringify({ refresh: refreshTokens[connection] }));
    if (status === 200) refreshTokens[connection] = (JSON.parse(text) as { refresh: string }).refresh;
    else wrong("refresh", status);
  };
  const askAtPace = async (connection: number) => {
    const every = 1000 / (phase.asks === "verify" ? verifiesPerSecond : refreshesPerSecond);
    const tokens = phase.asks === "verify" ? makeTokens(secret, Math.ceil(phase.ms / every) + 1, "1") : [];
    const once =
      phase.asks === "verify" ? verifyOnce(tokens.map((token) => JSON.stringify({ token }))) : refreshOnce(connection);
    const first = performance.now() + (connection * every) / pacedConnections;
    const end = first + phase.ms;
    for (let turn = first; turn < end;) {
      await sleep(turn - performance.now());
      const sent = performance.now();
      await once();
      const ended = performance.now();
      times.push(ended - sent);
      do turn += every;
      while (turn < ended);
    }
  };
  if (phase.asks === undefined) await sleep(phase.ms);
  else await Promise.all(Array.from({ length: pacedConnections }, (_, i) => askAtPace(i)));
  isOver = true;
  await Promise.all(storm);
  await Promise.all([loginPool.close(), askPool.close()]);

  times.sort((a, b) => a - b);
  const at = (share: number) => percentile(times, share);
  const loginsPerSecond = done === 0 ? 0 : done / ((lastEnd - begin) / 1000);
  return { ...found, p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1), answers: times.length, loginsPerSecond };
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const target = process.argv[2];
if (process.argv[1]?.endsWith("storm-load.ts") && target !== undefined) {
  await serveLines<Phase, Figures>((phase) => runPhase(JSON.parse(target) as Target, phase));
}
