/**
 * Runs the command blocks of the READMEs (`sh` and `console`), each in a checkout of its own. A comment in front of a block,
 * `<!-- not run: REASON -->`, keeps it from being run; the end of the output names those. In `console` blocks the output is
 * compared: `…` stands for any text or lines, and a token, password or version stands for whichever was printed, also in
 * the commands behind it. On Node only: npm runs the commands, whatever runs later.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createPasswords, createJwtEndpoints } from "../../src/index.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { type Block, blocksOf } from "../support/documents.ts";
import { buildPackage, run } from "../support/package.ts";
import { freePort } from "../support/processes.ts";
import { environmentWith, projectRoot, runtime, temporaryFolder } from "../support/runtime.ts";

const files = readdirSync(path.join(projectRoot, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => path.basename(name) === "README.md")
  .map((name) => path.posix.join("src", name));
const blocks = ["README.md", ...files].flatMap(blocksOf);

/** What the sources are built to, once for all checkouts. */
let built: string;

/** Makes a checkout with development dependencies and with what was built, whose program npx finds. */
function checkout(): string {
  const folder = temporaryFolder();
  for (const name of ["package.json", "tsconfig.json", "deno.json", "src"]) {
    cpSync(path.join(projectRoot, name), path.join(folder, name), { recursive: true });
  }
  const bin = path.join(folder, "node_modules/.bin");
  mkdirSync(bin, { recursive: true });
  const packages = path.join(projectRoot, "node_modules");
  for (const name of readdirSync(packages)) {
    if (name !== ".bin") symlinkSync(path.join(packages, name), path.join(folder, "node_modules", name));
  }
  for (const name of readdirSync(path.join(packages, ".bin"))) {
    symlinkSync(path.join(packages, ".bin", name), path.join(bin, name));
  }
  symlinkSync(built, path.join(folder, "dist"));
  symlinkSync("../../dist/cli/main.cjs", path.join(bin, "jwt-endpoints"));
  return folder;
}

/** Makes the store `data` with a user, and `token.txt` with one of the user's tokens. */
async function makeStore(folder: string): Promise<void> {
  const store = await openFileStore(path.join(folder, "data"));
  const hashing = { iterations: 100_000 };
  const signingKey = "0123456789abcdefghijklmnopqrstuvwxyz";
  await store.addUser({ username: "ada", passwordHash: await createPasswords(hashing).hash("correct horse") });
  const { fetch } = createJwtEndpoints({ store, signingKey, hashing });
  const body = new URLSearchParams({ username: "ada", password: "correct horse" });
  const response = await fetch(new Request("http://localhost/jwt/create/", { method: "POST", body }));
  const { access } = (await response.json()) as { access: string };
  await store.close();
  writeFileSync(path.join(folder, "data/signing.key"), signingKey, { mode: 0o600 });
  writeFileSync(path.join(folder, "token.txt"), `${access}\n`);
}

/**
 * What a shell of these tests does otherwise: servers run in the background, and the shell goes on once they are ready;
 * `npm ci` and `npm test` do nothing, since that is what runs these tests.
 */
const preamble = `
exec 2>&1
in_background() {
  local had_store=; [ -e data ] && had_store=yes
  command "$@" > server.log 2>&1 &
  for i in $(seq 300); do
    if curl -sf "http://127.0.0.1:$PORT/readyz" > ready.log; then break; fi
    kill -0 $! || break
    sleep 0.1
  done
  for i in $(seq 100); do
    if [ -n "$had_store" ] || grep -q "Try it" server.log; then break; fi
    sleep 0.1
  done
  grep -v '^{"time"' server.log # without the requests of this function
  kill -0 $!
}
curl() { command curl --no-progress-meter "$@"; } # as at a terminal
npm() {
  case "$*" in
    ci | test) ;;
    start* | "run start"*) in_background npm "$@" ;;
    *) command npm "$@" ;;
  esac
}
starts_server() {
  case "$1" in user | token | keys | db | completion) return 1 ;; esac
  case " $* " in *" --help "* | *" --version "* | *" --print-config"*) return 1 ;; esac
}
jwt-endpoints() { if starts_server "$@"; then in_background jwt-endpoints "$@"; else command jwt-endpoints "$@"; fi; }
npx() {
  if [ "$1" = jwt-endpoints ] && starts_server "\${@:2}"; then in_background npx "$@"; else command npx "$@"; fi
}
`;

const marker = "-- the command has ended with code";

