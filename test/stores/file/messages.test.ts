/** The files that carry messages between the processes of a folder. */
import fs from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { FileStore } from "../../../src/stores/file/index.ts";
import { openFileStore } from "../../../src/stores/file/index.ts";
import { until } from "../../support/processes.ts";
import { randomFrom } from "../../support/random.ts";
import { temporaryFolder } from "../../support/runtime.ts";
import { appendTo, mode, seed, using } from "../../support/stores.ts";

const it = suite("file store: messages");

const filesIn = (folder: string): string[] =>
  fs
    .readdirSync(folder)
    .filter((name) => name.startsWith("messages-"))
    .sort();
const minute = (): number => Math.floor(Date.now() / 60_000);
const present = (folder: string): string => path.join(folder, `messages-${minute()}`);

// No case begins when the minute, and so the file, is about to change.
it.before.each(async () => {
  while (Date.now() % 60_000 > 57_000) await new Promise((resolve) => setTimeout(resolve, 100));
});

function received(store: FileStore): string[] {
  const texts: string[] = [];
  store.subscribe((text) => texts.push(text));
  return texts;
}

it("are private, made with the first message, and gone a minute or two later", async () => {
  const folder = temporaryFolder();
  await using(folder, async (store) => {
    received(store);
    await new Promise((resolve) => setTimeout(resolve, 120));
    assert.equal(filesIn(folder), []);
    for (const old of [minute() - 2, minute() + 2, 7]) fs.writeFileSync(path.join(folder, `messages-${old}`), "old");
    fs.writeFileSync(path.join(folder, `messages-${minute() - 1}`), "");
    store.publish("a");
    await until(() => fs.existsSync(present(folder)), "there is a file");
    assert.ok(filesIn(folder).length <= 3, filesIn(folder).join());
    assert.not.ok(filesIn(folder).some((name) => Math.abs(Number(name.split("-")[1]) - minute()) > 1));
    assert.is(mode(present(folder)), "600");
  });
});

it("tell a process that starts later what was sent lately", async () => {
  const folder = temporaryFolder();
  await using(folder, async (store) => {
    store.publish("before");
    await until(() => filesIn(folder).length > 0, "it is written");
  });
  await using(folder, async (store) => {
    const texts = received(store);
    await until(() => texts.length > 0, "it is read");
    assert.equal(texts, ["before"]);
  });
});

it("pass over torn lines and what is no message", async () => {
  const random = randomFrom(seed);
  const folder = temporaryFolder();
  await using(folder, async (one) => {
    await using(folder, async (other) => {
      const texts = received(other);
      one.publish("0");
      await until(() => texts.length === 1, "the first one arrives");
      const junk = [
        '\n["someone",1,"torn',
        "\n{}\n",
        "\nnull\n",
        '\n["someone"]\n',
        '\n["someone",1,2,null,["x"],"good"]\n',
        "\n\n\n",
        "\0\0\0",
      ];
      for (let i = 1; i <= 200; i++) {
        const piece = random.chance(0.5) ? random.pick(junk) : random.bytes(random.below(50));
        appendTo(present(folder), piece);
        one.publish(`${i}`);
        if (random.chance(0.2)) await new Promise((resolve) => setTimeout(resolve, 25));
      }
      await until(() => texts.includes("200"), "the last one arrives");
      assert.equal(
        texts.filter((text) => text !== "good"),
        Array.from({ length: 201 }, (_, i) => `${i}`),
      );
    });
  });
});

it("get lost without an error while the folder can't be written, and come again afterwards", async () => {
  const folder = temporaryFolder();
  const one = await openFileStore(folder, { warn: () => {} });
  const other = await openFileStore(folder, { warn: () => {} });
  const texts = received(other);
  fs.mkdirSync(present(folder)); // no file can have that name then, even for root
  const blocked = present(folder);
  one.publish("lost");
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.equal(texts, []);
  fs.rmdirSync(blocked);
  one.publish("found");
  await until(() => texts.length > 0, "it arrives");
  assert.equal(texts, ["found"]);
  await one.close();
  one.publish("after the end");
  await other.close();
});

it("go on when the file is cut short or removed, and beside a folder of a file's name", async () => {
  const folder = temporaryFolder();
  await using(folder, async (one) => {
    await using(folder, async (other) => {
      const texts = received(other);
      fs.mkdirSync(path.join(folder, "messages-7"));
      const damages = [() => {}, () => fs.truncateSync(present(folder)), () => fs.rmSync(present(folder))];
      for (const [i, damage] of damages.entries()) {
        damage();
        await new Promise((resolve) => setTimeout(resolve, 120)); // it is read
        one.publish(`${i}`);
        await until(() => texts.includes(`${i}`), `message ${i} arrives`);
      }
    });
  });
});

it("that wait are sent when the store is closed", async () => {
  const folder = temporaryFolder();
  await using(folder, async (other) => {
    const texts = received(other);
    await using(folder, async (one) => one.publish("last"));
    await until(() => texts.length > 0, "it arrives");
    assert.equal(texts, ["last"]);
  });
});

it("of a flood are passed over beyond the last MiB, and those that follow arrive", async () => {
  const folder = temporaryFolder();
  await using(folder, async (store) => {
    fs.writeFileSync(present(folder), `\n["someone",1,"early"]\n`.padEnd(5 << 20, "\n"), { mode: 0o600 });
    appendTo(present(folder), '\n["someone",2,"late"]\n');
    const texts = received(store);
    await until(() => texts.length > 0, "it arrives");
    assert.equal(texts, ["late"]);
  });
});

it.run();
