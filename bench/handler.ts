/** The endpoints in process, without sockets, beside a handler that does nothing and beside jose. */
import { jwtVerify } from "jose";
import { createJwtEndpoints, createPasswords } from "../src/index.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { makeTokens, median, perSecond, print, quick, rotated, rounded, secret } from "./tools.ts";

const rounds = quick ? 3 : 9;
const roundMs = quick ? 150 : 400;
const width = 32;
/** The cheapest hash there is: what is measured is the endpoint, not PBKDF2. */
const hashing = { iterations: 1 };

const store = memoryStore();
const passwordHash = await createPasswords(hashing).hash("correct horse");
await store.addUser({ id: "1", username: "ada", passwordHash });
const endpoints = createJwtEndpoints({ store, signingKey: secret, hashing });
const headers = { "content-type": "application/json" };
const post = (route: string, body: string) =>
  new Request(`http://localhost/jwt/${route}/`, { method: "POST", headers, body });

const tokens = makeTokens(quick ? 20_000 : 100_000, "1");
const bodies = tokens.map((token) => JSON.stringify({ token }));
let next = 0;
const nextIndex = (): number => (next = (next + 1) % tokens.length);

const credentials = JSON.stringify({ username: "ada", password: "correct horse" });
const pair = (await (await endpoints.fetch(post("create", credentials))).json()) as { refresh: string };
const refresh = JSON.stringify({ refresh: pair.refresh });
const key = new TextEncoder().encode(secret);

async function nothing(request: Request): Promise<Response> {
  await request.json();
  return new Response("{}", { headers: { "content-type": "application/json" } });
}

async function answered(response: Promise<Response>): Promise<string> {
  const { status, ok } = await response;
  if (!ok) throw new Error(`answered ${status}`);
  return (await response).text();
}

const subjects: [title: string, call: () => Promise<unknown>][] = [
  ["nothing but JSON", () => answered(nothing(post("verify", bodies[nextIndex()]!)))],
  ["verify, tokens in turn", () => answered(endpoints.fetch(post("verify", bodies[nextIndex()]!)))],
  ["verify, one token", () => answered(endpoints.fetch(post("verify", bodies[0]!)))],
  ["refresh", () => answered(endpoints.fetch(post("refresh", refresh)))],
  ["create, hash of 1 iteration", () => answered(endpoints.fetch(post("create", credentials)))],
  ["jose jwtVerify, no request", () => jwtVerify(tokens[nextIndex()]!, key, { algorithms: ["HS256"] })],
];

// A bench of wrong answers is worth nothing.
if ((await subjects[1]![1]()) !== "{}") throw new Error("verify does not answer {}");
if (!String(await subjects[3]![1]()).startsWith('{"access":"')) throw new Error("refresh does not answer a token");

const rates = new Map(subjects.map(([title]) => [title, [] as number[]]));
for (let round = -1; round < rounds; round++) {
  for (const [title, call] of rotated(subjects, Math.max(0, round))) {
    const rate = await perSecond(call, roundMs, width);
    if (round >= 0) rates.get(title)!.push(rate);
  }
}

const nothingRate = median(rates.get(subjects[0]![0])!);
print(
  `in process, ${width} at a time, median of ${rounds} rounds`,
  ["", "per second", "to nothing"],
  [...rates].map(([title, all]) => [title, rounded(median(all)), (median(all) / nothingRate).toFixed(2)]),
);
