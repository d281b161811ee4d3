/** Values that are loaded at their first use. That workers share no loading is tested in `edge/requests.test.ts`. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { onDemand } from "../../src/maybe-promise.ts";

const it = suite("values on demand");

it("are loaded once for callers at the same time, and returned without a promise from then on", async () => {
  let loads = 0;
  const value = {};
  const get = onDemand(async () => {
    loads++;
    return value;
  });
  assert.is(loads, 0);
  const found = await Promise.all([get(), get(), get()]);
  assert.ok(found.every((each) => each === value));
  assert.is(loads, 1);
  assert.is(get(), value);
});

it("are loaded again after a failure", async () => {
  let loads = 0;
  const get = onDemand(async () => {
    if (++loads === 1) throw new Error("no such file");
    return { loads };
  });
  const failures = await Promise.allSettled([get(), get()]);
  assert.equal(
    failures.map(({ status }) => status),
    ["rejected", "rejected"],
  );
  assert.equal(await get(), { loads: 2 });
  assert.equal(get(), { loads: 2 });
});

it.run();
