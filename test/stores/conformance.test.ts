import { suite } from "uvu";
import * as assert from "uvu/assert";
import { messageCases, storeCases } from "../../src/stores/conformance.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import type { Store } from "../../src/stores/store.ts";
import { temporaryFolder } from "../support/runtime.ts";
import { stores } from "../support/stores.ts";

for (const [name, open] of stores) {
  const it = suite<{ store: Store }>(`store: ${name}`);
  it.before.each(async (context) => {
    context.store = await open();
  });
  it.after.each(async ({ store }) => store.close());
  for (const [title, run, skipReason] of storeCases) {
    it(title, async ({ store }) => {
      assert.is(skipReason?.(store), undefined, "the stores here have every part");
      await run(store);
    });
  }
  it.run();
}

const messages = suite("store: file, messages");
for (const [title, run] of messageCases) {
  messages(title, async () => {
    const folder = temporaryFolder();
    const pair = [await openFileStore(folder), await openFileStore(folder)] as const;
    await run(...pair);
    await Promise.all(pair.map((store) => store.close()));
  });
}
messages.run();

const cases = suite("cases of a store");

cases("state why they are skipped for a store without sessions, or without a count", async () => {
  const none = {
    addSession: undefined,
    touchSession: undefined,
    listSessions: undefined,
    removeSession: undefined,
    countFacts: undefined,
  };
  const reasons: (string | undefined)[] = [];
  for (const [, run, skipReason] of storeCases) {
    const store = { ...memoryStore(), ...none } as unknown as Store;
    await run(store);
    if (skipReason !== undefined) reasons.push(skipReason(store));
  }
  const noSessions = Array<string>(4).fill("the store keeps no sessions: it has no addSession");
  assert.equal(reasons, [...noSessions, "the store does not count its facts: it has no countFacts"]);
});

cases("about messages state why they are skipped, and refuse a store with one of the methods", async () => {
  const store = memoryStore();
  for (const [, run, skipReason] of messageCases) {
    await run(store, store);
    assert.is(skipReason(store), "the store carries no messages: it has no publish");
    const half = { ...store, publish() {} };
    const error = await run(half, half).catch(({ message }: Error) => message);
    assert.is(error, "broken promise: a store with messages has both methods of MessageStore");
  }
});

cases("refuse a store with a part of the sessions' methods", async () => {
  const failures: unknown[] = [];
  for (const [, run] of storeCases) {
    const store = { ...memoryStore(), touchSession: undefined } as unknown as Store;
    await run(store).catch((error: Error) => failures.push(error.message));
  }
  assert.equal(failures, Array(4).fill("broken promise: a store with sessions has all methods of SessionStore"));
});

cases.run();
