/**
 * Two versions of this project side by side: the work tree and another one that git names, both with default settings, so
 * with the request log on. They take turns as in `http`; a case that takes over 5 % more CPU time than before fails the bench.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { projectRoot, temporaryFolder } from "../../test/support/runtime.ts";
import { median, medianRatio } from "../../test/support/statistics.ts";
import { makeTokens } from "../../test/support/tokens.ts";
import { type Measured, measureUnder, startUndici, startWrk, reportResponses } from "./load.ts";
import { type Pinned, logIn, pinLoads, pinned, startOursIn, startPeer, stopAll } from "./programs.ts";
import { type Column, type Row, digits, report } from "./results.ts";
import { bare, progressOf, quick, rotated, roundsOr, secret, tidy } from "./tools.ts";

/** How much more time a request may take than before. */
const tolerance = 1.05;
const rounds = roundsOr(quick ? 2 : 15);
const roundMs = 1000; // wrk counts in whole seconds
const warmUpMs = quick ? 1000 : 3000;
const [here, there] = ["work tree", "before"];

/** Puts a version of the project into a folder of its own, which shares the packages of this tree. */
export function checkOut(ref: string): string {
  const folder = path.join(temporaryFolder(), "tree");
  mkdirSync(folder);
  const archive = execFileSync("git", ["archive", ref], { cwd: projectRoot, maxBuffer: 1 << 28 });
  execFileSync("tar", ["-x", "-C", folder], { input: archive });
  symlinkSync(path.join(projectRoot, "node_modules"), path.join(folder, "node_modules"));
  return folder;
}

interface Case {
  name: string;
  route: string;
  answer: string;
  /** The body of each request; without it, a new token each time. */
  bodyFor?: (server: string) => string;
}

async function casesFor(servers: Map<string, Pinned>): Promise<Case[]> {
  const refreshTokens = new Map<string, string>();
  for (const name of [here, there]) refreshTokens.set(name, await logIn(servers.get(name)!));
  const one = JSON.stringify({ token: makeTokens(secret, 1, "1")[0] });
  const refresh = (name: string) => JSON.stringify({ refresh: refreshTokens.get(name) ?? refreshTokens.get(here) });
  return [
    { name: "verify, every token new", route: "verify", answer: "{}" },
    { name: "verify, one token", route: "verify", answer: "{}", bodyFor: () => one },
    { name: "refresh", route: "refresh", answer: '{"access":"', bodyFor: refresh },
  ];
}

/** Compares the work tree with another version. Sets the exit code if a case has become slower than is tolerated. */
export async function compareWith(ref: string): Promise<void> {
  const servers = new Map<string, Pinned>();
  const load = (await startWrk()) ?? startUndici();
  try {
    const flags = ["--store", "memory:", "--hashing-iterations", "1"];
    servers.set(here, pinned(await startOursIn(projectRoot, flags)));
    servers.set(there, pinned(await startOursIn(checkOut(ref), flags)));
    servers.set(bare, pinned(await startPeer(bare, "bench/lib/contestants.ts", bare)));
    pinLoads();
    const cases = await casesFor(servers);
    const step = progressOf("http", rounds, cases.length * servers.size);
    const rows: Row[] = [];
    for (const { name, route, answer, bodyFor } of cases) {
      const found = new Map([...servers.keys()].map((server) => [server, [] as Measured[]]));
      for (let round = -1; round < rounds; round++) {
        for (const [server, { url, pids }] of rotated([...servers], Math.max(0, round))) {
          const body = bodyFor?.(server);
          const work = { url, path: `/jwt/${route}/`, answer: server === bare ? "{}" : answer };
          const ms = round < 0 ? warmUpMs : roundMs;
          const measured = await measureUnder(load, { ...work, ms, ...(body !== undefined && { body }) }, pids);
          if (round >= 0) found.get(server)!.push(measured);
          step();
        }
      }
      rows.push(rowOf(name, found));
    }
    report(undefined, [{ title: `against ${ref}, by ${load.name}, median of ${rounds} rounds`, columns, rows }]);
    reportResponses();
    for (const row of rows) {
      if ((row.to_before as number) <= tolerance) continue;
      console.log(`  ${row.case} takes more than ${Math.round((tolerance - 1) * 100)} % longer than at ${ref}`);
      process.exitCode = 1;
    }
  } finally {
    load.stop();
    await stopAll(servers.values());
  }
}

const columns: Column[] = [
  { key: "case", title: "case" },
  { key: "us", title: "µs", text: digits(2) },
  { key: "us_before", title: "before", text: digits(2) },
  { key: "to_before", title: "to before", text: digits(3) },
  { key: "low", title: "1st quarter", text: digits(3) },
  { key: "high", title: "3rd", text: digits(3) },
  { key: "to_bare", title: "to bare", text: digits(2) },
  { key: "to_bare_before", title: "before", text: digits(2) },
];

/** The time of a request: of the server's own CPU, where that is known. */
const timeOf = ({ cpuMicroseconds, perSecond }: Measured): number => cpuMicroseconds ?? 1e6 / perSecond;

function rowOf(name: string, found: Map<string, Measured[]>): Row {
  const times = (server: string) => found.get(server)!.map(timeOf);
  const [mine, before, least] = [times(here), times(there), times(bare)];
  const ratios = mine.map((time, round) => time / before[round]!).sort((a, b) => a - b);
  const quarter = (share: number) => tidy(ratios[Math.round(share * (ratios.length - 1))]!);
  return {
    case: name,
    us: tidy(median(mine)),
    us_before: tidy(median(before)),
    to_before: tidy(median(ratios)),
    low: quarter(0.25),
    high: quarter(0.75),
    to_bare: tidy(medianRatio(least, mine)),
    to_bare_before: tidy(medianRatio(least, before)),
  };
}
