/** The limits of passwords and of the queue in front of their hashing. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createJwtEndpoints, createPasswords } from "../../src/index.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import { weak, unusable, iterations, shape, watchingHashes, gated } from "./engines.ts";

const limits = suite("limits");

limits("a password has at most 4096 bytes, not characters", async () => {
  const passwords = createPasswords({ iterations });
  for (const longest of ["x".repeat(4096), "é".repeat(2048), "☃".repeat(1365) + "x", "😀".repeat(1024)]) {
    const encoded = await passwords.hash(longest);
    assert.equal(await passwords.check(longest, encoded), { ok: true });
    for (const longer of [`${longest}x`, `${longest}é`]) {
      const error = await passwords.hash(longer).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      assert.instance(error, RangeError);
      assert.not.match((error as Error).message, longest.slice(0, 20));
      assert.equal(await passwords.check(longer, encoded), { ok: false });
    }
  }
});

limits("a longer password is refused without being hashed", async () => {
  const passwords = createPasswords({ iterations });
  let hashed = 0;
  const count = (_: number, derive: () => Promise<ArrayBuffer>) => {
    hashed++;
    return derive();
  };
  await watchingHashes(count, async () => {
    for (const encoded of [undefined, weak, unusable]) await passwords.check("é".repeat(2049), encoded);
  });
  assert.is(hashed, 0);
});

limits("of a full queue throw PasswordQueueFull with retryAfter", async () => {
  await gated({ concurrency: 2, queue: 3 }, async ({ passwords, letGo, settle, held }) => {
    const waiting = Array.from({ length: 5 }, () => passwords.hash("x"));
    await settle(2);
    assert.is(held.length, 2);
    const { hash, check } = passwords;
    for (const late of [() => hash("x"), () => check("x", weak), () => check("x", undefined)]) {
      const error = (await late().then(
        () => undefined,
        (reason: unknown) => reason,
      )) as {
        name: string;
        code: string;
        retryAfter: number;
      };
      assert.equal([error.name, error.code], ["PasswordQueueFull", "PASSWORD_QUEUE_FULL"]);
      assert.ok(Number.isInteger(error.retryAfter) && error.retryAfter >= 1, String(error.retryAfter));
    }
    await letGo(1);
    await settle(2);
    const next = passwords.hash("x"); // a place is free again
    await letGo(5);
    for (const encoded of await Promise.all([...waiting, next])) assert.match(encoded, shape(iterations));
  });
});

limits("without a queue accept as many as run at once", async () => {
  await gated({ concurrency: 1, queue: 0 }, async ({ passwords, letGo }) => {
    const first = passwords.hash("x");
    assert.is(await passwords.hash("x").catch((error: Error) => error.name), "PasswordQueueFull");
    await letGo();
    await first;
    const again = passwords.hash("x");
    await letGo();
    await again;
  });
});

limits("never let more than `concurrency` run at once, and keep the order", async () => {
  for (const concurrency of [1, 2, 3]) {
    await gated({ concurrency, queue: 50 }, async (gate) => {
      const ended: number[] = [];
      const all: Promise<number>[] = [];
      for (let i = 0; i < 20; i++) {
        all.push(gate.passwords.hash(`${i}`).then(() => ended.push(i)));
        if (i < concurrency) await gate.settle(i + 1); // else the first ones, which start together, might pass each other
      }
      for (let i = 0; i < 20; i++) {
        await gate.settle(Math.min(concurrency, 20 - i)); // so that none that started later passes another
        await gate.letGo();
        assert.ok(gate.running <= concurrency);
      }
      await Promise.all(all);
      assert.is(gate.most, concurrency);
      assert.equal(
        ended,
        Array.from({ length: 20 }, (_, i) => i),
      );
    });
  }
});

limits("of iterations are the same for hashes that are made and that are verified", async () => {
  const [most, tail] = [20_000_000, weak.split("$").slice(2).join("$")];
  const passwords = createPasswords({ iterations: most });
  assert.is(passwords.isHash(`pbkdf2_sha256$${most}$${tail}`), true);
  assert.is(passwords.isHash(`pbkdf2_sha256$${most + 1}$${tail}`), false);
  const settings = { store: memoryStore(), signingKey: "s".repeat(32) };
  createJwtEndpoints({ ...settings, hashing: { iterations: most } });
  const problem = `is out of range; accepted: a whole number from 1 to ${most}`;
  for (const wrong of [most + 1, 100_000_000, 0, -1, 1.5, Number.NaN, Infinity]) {
    assert.throws(() => createPasswords({ iterations: wrong }), `iterations: ${wrong} ${problem}`);
    assert.throws(
      () => createJwtEndpoints({ ...settings, hashing: { iterations: wrong } }),
      (error: Error) => error.name === "SettingError" && /^setting hashing\.iterations.* is /.test(error.message),
    );
  }
  assert.throws(
    () => createJwtEndpoints({ ...settings, hashing: { iterations: most + 1 } }),
    `setting hashing.iterations: ${most + 1} ${problem}`,
  );
});

limits("give a place back after a failure", async () => {
  const passwords = createPasswords({ iterations, concurrency: 1, queue: 5 });
  const failing = () => Promise.reject(new Error("no entropy"));
  const results = await watchingHashes(failing, () => Promise.allSettled([1, 2, 3].map(() => passwords.hash("x"))));
  assert.equal(
    results.map(({ status }) => status),
    ["rejected", "rejected", "rejected"],
  );
  assert.match(await passwords.hash("x"), shape(iterations));
  assert.match(await passwords.hash("x"), shape(iterations));
});

limits.run();
