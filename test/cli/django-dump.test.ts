/** `user import --django`: what `manage.py dumpdata` writes. */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { importUsers } from "../../src/cli/import.ts";
import { UsageError } from "../../src/program/problem.ts";
import { memoryStore } from "../../src/stores/memory.ts";
import type { User } from "../../src/stores/store.ts";
import {
  done,
  fileOf,
  hashFor,
  isPasswordOf,
  newStore,
  refused,
  secret,
  user,
  usersOf,
  withoutProgress,
  withStore,
} from "../support/commands.ts";
import { projectRoot, temporaryFolder } from "../support/runtime.ts";
import { until } from "../support/processes.ts";

const django = suite("user command: import --django");

// Written by Django's `dumpdata auth.group auth.user` and `dumpdata auth.user --format jsonl`; the passwords are weak
// on purpose.
const dump = path.join(projectRoot, "test/fixtures/cli-dumpdata.json");

async function assertDumpImported(url: string): Promise<void> {
  const users = await usersOf(url);
  const rest = users.map(({ passwordHash, ...fields }) => (assert.type(passwordHash, "string"), fields));
  const common = { email: "", isActive: true, lastLogin: null, tokensValidFrom: null };
  assert.equal(rest, [
    { ...common, id: "1", username: "anna", email: "anna@example.org", lastLogin: 1_714_979_289.123 },
    { ...common, id: "2", username: "björn@example.org", email: "björn@example.org", isActive: false },
    { ...common, id: "3", username: "carl" },
    { ...common, id: "4", username: "dora" },
  ]);
  assert.ok(await isPasswordOf(users[0], "hunter anna"));
  assert.ok(await isPasswordOf(users[1], "hunter björn"));
  assert.match(users[2]!.passwordHash, /^![A-Za-z0-9]{40}$/);
  assert.ok(await isPasswordOf(users[3], "hunter dora"));
}

django("adds users as Django dumped them, and passes over other models", async () => {
  const [array, lines, stdin] = [await newStore(), await newStore(), await newStore()];
  const jsonl = dump.replace(".json", ".jsonl");
  const results = await Promise.all([
    user(["import", "--django", dump, "--store", array]),
    user(["import", "--django", jsonl, "--model", "Auth.User", "--store", lines]),
    user(["import", "-", "--django", "--store", stdin], { input: `\uFEFF \n${readFileSync(jsonl, "utf8")}` }),
  ]);
  done(results[0], /^imported 4 users, passed over 1 record of other models\n$/);
  done(results[1], /^imported 4 users\n$/);
  done(results[2], /^imported 4 users\n$/);
  for (const url of [array, lines, stdin]) await assertDumpImported(url);
  const again = await user(["import", "--django", dump, "--store", array]);
  assert.match(
    again.stderr,
    /^record 2: the username is taken\n.*\n.*\n.*\nnothing was imported: 4 of 4 records are bad /,
  );
  assert.is(again.code, 1);
});

const dumpFile = (records: unknown[], name = "dump.json"): string => fileOf(name, JSON.stringify(records));
const account = (pk: unknown, fields: Record<string, unknown> = {}, model = "accounts.account") => ({
  model,
  pk,
  fields: { password: hashFor(1), last_login: null, login: `user${String(pk)}`, ...fields },
});
const custom = { model: "accounts.Account", usernameField: "login" };

/** Imports a dump in this process, which is faster than one for each case. */
async function importDump(file: string, { skipBad = false, options = custom, store = memoryStore() } = {}) {
  let reports = "";
  const { write } = process.stderr;
  process.stderr.write = (text: string | Uint8Array) => ((reports += String(text)), true);
  try {
    const summary = await importUsers(store, file, { django: options, skipBad });
    return { summary, reports, users: [...(store.listUsers() as Iterable<User>)] };
  } catch (error) {
    assert.instance(error, UsageError);
    assert.not.match((error as UsageError).message + reports, secret);
    return { summary: (error as UsageError).message, reports, users: [...(store.listUsers() as Iterable<User>)] };
  } finally {
    process.stderr.write = write;
  }
}

django("supports the site's own user model and login field, and ids that are UUIDs", async () => {
  const uuid = "5a1b8f2e-6c0d-4e7f-9a3b-1c2d3e4f5a6b";
  const file = dumpFile([
    account(uuid, { login: "ada", email: "ada@example.org", last_login: "2024-01-02T03:04:05+02:00" }),
    account(2, { last_login: "2024-01-02T01:04:05.5" }, "Accounts.ACCOUNT"), // USE_TZ = False
    account(3, { password: "", is_active: false, email: null }),
    account(4, {}, "auth.user"),
  ]);
  const { summary, reports, users } = await importDump(file);
  assert.is(summary, "imported 3 users, passed over 1 record of other models");
  assert.is(reports, "");
  const common = { passwordHash: hashFor(1), email: "", isActive: true, lastLogin: null, tokensValidFrom: null };
  assert.equal(users, [
    { ...common, id: uuid, username: "ada", email: "ada@example.org", lastLogin: 1_704_157_445 },
    { ...common, id: "2", username: "user2", lastLogin: 1_704_157_445.5 },
    { ...common, id: "3", username: "user3", passwordHash: "!", isActive: false },
  ]);
});

