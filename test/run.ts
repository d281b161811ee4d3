/**
 * Runs every `*.test.ts` below `test/` under Node, Deno and Bun, and some under a second Node, `node24`, side by side on all
 * cores: as a program of its own, or the small ones of a folder in one. Ends with the programs that took the most processor
 * time and the sum, `N passed, M failed, K skipped`. Arguments select runtimes and parts of paths (`npm test -- node tokens`). Node runs bundles of the suites and of
 * the programs that they start.
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
/** How long a program may take to end after its report: one whose failed case left a connection open never would. */
const endLimitMs = 20_000;
const slowestShown = 10;

const bin = (name: string): string => path.join(root, "node_modules", ".bin", name);
const bundles = fs.mkdtempSync(path.join(tmpdir(), "jwt-endpoints-bundles-"));
fs.chmodSync(bundles, 0o755); // for programs that change their user
/** What stops the programs that run. */
const stops = new Set<() => void>();
process.once("exit", () => {
  for (const stop of stops) stop();
  fs.rmSync(bundles, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 }); // a program may still be writing
});

const bundled = (file: string): string => path.join(bundles, file.replace(/\.ts$/, ".mjs"));
/** For each runtime its program with arguments, and where it finds a file of the project. */
const runtimes: Record<string, [command: [program: string, ...args: string[]], place: (file: string) => string]> = {
  node: [[process.execPath, "--enable-source-maps"], bundled],
  node24: [[node24, "--enable-source-maps"], bundled],
  deno: [[bin("deno"), "run", "-A"], (file) => file],
  bun: [[bin("bun"), "run"], (file) => file],
};

/**
 * Run on Node alone: suites about the project's files and the pages it serves, which are the same on every runtime; about
 * what shells do with the files of a store; and the one that starts servers of all three runtimes itself.
 */
const onNodeOnly = new Set([
  "client/package.test.ts",
  ..."deploy deploy-procedures".split(" ").map((name) => `serve/${name}.test.ts`),
  "stores/postgres-servers.test.ts",
]);
const isNodeOnly = (file: string): boolean => /^(project|edge)\/|\/browser\.test/.test(file) || onNodeOnly.has(file);
/** On Node it tries the other runtimes of the run too: Django, which takes most of its time, then gets a request once. */
const fromNode = "djoser/djoser.test.ts";

/** Suites in which much depends on the runtime and that take few seconds: they run on the second Node too. */
const onNode24 =
  /^(node|tokens(?!\/agreement))\/|^(serve\/(contract|sockets)|stores\/file\/(writes|processes)|passwords\/queue)\.test/;
/** Returns whether a suite is one for a runtime. */
const runsOn = (name: string, file: string): boolean =>
  name === "node" ||
  (name === "node24" ? onNode24.test(file) : !isNodeOnly(file) && !(file === fromNode && names.includes("node")));

/** The second Node takes part where it was installed; in CI it has to be. */
const isHere = (name: string): boolean => name !== "node24" || process.env.CI === "true" || fs.existsSync(node24);

/** The suites of these folders run in one process, as they start none, change no globals and need no quiet. */
const sharing = /^(endpoints|http|keys|openapi|passwords|sessions|settings|tokens)\//;
const onItsOwn = new Set([
  "openapi/browser.test.ts",
  ..."cookies embedding fuzz".split(" ").map((name) => `http/${name}.test.ts`),
  ..."command key-file remote rotating".split(" ").map((name) => `keys/${name}.test.ts`),
  ..."formats queue".split(" ").map((name) => `passwords/${name}.test.ts`),
  ..."model two-servers".split(" ").map((name) => `sessions/${name}.test.ts`),
  ..."agreement algorithms fuzz header".split(" ").map((name) => `tokens/${name}.test.ts`),
  "settings/types.test.ts",
]);
const jobOf = (file: string): string =>
  sharing.test(file) && !onItsOwn.has(file) ? file.slice(0, file.indexOf("/")) : file;
const suites = "test/support/suites.ts";

// Not once: a terminal and tsx both send it, and the second would end the program while it clears up.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

const words = process.argv.slice(2);
const parts = words.filter((word) => !(word in runtimes));
const isNamed = words.some((word) => word in runtimes);
const names = Object.keys(runtimes).filter((name) => (isNamed ? words.includes(name) : isHere(name)));
const env: NodeJS.ProcessEnv = { ...process.env, TEST_BUNDLES: bundles, TEST_RUNTIMES: names.join(",") };
const files = fs
  .readdirSync(path.join(root, "test"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".test.ts") && (parts.length === 0 || parts.some((part) => name.includes(part))));