/** A shell that runs one command after the other. */
class Shell {
  readonly #child: ChildProcess;
  #output = "";
  constructor(folder: string, port: number) {
    const env = environmentWith({
      HOME: folder,
      PORT: String(port),
      PATH: `${path.join(folder, "node_modules/.bin")}:${process.env["PATH"]}`,
      npm_config_offline: "true",
      npm_config_update_notifier: "false",
      npm_config_loglevel: "silent", // no line that repeats the script
    });
    this.#child = spawn("bash", ["--norc"], { cwd: folder, env, stdio: ["pipe", "pipe", "inherit"], detached: true });
    this.#child.stdout!.on("data", (chunk: Uint8Array) => (this.#output += String(chunk)));
    this.#child.stdin!.write(preamble);
  }
  /** Runs commands and returns what they print. */
  async run(commands: string): Promise<string> {
    this.#output = "";
    this.#child.stdin!.write(`${commands}\nprintf '\\n%s %s\\n' '${marker}' $?\n`);
    const end = Date.now() + 60_000;
    for (;;) {
      const [printed, code] = this.#output.split(marker) as [string, string?];
      if (code?.includes("\n")) {
        assert.is(Number(code), 0, `${commands}\n${printed}`);
        return printed.replace(/\n$/, "");
      }
      assert.ok(Date.now() < end && this.#child.exitCode === null, `no end of: ${commands}\n${printed}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  /** Ends the shell and all that it started. */
  end(): void {
    process.kill(-this.#child.pid!, "SIGKILL");
  }
}

/** What is different each time: a token with its middle left out, a generated password or id, a version. */
const generated =
  /eyJ[\w.-]*…[\w-]*|\b(?=\w*[a-z])(?=\w*[A-Z])[\w-]{16,}\b|\b[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\b|\b\d+\.\d+\.\d+\b(?!\.)/g;

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);

/**
 * Compares what was printed with what a document shows, without regard to the number of spaces.
 * @returns what stands for the generated texts of the document.
 */
function compare(printed: string, shown: string): [shown: string, printed: string][] {
  const names: string[] = [];
  const lines = shown.trimEnd().split("\n");
  const pattern = lines
    .map((line) => {
      if (line.trim() === "…") return "[^]*";
      const parts = line.split(generated).map((part) => escaped(part).replaceAll("…", ".*").replace(/ +/g, " +"));
      const values = line.match(generated) ?? [];
      names.push(...values);
      return parts.reduce((all, part, index) => all + (index === 0 ? "" : "([\\w.-]+)") + part, "");
    })
    .join("\n");
  const found = new RegExp(`^${pattern}\\s*$`).exec(printed.replaceAll("\r", "").trimEnd());
  if (found === null) assert.fixture(printed, shown); // fails, and shows both
  return names.map((name, index) => [name, found![index + 1]!]);
}

/** The commands of a `console` block, each with what it prints. */
function steps(text: string): { command: string; shown: string }[] {
  return text
    .split(/^\$ /m)
    .slice(1)
    .map((part) => {
      const [command] = /^(?:.*\\\n)*.*/.exec(part)!;
      return { command, shown: part.slice(command.length + 1) };
    });
}

async function runBlock({ language, text }: Block): Promise<void> {
  const folder = checkout();
  const port = await freePort();
  if (/token\.txt|\/var\/lib\/jwt-endpoints/.test(text)) await makeStore(folder);
  const here = text
    .replaceAll("/var/lib/jwt-endpoints", path.join(folder, "data"))
    .replaceAll("127.0.0.1:8000", `127.0.0.1:${port}`);
  const shell = new Shell(folder, port);
  try {
    if (language === "sh") await shell.run(`(set -e\n${here}\n)`);
    else {
      const known: [shown: string, printed: string][] = [];
      for (const { command, shown } of steps(here)) {
        const printed = await shell.run(known.reduce((words, [from, to]) => words.replaceAll(from, to), command));
        known.push(...compare(printed, shown));
      }
    }
  } finally {
    shell.end();
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

if (runtime !== "node") console.log(`documents: their commands run under Node only, as npm does; this is ${runtime}`);
else {
  const it = suite("commands in READMEs");

  it.before(() => {
    built = path.join(buildPackage(), "dist");
  });

  for (const block of blocks) {
    if (block.reason === undefined) it(`run as ${block.place} shows them`, () => runBlock(block));
  }

  it("start a checkout that is not built with the configuration file shown, on every runtime", () => {
    const folder = checkout();
    rmSync(path.join(folder, "dist"));
    const document = readFileSync(path.join(projectRoot, "src/cli/README.md"), "utf8");
    const shown = /^```ts\n(import \{ defineConfig \}[^]*?)^```/m.exec(document)![1]!;
    writeFileSync(path.join(folder, "jwt-endpoints.config.ts"), shown);
    for (const script of ["start", "start:deno", "start:bun"]) {
      const printed = run(folder, "npm", "run", "--silent", script, "--", "--print-config");
      assert.match(printed, /^port +file jwt-endpoints\.config\.ts +9000$/m, `npm run ${script}`);
    }
    rmSync(folder, { recursive: true, force: true });
  });

  it("are marked for a reason where they are not run", () => {
    for (const { reason = "-", place } of blocks) assert.ok(reason.length < 100, place);
    assert.ok(blocks.some(({ reason }) => reason === undefined));
  });

  it.run();

  const left = blocks.filter(({ reason }) => reason !== undefined);
  console.log(`${blocks.length - left.length} blocks of commands are run, ${left.length} are not:`);
  for (const { place, reason } of left) console.log(`  ${place}: ${reason}`);
}