django("adds no user when records are bad, says which and why, and with --skip-bad adds the others", async () => {
  const records: [record: unknown, reason: string | undefined][] = [
    [account(1), undefined],
    [{}, "not a record with model, pk and fields"],
    ["hunter", "not a record with model, pk and fields"],
    [{ model: "accounts.account", pk: 3, fields: [] }, "not a record with model, pk and fields"],
    [{ ...account(4), pk: undefined }, "no pk: tokens name it; dump without --natural-primary"],
    [account(2 ** 53), "pk is not a whole number or a word"],
    [account(6, { login: undefined }), 'no field "login"; --username-field says which users log in with'],
    [account(7, { login: 7 }), '"login" is not text'],
    [account(8, { login: " " }), "the username is blank"],
    [account(9, { login: "\uFFFD" }), "not UTF-8"],
    [account(10, { password: "hunter two" }), "the password hash is damaged or of no known format"],
    [account(11, { password: `${hashFor(1)}=` }), "the password hash is damaged or of no known format"],
    [
      account(12, { password: "0".repeat(32) }),
      "the password is an MD5 hash, which is not accepted: the user needs a new password",
    ],
    [
      account(13, { password: "sha1$salt$hunter" }),
      "the password is a SHA-1 hash, which is not accepted: the user needs a new password",
    ],
    [account(14, { is_active: "yes" }), "is_active is not true or false"],
    [account(15, { last_login: "yesterday" }), "last_login is not an ISO 8601 time"],
    [account(16, { last_login: "2024-13-01T00:00:00Z" }), "last_login is not an ISO 8601 time"],
    [account(17, { email: ["a"] }), "email is not text"],
    [account(18, { login: "user1" }), "the same username as record 1"],
    [account(1, { login: "user19" }), "the same id as record 1"],
    [account(20), undefined],
  ];
  const expected = records.flatMap(([, reason], index) =>
    reason === undefined ? [] : `record ${index + 1}: ${reason}\n`,
  );
  const file = dumpFile(records.map(([record]) => record));

  const all = await importDump(file);
  assert.is(all.reports, expected.join(""));
  assert.is(all.summary, "nothing was imported: 19 of 21 records are bad (--skip-bad imports the others)");
  assert.equal(all.users, []);

  const imported = await importDump(file, { skipBad: true });
  assert.is(imported.reports, expected.join(""));
  assert.is(imported.summary, "imported 2 users, skipped 19 bad records");
  assert.equal(
    imported.users.map(({ id }) => id),
    ["1", "20"],
  );

  const lines = fileOf("dump.jsonl", `${JSON.stringify(account(1))}\n\n{"model": "hunter`);
  const damaged = await importDump(lines);
  assert.is(damaged.reports, "line 3: not valid JSON\n");
  assert.is(damaged.summary, "nothing was imported: 1 of 2 lines is bad (--skip-bad imports the others)");
});

django("refuses a file that can't be read as a whole, even with --skip-bad", async () => {
  const whole = JSON.stringify(Array.from({ length: 2000 }, (_, n) => account(n)));
  const json = (text: string | Uint8Array) => fileOf("dump.json", text);
  const cut = /^nothing was imported: the JSON is damaged or cut off somewhere after record \d+$/;
  const noDump = /^nothing was imported: .*dump.json is not a dump as JSON in UTF-8$/;
  const cases: [file: string, reason: RegExp][] = [
    [json(whole.slice(0, -1)), cut],
    [json(whole.slice(0, 150_000)), cut],
    [json(whole.slice(0, 20)), cut],
    [json("["), cut],
    [json(`${whole.slice(0, 150_000)}\0${whole.slice(150_000)}`), cut],
    [json(`${whole} []`), cut],
    [json("[hunter]"), cut],
    [json(""), noDump],
    [json(" \n"), noDump],
    [json("<django-objects>"), noDump],
    [json("- model: auth.user\n"), noDump],
    [json(Buffer.from("\uFEFF[]", "utf16le")), noDump],
    [fileOf("none.json", '"hunter"'), /^nothing was imported: .*none.json is not a dump/],
    [
      dumpFile([account(1, {}, "auth.user"), account(2, {}, "auth.group")]),
      /no record is of the model "accounts.Account" \(--model\), but of "auth.user", "auth.group"$/,
    ],
    [path.join(temporaryFolder(), "none.json"), /^can't read .*none.json: no such file$/],
  ];
  for (const [file, reason] of cases) {
    const { summary, users, reports } = await importDump(file, { skipBad: true });
    assert.match(summary, reason);
    assert.is(reports, "");
    assert.equal(users, []);
  }
  assert.is((await importDump(json("[]"))).summary, "imported 0 users");
  assert.is((await importDump(json(whole))).summary, "imported 2000 users");

  const url = await newStore();
  refused(await user(["import", "--django", json(whole.slice(0, 150_000)), "--store", url]), /^nothing was imported: /);
  assert.equal(await usersOf(url), []);
});

django("streams 20,000 users into a store that is open elsewhere", async () => {
  const url = await newStore();
  const count = 20_000;
  const file = dumpFile(
    Array.from({ length: count }, (_, n) => account(n, { login: `user${n}`, bio: "x".repeat(200) })),
  );
  await withStore(url, async (store) => {
    const args = ["import", "--django", file, "--model", custom.model, "--username-field", "login", "--store", url];
    done(withoutProgress(await user(args)), /^imported 20000 users\n$/);
    await until(async () => (await store.findUserById("19999")) !== undefined, "the last user appears");
  });
});

django.run();
