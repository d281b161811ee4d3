/** The one program: the server by default, commands by their name, completion in a shell. */
import { spawn } from "node:child_process";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { commandTexts, groupOf, renderHelp, serverHelp } from "../../src/program/help.ts";
import { listOptions } from "../../src/program/options.ts";
import { command, environmentWith, projectRoot, runtime, start, temporaryFolder } from "../support/runtime.ts";
import { finished, until } from "../support/processes.ts";

const main = "src/cli/main.ts";
const environment = environmentWith({});
const run = (args: string[]) => finished(start(main, args, { env: environment }));

const it = suite(`${runtime} program`);

for (const words of [[], ["serve"]]) {
  it(`serves with ${words.length === 0 ? "no command" : words[0]}`, async () => {
    const args = [...words, "--port", "0", "--store", "memory:", "--no-request-log"];
    const child = start(main, args, { env: environment });
    let stdout = "";
    child.stdout!.on("data", (chunk: Uint8Array) => (stdout += String(chunk)));
    await until(() => stdout.includes("curl") || child.exitCode !== null, "the first user is told of", 20_000);
    assert.match(stdout.toLowerCase(), `runtime  ${runtime}`);
    const ended = new Promise((resolve) => child.once("close", resolve));
    process.kill(child.pid!, "SIGTERM");
    assert.is(await ended, 0);
  });
}

it("names the nearest command for a misspelt one, and quotes no word", async () => {
  const cases: [args: string[], message: string][] = [
    [["usre", "list"], "jwt-endpoints: unknown command; did you mean user?\n"],
    [["hunter"], "jwt-endpoints: unknown command; accepted: serve, user, token, keys, db, completion\n"],
    [["hunter2"], "jwt-endpoints: the command line has a text that belongs to no flag\n"],
    [["serve", "--prot", "1"], "jwt-endpoints: setting --prot is not a flag of the server; did you mean --port?\n"],
    [["completion", "csh"], "jwt-endpoints: completion needs the name of a shell; accepted: bash, zsh, fish\n"],
  ];
  for (const [args, message] of cases) {
    assert.equal(await run(args), { code: 1, stdout: "", stderr: message });
  }
});

it("has the version of the package", async () => {
  const { version } = JSON.parse(readFileSync(path.join(projectRoot, "package.json"), "utf8")) as { version: string };
  assert.equal(await run(["--version"]), { code: 0, stdout: `${version}\n`, stderr: "" });
});

it("lists every command in its help, and has help for each", async () => {
  const { stdout } = await run(["--help"]);
  for (const name of Object.keys(commandTexts)) assert.match(stdout, new RegExp(`^  ${name} +[A-Z]`, "m"));
  for (const name of ["user", "token", "keys", "db"]) {
    const help = await run([name, "--help"]);
    assert.match(help.stdout, new RegExp(`^Usage: jwt-endpoints ${name} COMMAND \\[FLAG...\\]\n`));
  }
  assert.match((await run(["completion", "--help"])).stdout, /^Usage: jwt-endpoints completion bash\|zsh\|fish\n/);
});

it("names flags in its help, never settings or files of the source, and fits a narrow terminal", () => {
  const { sections } = serverHelp();
  const texts = sections
    .filter(({ title }) => title !== "Commands")
    .flatMap(({ rows }) => rows.map(([, text]) => text));
  const names = listOptions().map(({ name }) => name);
  for (const text of texts) {
    assert.not.match(text, "errors.ts", text);
    for (const [, word] of text.matchAll(/`([\w.]+)`/g)) assert.not(names.includes(word!), text);
  }
  assert.ok(texts.some((text) => text.startsWith("Most sessions that a user has at once, with --sessions on")));
  const lines = renderHelp(serverHelp(), 60).split("\n");
  for (const line of lines) assert.ok(line.length <= 60 || line.trim().split(/ /).length === 1, line);
  assert.ok(lines.every((line) => !line.endsWith("(default:")));
});

