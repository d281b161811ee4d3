/**
 * `--workers N` on one file store, with N up to the machine's cores. The load takes its share of the same cores, so that
 * throughput grows by less than the workers: CPU time per request tells what a further one would cost where there is room.
 */
import { availableParallelism } from "node:os";
import path from "node:path";
import { temporaryFolder } from "../test/support/runtime.ts";
import { familyOf, residentOf } from "../test/support/processes.ts";
import { median } from "../test/support/statistics.ts";
import {
  type Load,
  type Measured,
  connections,
  measureUnder,
  startUndici,
  startWrk,
  reportResponses,
} from "./lib/load.ts";
import { type Server, logIn, startOurs, stopAll, versionsOfServers } from "./lib/programs.ts";
import { type Column, digits, report } from "./lib/results.ts";
import { progressOf, quick, rotated, rounded, roundsOr, tidy } from "./lib/tools.ts";

const rounds = roundsOr(quick ? 1 : 7);
const roundMs = quick ? 200 : 2000;

/** 1, 2, 4 and so on, and as many as there are cores. */
function counts(): number[] {
  const cores = availableParallelism();
  const powers = Array.from({ length: Math.ceil(Math.log2(cores)) }, (_, i) => 2 ** i);
  return [...powers, cores];
}

interface Subject {
  case: string;
  workers: number;
  url: string;
  pids: number[];
  path: string;
  body?: string;
  answer: string;
}

async function subjectsOf(workers: number, server: Server): Promise<Subject[]> {
  const own = { workers, url: server.url, pids: familyOf(server.child.pid!) };
  const refresh = JSON.stringify({ refresh: await logIn(server) });
  return [
    { ...own, case: "verify, every token new", path: "/jwt/verify/", answer: "{}" },
    { ...own, case: "refresh", path: "/jwt/refresh/", body: refresh, answer: '{"access":"' },
  ];
}

async function measure(): Promise<void> {
  const servers = new Map<number, Server>();
  let load: Load | undefined;
  try {
    for (const workers of counts()) {
      const store = `file:${path.join(temporaryFolder(), "data")}`;
      const flags = ["--hashing-iterations", "1", "--workers", String(workers)];
      servers.set(workers, await startOurs(store, ...flags));
    }
    load = (quick ? undefined : await startWrk()) ?? startUndici();
    const subjects = (await Promise.all([...servers].map((each) => subjectsOf(...each)))).flat();
    await compare(load, subjects);
  } finally {
    load?.stop();
    await stopAll(servers.values());
  }
}

async function compare(load: Load, subjects: Subject[]): Promise<void> {
  const found = new Map(subjects.map((subject) => [subject, [] as Measured[]]));
  const step = progressOf("workers", rounds, subjects.length);
  for (let round = -1; round < rounds; round++) {
    for (const subject of rotated(subjects, Math.max(0, round))) {
      const result = await measureUnder(load, { ...subject, ms: roundMs }, subject.pids);
      if (round >= 0) found.get(subject)!.push(result);
      step();
    }
  }
  const share = (value: number) => `${Math.round(100 * value)} %`;
  const columns: Column[] = [
    { key: "case", title: "case" },
    { key: "workers", title: "workers" },
    { key: "per_second", title: "per second", text: rounded },
    { key: "to_one", title: "to one", text: digits(2) },
    { key: "cpu_us", title: "CPU µs", text: digits(1) },
    { key: "server_busy", title: "server busy", text: share },
    { key: "load_busy", title: "load busy", text: share },
    { key: "mib", title: "MiB", text: rounded },
  ];
  const known = (values: (number | undefined)[]): number | undefined =>
    values.includes(undefined) ? undefined : tidy(median(values as number[]));
  const rows = [...found].map(([subject, all]) => {
    const [, one] = [...found].find(([other]) => other.workers === 1 && other.case === subject.case)!;
    const resident = subject.pids.map(residentOf);
    return {
      case: subject.case,
      workers: subject.workers,
      per_second: tidy(median(all.map(({ perSecond }) => perSecond))),
      to_one: tidy(median(all.map(({ perSecond }, round) => perSecond / one[round]!.perSecond))),
      cpu_us: known(all.map(({ cpuMicroseconds }) => cpuMicroseconds)),
      server_busy: known(all.map(({ serverBusy }) => serverBusy)),
      load_busy: tidy(median(all.map(({ loadBusy }) => loadBusy))),
      mib: resident.includes(undefined)
        ? undefined
        : tidy((resident as number[]).reduce((sum, each) => sum + each) / 2 ** 20),
    };
  });
  const title = `several processes on one store, load by ${load.name}, ${connections} connections, median of ${rounds} rounds`;
  const order = [...new Set(rows.map((row) => row.case))];
  rows.sort((a, b) => order.indexOf(a.case) - order.indexOf(b.case) || a.workers - b.workers);
  report("workers", [{ title, columns, rows }], versionsOfServers([]));
  reportResponses();
}

await measure();
