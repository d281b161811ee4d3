/** The queue in front of password hashing: turns by client, clients that have gone, places in a full queue. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createLimiter } from "../../src/passwords/queue.ts";
import { randomFrom, seedFrom } from "../support/random.ts";
import { turn } from "./engines.ts";

const it = suite("queue");

/** A limiter whose tasks the test ends; `began` holds their names in the order of their start. */
function held(concurrency: number, queue: number) {
  const limiter = createLimiter(concurrency, queue);
  const [began, ends, failed] = [[] as string[], [] as (() => void)[], [] as string[]];
  return {
    limiter,
    began,
    failed,
    add(name: string, client?: string, isGone?: () => boolean) {
      const task = () => (began.push(name), new Promise<void>((resolve) => ends.push(resolve)));
      void limiter
        .run(task, { client, ...(isGone !== undefined && { isGone }) })
        .catch((error: { code: string }) => failed.push(`${name} ${error.code}`));
    },
    async end() {
      ends.shift()?.();
      await turn();
    },
  };
}

it("gives each waiting client a turn, however many logins one of them sends", async () => {
  const { add, began, end, limiter } = held(1, 100);
  for (let i = 0; i < 30; i++) add(`greedy ${i}`, "greedy");
  add("ada", "a");
  add("bob", "b");
  assert.is(limiter.load().running, 1);
  assert.is(limiter.load().waiting, 31);
  for (let i = 0; i < 4; i++) await end();
  assert.equal(began, ["greedy 0", "greedy 1", "ada", "bob", "greedy 2"]);
});

it("refuses the newest login of the client with the most when the queue is full, never of one with fewer", async () => {
  const { add, failed, limiter } = held(1, 4);
  for (let i = 0; i < 7; i++) add(`greedy ${i}`, "greedy");
  await turn();
  assert.equal(failed, ["greedy 5 PASSWORD_QUEUE_FULL", "greedy 6 PASSWORD_QUEUE_FULL"]);
  add("ada", "a");
  add("bob", "b");
  await turn();
  assert.equal(failed.slice(2), ["greedy 4 PASSWORD_QUEUE_FULL", "greedy 3 PASSWORD_QUEUE_FULL"]);
  assert.is(limiter.load().waiting, 4);
  add("ada again", "a"); // now two each
  await turn();
  assert.equal(failed.slice(4), ["ada again PASSWORD_QUEUE_FULL"]);
});

it("neither runs nor counts tasks whose client has disconnected", async () => {
  const { add, began, failed, end, limiter } = held(1, 2);
  let isGone = false;
  add("first", "a");
  for (let i = 0; i < 2; i++) add(`gone ${i}`, "a", () => isGone);
  isGone = true;
  add("late", "b"); // the queue is full of clients that have gone
  add("never", "c", () => true);
  await turn();
  assert.equal(failed.sort(), ["gone 0 CLIENT_GONE", "gone 1 CLIENT_GONE", "never CLIENT_GONE"]);
  await end();
  assert.equal(began, ["first", "late"]);
  await end();
  assert.equal([limiter.load().running, limiter.load().waiting], [0, 0]);
});

it("runs or refuses every task and ends empty, under random arrivals and departures", async () => {
  const random = randomFrom(seedFrom());
  for (let round = 0; round < 50; round++) {
    const [concurrency, queue] = [1 + random.below(4), random.below(10)];
    const { add, began, failed, end, limiter } = held(concurrency, queue);
    const gone = new Set<string>();
    let tasks = 0;
    for (let step = 0; step < 100; step++) {
      const client = `c${random.below(5)}`;
      if (random.chance(0.6)) add(`t${tasks++}`, client, () => gone.has(client));
      else if (random.chance(0.2)) gone.add(client);
      else gone.delete(client);
      if (random.chance(0.4)) await end();
      assert.ok(
        limiter.load().running <= concurrency && limiter.load().waiting <= queue && limiter.load().waiting >= 0,
      );
    }
    while (limiter.load().running > 0) await end();
    await turn();
    assert.is(began.length + failed.length, tasks);
    assert.is(limiter.load().waiting, 0);
  }
});

it.run();
