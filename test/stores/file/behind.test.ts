/** A process that has not read for a while what others appended: `maxLag` and `whenBehind`. */
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openFileStore } from "../../../src/stores/file/index.ts";
import { openStore } from "../../../src/stores/open.ts";
import { StoreUrlError } from "../../../src/stores/store.ts";
import { until } from "../../support/processes.ts";
import { temporaryFolder } from "../../support/runtime.ts";
import { guest, journals, rejection } from "../../support/stores.ts";

const behind = suite("a file store that is behind");
const soon = Date.now() / 1000 + 3600;

/** Keeps the process from reading: no timer runs meanwhile. */
const stall = (ms: number): unknown => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

behind("reads forward before it returns anything, with `ask`", async () => {
  const folder = temporaryFolder();
  const [writer, reader] = [await openFileStore(folder), await openFileStore(folder, { maxLag: 100 })];
  for (let round = 0; round < 5; round++) {
    const { id } = await writer.addUser(guest(`user-${round}`));
    await writer.updateUser(id, { tokensValidFrom: 5 });
    await writer.putIfAbsent("blacklist", `jti-${round}`, "1", soon);
    await writer.removeUser(id);
    stall(120);
    assert.is(reader.findUserById(id), undefined, "in the first look after the pause");
    assert.is(reader.get("blacklist", `jti-${round}`), "1");
    assert.is(reader.wasRemoved("id", id), true);
  }
  await writer.close();
  await reader.close();
});

behind("is unavailable until it has read, with `fail`, and writes all the same", async () => {
  const folder = temporaryFolder();
  const [writer, reader] = [
    await openFileStore(folder),
    await openFileStore(folder, { maxLag: 100, whenBehind: "fail" }),
  ];
  await writer.putIfAbsent("blacklist", "jti", "1", soon);
  stall(120);
  for (const look of [() => reader.findUserById("1"), () => reader.findUserByUsername("ada"), () => reader.ping()]) {
    const { code, message } = await rejection(look);
    assert.is(code, "STORE_UNAVAILABLE");
    assert.is(message.split("\n").length, 1);
    assert.match(message, /max_lag/);
  }
  const added = reader.addUser(guest("ada"));
  await until(async () => (await rejectionOf(() => reader.findUserById("1"))) === undefined, "the poll has read");
  assert.is(reader.get("blacklist", "jti"), "1");
  assert.is((await added).username, guest("ada").username);
  await writer.close();
  await reader.close();
});

const rejectionOf = async (look: () => unknown): Promise<unknown> => {
  try {
    look();
  } catch (error) {
    return error;
  }
};

behind("is set by the parameters of its URL, which name no folder", async () => {
  const folder = path.join(temporaryFolder(), "data");
  for (const url of [`file:${folder}?max_lag=250&when_behind=fail`, `file://${folder}?when_behind=ask`]) {
    const store = await openStore(url);
    stall(url.includes("fail") ? 300 : 0);
    const code = (await rejectionOf(() => store.findUserById("1"))) as { code?: string } | undefined;
    assert.is(code?.code, url.includes("fail") ? "STORE_UNAVAILABLE" : undefined);
    await store.close();
  }
  assert.is(journals(folder).length, 1);
  for (const [parameters, problem] of [
    ["max_lag=0", /the parameter max_lag of the file: URL is no whole number from 1 to 600000/],
    ["when_behind=wait", /the parameter when_behind of the file: URL has an unknown value; accepted: ask, fail/],
    ["maxlag=5", /the parameter "maxlag" of the file: URL is unknown; accepted: max_lag, when_behind/],
  ] as const) {
    const error = await rejection(() => openStore(`file:${folder}?${parameters}`));
    assert.instance(error, StoreUrlError);
    assert.match(error.message, problem);
  }
});

behind.run();
