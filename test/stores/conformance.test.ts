import { suite } from "uvu";
import { storeCases } from "../../src/stores/conformance.ts";
import type { Store } from "../../src/stores/store.ts";
import { stores } from "../support/stores.ts";

for (const [name, open] of stores) {
  const it = suite<{ store: Store }>(`store: ${name}`);
  it.before.each(async (context) => {
    context.store = await open();
  });
  it.after.each(async ({ store }) => store.close());
  for (const [title, run] of storeCases) it(title, ({ store }) => run(store));
  it.run();
}
