/** Checks that the time of a refused login reveals neither which users exist nor how their passwords are stored. */
import { type JwtEndpoints, createJwtEndpoints, createPasswords } from "../src/index.ts";
import { memoryStore } from "../src/stores/memory.ts";
import { median } from "../test/support/statistics.ts";
import { type Column, digits, report, timeColumns, timeFigures } from "./lib/results.ts";
import { quick, rotated, roundsOr, secret, tidy } from "./lib/tools.ts";

const rounds = roundsOr(quick ? 1 : 25);
const password = "correct horse";

const store = memoryStore();
const strong = await createPasswords().hash(password);
const weak = await createPasswords({ iterations: 100_000 }).hash(password);
await store.addUser({ username: "known", passwordHash: strong });
await store.addUser({ username: "inactive", passwordHash: strong, isActive: false });
await store.addUser({ username: "weak", passwordHash: weak });
await store.addUser({ username: "inactive-weak", passwordHash: weak, isActive: false });
await store.addUser({ username: "unusable", passwordHash: "!" });
const oneFormat = createJwtEndpoints({ store, signingKey: secret });

const mixed = memoryStore();
await mixed.addUser({ username: "known", passwordHash: strong });
for (const preferred of ["scrypt", "argon2", "bcrypt_sha256"] as const) {
  const passwordHash = await createPasswords({ preferred }).hash(password);
  await mixed.addUser({ username: preferred, passwordHash });
  await mixed.addUser({ username: `inactive-${preferred}`, passwordHash, isActive: false });
}
const manyFormats = createJwtEndpoints({ store: mixed, signingKey: secret });
for (const { ready } of [oneFormat, manyFormats]) await ready();

const cases: [title: string, endpoints: JwtEndpoints, username: string, password: string][] = [
  ["known user, wrong password", oneFormat, "known", "wrong horse"],
  ["unknown user", oneFormat, "nobody", "wrong horse"],
  ["inactive user, right password", oneFormat, "inactive", password],
  ["hash of 100,000 iterations, wrong password", oneFormat, "weak", "wrong horse"],
  ["the same, inactive, right password", oneFormat, "inactive-weak", password],
  ["unusable hash", oneFormat, "unusable", "wrong horse"],
  ["known user, wrong password, four formats stored", manyFormats, "known", "wrong horse"],
  ["unknown user, four formats stored", manyFormats, "nobody", "wrong horse"],
  ...["scrypt", "argon2", "bcrypt_sha256"].flatMap((format): typeof cases => [
    [`${format}, wrong password`, manyFormats, format, "wrong horse"],
    [`${format}, inactive, right password`, manyFormats, `inactive-${format}`, password],
  ]),
];

async function login({ fetch }: JwtEndpoints, body: unknown): Promise<number> {
  const headers = { "content-type": "application/json" };
  const request = new Request("http://localhost/jwt/create/", { method: "POST", headers, body: JSON.stringify(body) });
  const start = performance.now();
  const { status } = await fetch(request);
  const ms = performance.now() - start;
  if (status !== 400) throw new Error(`expected 400, got ${status}`);
  return ms;
}

const times = new Map(cases.map(([title]) => [title, [] as number[]]));
for (let round = -1; round < rounds; round++) {
  for (const [title, endpoints, username, given] of rotated(cases, Math.max(0, round))) {
    const ms = await login(endpoints, { username, password: given });
    if (round >= 0) times.get(title)!.push(ms); // the first round warms up
  }
}

/** Of the same store. */
const known = (title: string): number => {
  const [, endpoints] = cases.find(([one]) => one === title)!;
  const [first] = cases.find(([, others]) => others === endpoints)!;
  return median(times.get(first)!);
};
const text = (value: number) => value.toFixed(1);
const columns: Column[] = [
  { key: "case", title: "" },
  { key: "to_known", title: "to known", text: digits(3) },
  ...timeColumns(text),
];
const rows = [...times].map(([title, all]) => ({
  case: title,
  to_known: tidy(median(all) / known(title)),
  ...timeFigures(all),
}));
report("login-timing", [{ title: `a refused login, ${rounds} rounds`, columns, rows }]);
