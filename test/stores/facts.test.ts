import { randomUUID } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createState } from "../../src/stores/state/index.ts";
import { randomFrom } from "../support/random.ts";
import { later, longAgo, seed, stores } from "../support/stores.ts";

const flushing = suite("flushExpired");

for (const [name, open] of stores.slice(0, 2)) {
  flushing(`returns how many facts it drops: ${name}`, async () => {
    const store = await open();
    for (let i = 0; i < 5; i++) await store.putIfAbsent("k", `old-${i}`, "x", longAgo);
    await store.putIfAbsent("k", "kept", "x", later);
    assert.equal([await store.flushExpired(), await store.flushExpired()], [5, 0]);
    await store.close();
  });
}

for (const [ids, idOf] of [
  ["random", () => randomUUID().replaceAll("-", "")],
  ["numbered", (i: number) => `id-${i}`],
] as const) {
  flushing(`drops ${ids} ids in small parts, though all are gone at once`, () => {
    const state = createState();
    const all = Array.from({ length: 100_000 }, (_, i) => idOf(i));
    for (const id of all) state.putIfAbsent("k", id, "x", 11, 10);
    state.markExpired(11);
    for (const id of all)
      assert.is(
        state.get("k", id, () => 10),
        undefined,
      );
    const parts: number[] = [];
    for (let before = state.factCount(); state.sweepNext(); before = state.factCount()) {
      parts.push(before - state.factCount());
    }
    assert.is(state.factCount(), 0);
    assert.ok(Math.max(...parts) < 1000, `${Math.max(...parts)} at a time`);
  });
}

flushing("returns the same facts whenever marked ones are swept, and whatever clocks say", () => {
  const random = randomFrom(seed).next;
  const pick = (count: number): number => Math.floor(random() * count);
  for (let round = 0; round < 200; round++) {
    const states = [createState(), createState(), createState()];
    /** The rules in their plainest form: a flush drops at once. */
    const plain = new Map<string, { value: string; expiresAt: number }>();
    for (let step = 0; step < 60; step++) {
      const [kind, id, at, expiresAt] = [`kind-${pick(2)}`, `id-${pick(6)}`, pick(10), pick(12)];
      const key = `${kind} ${id}`;
      const told = `round ${round}, step ${step}, SEED=${seed}`;
      if (pick(5) === 0) {
        for (const [name, fact] of plain) if (fact.expiresAt <= at) plain.delete(name);
        for (const state of states) state.markExpired(at);
        while (states[0]!.sweepNext()); // at once; another some time; another never
      }
      if (pick(3) === 0) states[1]!.sweepNext();
      const fact = plain.get(key);
      const stands = fact !== undefined && fact.expiresAt > at ? fact.value : undefined;
      for (const state of states)
        assert.is(
          state.get(kind, id, () => at),
          stands,
          told,
        );
      if (pick(2) === 0) continue;
      if (stands === undefined) plain.set(key, { value: `${step}`, expiresAt });
      for (const state of states)
        assert.is(state.putIfAbsent(kind, id, `${step}`, expiresAt, at), stands ?? `${step}`, told);
    }
    for (const state of states) while (state.sweepNext());
    for (const state of states) assert.is(state.factCount(), plain.size, `round ${round}, SEED=${seed}`);
    for (const state of states) assert.is([...state.facts()].length, plain.size, `round ${round}, SEED=${seed}`);
  }
});

flushing.run();