const titleOf = (job: string, files: readonly string[]): string =>
  files.length > 1 ? `${job}: ${files.length} suites` : files[0]!;

interface Outcome {
  passed: number;
  failed: number;
  skipped: number;
}

interface Job {
  /** The runtime. */
  name: string;
  title: string;
  files: string[];
}

interface Run extends Outcome {
  title: string;
  /** The names of the files that failed. */
  failures: string[];
  seconds: number;
  /** Processor time of the program and of the children it waited for. */
  cpuSeconds: number;
}

/** Runs a program, then writes the shell's `times`: a line for the shell and one for its children (POSIX). */
const timed = `"$@"; code=$?; echo "processor time:"; times; exit $code`;
const counts = ["passed", "failed", "skipped"] as const;
const timesPattern = /processor time:\n.*\n(\d+)m([\d.]+)s (\d+)m([\d.]+)s\n/;

/** Runs a program to its end, or until it has reported its suites and does not end. */
async function run(program: string, args: string[], suiteCount = Infinity) {
  const shellArgs = ["-c", timed, "sh", program, ...args];
  const child = spawn("sh", shellArgs, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  let isStopped = false;
  const stop = (): void => {
    isStopped = true;
    try {
      process.kill(-child.pid!, "SIGKILL"); // the shell and all that it started
    } catch {
      // It has ended, but a process in a session of its own holds the pipes.
    }
    child.stdout.destroy();
    child.stderr.destroy();
  };
  stops.add(stop);
  const timer = setTimeout(stop, fileLimitMs);
  let afterReport: NodeJS.Timeout | undefined;
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk;
      if (afterReport !== undefined || output.split(/^ +Duration: /m).length <= suiteCount) return;
      afterReport = setTimeout(stop, endLimitMs);
    });
  }
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  clearTimeout(timer);
  clearTimeout(afterReport);
  stops.delete(stop);
  const times = timesPattern.exec(output)?.slice(1).map(Number) ?? [];
  const cpuSeconds = times.reduce((sum, value, index) => sum + (index % 2 === 0 ? value * 60 : value), 0);
  return { code: isStopped ? null : code, output: output.replace(timesPattern, ""), cpuSeconds };
}

/** Reads uvu's closing counts. A file that reports no tests is one failure. */
function outcomeOf(output: string): Outcome {
  const count = (label: string): number => Number(new RegExp(`^ +${label}: +(\\d+)`, "m").exec(output)?.[1] ?? 0);
  const [total, passed, skipped] = [count("Total"), count("Passed"), count("Skipped")];
  return { passed, failed: total + skipped === 0 ? 1 : total - passed, skipped }; // uvu's total is without skipped tests
}

const sumOf = (outcomes: readonly Outcome[], key: keyof Outcome): number =>
  outcomes.reduce((sum, each) => sum + each[key], 0);

async function runJob({ name, title, files }: Job): Promise<Run> {
  const [[program, ...args], place] = runtimes[name]!;
  const places = files.map((file) => place(path.join("test", file)));
  const isShared = files.length > 1;
  if (!fs.existsSync(program)) {
    const bringing = name === "node24" ? "npm ci --prefix .ci/node24" : "npm ci";
    console.log(`\n── ${title}\nskipped: ${name} is not installed; ${bringing} brings it`);
    return { title, passed: 0, failed: 0, skipped: files.length, failures: [], seconds: 0, cpuSeconds: 0 };
  }
  if (name.startsWith("node")) await (isShared ? bundling : programsReady);
  const start = performance.now();
  const ended = await run(program, [...args, ...(isShared ? [place(suites)] : []), ...places], files.length);
  const seconds = (performance.now() - start) / 1000;
  const { code, output, cpuSeconds } = ended;
  const parts = isShared ? places.map((at) => output.split(`suite ${at}:\n`)[1]?.split(/^suite /m)[0] ?? "") : [output];
  const outcomes = parts.map(outcomeOf);
  // A program that ends with an error is one failure more, even if all its tests have passed.
  if (code !== 0 && sumOf(outcomes, "failed") === 0) outcomes.at(-1)!.failed++;
  const limits = `${fileLimitMs / 1000} s at most, and ${endLimitMs / 1000} s after the report`;
  const ending = code === 0 ? "" : `\nended with code ${code}; it may take ${limits}`;
  const [passed, failed, skipped] = counts.map((key) => sumOf(outcomes, key)) as [number, number, number];
  console.log(`\n── ${title}, ${seconds.toFixed(1)} s, ${cpuSeconds.toFixed(1)} s of processor time`);
  console.log(output.trimEnd() + ending);
  const failures = files.filter((_, index) => outcomes[index]!.failed > 0).map((file) => `${name} ${file}`);
  return { title, passed, failed, skipped, failures, seconds, cpuSeconds };
}

