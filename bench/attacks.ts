/**
 * What good users feel during attacks on the login, here, at Fastify with its rate limit, and at Django with the throttling of
 * Django REST framework: a flood from one address whose clients hang up; failures from many addresses against one account,
 * whose owner logs in from an address that it used before; and refreshes with rotation and logouts while logins fill every
 * core. Our server has the limits that it has by default, and a file store. Addresses are told by `X-Forwarded-For`, as from
 * a proxy on this machine.
 */
import net from "node:net";
import { availableParallelism } from "node:os";
import process from "node:process";
import { defaultIterations } from "../src/passwords/formats.ts";
import { missingPackages } from "../test/fixtures/djoser/site.ts";
import { projectRoot, temporaryFolder } from "../test/support/runtime.ts";
import { median, percentile } from "../test/support/statistics.ts";
import { newJti, signHs256 } from "../test/support/tokens.ts";
import { startLimitedDjango } from "./lib/limited.ts";
import { type Server, logIn, startOursIn, startPeer, stopAll, versionsOfServers } from "./lib/programs.ts";
import { type Column, type Row, report } from "./lib/results.ts";
import { ours, progressOf, quick, rotated, roundsOr, secret, tidy } from "./lib/tools.ts";

const [fastify, django] = ["Fastify, rate-limit", "Django, DRF throttling"];
const cores = availableParallelism();
const iterations = quick ? 50_000 : defaultIterations;

const rounds = roundsOr(quick ? 1 : 3);
const phaseMs = quick ? 400 : 6000;
/** How long an attack goes on before it is measured. */
const leadMs = quick ? 100 : 500;
/** How long a good user waits. */
const patienceMs = quick ? 1000 : 10_000;
/** Logins that the attacker begins each second; each hangs up after a moment, if it does. */
const floodPerSecond = 30;
const hangUpMs = 50;
/** Addresses of good users. */
const goodClients = quick ? 3 : 20;
/** Logins of good users each second. */
const goodPerSecond = quick ? 6 : 3;
/** Refreshes and logouts each second, by turns. */
const renewalsPerSecond = 20;
/** Logins kept under way: no core is idle for want of one. */
const loginsAtOnce = 4 * cores;
/** How many times as long as without logins a refresh or logout of ours may take. */
const bar = 5;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

interface Answer {
  /** 0 without a response. */
  status: number;
  ms: number;
}

/** Sends a request on a connection of its own. */
function send({ prefix, url }: Server, route: string, body: object, address: string, patience: number) {
  const text = JSON.stringify(body);
  const lines = [`POST ${prefix}/jwt/${route}/ HTTP/1.1`, `Host: ${new URL(url).host}`, `X-Forwarded-For: ${address}`];
  const rest = ["Content-Type: application/json", "Connection: close", `Content-Length: ${text.length}`, "", text];
  return new Promise<Answer>((resolve) => {
    const socket = net.connect(Number(new URL(url).port), "127.0.0.1");
    const start = performance.now();
    let received = "";
    socket.on("data", (chunk: Uint8Array) => (received += chunk.toString()));
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(timer);
      resolve({ status: Number(/^HTTP\/1\.1 (\d+)/.exec(received)?.[1] ?? 0), ms: performance.now() - start });
    });
    socket.write([...lines, ...rest].join("\r\n"));
    const timer = setTimeout(() => socket.destroy(), patience);
  });
}

const logInFrom = (server: Server, address: string, patience = patienceMs) =>
  send(server, "create", server.credentials, address, patience);

const failFrom = (server: Server, address: string, patience = patienceMs) =>
  send(server, "create", { ...server.credentials, password: "wrong" }, address, patience);

let turn = 0;
/** Returns ever new addresses. */
const newAddress = (): string => `10.${(turn >> 16) & 255}.${(turn >> 8) & 255}.${turn++ & 255}`;

/** An attack goes on until the function that it returns is called, which waits for the last of it. */
type Attack = (server: Server) => () => Promise<unknown>;

const atPace =
  (once: (server: Server) => Promise<unknown>): Attack =>
  (server) => {
    const under: Promise<unknown>[] = [];
    const timer = setInterval(() => under.push(once(server)), 1000 / floodPerSecond);
    return () => {
      clearInterval(timer);
      return Promise.all(under);
    };
  };

const fillCores: Attack = (server) => {
  let isOver = false;
  const keepLoggingIn = async () => {
    while (!isOver) await logInFrom(server, newAddress());
  };
  const under = Array.from({ length: loginsAtOnce }, keepLoggingIn);
  return () => {
    isOver = true;
    return Promise.all(under);
  };
};

/** What good users do, at a pace. */
interface Good {
  perSecond: number;
  once(target: Target, index: number): Promise<Answer>;
}

interface Target extends Server {
  /** Returns a new refresh token, in a session of its own. */
  newToken(): string;
}

const goodLogins: Good = {
  perSecond: goodPerSecond,
  once: (target, index) => logInFrom(target, `192.0.2.${1 + (index % goodClients)}`), // an address that logged in before
};
const renewals: Good = {
  perSecond: renewalsPerSecond,
  once: (target, index) =>
    send(target, index % 2 === 0 ? "refresh" : "blacklist", { refresh: target.newToken() }, "192.0.2.1", patienceMs),
};

