import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openStore } from "../../src/stores/open.ts";
import { temporaryFolder } from "../support/runtime.ts";
import { guest, journals, rejection } from "../support/stores.ts";

const opening = suite("openStore");

opening("opens memory and file stores by URL", async () => {
  const folder = temporaryFolder();
  for (const url of [
    "memory:",
    `file:${folder}`,
    `file://${folder}/a%20b`,
    `file:${path.relative(".", folder)}/relative`,
  ]) {
    const store = await openStore(url);
    await store.addUser(guest("url"));
    await store.close();
  }
  assert.ok(
    journals(folder).length === 1 &&
      journals(`${folder}/a b`).length === 1 &&
      journals(`${folder}/relative`).length === 1,
  );
});

opening("refuses other URLs in one line that names the setting and repeats no credentials", async () => {
  for (const url of ["mysql://me:hunter2@host/db", "hunter2", "file:", "", "C:\\hunter2", "file:///%E0%A4%A"]) {
    const error = await rejection(() => openStore(url));
    assert.instance(error, TypeError);
    assert.match(error.message, /store/);
    assert.match(error.message, /memory:.*file:/);
    assert.not.match(error.message, /hunter2|\n/);
  }
});

opening.run();
