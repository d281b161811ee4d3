/** The fast reader of payloads against the reader that judges all of them. */
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readJsonSegment, readPlainSegment } from "../../src/tokens/strict-json.ts";
import { randomFrom, roundsHere, seedFrom } from "../support/random.ts";
import { newJti } from "../support/tokens.ts";
import { base64url, utf8 } from "../support/token-fixtures.ts";

const rounds = roundsHere(60_000);
const random = randomFrom(seedFrom());
const plain = suite("a plain payload");

/** Reads a payload in the middle of other bytes, as it stands in a token. */
function readFast(json: string): Record<string, unknown> | undefined {
  const segment = base64url(json);
  return readPlainSegment(utf8.encode(`head.${segment}.mac`), 5, 5 + segment.length);
}

function checkAgainstJudge(json: string, told: string): Record<string, unknown> | undefined {
  const [fast, judged] = [readFast(json), readJsonSegment(base64url(json))];
  if (fast === undefined) return undefined;
  // In their order, which goes on to derived tokens.
  assert.equal(Object.entries(fast), Object.entries(judged ?? {}), `${told}: ${json}`);
  assert.is(Object.getPrototypeOf(fast), Object.prototype, `${told}: ${json}`);
  return fast;
}

/** More segments in a row than it takes until their names are remembered. */
const many = 12;

const values: (() => unknown)[] = [
  () => random.below(2 ** 31),
  () => random.below(10 ** 6) * 10 ** 9 + random.below(10 ** 9),
  () => random.pick([0, 1, -1, 0.5, 1e21, 999_999_999_999_999, 2 ** 53 - 1, null, true, false]),
  () => newJti(),
  () => String(random.below(1000)),
  () => random.pick(["", "access", "a b", "{", "}", ":,[]", "0", "é", "\u007f", "\u0001", '"', "\\"]),
];
const names = ["token_type", "exp", "iat", "jti", "user_id", "a", "", "1", "42", "__proto__", "toString", "é", 'a"b'];

plain("is read alike by both, whatever names and values come after each other", () => {
  let read = 0;
  for (let round = 0; round < rounds / 10; round++) {
    const used = names.filter(() => random.chance(0.4));
    const made = () =>
      `{${used.map((name) => `${JSON.stringify(name)}:${JSON.stringify(random.pick(values)())}`).join(",")}}`;
    for (let i = 0; i < 10; i++) {
      if (checkAgainstJudge(random.chance(0.1) ? made().replace(",", ", ") : made(), "made") !== undefined) read++;
    }
  }
  assert.ok(read > rounds / 20, `only ${read} of ${rounds} were read fast`);
});

plain("that was changed by a byte or two is never read as another, after many with the same names", () => {
  const claims = () =>
    JSON.stringify({
      token_type: random.pick(["access", "refresh"]),
      exp: 1_800_000_000 + random.below(1000),
      jti: newJti(),
      user_id: String(random.below(100)),
    });
  const alphabet = '{}":,0123456789abc \t\n-+.eE[]\\\u0000';
  for (let round = 0; round < rounds / 10; round++) {
    for (let i = 0; i < (round === 0 ? many : 1); i++) assert.ok(checkAgainstJudge(claims(), "whole"));
    for (let i = 0; i < 10; i++) {
      const json = [...claims()];
      for (let change = random.below(3); change >= 0; change--) {
        const at = random.below(json.length);
        const kind = random.below(3);
        json.splice(at, kind === 0 ? 1 : kind === 1 ? 0 : 1 + random.below(20), random.pick([...alphabet]));
      }
      checkAgainstJudge(json.join(""), "changed");
    }
  }
});

plain("with a name twice, or that ends early, is left to the judge", () => {
  const whole = '{"exp":1800000000,"jti":"x","n":1}';
  for (let i = 0; i < many; i++) assert.equal(readFast(whole), JSON.parse(whole));
  for (const json of [
    '{"exp":1800000000,"jti":"x","n":1,"n":1}',
    '{"exp":1800000000,"jti":"x","jti":"x","n":1}',
    ...Array.from(whole, (_, end) => whole.slice(0, end)),
    `${whole}}`,
    '{"exp":01800000000,"jti":"x","n":1}',
    '{"exp":,"jti":"x","n":1}',
    '{"exp":1800000000,"jti":"x\ty","n":1}',
    '{"exp":1800000000,"jti":"x\u001fy","n":1}',
  ]) {
    assert.is(readFast(json), undefined, json);
  }
  assert.equal(readFast(whole), JSON.parse(whole));
});

plain("keeps whole numbers exact, and members with the names of an object's own as members", () => {
  for (const digits of [
    "0",
    "7",
    "999999999999999",
    "9007199254740993",
    "90071992547409931",
    "12345678901234567890",
    "1e3",
    "-0",
    "1.50",
  ]) {
    const json = `{"n":${digits}}`;
    for (let i = 0; i < many; i++) assert.ok(Object.is(readFast(json)?.n, JSON.parse(json).n), json);
  }
  for (const name of ["__proto__", "constructor", "toString"]) {
    const json = `{"${name}":"x","n":1}`;
    for (let i = 0; i < many; i++) assert.equal(Object.entries(readFast(json)!), Object.entries(JSON.parse(json)));
  }
});

plain("keeps none of its other members in memory with one of them", () => {
  const { Bun } = globalThis as unknown as { Bun?: { gc(force: boolean): void } };
  const [count, size] = [30_000, 2500];
  const others = "x".repeat(size);
  const kept: unknown[] = [];
  const heap = () => (Bun?.gc(true), process.memoryUsage().heapUsed);
  const before = heap();
  for (let i = 0; i < count; i++) {
    const { jti, user_id } = readFast(JSON.stringify({ jti: newJti(), user_id: `user-${i}-of-many`, others }))!;
    kept.push(jti, user_id);
  }
  const grown = (heap() - before) / 1e6;
  assert.ok(grown < (count * size) / 1.5e6, `${kept.length} texts hold ${grown} MB`);
});

plain.run();
