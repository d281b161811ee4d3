#!/usr/bin/env node
/**
 * The program: `jwt-endpoints [serve]` runs the server of the runtime it is started on, `jwt-endpoints user …` a command.
 * Each is loaded only when it is named, so that the server starts as fast as without the others.
 */
import process from "node:process";
import type { Program } from "./command.ts";

/** The programs behind the first word. */
const programs: Record<string, () => Promise<Program>> = {
  user: async () => (await import("./user.ts")).program,
  token: async () => (await import("./token.ts")).program,
  keys: async () => (await import("./keys.ts")).program,
  db: async () => (await import("./db.ts")).program,
};

async function run([word, ...args]: string[]): Promise<void> {
  if (word !== undefined && Object.hasOwn(programs, word)) {
    const [{ runProgram }, program] = await Promise.all([import("./command.ts"), programs[word]!()]);
    await runProgram(program, args);
  } else if (word === "completion" || word === "complete") {
    const { runCompletion } = await import("./completion.ts");
    runCompletion(word, args, await Promise.all(Object.values(programs).map((load) => load())));
  } else if (word !== undefined && /^[a-z]+$/.test(word) && word !== "serve") {
    const { didYouMean } = await import("../settings/describe.ts");
    const known = ["serve", ...Object.keys(programs), "completion"];
    // Not quoted: it may be a password at the wrong place.
    console.error(`jwt-endpoints: unknown command${didYouMean(word, known) || `; accepted: ${known.join(", ")}`}`);
    process.exitCode = 1;
  } else if ("Deno" in globalThis) await import("../serve/deno.ts");
  else if ("Bun" in globalThis) await import("../serve/bun.ts");
  else await import("../serve/node.ts");
}

// Not awaited: the build makes this CommonJS, which has no `await` at the top.
void run(process.argv.slice(2));
