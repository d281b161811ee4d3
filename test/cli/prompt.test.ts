/** The password prompt, on a terminal. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { hashFor, isPasswordOf, newStore, userProgram, usersOf, withStore } from "../support/commands.ts";
import { command } from "../support/runtime.ts";
import { hasTerminal, shellLine, typeAt } from "../support/terminal.ts";

const terminal = suite("user command: password prompt");

const onTerminal = (title: string, run: () => Promise<void>): void => {
  if (hasTerminal) return terminal(title, run);
  console.log(`skipped, as there is no util-linux \`script\` to make a terminal: ${title}`);
  terminal.skip(title);
};

/** Runs the command on a terminal and types one line at each prompt. */
const typed = (args: string[], answers: string[]) => typeAt(shellLine(...command(userProgram, args)), answers);

onTerminal("asks twice without echo", async () => {
  const url = await newStore();
  const { code, screen } = await typed(["add", "pia", "--store", url], ["hunter ä\r", "hunter ä\r"]);
  assert.match(screen, /Password: \r\nPassword \(again\): \r\nadded "pia", id /);
  assert.is(code, 0);
  const [pia] = await usersOf(url);
  assert.ok(await isPasswordOf(pia, "hunter ä"));
});

onTerminal("changes nothing when the two differ, or on Ctrl-C and Ctrl-D", async () => {
  const url = await newStore();
  await withStore(url, (store) => store.addUser({ username: "quinn", passwordHash: hashFor(1) }));
  const passwd = (...answers: string[]) => typed(["passwd", "quinn", "--store", url], answers);
  const [differ, interrupted, ended] = await Promise.all([
    passwd("hunter one\r", "hunter two\r"),
    passwd("hunter one\r", "hun\x03"),
    passwd("\x04"),
  ]);
  assert.match(differ.screen, /the two passwords differ/);
  assert.match(interrupted.screen, /no password was given/);
  assert.match(ended.screen, /no password was given/);
  assert.equal([differ.code, interrupted.code, ended.code], [1, 1, 1]);
  assert.is((await usersOf(url))[0]!.passwordHash, hashFor(1));
});

terminal.run();
