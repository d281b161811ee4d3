/**
 * The endpoints against a real Django site with Djoser and Simple JWT (`test/fixtures/djoser`): the same generated requests
 * to both, whose answers must be the same in status, body and the headers `Content-Type`, `WWW-Authenticate` and `Allow`.
 * (`Vary`, `Cache-Control` and what Django's security middleware adds are each side's own.) Tokens in answers are compared by
 * their claims: the same names, types and lifetimes. Where the two differ on purpose, `departures` says why.
 *
 * `DJOSER_SEED=<seed> npx tsx test/djoser/djoser.test.ts` makes the same requests again.
 *
 * On Node it goes through all settings. Deno and Bun differ from it in reading bodies and headers, in hashing and in
 * signing, so there the settings that touch none of these are left out.
 */
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createPasswords } from "../../src/index.ts";
import type { Endpoint, Tokens } from "../fixtures/djoser/cases.ts";
import { randomFrom, seedFrom } from "../support/random.ts";
import { runtime } from "../support/runtime.ts";
import { type Both, iterations, missing, open, prepare, variants } from "./both.ts";
import { compare, occurred } from "./compare.ts";
import { departures } from "./departures.ts";
import { blacklistSome, exchange, journey, logout, reuse } from "./journeys.ts";
import { changePasswords } from "./passwords.ts";
import { type Parts, arbitrary, caseOf, particular, thorough } from "./requests.ts";
import { formats, password } from "./users.ts";

const compared = suite("djoser: the same responses as Django");
const inDepth = runtime === "node";
const tested = inDepth ? variants : variants.filter(({ name }) => ["the defaults", "ES256", "RS256"].includes(name));
const seed = seedFrom("DJOSER_SEED");
let total = 0;

/** A test of the suite, which needs the site. */
function differential(title: string, run: () => Promise<void>): void {
  if (missing.length === 0) return compared(title, run);
  compared.skip(title);
}

if (missing.length > 0)
  console.log(`skipped, as there is no Django site to compare with: apt-get install ${missing.join(" ")}`);

let next: Promise<Both> | undefined;
tested.forEach((variant, index) => {
  differential(variant.name, async () => {
    const both = await (next ?? open(variant));
    // The next site starts meanwhile: two at most.
    next = tested[index + 1] && open(tested[index + 1]!);
    next?.catch(() => {}); // reported by its own test
    try {
      const random = randomFrom(seed + index);
      const tokens: Tokens = { dialect: both.dialect, random, blacklisted: await blacklistSome(both, 5) };
      const failures: string[] = [];
      let count = 0;
      const one = async (endpoint: Endpoint, parts: Parts) => {
        count++;
        const { problem } = await compare(both, await caseOf(tokens, endpoint, parts));
        if (problem !== undefined) failures.push(problem);
      };
      for (const [endpoint, parts] of index === 0 ? thorough(both.dialect) : particular(both.dialect, random)) {
        await one(endpoint, parts);
      }
      for (let i = 0; i < 60; i++) await one(...arbitrary(random, both.dialect));
      for (const start of [reuse, logout, []]) failures.push(...(await journey(both, random, start, 12)));
      await exchange(both);
      if (index === 0 || variant.djoser !== undefined) {
        const changes = await changePasswords(both);
        count += changes.count;
        failures.push(...changes.problems);
      }
      total += count;
      const shown = failures.slice(0, Number(process.env.DJOSER_SHOW ?? 10)).join("\n");
      if (failures.length > 0) throw new Error(`${failures.length} differences, DJOSER_SEED=${seed}\n${shown}`);
    } finally {
      await both.stop();
    }
  });
});

differential("each side checks the password hashes that the other has made", async () => {
  const { hashes, checks } = prepare().base;
  const pairs = formats.flatMap((format) => [password, "p".repeat(71)].map((text) => [text, format] as const));
  // Refusing is slow: one wrong password for each format will do.
  const wrong = `${password}!`;
  const isFirst = (index: number): boolean => pairs[index]![0] === password;
  const passwords = createPasswords({ iterations });
  const theirs = hashes(pairs);
  for (const [index, [text, format]] of pairs.entries()) {
    assert.is((await passwords.check(text, theirs[index]!)).ok, true, `${format} of Django, ${text}`);
    if (isFirst(index)) {
      assert.is((await passwords.check(wrong, theirs[index]!)).ok, false, `${format} of Django, wrong`);
    }
  }
  const ours: [string, string][] = [];
  for (const [text, format] of pairs) {
    if (format === "bcrypt") continue; // is not made here
    const hash = await createPasswords({ iterations, preferred: format }).hash(text);
    assert.is(hash.split("$", 1)[0], format);
    ours.push([text, hash]);
  }
  const refused = ours.filter(([text]) => text === password).map(([, hash]) => [wrong, hash] as const);
  const judged = checks([...ours, ...refused]);
  judged.forEach((ok, index) => assert.is(ok, index < ours.length, `our ${ours[index]?.join(", ") ?? "wrong one"}`));
});

differential("every departure and known bug in the tables has occurred, in at least 300 requests", async () => {
  const idle = Object.keys(departures).filter((name) => !occurred.has(name));
  if (inDepth) assert.equal(idle, []);
  assert.ok(total >= 300, `only ${total} requests`);
  console.log(
    `${total} generated requests; ${[...occurred.values()].reduce((a, b) => a + b)} departures of ${occurred.size} kinds`,
  );
});

compared.run();
