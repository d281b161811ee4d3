/**
 * What the request log adds to a verify under load. One process serves with it and without it in turns: two processes of one
 * version differ by up to 6 % on Deno, which is more than the log takes. Every start has two turns without the log, and
 * their ratio is how far the figures can be trusted.
 *
 * On Node it serves by the listener of `jwt-endpoints/node`, which takes longer than the server, so there the difference says
 * more than the ratio.
 */
import { createServer } from "node:http";
import process from "node:process";
import { createJwtEndpoints } from "../src/index.ts";
import { fetchWith } from "../src/http/fetch.ts";
import type { Handle } from "../src/http/message.ts";
import { toNodeListener } from "../src/node/index.ts";
import {
  type PromiseWriter,
  UnderWay,
  createLineWriter,
  sendByPromise,
  sendTo,
  withRequestLog,
  withUnderWay,
} from "../src/serve/request-log.ts";
import { coarseNow } from "../src/serve/clock.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { runtime } from "../test/support/runtime.ts";
import { median, medianRatio } from "../test/support/statistics.ts";
import { serveFetch, serveNode } from "./lib/contestants.ts";
import { measureUnder, reportResponses, startUndici, startWrk } from "./lib/load.ts";
import { pinLoads, pinned, startPeer, stopAll } from "./lib/programs.ts";
import { type Column, digits, report } from "./lib/results.ts";
import { progressOf, quick, rotated, roundsOr, secret, tidy } from "./lib/tools.ts";

const turns = ["without", "with", "without again"] as const;
type Turn = (typeof turns)[number];
/** The requests of a turn, and how many pass before it, so that none under way belongs to the turn before. */
const [counted, passed] = quick ? [500, 96] : [4000, 96];
const rounds = roundsOr(quick ? 2 : 40);
const starts = quick ? 1 : 5;

/** CPU time per request in µs, a value for each round. */
type Times = Record<Turn, number[]>;

/** Serves with each handler in turn, and calls `done` after the last round. */
function takingTurns(handlers: Record<Turn, Handle>, endTurn: () => void, done: (times: Times) => void): Handle {
  const times: Times = { without: [], with: [], "without again": [] };
  let round = -1; // the first warms up
  let order = rotated(turns, 0);
  let at = 0;
  let left = passed + counted;
  let begin = 0;
  const cpuNow = (): number => {
    const { user, system } = process.cpuUsage();
    return user + system;
  };
  function nextTurn(): void {
    endTurn();
    if (round >= 0) times[order[at]!].push((cpuNow() - begin) / counted);
    left = passed + counted;
    if (++at < order.length) return;
    if (++round === rounds) done(times);
    [order, at] = [rotated(turns, round), 0];
  }
  return (request) => {
    if (left === counted) begin = cpuNow();
    else if (left === 0) nextTurn();
    left--;
    return handlers[order[at]!](request);
  };
}

async function serve(): Promise<void> {
  const endpoints = createJwtEndpoints({ store: memoryStore(), signingKey: secret, log: () => {} });
  await endpoints.ready();
  const { Deno } = globalThis as unknown as { Deno?: { stdout: PromiseWriter } };
  const send = Deno === undefined ? sendTo(process.stdout) : sendByPromise(Deno.stdout);
  const stdout = createLineWriter("standard output", send);
  stdout.writeAlone();
  const underWay = new UnderWay();
  const without = withUnderWay(endpoints.handle, underWay);
  const now = Deno === undefined ? undefined : coarseNow; // as in serve/deno.ts
  const logged = withRequestLog(endpoints.handle, underWay, { stdout, stderr: stdout }, now);
  const handle = takingTurns(
    { without, with: logged, "without again": without },
    () => void stdout.drain(1000), // lines that wait for others are of this turn
    (times) => console.error(JSON.stringify(times)),
  );
  if (runtime === "node") serveNode(createServer(toNodeListener({ ...endpoints, handle })));
  else await serveFetch((request) => Promise.resolve(fetchWith(handle, request)));
}

interface Figures {
  without_us: number;
  with_us: number;
  adds_us: number;
  to_without: number;
  again: number;
}

const columns: Column[] = [
  { key: "start", title: "start" },
  { key: "without_us", title: "µs without", text: digits(2) },
  { key: "with_us", title: "with", text: digits(2) },
  { key: "adds_us", title: "adds", text: digits(2) },
  { key: "to_without", title: "to without", text: digits(3) },
  { key: "again", title: "without again", text: digits(3) },
];

async function measure(): Promise<void> {
  const load = (await startWrk()) ?? startUndici();
  const step = progressOf("request-log", starts - 1, 1);
  const rows: Figures[] = [];
  try {
    while (rows.length < starts) {
      const server = pinned(await startPeer("the server", "bench/request-log.ts", "--serve", ...process.argv.slice(2)));
      let told = "";
      server.child.stderr!.on("data", (chunk: Uint8Array) => (told += chunk.toString()));
      pinLoads();
      try {
        const work = { url: server.url, path: "/jwt/verify/", answer: "{}", ms: 1000 };
        while (!told.endsWith("}\n")) await measureUnder(load, work, server.pids);
      } finally {
        await stopAll([server]);
      }
      const times = JSON.parse(told) as Times;
      const ratio = (turn: Turn): number => tidy(medianRatio(times[turn], times.without));
      rows.push({
        without_us: tidy(median(times.without)),
        with_us: tidy(median(times.with)),
        adds_us: tidy(median(times.with.map((time, round) => time - times.without[round]!))),
        to_without: ratio("with"),
        again: ratio("without again"),
      });
      step();
    }
    const mean = (key: keyof Figures): number => tidy(rows.reduce((sum, row) => sum + row[key], 0) / rows.length);
    const means: Figures = {
      without_us: mean("without_us"),
      with_us: mean("with_us"),
      adds_us: mean("adds_us"),
      to_without: mean("to_without"),
      again: mean("again"),
    };
    const title = `CPU time of a verify, every token new, by ${load.name}, ${rounds} rounds of ${counted} requests`;
    const numbered = rows.map((row, index) => ({ start: String(index + 1), ...row }));
    report("request-log", [{ title, columns, rows: [...numbered, { start: "mean", ...means }] }]);
    reportResponses();
  } finally {
    load.stop();
  }
}

await (process.argv.includes("--serve") ? serve() : measure());
