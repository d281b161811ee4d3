/** The digest of a stored password that Simple JWT compares. */
import { createHash } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { digestOf } from "../../src/tokens/password-digest.ts";
import { randomFrom, seedFrom } from "../support/random.ts";

const it = suite("password digest");

it("is each hash's own, however many were asked for before", () => {
  const random = randomFrom(seedFrom());
  const hashes = Array.from({ length: 7000 }, (_, i) => `pbkdf2_sha256$600000$salt-of-all$${i}é`);
  const expected = hashes.map((hash) => createHash("md5").update(hash).digest("hex").toUpperCase());
  for (let i = 0; i < 30_000; i++) {
    const at = random.chance(0.5) ? random.below(1000) : random.below(hashes.length);
    assert.is(digestOf(hashes[at]!), expected[at]);
  }
});

it.run();
