/**
 * Measures the endpoints in process, without sockets: by `fetch`, and by `handle`, which the entry files call and which
 * needs no `Request` and `Response`. Beside them: a handler that does nothing, and the libraries a user would call.
 */
import { Buffer } from "node:buffer";
import { type HttpRequest, createJwtEndpoints, createPasswords } from "../src/index.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { median, medianRatio } from "../test/support/statistics.ts";
import { makeTokens } from "../test/support/tokens.ts";
import { accessClaims, byJose } from "./lib/contestants.ts";
import { type Column, digits, report, versionsOf } from "./lib/results.ts";
import { perSecond, progressOf, quick, rotated, rounded, roundsOr, secret, tidy } from "./lib/tools.ts";

const rounds = roundsOr(quick ? 3 : 9);
const roundMs = quick ? 100 : 400;
const width = 32;
/** The cheapest hash, because the endpoint is measured, not PBKDF2. */
const hashing = { iterations: 1 };

const store = memoryStore();
const passwordHash = await createPasswords(hashing).hash("correct horse");
await store.addUser({ id: "1", username: "ada", passwordHash });
const endpoints = createJwtEndpoints({ store, signingKey: secret, hashing });
await endpoints.ready();
/** One client that has sent many requests within the span of its limit. */
const limits = { throttleVerify: "10000000/min", clientAddress: () => "192.0.2.1" };
const limited = createJwtEndpoints({ store: memoryStore(), signingKey: secret, hashing, ...limits });
await limited.ready();

const headers = { "content-type": "application/json" };
const post = (route: string, body: string) =>
  new Request(`http://localhost/jwt/${route}/`, { method: "POST", headers, body });
const plain = (route: string, body: string): HttpRequest => ({
  method: "POST",
  url: `/jwt/${route}/`,
  headers: plainHeaders,
  bytes: () => Buffer.from(body),
  text: () => body,
});
const plainHeaders = { get: (name: string) => (name === "content-type" ? "application/json" : null) };

const tokens = makeTokens(secret, quick ? 20_000 : 100_000, "1");
const bodies = tokens.map((token) => JSON.stringify({ token }));
let next = 0;
const nextIndex = (): number => (next = (next + 1) % tokens.length);

const credentials = JSON.stringify({ username: "ada", password: "correct horse" });
const pair = (await (await endpoints.fetch(post("create", credentials))).json()) as { refresh: string };
const refresh = JSON.stringify({ refresh: pair.refresh });

async function nothing(request: Request): Promise<Response> {
  await request.json();
  return new Response("{}", { headers: { "content-type": "application/json" } });
}

async function byFetch(route: string, body: string, fetch = endpoints.fetch): Promise<string> {
  const response = await fetch(post(route, body));
  if (!response.ok) throw new Error(`${route} returned ${response.status}`);
  return response.text();
}
async function byHandle(route: string, body: string, { handle } = endpoints): Promise<string> {
  const answer = await handle(plain(route, body));
  if (answer.status !== 200) throw new Error(`${route} returned ${answer.status}`);
  return answer.body;
}

/** Calls, each with the text that a right result begins with; claims are an object. */
type Subject = [title: string, call: () => Promise<unknown>, result: string];
const isToken = "eyJ";

function ours(): Subject[] {
  const access = '{"access":"';
  return (["fetch", "plain step"] as const).flatMap((by): Subject[] => {
    const ask = by === "fetch" ? byFetch : byHandle;
    return [
      [`verify, new tokens, by ${by}`, () => ask("verify", bodies[nextIndex()]!), "{}"],
      [`verify, one token, by ${by}`, () => ask("verify", bodies[0]!), "{}"],
      [`refresh, by ${by}`, () => ask("refresh", refresh), access],
      [`create, hash of 1 iteration, by ${by}`, () => ask("create", credentials), '{"refresh":"'],
    ];
  });
}

async function libraries(): Promise<Subject[]> {
  const jose = await byJose();
  const claims = () => accessClaims({ user_id: "1" });
  const { createSigner, createVerifier } = await import("fast-jwt");
  const verify = createVerifier({ key: secret, algorithms: ["HS256"], cache: false });
  const verifyCached = createVerifier({ key: secret, algorithms: ["HS256"], cache: 10_000 });
  const sign = createSigner({ key: secret, algorithm: "HS256" });
  return [
    ["jose: jwtVerify, new tokens", () => jose.verify(tokens[nextIndex()]!), "[object"],
    ["jose: SignJWT", () => jose.sign(claims()), isToken],
    ["fast-jwt: verify, new tokens", async () => verify(tokens[nextIndex()]!), "[object"],
    ["fast-jwt: verify, one token, cached", async () => verifyCached(tokens[0]!), "[object"],
    ["fast-jwt: sign", async () => sign(claims()), isToken],
  ];
}

const none: Subject = ["nothing but JSON, by fetch", () => byFetch("verify", bodies[nextIndex()]!, nothing), "{}"];
const many: Subject = [
  "verify, one token, by plain step, below a limit",
  () => byHandle("verify", bodies[0]!, limited),
  "{}",
];
const forgedBody = JSON.stringify({ token: makeTokens(`not ${secret}`, 1, "1")[0] });
const forged: Subject = [
  "verify, a forged token, by plain step",
  async () => (await endpoints.handle(plain("verify", forgedBody))).body,
  '{"non_field_errors"',
];
const subjects = [none, ...ours(), many, forged, ...(await libraries())];
// A wrong response fails the bench.
for (const [title, call, result] of subjects) {
  if (!String(await call()).startsWith(result)) throw new Error(`${title}: another result than ${result}…`);
}

const rates = new Map(subjects.map(([title]) => [title, [] as number[]]));
const step = progressOf("handler", rounds, subjects.length);
for (let round = -1; round < rounds; round++) {
  for (const [title, call] of rotated(subjects, Math.max(0, round))) {
    const rate = await perSecond(call, roundMs, width);
    if (round >= 0) rates.get(title)!.push(rate); // the first round warms up
    step();
  }
}

const noneRates = rates.get(none[0])!;
const microseconds = (value: number) => value.toFixed(2);
const columns: Column[] = [
  { key: "subject", title: "" },
  { key: "per_second", title: "per second", text: rounded },
  { key: "us", title: "µs", text: microseconds },
  { key: "us_min", title: "least", text: microseconds },
  { key: "us_max", title: "most", text: microseconds },
  { key: "to_nothing", title: "to nothing", text: digits(2) },
];
const rows = [...rates].map(([subject, all]) => ({
  subject,
  per_second: tidy(median(all)),
  us: tidy(1e6 / median(all)),
  us_min: tidy(1e6 / Math.max(...all)),
  us_max: tidy(1e6 / Math.min(...all)),
  to_nothing: tidy(medianRatio(all, noneRates)),
}));
report(
  "handler",
  [{ title: `in process, ${width} at a time, median of ${rounds} rounds`, columns, rows }],
  versionsOf(["jose", "fast-jwt"]),
);
