/**
 * The endpoints against a real Django site with Djoser and Simple JWT (`test/fixtures/djoser`): the same generated requests
 * to both, whose answers must be the same in status, body and the headers `Content-Type`, `WWW-Authenticate` and `Allow`.
 * (`Vary`, `Cache-Control` and what Django's security middleware adds are each side's own.) Tokens in answers are compared by
 * their claims: the same names, types and lifetimes. Where the two differ on purpose, `departures` says why.
 *
 * `DJOSER_SEED=<seed> npx tsx test/djoser/djoser.test.ts` makes the same requests again.
 *
 * Django gets each request once and the endpoints on every runtime the same: Node's in this process, Deno's and Bun's in
 * programs of their own, over a socket, for the settings that depend on the runtime. On Deno or Bun the suite tries that
 * runtime alone.
 */
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Endpoint, Tokens } from "../fixtures/djoser/cases.ts";
import { randomFrom, seedFrom } from "../support/random.ts";
import { type Runtime, runtime } from "../support/runtime.ts";
import { type Both, missing, open, oursFor, startOnce, variants } from "./both.ts";
import { compare, occurred } from "./compare.ts";
import { departures } from "./departures.ts";
import { blacklistSome, exchange, journey, logout, reuse } from "./journeys.ts";
import { changePasswords } from "./passwords.ts";
import { type Parts, arbitrary, caseOf, particular, thorough } from "./requests.ts";
import { allOurs, notInstalled } from "./runtimes.ts";
import { formats, password } from "./users.ts";

const it = suite("djoser: the same responses as Django");
const tested = variants.filter((variant) => oursFor(variant).length > 0);
const seed = seedFrom("DJOSER_SEED");
let total = 0;

/** A test of the suite, which needs the site. */
function differential(title: string, run: () => Promise<void>): void {
  if (missing.length === 0) return it(title, run);
  it.skip(title);
}

if (missing.length > 0)
  console.log(`skipped, as there is no Django site to compare with: apt-get install ${missing.join(" ")}`);

for (const name of notInstalled) {
  console.log(`skipped on ${name}, which is not installed; npm ci brings it`);
  it.skip(`the same responses on ${name}`);
}

const opened: Promise<Both>[] = [];
const openOnce = (index: number): Promise<Both> => (opened[index] ??= open(tested[index]!));

/** Sends the requests of a variant to both sides, and returns what differs on each runtime. */
async function compareAll(index: number): Promise<Map<Runtime, string[]>> {
  const both = await openOnce(index);
  // The next site starts meanwhile: two at most.
  if (index + 1 < tested.length) openOnce(index + 1).catch(() => {}); // reported by its own test
  try {
    const random = randomFrom(seed + index);
    const tokens: Tokens = { dialect: both.dialect, random, blacklisted: await blacklistSome(both, 5) };
    const one = async (endpoint: Endpoint, parts: Parts) => {
      total++;
      await compare(both, await caseOf(tokens, endpoint, parts));
    };
    for (const [endpoint, parts] of index === 0 ? thorough(both.dialect) : particular(both.dialect, random)) {
      await one(endpoint, parts);
    }
    for (let i = 0; i < 60; i++) await one(...arbitrary(random, both.dialect));
    for (const start of [reuse, logout, []]) await journey(both, random, start, 12);
    for (const side of both.ours) {
      await exchange(both, side).catch(({ message }: Error) => side.problems.push(message));
    }
    if (index === 0 || both.variant.djoser !== undefined) total += await changePasswords(both);
    return new Map(both.ours.map(({ name, problems }) => [name, problems]));
  } finally {
    await both.stop();
  }
}

const compared: Promise<Map<Runtime, string[]>>[] = [];
for (const [index, variant] of tested.entries()) {
  for (const { name } of oursFor(variant)) {
    differential(`${variant.name} on ${name}`, async () => {
      const problems = (await (compared[index] ??= compareAll(index))).get(name)!;
      const shown = problems.slice(0, Number(process.env.DJOSER_SHOW ?? 10)).join("\n");
      assert.is(problems.length, 0, `${problems.length} differences, DJOSER_SEED=${seed}\n${shown}`);
    });
  }
}

const texts = [password, "p".repeat(71)];
const pairsWith = <Format>(formats: readonly Format[]) =>
  formats.flatMap((format) => texts.map((text) => [text, format] as const));

differential("each side checks the password hashes that the other has made", async () => {
  const { hashes, checks } = await startOnce();
  /** One wrong password for each format will do, since refusing is slow. */
  const withWrong = (right: (readonly [text: string, hash: string])[]) => [
    ...right,
    ...right.filter(([text]) => text === password).map(([text, hash]) => [`${text}!`, hash] as const),
  ];
  const isRight = ([text]: readonly [text: string, hash: string]): boolean => texts.includes(text);
  const theirs = withWrong((await hashes(pairsWith(formats))).map((hash, index) => [texts[index % 2]!, hash]));
  const pairs = pairsWith(formats.filter((format) => format !== "bcrypt")); // which is not made here
  const ours: [text: string, hash: string][] = [];
  for (const { name, checkHashes, makeHashes } of allOurs) {
    assert.equal(await checkHashes(theirs), theirs.map(isRight), `hashes of Django on ${name}`);
    const made = await makeHashes(pairs);
    for (const [index, [text, format]] of pairs.entries()) {
      assert.is(made[index]!.split("$", 1)[0], format);
      ours.push([text, made[index]!]);
    }
  }
  // Django's refusal needs no runtime of ours: it is seen once.
  const all = [...withWrong(ours.slice(0, pairs.length)), ...ours.slice(pairs.length)];
  assert.equal(
    await checks(all),
    all.map(isRight),
    `hashes of ${allOurs.map(({ name }) => name).join(", ")} at Django`,
  );
});

differential("every departure and known bug in the tables has occurred, in at least 300 requests", async () => {
  if (runtime === "node") {
    assert.equal(
      Object.keys(departures).filter((name) => !occurred.node.has(name)),
      [],
    );
  }
  assert.ok(total >= 300, `only ${total} requests`);
  const counts = allOurs.map(({ name }) => {
    const times = [...occurred[name].values()].reduce((sum, each) => sum + each, 0);
    return `${times} departures of ${occurred[name].size} kinds on ${name}`;
  });
  console.log(`${total} generated requests; ${counts.join(", ")}`);
});

it.after(async () => {
  for (const ours of allOurs) ours.stop();
  if (missing.length === 0) (await startOnce()).stop();
});
it.run();
