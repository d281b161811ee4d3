/**
 * Runs every `*.test.ts` below `test/` as a program of its own under Node, Deno and Bun, side by side on all cores, and some
 * under a second Node, `node24`. Ends with the files that took the most processor time and the sum, `N passed, M failed,
 * K skipped`. Arguments select runtimes and parts of paths (`npm test -- node tokens`). Node runs bundles of the suites and
 * of the programs that they start.
 */
import { spawn } from "node:child_process";
import fs from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { bundle } from "./support/bundle.ts";
import { node24 } from "./support/runtime.ts";

const root = path.resolve(import.meta.dirname, "..");
const fileLimitMs = 300_000;
const slowestShown = 10;

const bin = (name: string): string => path.join(root, "node_modules", ".bin", name);
const bundles = fs.mkdtempSync(path.join(tmpdir(), "jwt-endpoints-bundles-"));
fs.chmodSync(bundles, 0o755); // for programs that change their user
process.once("exit", () => fs.rmSync(bundles, { recursive: true, force: true }));
const env = { ...process.env, TEST_BUNDLES: bundles };

const bundled = (file: string): string[] => ["--enable-source-maps", path.join(bundles, file.replace(/\.ts$/, ".mjs"))];
const runtimes: Record<string, (file: string) => [program: string, args: string[]]> = {
  node: (file) => [process.execPath, bundled(file)],
  node24: (file) => [node24, bundled(file)],
  deno: (file) => [bin("deno"), ["run", "-A", file]],
  bun: (file) => [bin("bun"), ["run", file]],
};

/**
 * Run on Node alone: suites about the project's files and the pages it serves, which are the same on every runtime, and the
 * one that starts servers of all three runtimes itself.
 */
const onNodeOnly = new Set([
  "client/package.test.ts",
  "client/browser.test.ts",
  "console/browser.test.ts",
  "openapi/browser.test.ts",
  "serve/deploy.test.ts",
  "stores/postgres-servers.test.ts",
]);
const isNodeOnly = (file: string): boolean => /^(project|edge)\//.test(file) || onNodeOnly.has(file);

/** Suites in which much depends on the runtime and that take few seconds: they run on the second Node too. */
const onNode24 =
  /^(node|tokens(?!\/agreement))\/|^(serve\/(contract|sockets)|stores\/file\/(writes|processes)|passwords\/queue)\.test/;
/** Returns whether a suite is one for a runtime. */
const runsOn = (name: string, file: string): boolean =>
  name === "node" || (name === "node24" ? onNode24.test(file) : !isNodeOnly(file));

/** The second Node takes part where it was installed; in CI it has to be. */
const isHere = (name: string): boolean => name !== "node24" || process.env.CI === "true" || fs.existsSync(node24);

for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

const words = process.argv.slice(2);
const parts = words.filter((word) => !(word in runtimes));
const isNamed = words.some((word) => word in runtimes);
const names = Object.keys(runtimes).filter((name) => (isNamed ? words.includes(name) : isHere(name)));
const files = fs
  .readdirSync(path.join(root, "test"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".test.ts") && (parts.length === 0 || parts.some((part) => name.includes(part))));

interface Outcome {
  passed: number;
  failed: number;
  skipped: number;
}

interface Run extends Outcome {
  title: string;
  seconds: number;
  /** Processor time of the program and of the children it waited for. */
  cpuSeconds: number;
}

/** Runs a program, then writes the shell's `times`: a line for the shell and one for its children (POSIX). */
const timed = `"$@"; code=$?; echo "processor time:"; times; exit $code`;
const timesPattern = /processor time:\n.*\n(\d+)m([\d.]+)s (\d+)m([\d.]+)s\n/;

/** Runs a program to its end and reads uvu's closing counts from its output. */
async function run(program: string, args: string[]): Promise<Outcome & { output: string; cpuSeconds: number }> {
  const shellArgs = ["-c", timed, "sh", program, ...args];
  const child = spawn("sh", shellArgs, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  const stop = (): unknown => process.kill(-child.pid!, "SIGKILL"); // the shell and all that it started
  process.once("exit", stop);
  const timer = setTimeout(stop, fileLimitMs);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
  }
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  clearTimeout(timer);
  process.off("exit", stop);
  const times = timesPattern.exec(output)?.slice(1).map(Number) ?? [];
  const cpuSeconds = times.reduce((sum, value, index) => sum + (index % 2 === 0 ? value * 60 : value), 0);
  output = output.replace(timesPattern, "");
  const count = (label: string): number => Number(new RegExp(`^ +${label}: +(\\d+)`, "m").exec(output)?.[1] ?? 0);
  const [total, passed, skipped] = [count("Total"), count("Passed"), count("Skipped")];
  const failed = total - passed; // uvu's total does not include skipped tests
  // A program that ends with an error or reports no tests is one failure more, even if all its tests have passed.
  const isBroken = (code !== 0 && failed <= 0) || total + skipped === 0;
  if (isBroken) output += `\nended with code ${code} after ${fileLimitMs / 1000} s at most\n`;
  return { passed, failed: isBroken ? failed + 1 : failed, skipped, output, cpuSeconds };
}

