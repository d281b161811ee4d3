/** Runs commands on a terminal, which `script` of util-linux makes; elsewhere its flags differ. */
import { type SpawnOptions, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import * as assert from "uvu/assert";
import { secret } from "./commands.ts";
import { environmentWith } from "./runtime.ts";

export const hasTerminal = /util-linux/.test(spawnSync("script", ["--version"], { encoding: "utf8" }).stdout ?? "");

/** Returns the line of a shell that runs a program. */
export const shellLine = (program: string, args: string[]): string =>
  [program, ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");

/** Runs a line on a terminal, types one answer at each prompt, and checks that no password is on the screen. */
export async function typeAt(
  line: string,
  answers: string[],
  options: SpawnOptions = {},
): Promise<{ code: number | null; screen: string }> {
  const child = spawn("script", ["-qec", line, "/dev/null"], { env: environmentWith({}), ...options, stdio: "pipe" });
  let screen = "";
  let answered = 0;
  child.stdout!.on("data", (chunk: Uint8Array) => {
    screen += chunk.toString();
    while ((screen.match(/Password/g)?.length ?? 0) > answered && answered < answers.length) {
      child.stdin!.write(answers[answered++]!);
    }
  });
  const [code] = (await once(child, "close")) as [number | null];
  assert.not.match(screen, secret, "the password is on the screen");
  return { code, screen };
}
