import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createHashTable } from "../../src/stores/state/hash-table.ts";
import { randomFrom } from "../support/random.ts";
import { seed } from "../support/stores.ts";

const table = suite("table by hash");

table("keeps all values of a hash in their order, whatever is added, deleted and absorbed", () => {
  const random = randomFrom(seed);
  for (let round = 0; round < 50; round++) {
    const drawn = Array.from({ length: 60 }, () => 1 + random.below(random.pick([4, 5000, 2 ** 30 - 1])));
    const hashes = [...new Set(drawn)];
    const model = new Map<number, object[]>(hashes.map((hash) => [hash, []]));
    const tables = [createHashTable<object>(), createHashTable<object>()] as const;
    const fill = (into: (typeof tables)[0], kept: typeof model): void => {
      for (let step = 0; step < 400; step++) {
        const hash = random.pick(hashes);
        const values = kept.get(hash)!;
        if (values.length > 0 && random.chance(0.4))
          into.delete(hash, values.splice(random.below(values.length), 1)[0]!);
        else {
          const value = { step };
          values.push(value);
          into.add(hash, value);
        }
      }
    };
    const check = (kept: typeof model): void => {
      for (const hash of hashes) {
        assert.equal(tables[0].all(hash), kept.get(hash), `hash ${hash}`);
        assert.is(tables[0].first(hash), kept.get(hash)![0]);
      }
    };
    fill(tables[0], model);
    check(model);
    const others = new Map<number, object[]>(hashes.map((hash) => [hash, []]));
    fill(tables[1], others);
    tables[0].absorb(tables[1]);
    for (const hash of hashes) {
      assert.is(tables[0].all(hash).length, model.get(hash)!.length + others.get(hash)!.length);
      for (const value of [...model.get(hash)!, ...others.get(hash)!]) tables[0].delete(hash, value);
      assert.equal(tables[0].all(hash), []);
    }
  }
});

table.run();
