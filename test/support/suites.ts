/**
 * Runs suites one after another in this process, where the modules that they share load once: `npx tsx
 * test/support/suites.ts FILE…`. Each begins with a line `suite FILE:` and ends with uvu's counts.
 */
import path from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";

// Without it uvu runs what is there as soon as the first import waits.
const queue: [null][] = [];
Object.assign(globalThis, { UVU_DEFER: true, UVU_QUEUE: queue });
const { exec } = await import("uvu");
process.setMaxListeners(0); // each suite removes its folders at the end

async function run(files: readonly string[]): Promise<void> {
  let hasFailed = false;
  for (const file of files) {
    console.log(`suite ${file}:`);
    queue.splice(0, queue.length, [null]);
    try {
      await import(pathToFileURL(path.resolve(file)).href);
      await exec();
      hasFailed ||= process.exitCode === 1;
    } catch (error) {
      hasFailed = true;
      console.error(error);
    }
  }
  process.exitCode = hasFailed ? 1 : 0;
}

void run(process.argv.slice(2)); // not awaited, so that a test that waits for nothing ends the process on Bun too