async function runFile(name: string, file: string): Promise<Run> {
  const title = `${name} ${file}`;
  const [program, args] = runtimes[name]!(path.join("test", file));
  const isInstalled = fs.existsSync(program);
  const start = performance.now();
  const brings = name === "node24" ? "npm ci --prefix .ci/node24" : "npm ci";
  const reason = `skipped: ${name} is not installed; ${brings} brings it\n`;
  const missing = { passed: 0, failed: 0, skipped: 1, output: reason, cpuSeconds: 0 };
  const { output, ...outcome } = isInstalled ? await run(program, args) : missing;
  const seconds = (performance.now() - start) / 1000;
  const times = `${seconds.toFixed(1)} s, ${outcome.cpuSeconds.toFixed(1)} s of processor time`;
  console.log(`\n── ${title}, ${times}\n${output.trimEnd()}`);
  return { ...outcome, title, seconds };
}

/** Parts of the paths of files that take long, the longest first. */
const slow = (
  "djoser/ project/package project/published file/crash serve/workers keys/command sessions/two-servers keys/key-file " +
  "passwords/formats stores/postgres cli/ serve/ stores/ tokens/"
).split(" ");
const rank = (file: string): number => {
  const index = slow.findIndex((part) => file.includes(part));
  return index === -1 ? slow.length : index;
};

/** Long files come first, so that no core is left with one at the end; the size of the source decides between others. */
const waiting = files
  .map((file) => ({ file, size: fs.statSync(path.join(root, "test", file)).size }))
  .toSorted((a, b) => rank(a.file) - rank(b.file) || b.size - a.size)
  .flatMap(({ file }) => names.map((name) => ({ name, file })))
  .filter(({ name, file }) => runsOn(name, file));

/** The server, the commands, and the programs that are only here to be started by suites of the file store. */
function programs(): string[] {
  const { bin: commands } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8")) as {
    bin: Record<string, string>;
  };
  const ofCommands = Object.values(commands).map((file) => file.replace("./dist/", "src/").replace(/js$/, "ts"));
  const fixtures = fs.readdirSync(path.join(root, "test/fixtures")).filter((name) => /^store-.*\.ts$/.test(name));
  return ["src/serve/node.ts", ...ofCommands, ...fixtures.map((name) => `test/fixtures/${name}`)];
}

if (names.includes("node") || names.includes("node24")) {
  await bundle(root, [...files.map((file) => `test/${file}`), ...programs()], bundles);
}

const runs: Run[] = [];
async function work(): Promise<void> {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    runs.push(await runFile(next.name, next.file));
  }
}
// Twice as many as cores, because most suites wait for processes, disks and clocks half of their time.
await Promise.all(Array.from({ length: 2 * availableParallelism() }, work));

const sumOf = (key: keyof Outcome): number => runs.reduce((sum, each) => sum + each[key], 0);
const [passed, failed, skipped] = [sumOf("passed"), sumOf("failed"), sumOf("skipped")];
if (runs.length > slowestShown) {
  const slowest = runs.toSorted((a, b) => b.cpuSeconds - a.cpuSeconds || b.seconds - a.seconds).slice(0, slowestShown);
  const cell = (seconds: number): string => seconds.toFixed(1).padStart(11);
  console.log("\nslowest:\n  processor s     wall s");
  for (const { title, seconds, cpuSeconds } of slowest) console.log(`${cell(cpuSeconds)} ${cell(seconds)}  ${title}`);
  for (const name of names) {
    const sum = runs
      .filter(({ title }) => title.startsWith(`${name} `))
      .reduce((all, each) => all + each.cpuSeconds, 0);
    console.log(`${cell(sum)}              all on ${name}`);
  }
}
const failures = runs.filter((each) => each.failed > 0).map(({ title }) => title);
if (failures.length > 0) console.log(`\nfailed: ${failures.join(", ")}`);
console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exit(failed > 0 || (skipped > 0 && process.env.CI === "true") ? 1 : 0);
