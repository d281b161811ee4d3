/** What the commands share: flags, the store they open, what they print, and how a program of them runs. */
import process from "node:process";
import { parseArgs, stripVTControlCharacters } from "node:util";
import { type ArgsDef, type CommandDef, defineCommand, renderUsage, runCommand } from "citty";
import { checkVariables } from "../program/options.ts";
import { didYouMean } from "../settings/describe.ts";
import { problemOf } from "../program/problem.ts";
import { holdsStore } from "../stores/file/folder.ts";
import { isMemoryStore, openStore, storeFolder } from "../stores/open.ts";
import type { Store } from "../stores/store.ts";
import { Mistake, printable, quoted } from "./fields.ts";

export const defaultStore = "file:./data";

export const storeFlag = {
  store: { type: "string", valueHint: "url", description: `Store; default: JWT_STORE, else ${defaultStore}` },
} as const;

/** The store's URL: that of the flag, else of the environment, else the default. */
export const storeUrl = (flag: string | undefined): string => flag ?? (process.env["JWT_STORE"] || defaultStore);

/** A mistyped name must not pass for an empty store. */
export const noStore = (folder: string): Mistake =>
  new Mistake(
    `there is no store in ${printable(folder)}; name another with --store (the server, add and import make one)`,
  );

/**
 * Opens a store for as long as it is used.
 * @param makes whether to make it, and say so, when there is none.
 */
export async function withStore(
  url: string,
  use: (store: Store) => Promise<void>,
  { makes = false }: { makes?: boolean } = {},
): Promise<void> {
  if (isMemoryStore(url)) throw new Mistake("a memory: store lives in its server alone; name another with --store");
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
 * Resolves when the text is out, so that a slow reader slows the writer. A reader that went away is an `EPIPE` error,
 * which ends the program in silence.
 */
export async function print(text: string): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(text, (error) => (error ? reject(error) : resolve()));
    });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw code === "EPIPE" ? error : new Mistake(`can't write the output: ${message}`);
  }
}

/** citty lets pass what it doesn't know. A stray argument isn't quoted: it may be a password or a token. */
function refuseUnknown(name: string, rawArgs: string[], definitions: ArgsDef): void {
  const flags = Object.entries(definitions).filter(([, { type }]) => type !== "positional");
  const options = Object.fromEntries(
    flags.map(([flag, { type }]) => [flag, { type: type === "boolean" ? ("boolean" as const) : ("string" as const) }]),
  );
  const lenient = { strict: false, allowPositionals: true, tokens: true } as const;
  const { tokens, positionals } = parseArgs({ args: rawArgs, options, ...lenient });
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const definition = Object.hasOwn(definitions, token.name) ? definitions[token.name] : undefined;
    if (definition === undefined || !token.rawName.startsWith("--")) {
      const known = flags.map(([flag]) => `--${flag}`);
      const hint = didYouMean(token.rawName, known) || `; accepted: ${known.join(", ")}`;
      throw new Mistake(`unknown flag ${printable(token.rawName)} for ${name}${hint}`);
    }
    if (definition.type === "boolean") {
      if (token.value !== undefined) throw new Mistake(`${token.rawName} takes no value`);
    } else if (token.value === undefined || (!token.inlineValue && /^-./.test(token.value))) {
      throw new Mistake(`${token.rawName} needs a value`);
    } else if (definition.type === "enum" && !definition.options?.includes(token.value)) {
      throw new Mistake(`${token.rawName} is not one of ${definition.options?.join(", ")}`);
    }
  }
  const wanted = Object.keys(definitions).filter((key) => definitions[key]!.type === "positional");
  if (positionals.length < wanted.length) throw new Mistake(`${name} needs a ${wanted[positionals.length]}`);
  if (positionals.length > wanted.length) {
    const takes = wanted.length === 0 ? "no argument" : `one ${wanted[0]}`;
    throw new Mistake(`${name} takes ${takes} and no further arguments`);
  }
}

async function showHelp(command: CommandDef, parent?: CommandDef): Promise<void> {
  const text = `${await renderUsage(command, parent)}\n`;
  await print(process.stdout.isTTY ? text : stripVTControlCharacters(text));
}

/** Behind `--` even `-h` may be a name. */
const wantsHelp = (args: string[]): boolean =>
  args.some((arg, index) => /^(-h|--help)$/.test(arg) && !args.slice(0, index).includes("--"));

export interface Program {
  /** What it is called in the package. */
  name: string;
  description: string;
  commands: Record<string, CommandDef<any>>;
}

/** Runs the command that the command line names; a mistake of whoever typed it is one line and exit code 1. */
export async function runProgram(program: Program): Promise<void> {
  // Without a listener, a reader that went away (`list | head`) ends the process with a stack; `print` tells of it too.
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
  if (name === undefined) throw new Mistake(`name a command; ${accepted}`);
  if (wantsHelp([name])) return showHelp(root);
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) throw new Mistake(`unknown command ${quoted(name)}; ${accepted}`);
  if (wantsHelp(rawArgs)) return showHelp(command, root);
  refuseUnknown(name, rawArgs, command.args as ArgsDef);
  checkVariables(process.env);
  await runCommand(command, { rawArgs });
}
