/**
 * Runs every `*.test.ts` as a program of its own under Node, Deno and Bun, and ends with the sum:
 * `N passed, M failed, K skipped`. Arguments narrow it down: runtime names, and parts of file names.
 */
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";

const root = path.resolve(import.meta.dirname, "..");
const fileLimitMs = 300_000;

const bin = (name: string): string => path.join(root, "node_modules", ".bin", name);
const runtimes: Record<string, (file: string) => [program: string, args: string[]]> = {
  node: (file) => [bin("tsx"), [file]],
  deno: (file) => [bin("deno"), ["run", "-A", file]],
  bun: (file) => [bin("bun"), ["run", file]],
};

/** What npm packs is the same whoever runs it later, and packing needs npm: once is enough. */
const nodeOnly = new Set(["package.test.ts"]);

const asked = process.argv.slice(2);
const parts = asked.filter((word) => !(word in runtimes));
const names = Object.keys(runtimes).filter((name) => !asked.some((word) => word in runtimes) || asked.includes(name));
const files = fs
  .readdirSync(path.join(root, "test"))
  .filter((name) => name.endsWith(".test.ts") && (parts.length === 0 || parts.some((part) => name.includes(part))))
  .sort();

interface Outcome {
  passed: number;
  failed: number;
  skipped: number;
}

/** Passes a program's output through and reads uvu's closing counts from it. */
async function run(program: string, args: string[]): Promise<Outcome> {
  const child = spawn(program, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  const timer = setTimeout(() => child.kill("SIGKILL"), fileLimitMs);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Uint8Array) => {
      output += chunk.toString();
      process.stdout.write(chunk);
    });
  }
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  clearTimeout(timer);
  const count = (label: string): number => Number(new RegExp(`^ +${label}: +(\\d+)`, "m").exec(output)?.[1] ?? 0);
  const [total, passed, skipped] = [count("Total"), count("Passed"), count("Skipped")];
  const failed = total - passed; // uvu's total leaves out what was skipped
  // A program that ends badly or reports nothing counts as one failure more, whatever it says it has passed.
  const isBroken = (code !== 0 && failed <= 0) || total + skipped === 0;
  return { passed, failed: isBroken ? failed + 1 : failed, skipped };
}

const sum: Outcome = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];
for (const name of names) {
  for (const file of files) {
    if (name !== "node" && nodeOnly.has(file)) continue;
    const [program, args] = runtimes[name]!(path.join("test", file));
    console.log(`\n── ${name} ${file}`);
    const outcome = fs.existsSync(program) ? await run(program, args) : { passed: 0, failed: 0, skipped: 1 };
    if (!fs.existsSync(program)) console.log(`skipped: ${name} is not installed; npm ci brings it`);
    for (const key of ["passed", "failed", "skipped"] as const) sum[key] += outcome[key];
    if (outcome.failed > 0) failures.push(`${name} ${file}`);
  }
}
if (failures.length > 0) console.log(`\nfailed: ${failures.join(", ")}`);
console.log(`\n${sum.passed} passed, ${sum.failed} failed${sum.skipped > 0 ? `, ${sum.skipped} skipped` : ""}`);
process.exit(sum.failed > 0 || (sum.skipped > 0 && process.env.CI === "true") ? 1 : 0);
