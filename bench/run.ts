/**
 * `npm run bench -- [names] [flags]` runs benches in turn, each in its own process, on this runtime. Without names it runs
 * all but `soak`, which takes minutes; `--quick` runs `soak` too. `--node24` runs them on the Node 24 of `.ci/node24`.
 * `chart` draws what was measured before.
 */
import { once } from "node:events";
import { existsSync } from "node:fs";
import process from "node:process";
import { command, node24, startProgram } from "../test/support/runtime.ts";

const benches = [
  "login-timing",
  "handler",
  "http",
  "pieces",
  "request-log",
  "stores",
  "postgres",
  "workers",
  "storm",
  "attacks",
  "startup",
  "soak",
];
const names: string[] = [];
const flags: string[] = [];
/** The flags, and whether a value follows. Each bench reads those it knows. */
const accepted: Record<string, boolean> = { "--quick": false, "--rounds": true, "--minutes": true, "--against": true };

let program = process.execPath;
const args = process.argv.slice(2);
for (let arg = args.shift(); arg !== undefined; arg = args.shift()) {
  if (Object.hasOwn(accepted, arg)) flags.push(arg, ...(accepted[arg] ? args.splice(0, 1) : []));
  else if (arg === "--node24") program = node24;
  else if ([...benches, "chart"].includes(arg)) names.push(arg);
  else {
    const flagNames =
      "--quick, --node24, --rounds N (all but soak), --minutes M (soak) and --against REF (http, startup)";
    console.error(`no bench is named ${JSON.stringify(arg)}; accepted: ${benches.join(", ")}, chart, ${flagNames}`);
    process.exit(1);
  }
}
if (!existsSync(program)) {
  console.error("Node 24 is not installed: npm ci --prefix .ci/node24 brings it, on Linux");
  process.exit(1);
}
const usual = benches.filter((name) => name !== "soak" || flags.includes("--quick"));
for (const name of names.length > 0 ? names : usual) {
  const begin = performance.now();
  const [, programArgs] = command(name === "chart" ? "bench/lib/chart.ts" : `bench/${name}.ts`, flags);
  const [code] = (await once(startProgram(program, programArgs, { stdio: "inherit" }), "exit")) as [number | null];
  if (code !== 0) {
    console.error(`the bench ${name} failed`);
    process.exit(1);
  }
  if (name !== "chart") console.log(`  ${name} took ${Math.round((performance.now() - begin) / 1000)} s`);
}
