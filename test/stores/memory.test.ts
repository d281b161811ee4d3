import { suite } from "uvu";
import * as assert from "uvu/assert";
import { memoryStore } from "../../src/stores/memory.ts";
import { guest } from "../support/stores.ts";

const memory = suite("memory store");

memory("drops expired facts by itself", async () => {
  let time = 1_000_000_000;
  const store = memoryStore({ now: () => time });
  for (let i = 0; i < 15_000; i++) {
    await store.putIfAbsent("k", `old-${i}`, "x", time / 1000 + 1);
    if (i % 1000 === 0) time += 3_000_000;
  }
  assert.ok(((await store.flushExpired()) as number) < 10_000);
});

memory("ignores fields that are undefined", async () => {
  const store = memoryStore();
  const { id } = await store.addUser({ ...guest("ann"), email: "a@example.org" });
  const changed = await store.updateUser(
    id,
    { email: undefined, isActive: false } as never,
    { lastLogin: undefined } as never,
  );
  assert.equal([changed?.email, changed?.isActive], ["a@example.org", false]);
});

memory.run();
