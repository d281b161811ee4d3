/**
 * What good users feel during attacks on the login: a flood from one address whose clients hang up, and failures from many
 * addresses against one account, whose owner logs in from an address that it used before. The server has the limits that it
 * has by default. Addresses are told by `X-Forwarded-For`, as from a proxy on this machine.
 */
import net from "node:net";
import process from "node:process";
import { median, percentile } from "../test/support/statistics.ts";
import { type Server, startOursIn, stopAll } from "./lib/programs.ts";
import { type Column, report } from "./lib/results.ts";
import { ours, progressOf, quick, roundsOr, tidy } from "./lib/tools.ts";
import { projectRoot } from "../test/support/runtime.ts";

const rounds = roundsOr(quick ? 1 : 5);
const phaseMs = quick ? 800 : 8000;
/** Logins that the attacker begins each second; each hangs up after a moment. */
const floodPerSecond = 30;
const hangUpMs = 50;
/** Addresses of good users. */
const goodClients = quick ? 3 : 20;
/** Logins of good users each second. */
const goodPerSecond = 3;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function requestOf({ prefix, url }: Server, body: object, address: string): string {
  const text = JSON.stringify(body);
  const lines = [`POST ${prefix}/jwt/create/ HTTP/1.1`, `Host: ${new URL(url).host}`, `X-Forwarded-For: ${address}`];
  const rest = ["Content-Type: application/json", "Connection: close", `Content-Length: ${text.length}`, "", text];
  return [...lines, ...rest].join("\r\n");
}

/** Sends a login. @returns its status, or 0 without an answer, and the milliseconds that it took. */
function logIn(server: Server, body: object, address: string, hangUpAfter?: number): Promise<[number, number]> {
  return new Promise((resolve) => {
    const socket = net.connect(Number(new URL(server.url).port), "127.0.0.1");
    const start = performance.now();
    let text = "";
    socket.on("data", (chunk: Uint8Array) => (text += chunk.toString()));
    socket.on("error", () => {});
    socket.on("close", () => {
      resolve([Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0), performance.now() - start]);
    });
    socket.write(requestOf(server, body, address));
    setTimeout(() => socket.destroy(), hangUpAfter ?? (quick ? 2000 : 10_000)).unref();
  });
}

interface Felt {
  /** The share of good logins that got their tokens. */
  share: number;
  p95: number;
}

type Attack = (server: Server, turn: number) => Promise<unknown>;

const wrongFor = ({ credentials }: Server) => ({ ...credentials, password: "wrong" });

const attacks: Record<string, Attack | undefined> = {
  idle: undefined,
  "a flood from one address that hangs up": (server) => logIn(server, wrongFor(server), "198.51.100.1", hangUpMs),
  "failures from many addresses against the account": (server, turn) =>
    logIn(server, wrongFor(server), `10.${turn % 200}.${(turn >> 8) % 200}.${1 + (turn % 250)}`),
};

/** Lets good users log in while an attack goes on. */
async function feel(server: Server, attack: Attack | undefined, first: number): Promise<Felt> {
  const under: Promise<unknown>[] = [];
  const good: Promise<[number, number]>[] = [];
  let turn = first;
  const attacker = attack && setInterval(() => under.push(attack(server, turn++)), 1000 / floodPerSecond);
  await sleep(attack === undefined ? 0 : 500);
  const end = performance.now() + phaseMs;
  for (let i = 0; performance.now() < end; i++) {
    good.push(logIn(server, server.credentials, `192.0.2.${1 + (i % goodClients)}`)); // addresses that logged in before
    await sleep(1000 / goodPerSecond);
  }
  const answers = await Promise.all(good);
  clearInterval(attacker);
  await Promise.all(under);
  const times = answers.map(([, ms]) => ms).toSorted((a, b) => a - b);
  return { share: answers.filter(([status]) => status === 200).length / answers.length, p95: percentile(times, 0.95) };
}

const columns: Column[] = [
  { key: "server", title: "server" },
  { key: "attack", title: "attack" },
  { key: "share", title: "good logins answered", text: (value) => `${Math.round(100 * value)} %` },
  { key: "p95_ms", title: "p95 ms", text: (value) => value.toFixed(0) },
  { key: "p95_to_idle", title: "to idle", text: (value) => value.toFixed(1) },
];

const cost = quick ? ["--hashing-iterations", "100000"] : [];
const flags = [
  ...cost,
  "--store",
  "memory:",
  "--request-log",
  "false",
  "--audit-log",
  "off",
  "--trusted-proxies",
  "loopback",
];
const server = await startOursIn(projectRoot, flags);
try {
  const found = new Map(Object.keys(attacks).map((name) => [name, [] as Felt[]]));
  const step = progressOf("attacks", rounds, Object.keys(attacks).length);
  for (let i = 1; i <= goodClients; i++) await logIn(server, server.credentials, `192.0.2.${i}`);
  for (let round = 0; round < rounds; round++) {
    for (const [name, attack] of Object.entries(attacks)) {
      found.get(name)!.push(await feel(server, attack, round * 1000));
      step();
    }
  }
  const idle = found.get("idle")!;
  const rows = [...found].map(([attack, felt]) => ({
    server: ours,
    attack,
    share: tidy(median(felt.map(({ share }) => share))),
    p95_ms: tidy(median(felt.map(({ p95 }) => p95))),
    p95_to_idle: tidy(median(felt.map(({ p95 }, round) => p95 / idle[round]!.p95))),
  }));
  const pace = `${goodPerSecond} good logins and ${floodPerSecond} of the attacker per second`;
  report("attacks", [{ title: `${pace}, median of ${rounds} rounds`, columns, rows }]);
  if (rows.some(({ share }) => share < 1)) {
    console.log("  a good login was not answered");
    if (!quick) process.exitCode = 1;
  }
} finally {
  await stopAll([server]);
}
process.exit();
