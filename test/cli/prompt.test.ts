/** The password prompt, on a terminal. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { hashFor, isPasswordOf, newStore, secret, userProgram, usersOf, withStore } from "../support/commands.ts";
import { command, environmentWith } from "../support/runtime.ts";

const terminal = suite("user command: password prompt");

// `script` gives the command a terminal; elsewhere than in util-linux its flags differ.
const hasTerminal = /util-linux/.test(spawnSync("script", ["--version"], { encoding: "utf8" }).stdout ?? "");
const onTerminal = (title: string, run: () => Promise<void>): void => {
  if (hasTerminal) return terminal(title, run);
  console.log(`skipped, as there is no util-linux \`script\` to make a terminal: ${title}`);
  terminal.skip(title);
};

/** Runs the command on a terminal and types one line at each prompt. */
async function typed(args: string[], answers: string[]): Promise<{ code: number | null; screen: string }> {
  const [file, all] = command(userProgram, args);
  const quote = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;
  const line = [file, ...all].map(quote).join(" ");
  const child = spawn("script", ["-qec", line, "/dev/null"], { env: environmentWith({}), stdio: "pipe" });
  let screen = "";
  let answered = 0;
  child.stdout.on("data", (chunk: Uint8Array) => {
    screen += chunk.toString();
    while ((screen.match(/Password/g)?.length ?? 0) > answered && answered < answers.length) {
      child.stdin.write(answers[answered++]!);
    }
  });
  const [code] = (await once(child, "close")) as [number | null];
  assert.not.match(screen, secret, "the password is on the screen");
  return { code, screen };
}

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
