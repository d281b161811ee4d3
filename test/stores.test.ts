import { suite } from "uvu";
import { memoryStore } from "../src/stores/memory.ts";
import { openFileStore } from "../src/stores/file.ts";
import { storeCases } from "../src/stores/conformance.ts";
import type { Store } from "../src/stores/store.ts";
import { temporaryFolder } from "./runtime.ts";

const stores: [name: string, open: () => Store | Promise<Store>][] = [
  ["memory", () => memoryStore()],
  ["file", () => openFileStore(temporaryFolder())],
  // Compacts all the time, which nobody must notice.
  ["file, compacting", () => openFileStore(temporaryFolder(), { compactAfter: 5 })],
];

for (const [name, open] of stores) {
  const it = suite<{ store: Store }>(`store: ${name}`);
  it.before.each(async (context) => {
    context.store = await open();
  });
  it.after.each(async ({ store }) => store.close());
  for (const [title, run] of storeCases) it(title, ({ store }) => run(store));
  it.run();
}
