import { suite } from "uvu";
import * as assert from "uvu/assert";
import { foldUsername } from "../../src/stores/usernames.ts";

const folding = suite("foldUsername");

folding("folds every character like its upper and lower case, and leaves a fold as it is", () => {
  const missed: string[] = [];
  for (let code = 0; code <= 0x1ffff; code++) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    const char = String.fromCodePoint(code).normalize("NFKC");
    const folded = foldUsername(char);
    if (foldUsername(folded) !== folded || foldUsername(char.toUpperCase()) !== folded) missed.push(code.toString(16));
  }
  assert.equal(missed, []);
  for (const [name, folded] of [
    ["Ada", "ada"],
    ["straße", "strasse"],
    ["STRAẞE", "strasse"],
    ["ΟΔΟΣ", "οδος"],
    ["ZOË", "zoë"],
    ["\uFF21da", "ada"],
  ] as const) {
    assert.is(foldUsername(name), folded);
  }
});

folding.run();
