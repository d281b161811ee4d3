/** Whether the time of a refused login tells which users there are, or what is stored of them. */
import { createJwtEndpoints, createPasswords } from "../src/index.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { median, print, quick, rotated, secret } from "./tools.ts";

const rounds = quick ? 4 : 25;
const password = "correct horse";

const store = memoryStore();
const strong = await createPasswords().hash(password);
const weak = await createPasswords({ iterations: 100_000 }).hash(password);
await store.addUser({ username: "known", passwordHash: strong });
await store.addUser({ username: "inactive", passwordHash: strong, isActive: false });
await store.addUser({ username: "weak", passwordHash: weak });
await store.addUser({ username: "unusable", passwordHash: "!" });
const endpoints = createJwtEndpoints({ store, signingKey: secret });

const cases: [title: string, username: string, password: string][] = [
  ["known user, wrong password", "known", "wrong horse"],
  ["unknown user", "nobody", "wrong horse"],
  ["inactive user, right password", "inactive", password],
  ["hash of 100,000 iterations, wrong password", "weak", "wrong horse"],
  ["unusable hash", "unusable", "wrong horse"],
];

async function login(body: unknown): Promise<number> {
  const headers = { "content-type": "application/json" };
  const request = new Request("http://localhost/jwt/create/", { method: "POST", headers, body: JSON.stringify(body) });
  const start = performance.now();
  const { status } = await endpoints.fetch(request);
  const ms = performance.now() - start;
  if (status !== 400) throw new Error(`expected 400, got ${status}`);
  return ms;
}

const times = new Map(cases.map(([title]) => [title, [] as number[]]));
for (let round = -1; round < rounds; round++) {
  for (const [title, username, given] of rotated(cases, Math.max(0, round))) {
    const ms = await login({ username, password: given });
    if (round >= 0) times.get(title)!.push(ms); // the first round warms up
  }
}

const known = median(times.get(cases[0]![0])!);
const rows = [...times].map(([title, all]) => {
  const figures = [median(all), Math.min(...all), Math.max(...all)].map((ms) => ms.toFixed(1));
  return [title, (median(all) / known).toFixed(3), ...figures];
});
print(`a refused login, ${rounds} rounds`, ["", "to known", "median ms", "fastest", "slowest"], rows);