/** Parts of the paths of files that take long, the longest first, whether they compute or wait for clocks. */
const slow = (
  "djoser/ project/package edge/requests keys/command node/contract keys/rotating project/documents file/crash " +
  "serve/workers browser project/published postgres-feed shared-counts keys/remote serve/limits client/snippets " +
  "sessions/ keys/key-file passwords/formats stores/postgres cli/ serve/ stores/ tokens/ client/ edge/ program/ " +
  "settings/types"
).split(" ");
const rank = (file: string): number => {
  const index = slow.findIndex((part) => file.includes(part));
  return index === -1 ? slow.length : index;
};

/** Parts of the paths of files that mostly wait for clocks. They run beside those that compute, and take no place of theirs. */
const idle = (
  "keys/rotating keys/remote node/contract serve/limits client/snippets client/client client/races " +
  "postgres-network passwords/queue"
).split(" ");
const isIdle = ({ files }: Job): boolean => idle.some((part) => files[0]!.includes(part));

/** Long files come first, so that no core is left with one at the end; the size of the source decides between others. */
const waiting: Job[] = [...new Set(files.map(jobOf))]
  .map((job) => {
    const those = files.filter((file) => jobOf(file) === job);
    const size = those.reduce((sum, file) => sum + fs.statSync(path.join(root, "test", file)).size, 0);
    return { job, files: those, size, rank: rank(those[0]!) };
  })
  .toSorted((a, b) => a.rank - b.rank || b.size - a.size)
  .flatMap(({ job, files }) => names.map((name) => ({ name, job, files: files.filter((file) => runsOn(name, file)) })))
  .filter((each) => each.files.length > 0)
  .map(({ name, job, files }) => ({ name, files, title: `${name} ${titleOf(job, files)}` }));

/** The server, the commands, and the programs that are only here to be started by suites of the file store and of keys. */
function programs(): string[] {
  const { bin: commands } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8")) as {
    bin: Record<string, string>;
  };
  const ofCommands = Object.values(commands).map((file) => file.replace("./dist/", "src/").replace(/cjs$/, "ts"));
  const fixtures = fs
    .readdirSync(path.join(root, "test/fixtures"))
    .filter((name) => /^(store|server)-.*\.ts$/.test(name));
  return ["src/serve/node.ts", ...ofCommands, ...fixtures.map((name) => `test/fixtures/${name}`)];
}

// The other runtimes start meanwhile.
const bundling = names.some((name) => name.startsWith("node"))
  ? bundle(root, [suites, ...files.map((file) => `test/${file}`), ...programs()], bundles)
  : undefined;

const runs: Run[] = [];

/** A run of fewer suites on Node starts bundles of programs: to build the package would take longer than it saves. */
const enoughForPackage = 40;
/** Builds the package, whose programs Node starts in two thirds of the time that their bundles take. */
async function buildPackage(): Promise<void> {
  env.TEST_BUILT = path.join(bundles, "built");
  const title = "node build of the package";
  const { code, output, cpuSeconds } = await run(process.execPath, ["--import", "tsx", "test/support/build.ts"]);
  console.log(`\n── ${title}, ${cpuSeconds.toFixed(1)} s of processor time${code === 0 ? "" : `\n${output}`}`);
  const failures = code === 0 ? [] : [title];
  runs.push({ title, passed: 0, failed: failures.length, skipped: 0, failures, seconds: 0, cpuSeconds });
}
const onNode = waiting.filter(({ name, files }) => name === "node" && files.length === 1);
const programsReady = onNode.length < enoughForPackage ? bundling : Promise.all([bundling, buildPackage()]);

async function work(jobs: Job[]): Promise<void> {
  for (let next = jobs.shift(); next !== undefined; next = jobs.shift()) {
    runs.push(await runJob(next));
  }
}
const cores = availableParallelism();
const workers = (count: number, jobs: Job[]) => Array.from({ length: count }, () => work(jobs));
const [idling, others] = [waiting.filter(isIdle), waiting.filter((job) => !isIdle(job))];
// Three times as many as cores, because most suites wait for processes, disks and clocks more than half of their time.
await Promise.all([...workers(3 * cores, others), ...workers(cores, idling)]);

const [passed, failed, skipped] = counts.map((key) => sumOf(runs, key)) as [number, number, number];
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
const failures = runs.flatMap((each) => each.failures);
if (runs.length === 0) failures.push(`no suite is called ${parts.join(" or ")}`);
if (failures.length > 0) console.log(`\nfailed: ${failures.join(", ")}`);
console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exit(failures.length > 0 || (skipped > 0 && process.env.CI === "true") ? 1 : 0);
