/**
 * The real server over sockets beside what a user would pick instead and beside the runtime's bare server, each in a process
 * of its own, in turns. Ours runs as `npm start` does: default settings, file store, request log on.
 *
 * The figures to compare are those under wrk, which keeps every server busy. undici, which reads and checks each response, needs more
 * CPU time than most servers: it lets them sleep between requests and wake for the next one, which they pay for, the more so
 * the slower they are. Its figures stand beside. Where the system allows it, servers share one core and the load has the others.
 *
 * The main figure is requests per second of the server's own CPU time. Ratios are taken within a round, against the bare
 * server given the same bodies, and their median is told.
 */
import { openFileStore } from "../src/stores/file/index.ts";
import { projectRoot, temporaryFolder } from "../test/support/runtime.ts";
import { median } from "../test/support/statistics.ts";
import { claimsOf, makeTokens, signHs256 } from "../test/support/tokens.ts";
import { contestants, packages } from "./lib/contestants.ts";
import {
  type Load,
  type Measured,
  connections,
  measureUnder,
  startUndici,
  startWrk,
  reportResponses,
} from "./lib/load.ts";
import {
  type Pinned,
  type Server,
  addDjoser,
  djoser,
  logIn,
  pinLoads,
  pinned,
  startOursIn,
  startPeer,
  stopAll,
  versionsOfServers,
} from "./lib/programs.ts";
import { type Column, type Table, digits, report } from "./lib/results.ts";
import { againstRef, bare, ours, progressOf, quick, rotated, rounded, roundsOr, tidy, secret } from "./lib/tools.ts";

const rounds = roundsOr(quick ? 1 : 7);
/** Linux counts CPU time in steps of 10 ms. */
const roundMs = quick ? 200 : 1000;
/** Length of the first round, by undici, which is dropped: the larger a framework, the longer its code takes to compile. */
const warmUpMs = quick ? 200 : 3000;
/** At the beginning of each turn, by undici, not counted: Bun throws compiled code away that has not run for some seconds. */
const leadMs = quick ? 0 : 500;

interface Subject {
  server: string;
  case: string;
  isIn: Pinned;
  path: string;
  body?: string;
  answer: string;
}

const caseNames = ["verify, every token new", "verify, one token", "refresh"];

function subjectsOf(servers: Map<string, Pinned>, refreshOf: (server: string) => string, one: string): Subject[] {
  return caseNames.flatMap((name, index) =>
    [...servers].map(([title, isIn]): Subject => {
      const own = { server: title, case: name, isIn };
      if (index < 2) {
        const path = `${isIn.prefix}/jwt/verify/`;
        return { ...own, path, answer: "{}", ...(index === 1 && { body: one }) };
      }
      const answer = title === bare ? "{}" : '{"access":"';
      return { ...own, path: `${isIn.prefix}/jwt/refresh/`, body: refreshOf(title), answer };
    }),
  );
}

/** Adds the user of the tokens: of one who is missing, the store asks the disk at every request. */
async function addUser(folder: string): Promise<void> {
  const store = await openFileStore(folder);
  await store.addUser({ id: "1", username: "ada", passwordHash: "!" });
  await store.close();
}

/** Proves that a server checks what all are measured with: the signature of a token, and its `exp`. */
async function checkRefusals(title: string, { url, prefix }: Server): Promise<void> {
  const expired = signHs256(secret, claimsOf("access", -60));
  const forged = signHs256(`not ${secret}`, claimsOf("access", 60));
  for (const token of [expired, forged]) {
    const headers = { "content-type": "application/json" };
    const request = { method: "POST", headers, body: JSON.stringify({ token }) };
    const { status } = await fetch(`${url}${prefix}/jwt/verify/`, request);
    if (status !== 400 && status !== 401) {
      throw new Error(`${title} returned ${status} for ${token === expired ? "an expired" : "a forged"} token`);
    }
  }
}

async function measure(): Promise<void> {
  const [undici, wrk] = [startUndici(), await startWrk()];
  console.log(
    wrk === undefined
      ? "wrk is not on the path, so there are only the figures of undici, under which servers sleep between requests.\n" +
          "To compare busy servers, install it: apt-get install wrk, or brew install wrk"
      : `load by ${wrk.name}, then by ${undici.name}, which checks the body of each response`,
  );
  const servers = new Map<string, Server>();
  const loads = wrk === undefined ? [undici] : [wrk, undici];
  try {
    for (const title of Object.keys(contestants)) {
      servers.set(title, await startPeer(title, "bench/lib/contestants.ts", title));
    }
    const folder = temporaryFolder();
    servers.set(ours, await startOursIn(projectRoot, ["--store", `file:${folder}`]));
    await addUser(folder);
    const notes = await addDjoser(servers, 1);
    for (const [title, server] of servers) if (title !== bare) await checkRefusals(title, server);
    const refreshTokens = new Map<string, string>();
    for (const title of [ours, djoser]) {
      if (servers.has(title)) refreshTokens.set(title, await logIn(servers.get(title)!));
    }
    const subjects = new Map([...servers].map(([title, server]) => [title, pinned(server)]));
    pinLoads();
    const refreshOf = (title: string) =>
      JSON.stringify({ refresh: refreshTokens.get(title) ?? refreshTokens.get(ours) });
    const one = JSON.stringify({ token: makeTokens(secret, 1, "1")[0] });
    await compare(loads, undici, subjectsOf(subjects, refreshOf, one), notes);
  } finally {
    for (const load of loads) load.stop();
    await stopAll(servers.values());
  }
}

