/** Runs the command programs on citty: finds the command, checks its flags, opens its store, prints, ends. */
import process from "node:process";
import { type ArgsDef, type CommandDef, defineCommand, runCommand } from "citty";
import { type CommandLineProblems, readFlags, renderHelp, wantsHelp } from "../program/command-line.ts";
import { checkVariables } from "../program/options.ts";
import { defaultStore } from "../program/server-options.ts";
import { readSecret } from "../program/values.ts";
import { UsageError, problemOf } from "../program/problem.ts";
import { holdsStore } from "../stores/file/folder.ts";
import { isMemoryStore, openStore, storeFolder } from "../stores/open.ts";
import type { Store } from "../stores/store.ts";
import { printable, quoted } from "./format.ts";

/** The flag that names the store, of every command. */
export const storeFlag = {
  store: { type: "string", valueHint: "url", description: `Store; default: JWT_STORE, else ${defaultStore}` },
} as const;

/** Returns the store's URL: that of the flag, else of the environment, else the default. */
export function storeUrl(flag: string | undefined): string {
  const { JWT_STORE: url, JWT_STORE_FILE: file } = process.env;
  return flag ?? (file ? readSecret("store", file) : url || defaultStore);
}

/** Makes the error for a folder without a store. An empty store there would hide a mistyped name. */
export const noStore = (folder: string): UsageError =>
  new UsageError(
    `there is no store in ${printable(folder)}; name another with --store (the server, add and import make one)`,
  );

export const noSuchUser = (username: string): UsageError => new UsageError(`there is no user ${quoted(username)}`);

/**
 * Opens a store, uses it and closes it.
 * @param makes whether to make the store, and say so, when there is none.
 * @throws {UsageError} when there is no store, or only a server's own process could have it.
 */
export async function withStore(
  url: string,
  use: (store: Store) => Promise<void>,
  { makes = false }: { makes?: boolean } = {},
): Promise<void> {
  if (isMemoryStore(url)) throw new UsageError("a memory: store lives in its server alone; name another with --store");
  const folder = storeFolder(url);
  const isNew = folder !== undefined && !holdsStore(folder);
  if (isNew && !makes) throw noStore(folder);
  const store = await openStore(url, { endsSoon: true });
  try {
    if (isNew) await print(`made a new store in ${printable(folder)}\n`);
    await use(store);
  } finally {
    await store.close();
  }
}

/**
 * Prints text, and resolves when it is out, so that a slow reader slows the writer.
 * @throws an `EPIPE` error when the reader has gone, which ends the program in silence.
 */
export async function print(text: string): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(text, (error) => (error ? reject(error) : resolve()));
    });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw code === "EPIPE" ? error : new UsageError(`can't write the output: ${message}`);
  }
}

/** A program of several commands. */
export interface Program {
  /** Its name in the package. */
  name: string;
  description: string;
  commands: Record<string, CommandDef<any>>;
}

/** Runs the command that the command line names. An error that the user can mend is one line and exit code 1. */
export async function runProgram(program: Program): Promise<void> {
  // Without a listener, a reader that has gone (`list | head`) ends the process with a stack. `print` gets the error too.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  try {
    await dispatch(program, process.argv.slice(2));
  } catch (error) {
    const code = (error as { code?: unknown } | undefined)?.code;
    if (code === "EPIPE") return;
    process.exitCode = 1;
    process.stderr.write(`${problemOf(error)}\n`);
  }
}

async function dispatch({ name: programName, description, commands }: Program, args: string[]): Promise<void> {
  const root = defineCommand({ meta: { name: programName, description }, subCommands: commands });
  const [name, ...rawArgs] = args;
  const accepted = `accepted: ${Object.keys(commands).join(", ")}; --help tells more`;
  if (name === undefined) throw new UsageError(`name a command; ${accepted}`);
  if (wantsHelp([name])) return print(`${await renderHelp(root)}\n`);
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) throw new UsageError(`unknown command ${quoted(name)}; ${accepted}`);
  if (wantsHelp(rawArgs)) return print(`${await renderHelp(command, root)}\n`);
  const definitions = command.args as ArgsDef;
  readFlags(rawArgs, definitions, problemsOf(name, definitions));
  checkVariables(process.env);
  await runCommand(command, { rawArgs });
}

/** Words the problems of a command's line. */
const problemsOf = (command: string, definitions: ArgsDef): CommandLineProblems => ({
  unknownFlag(flag, hint) {
    const flags = Object.keys(definitions).filter((name) => definitions[name]!.type !== "positional");
    const accepted = `; accepted: ${flags.map((name) => `--${name}`).join(", ")}`;
    return new UsageError(`unknown flag ${printable(flag)} for ${command}${hint || accepted}`);
  },
  missingValue: (flag) => new UsageError(`${flag} needs a value`),
  needlessValue: (flag) => new UsageError(`${flag} takes no value`),
  unknownValue: (flag, options) => new UsageError(`${flag} is not one of ${options.join(", ")}`),
  argumentCount(given, names) {
    if (given < names.length) return new UsageError(`${command} needs a ${names[given]}`);
    const takes = names.length === 0 ? "no arguments" : `one ${names[0]} and no further arguments`;
    return new UsageError(`${command} takes ${takes}`);
  },
});
