/**
 * Runs every `*.test.ts` below `test/` as a program of its own under Node, Deno and Bun, side by side on all cores. Ends with
 * the slowest files and the sum, `N passed, M failed, K skipped`. Arguments select runtimes and parts of paths
 * (`npm test -- node tokens`).
 */
import { spawn } from "node:child_process";
import fs from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import process from "node:process";

const root = path.resolve(import.meta.dirname, "..");
const fileLimitMs = 600_000;
const slowestShown = 10;

const bin = (name: string): string => path.join(root, "node_modules", ".bin", name);
const runtimes: Record<string, (file: string) => [program: string, args: string[]]> = {
  node: (file) => [bin("tsx"), [file]],
  deno: (file) => [bin("deno"), ["run", "-A", file]],
  bun: (file) => [bin("bun"), ["run", file]],
};

/** Suites about the project's files, which are the same on every runtime. */
const nodeOnly = new Set(["package.test.ts", "lint.test.ts", "core.test.ts"]);

const words = process.argv.slice(2);
const parts = words.filter((word) => !(word in runtimes));
const names = Object.keys(runtimes).filter((name) => !words.some((word) => word in runtimes) || words.includes(name));
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
}

/** Runs a program to its end and reads uvu's closing counts from its output. */
async function run(program: string, args: string[]): Promise<Outcome & { output: string }> {
  const child = spawn(program, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), fileLimitMs);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => (output += chunk));
  }
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  clearTimeout(timer);
  const count = (label: string): number => Number(new RegExp(`^ +${label}: +(\\d+)`, "m").exec(output)?.[1] ?? 0);
  const [total, passed, skipped] = [count("Total"), count("Passed"), count("Skipped")];
  const failed = total - passed; // uvu's total does not include skipped tests
  // A program that ends with an error or reports no tests is one failure more, even if all its tests have passed.
  const isBroken = (code !== 0 && failed <= 0) || total + skipped === 0;
  if (isBroken) output += `\nended with code ${code} after ${fileLimitMs / 1000} s at most\n`;
  return { passed, failed: isBroken ? failed + 1 : failed, skipped, output };
}

async function runFile(name: string, file: string): Promise<Run> {
  const title = `${name} ${file}`;
  const [program, args] = runtimes[name]!(path.join("test", file));
  const isInstalled = fs.existsSync(program);
  const start = performance.now();
  const missing = { passed: 0, failed: 0, skipped: 1, output: `skipped: ${name} is not installed; npm ci brings it\n` };
  const { output, ...outcome } = isInstalled ? await run(program, args) : missing;
  const seconds = (performance.now() - start) / 1000;
  console.log(`\n── ${title}\n${output.trimEnd()}`);
  return { ...outcome, title, seconds };
}

/** Parts of the paths of files that take long, the longest first. */
const slow = ["djoser/", "tokens/fuzz", "cli/", "stores/", "project/package", "serve/", "passwords/formats"];
const rank = (file: string): number => {
  const index = slow.findIndex((part) => file.includes(part));
  return index === -1 ? slow.length : index;
};

/** Long files come first, so that no core is left with one at the end; the size of the source decides between others. */
const waiting = files
  .map((file) => ({ file, size: fs.statSync(path.join(root, "test", file)).size }))
  .toSorted((a, b) => rank(a.file) - rank(b.file) || b.size - a.size)
  .flatMap(({ file }) => names.map((name) => ({ name, file })))
  .filter(({ name, file }) => name === "node" || !nodeOnly.has(path.basename(file)));

const runs: Run[] = [];
async function work(): Promise<void> {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    runs.push(await runFile(next.name, next.file));
  }
}
await Promise.all(Array.from({ length: availableParallelism() }, work));

const sumOf = (key: keyof Outcome): number => runs.reduce((sum, each) => sum + each[key], 0);
const [passed, failed, skipped] = [sumOf("passed"), sumOf("failed"), sumOf("skipped")];
const slowest = runs.toSorted((a, b) => b.seconds - a.seconds).slice(0, slowestShown);
if (runs.length > slowestShown) {
  console.log(
    `\nslowest:${slowest.map(({ title, seconds }) => `\n${seconds.toFixed(1).padStart(6)} s  ${title}`).join("")}`,
  );
}
const failures = runs.filter((each) => each.failed > 0).map(({ title }) => title);
if (failures.length > 0) console.log(`\nfailed: ${failures.join(", ")}`);
console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exit(failed > 0 || (skipped > 0 && process.env.CI === "true") ? 1 : 0);