/** In a quick run wrk, which takes a second each time, shows that it works. */
const isMeasured = (load: Load, { server, case: name }: Subject): boolean =>
  !quick || load.name.startsWith("undici") || (name === caseNames[0] && (server === ours || server === bare));

/** @param warmUp the load of what is not counted. */
async function compare(loads: Load[], warmUp: Load, subjects: Subject[], notes: string[]): Promise<void> {
  const found = new Map(loads.map((load) => [load, new Map(subjects.map((subject) => [subject, [] as Measured[]]))]));
  const step = progressOf("http", rounds, subjects.length);
  for (let round = -1; round < rounds; round++) {
    for (const subject of rotated(subjects, Math.max(0, round))) {
      const { isIn, path, body, answer } = subject;
      const work = {
        url: isIn.url,
        path,
        answer,
        ms: round < 0 ? warmUpMs : roundMs,
        ...(body !== undefined && { body }),
      };
      if (round >= 0 && leadMs > 0) await warmUp.run({ ...work, ms: leadMs });
      for (const load of round < 0 ? [warmUp] : loads) {
        if (!isMeasured(load, subject)) continue;
        const result = await measureUnder(load, work, isIn.pids);
        if (round >= 0) found.get(load)!.get(subject)!.push(result);
      }
      step();
    }
  }
  report(
    "http",
    [...found].map(([load, results]) => tableOf(load, results)),
    versionsOfServers(packages),
  );
  for (const note of notes) console.log(`  ${note}`);
  reportResponses();
}

function tableOf(load: Load, results: Map<Subject, Measured[]>): Table {
  const share = (value: number) => `${Math.round(100 * value)} %`;
  const columns: Column[] = [
    { key: "case", title: "case" },
    { key: "server", title: "server" },
    { key: "per_cpu_second", title: "per CPU second", text: rounded },
    { key: "to_bare", title: "to bare", text: digits(2) },
    { key: "cpu_us", title: "CPU µs", text: digits(1) },
    { key: "cpu_us_min", title: "least", text: digits(1) },
    { key: "cpu_us_max", title: "most", text: digits(1) },
    { key: "per_second", title: "per second", text: rounded },
    { key: "per_second_to_bare", title: "to bare", text: digits(2) },
    { key: "server_busy", title: "server busy", text: share },
    { key: "load_busy", title: "load busy", text: share },
  ];
  const known = (values: (number | undefined)[], sum: (values: number[]) => number): number | undefined => {
    const all = values.filter((value) => value !== undefined);
    return all.length === 0 ? undefined : tidy(sum(all));
  };
  const rows = [...results].flatMap(([subject, all]) => {
    if (all.length === 0) return [];
    const [, bareRounds] = [...results].find(([other]) => other.server === bare && other.case === subject.case)!;
    const cpu = all.map(({ cpuMicroseconds }) => cpuMicroseconds);
    const ratios = cpu.map(
      (each, round) => each && bareRounds[round]?.cpuMicroseconds && bareRounds[round].cpuMicroseconds / each,
    );
    const middle = known(cpu, median);
    return {
      case: subject.case,
      server: subject.server,
      per_cpu_second: middle && tidy(1e6 / middle),
      to_bare: known(ratios, median),
      cpu_us: middle,
      cpu_us_min: known(cpu, (values) => Math.min(...values)),
      cpu_us_max: known(cpu, (values) => Math.max(...values)),
      per_second: tidy(median(all.map(({ perSecond }) => perSecond))),
      per_second_to_bare: tidy(median(all.map(({ perSecond }, round) => perSecond / bareRounds[round]!.perSecond))),
      server_busy: known(
        all.map(({ serverBusy }) => serverBusy),
        median,
      ),
      load_busy: tidy(median(all.map(({ loadBusy }) => loadBusy))),
    };
  });
  const size = `${connections} connections, ${rounded(load.tokens)} tokens, median of ${rounds} rounds`;
  return { title: `over HTTP, load by ${load.name}, ${size}; ${ours} with default settings, log on`, columns, rows };
}

if (againstRef === undefined) await measure();
else await (await import("./lib/against.ts")).compareWith(againstRef);