it("groups the settings in its help", () => {
  const few = ["port", "store", "signingKey", "accessTokenLifetime", "hashing.iterations", "throttle", "requestLog"];
  const titles = ["Address", "Store", "Keys", "Tokens", "Passwords", "Limits", "Logs"];
  assert.equal(
    few.map((name) => groupOf(name)),
    titles,
  );
});

const endOfWords = "end of words";

/**
 * Runs a script in a shell with the program on its path, as a user's shell has it.
 * @returns what it offers for each line, `undefined` without that shell.
 */
async function inShell(shell: string, script: string): Promise<string[][] | undefined> {
  const folder = temporaryFolder();
  const [program, args] = command(main);
  const words = [program, ...args].map((word) => `'${word}'`).join(" ");
  writeFileSync(path.join(folder, "jwt-endpoints"), `#!/bin/sh\nexec ${words} "$@"\n`);
  chmodSync(path.join(folder, "jwt-endpoints"), 0o755);
  writeFileSync(path.join(folder, "script"), script);
  const env = { ...environment, HOME: folder, PATH: `${folder}:${process.env["PATH"]}` };
  const child = spawn(shell, ["script"], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  const isMissing = await new Promise<boolean>((resolve) => {
    child.once("error", () => resolve(true)).once("spawn", () => resolve(false));
  });
  if (isMissing) return void console.log(`${shell} is not installed: its completion was not tried`);
  const { stdout, stderr, code } = await finished(child);
  assert.equal([stderr, code], ["", 0]);
  const offers = stdout.split(`${endOfWords}\n`).map((text) => text.split("\n").filter((line) => line !== ""));
  return offers.slice(0, -1).map((lines) => lines.map((line) => line.split("\t", 1)[0]!));
}

/** How each shell learns to complete, and how it is asked for what the tab key offers behind a line. */
const shells: Record<string, [setup: string, ask: (line: string) => string]> = {
  bash: [
    "source <(jwt-endpoints completion bash)",
    (line) => {
      const words = line.split(/ |(?<==)|(?==)/); // as readline breaks them
      const list = words.map((word) => `'${word}'`).join(" ");
      return `COMP_WORDS=(${list}) COMP_CWORD=${words.length - 1}
      _jwt_endpoints
      printf '%s\n' "\${COMPREPLY[@]}"`;
    },
  ],
  zsh: [
    // Only the key itself is not pressed: _describe would show the list.
    `compdef() { }
    _files() { }
    _describe() { print -l -- "\${(@)\${(@P)2}%%:*}" }
    source <(jwt-endpoints completion zsh)`,
    (line) => {
      const words = line.split(" ");
      const list = words.map((word) => `'${word}'`).join(" ");
      return `words=(${list}) CURRENT=${words.length}
      _jwt_endpoints`;
    },
  ],
  fish: ["jwt-endpoints completion fish | source", (line) => `complete -C '${line}'`],
};

for (const [shell, [setup, ask]] of Object.entries(shells)) {
  it(`completes commands, flags and values in ${shell}`, async () => {
    const lines = ["", "user ", "user add --", "user import --format ", "--no-req", "--me=", "completion z", "use"];
    const requests = lines.map((line) => `${ask(`jwt-endpoints ${line}`)}\necho '${endOfWords}'`);
    const offers = await inShell(shell, [setup, ...requests, ""].join("\n"));
    if (offers === undefined) return;
    assert.is(offers.length, lines.length);
    const [commands, ofUser, flags, value, negated, behind, shellName, word] = offers;
    assert.equal(commands!.toSorted(), Object.keys(commandTexts).toSorted());
    for (const name of ["add", "list", "passwd", "import"]) assert.ok(ofUser!.includes(name), name);
    for (const flag of ["--email", "--inactive", "--store", "--config"]) assert.ok(flags!.includes(flag), flag);
    assert.equal(value, ["csv", "jsonl"]);
    assert.equal(negated, ["--no-request-log"]);
    const whole = shell === "bash" ? "" : "--me="; // bash replaces what is behind "="
    assert.equal(behind!.toSorted(), [`${whole}false`, `${whole}true`]);
    assert.equal([shellName, word], [["zsh"], ["user"]]);
  });
}

it.run();
