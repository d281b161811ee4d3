import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { FileStore } from "../../../src/stores/file/index.ts";
import type { Session, User } from "../../../src/stores/store.ts";
import { start, temporaryFolder } from "../../support/runtime.ts";
import { randomFrom, roundsHere } from "../../support/random.ts";
import { seed, using } from "../../support/stores.ts";

const file = suite("file store: kill -9");

/** Every acknowledged write that is missing from a store. */
async function missing(store: FileStore, facts: [kind: string, name: string, value?: unknown][]): Promise<string[]> {
  const removed = new Set(facts.filter(([kind]) => kind === "removed").map(([, name]) => name));
  const loggedOut = new Set(facts.filter(([kind]) => kind === "logout").map(([, name]) => name));
  const users = new Map<string, User>();
  for (const user of store.listUsers() as Iterable<User>) users.set(user.username, user);
  const sessions = new Map<string, Session>();
  for (const writer of new Set(facts.filter(([kind]) => kind === "login").map(([, , value]) => value as string))) {
    for (const session of await store.listSessions(writer)) sessions.set(session.id, session);
  }
  const lost = facts.filter(([kind, name, value]) => {
    if (kind === "claim") return store.get("load", name) !== value;
    if (kind === "counter") return (users.get(name)?.lastLogin ?? 0) < (value as number);
    if (kind === "removed") return users.has(name);
    if (kind === "logout") return sessions.get(name) !== undefined;
    if (kind === "login" || kind === "touch") {
      const session = sessions.get(name);
      if (session === undefined) return !loggedOut.has(name) && !isLastGuest(facts, name);
      return kind === "touch" && session.lastUsedAt !== 100;
    }
    return !removed.has(name) && !users.has(name) && !isLastGuest(facts, name);
  });
  return lost.map((fact) => fact.join(" "));
}

/** Its removal may have landed without having been acknowledged. */
function isLastGuest(facts: [kind: string, name: string, value?: unknown][], name: string): boolean {
  const [writer, number] = name.split("-guest-");
  return (
    number !== undefined && !facts.some(([kind, id]) => kind === "claim" && id === `${writer}-${Number(number) + 1}`)
  );
}

async function killRounds(lane: number, rounds: number, processes: number, compactAfter: number): Promise<void> {
  const random = randomFrom(seed + lane).next;
  const folder = temporaryFolder();
  const facts: [kind: string, name: string, value?: unknown][] = [];
  for (let round = 0; round < rounds; round++) {
    await Promise.all(
      Array.from({ length: processes }, async (_, n) => {
        const name = `w${round}.${n}`;
        const child = start("test/fixtures/store-writer.ts", [folder, String(compactAfter), name]);
        let output = "";
        let delay: number | undefined = 10 + random() * 80;
        child.stdout!.on("data", (chunk: Uint8Array) => {
          output += chunk.toString();
          if (delay !== undefined) setTimeout(() => child.kill("SIGKILL"), delay);
          delay = undefined;
        });
        let errors = "";
        child.stderr!.on("data", (chunk: Uint8Array) => (errors += chunk.toString()));
        await new Promise((resolve) => child.once("close", resolve));
        assert.is(child.signalCode, "SIGKILL", errors);
        for (const line of output.split("\n").slice(0, -1)) facts.push(JSON.parse(line));
      }),
    );
    const batches = new Map<string, number>();
    await using(folder, async (store) => {
      assert.equal(await missing(store, facts), [], `round ${round} of lane ${lane}, SEED=${seed}`);
      for (const { username } of store.listUsers() as Iterable<User>) {
        const batch = /^(.*-batch-\d+)-/.exec(username)?.[1];
        if (batch !== undefined) batches.set(batch, (batches.get(batch) ?? 0) + 1);
      }
    });
    for (const [batch, size] of batches) assert.is(size, 4, `${batch} is there in part`);
  }
  assert.ok(facts.length > rounds * 10, `only ${facts.length} writes were acknowledged`);
}

/** Of each of two lanes; a run of all runtimes takes 40 and more. */
const rounds = roundsHere(20);

file(`loses no acknowledged write in ${2 * rounds} rounds of kill -9, half of them compacting`, async () => {
  await Promise.all([killRounds(1, rounds, 1, 10_000), killRounds(2, rounds, 2, 30)]);
});

file.run();