/** Each attack with the case without one that it is compared with. */
const cases: { name: string; good: Good; attack?: Attack; idle: string }[] = [
  { name: "logins, idle", good: goodLogins, idle: "logins, idle" },
  {
    name: "logins, a flood from one address that hangs up",
    good: goodLogins,
    attack: atPace((server) => failFrom(server, "198.51.100.1", hangUpMs)),
    idle: "logins, idle",
  },
  {
    name: "logins, failures from many addresses against the account",
    good: goodLogins,
    attack: atPace((server) => failFrom(server, newAddress())),
    idle: "logins, idle",
  },
  { name: "refresh and logout, idle", good: renewals, idle: "refresh and logout, idle" },
  {
    name: "refresh and logout, logins on every core",
    good: renewals,
    attack: fillCores,
    idle: "refresh and logout, idle",
  },
];

interface Felt {
  /** The share of good requests that succeeded. */
  share: number;
  p95: number;
}

/** Lets good users go on while an attack does. */
async function feel(target: Target, good: Good, attack: Attack | undefined): Promise<Felt> {
  const end = attack?.(target);
  if (end !== undefined) await sleep(leadMs);
  const begin = performance.now();
  const sent: Promise<Answer>[] = [];
  for (let at = begin; at < begin + phaseMs; at += 1000 / good.perSecond) {
    await sleep(at - performance.now());
    sent.push(good.once(target, sent.length));
  }
  const answers = await Promise.all(sent);
  await end?.();
  if (attack !== undefined) await logInFrom(target, newAddress(), 60_000); // behind all that the server still hashes
  const times = answers.map(({ ms }) => ms).toSorted((a, b) => a - b);
  return {
    share: answers.filter(({ status }) => status === 200).length / answers.length,
    p95: percentile(times, 0.95),
  };
}

async function targetOf(server: Server): Promise<Target> {
  const [, payload] = (await logIn(server)).split(".");
  const { sid: _, ...claims } = JSON.parse(Buffer.from(payload!, "base64url").toString()) as { sid?: string };
  for (let i = 1; i <= goodClients; i++) await logInFrom(server, `192.0.2.${i}`);
  return { ...server, newToken: () => signHs256(secret, { ...claims, jti: newJti() }) };
}

const columns: Column[] = [
  { key: "case", title: "good requests, attack" },
  { key: "server", title: "server" },
  { key: "share", title: "answered", text: (value) => `${Math.round(100 * value)} %` },
  { key: "p95_ms", title: "p95 ms", text: (value) => value.toFixed(value < 10 ? 1 : 0) },
  { key: "p95_to_idle", title: "to idle", text: (value) => value.toFixed(1) },
];

const store = `file:${temporaryFolder()}/data`;
const flags = Object.entries({
  "hashing-iterations": iterations,
  "rotate-refresh-tokens": true,
  "request-log": false,
  "audit-log": "off",
  "trusted-proxies": "loopback",
  store,
}).flatMap(([name, value]) => [`--${name}`, String(value)]);
const missing = missingPackages();
const servers = new Map<string, Server>();
try {
  const peer = startPeer(fastify, "bench/lib/limited.ts", String(iterations));
  const site = missing.length === 0 ? startLimitedDjango(cores, iterations) : undefined;
  servers.set(ours, await startOursIn(projectRoot, flags));
  servers.set(fastify, await peer);
  if (site !== undefined) servers.set(django, await site);

  const targets = await Promise.all(
    [...servers].map(async ([title, server]) => [title, await targetOf(server)] as const),
  );
  const found = new Map(cases.map(({ name }) => [name, new Map(targets.map(([title]) => [title, [] as Felt[]]))]));
  const step = progressOf("attacks", rounds, cases.length * targets.length);
  for (let round = 0; round < rounds; round++) {
    for (const { name, good, attack } of cases) {
      for (const [title, target] of rotated(targets, round)) {
        found
          .get(name)!
          .get(title)!
          .push(await feel(target, good, attack));
        step();
      }
    }
  }
  const rows = cases.flatMap(({ name, idle }) =>
    targets.map(([title]): Row => {
      const felt = found.get(name)!.get(title)!;
      const before = found.get(idle)!.get(title)!;
      return {
        case: name,
        server: title,
        share: tidy(median(felt.map(({ share }) => share))),
        p95_ms: tidy(median(felt.map(({ p95 }) => p95))),
        p95_to_idle: tidy(median(felt.map(({ p95 }, round) => p95 / before[round]!.p95))),
      };
    }),
  );
  const pace = `${goodPerSecond} good logins, ${floodPerSecond} of the attacker, ${renewalsPerSecond} refreshes or logouts per second`;
  const of = rounds === 1 ? "1 round" : `median of ${rounds} rounds`;
  const versions = versionsOfServers(["fastify", "fast-jwt", "@fastify/rate-limit"]);
  report("attacks", [{ title: `${pace}, ${of}`, columns, rows }], versions);
  if (site === undefined) console.log(`  ${django}: not measured, ${missing.join(", ")} not installed`);
  for (const { server, share, p95_to_idle: toIdle, case: name } of rows) {
    if (server !== ours) continue;
    const isLate = name === cases.at(-1)!.name && (toIdle as number) > bar;
    if (share === 1 && !isLate) continue;
    console.log(`  ${name}: ${isLate ? `more than ${bar} times as long as idle` : "a good request was not answered"}`);
    if (!quick) process.exitCode = 1;
  }
} finally {
  await stopAll(servers.values());
}
process.exit();
