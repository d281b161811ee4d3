/** Password hashes: those of Django are read, new ones have its shape. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createPasswords } from "../../src/index.ts";
import { recordings, weak, unusable, iterations, shape, watchingHashes, workOf } from "./engines.ts";

const hashes = suite("hashes");

hashes("made by Django verify, with the right password only", async () => {
  const passwords = createPasswords({ iterations: 1 });
  for (const [password, encoded] of recordings) {
    assert.ok(passwords.isHash(encoded), encoded);
    assert.equal(await passwords.check(password, encoded), { ok: true }, encoded);
    const wrong = `${password.slice(0, -1)}y`;
    assert.is((await passwords.check(wrong, encoded)).ok, false, encoded);
  }
});

hashes("of ours have Django's exact shape, a new salt each, and verify", async () => {
  const passwords = createPasswords({ iterations });
  const made = await Promise.all(Array.from({ length: 40 }, () => passwords.hash("pässwörd ☃ 😀")));
  for (const encoded of made) {
    assert.match(encoded, shape(iterations));
    assert.ok(passwords.isHash(encoded));
  }
  assert.is(new Set(made.map((encoded) => encoded.split("$")[2])).size, made.length);
  assert.equal(await passwords.check("pässwörd ☃ 😀", made[0]), { ok: true });
  assert.equal(await passwords.check("passwörd ☃ 😀", made[0]), { ok: false });
});

hashes("have 600,000 iterations unless something else is said", async () => {
  const seen: number[] = [];
  const encoded = await watchingHashes(
    async (rounds) => {
      seen.push(rounds);
      return new ArrayBuffer(32);
    },
    () => createPasswords().hash("x"),
  );
  assert.match(encoded, shape(600_000));
  assert.equal(seen, [600_000]);
});

hashes("that are damaged or unknown never match, never throw, and are reported", async () => {
  const passwords = createPasswords({ iterations: 1 });
  const [, encoded] = recordings[7]!;
  const [name, rounds, salt, hash] = encoded.split("$") as [string, string, string, string];
  const damaged = [
    "",
    "$",
    "$$$",
    "$$$$",
    "x",
    "weak",
    name,
    `${name}$`,
    `${name}$1`,
    `${name}$1$${salt}`,
    `${name}$1$${salt}$`,
    `${encoded}$`,
    `${encoded}\n`,
    ` ${encoded}`,
    `${encoded} `,
    `${encoded}=`,
    encoded.slice(0, -1),
    encoded.slice(1),
    ...[
      "0",
      "-1",
      "01",
      "1.0",
      "1e0",
      "+1",
      " 1",
      "0x1",
      "NaN",
      "",
      "2147483648",
      "4294967296",
      "99999999999",
      "9".repeat(400),
    ].map((bad) => `${name}$${bad}$${salt}$${hash}`),
    `${name}$${rounds}$$${hash}`,
    ...[hash.slice(4), hash + hash, `AAAA${hash}`, hash.replace("=", "A"), hash.replace("t", "%")].map(
      (bad) => `${name}$${rounds}$${salt}$${bad}`,
    ),
    `${name}$${rounds}$${salt}$${"=".repeat(44)}`,
    `PBKDF2_SHA256$${rounds}$${salt}$${hash}`,
    `__proto__$${rounds}$${salt}$${hash}`,
    `constructor$1$${salt}$${hash}`,
    `pbkdf2_sha512$1$${salt}$${hash}`,
    `md5$${salt}$900150983cd24fb0d6963f7d28e17f72`,
    "\0",
    "\ud800$1$a$b",
    "é$".repeat(999),
  ];
  for (const bad of damaged) {
    assert.not.ok(passwords.isHash(bad), bad);
    for (const password of ["weak", "", bad.slice(0, 99)]) {
      assert.equal(await passwords.check(password, bad), { ok: false, unknownFormat: true }, bad);
    }
  }
});

hashes("with one changed character never match", async () => {
  const passwords = createPasswords({ iterations: 1 });
  const [password, encoded] = recordings[7]!;
  for (let i = 0; i < encoded.length; i++) {
    const changed = encoded.slice(0, i) + (encoded[i] === "B" ? "C" : "B") + encoded.slice(i + 1);
    assert.is((await passwords.check(password, changed)).ok, false, changed);
  }
});

hashes("that Django calls unusable never match, and are no damage", async () => {
  const passwords = createPasswords({ iterations });
  for (const encoded of [unusable, "!", "!x", `!${recordings[6]![1]}`]) {
    assert.ok(passwords.isHash(encoded));
    for (const password of ["", "!", unusable, unusable.slice(1), "weak"]) {
      const { ok, unknownFormat = false } = await passwords.check(password, encoded);
      assert.equal([ok, unknownFormat], [false, false], encoded);
    }
  }
});

hashes("that are weaker are reported as weak when the password is right, stronger or equal ones never", async () => {
  for (const [rounds, isWeak] of [
    [999, false],
    [1000, false],
    [1001, true],
    [5000, true],
  ] as const) {
    const passwords = createPasswords({ iterations: rounds });
    assert.equal(await passwords.check("weak", weak), isWeak ? { ok: true, isWeak } : { ok: true }, String(rounds));
    assert.equal(await passwords.check("wrong", weak), { ok: false });
  }
});

hashes("cost the same for wrong passwords, unknown users, unusable and weak hashes", async () => {
  const passwords = createPasswords({ iterations: 5000 });
  for (const encoded of [undefined, unusable, "damaged", weak, await passwords.hash("right")]) {
    assert.equal(await workOf(() => passwords.check("wrong", encoded)), { "SHA-256": 5000 }, String(encoded));
  }
});

hashes.run();
