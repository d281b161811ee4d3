/** Runs the commands on citty: finds the command, checks its flags, opens its store, prints, ends. */
import process from "node:process";
import { type CommandDef, runCommand } from "citty";
import type { AuditEvent, AuditEventName } from "../index.ts";
import { type CommandLineProblems, type Flags, readFlags, wantsHelp } from "../program/command-line.ts";
import { loadConfig } from "../program/config-file.ts";
import { recordCommand } from "../program/events.ts";
import { type ConfigFile, type ServerOptions, checkVariables, givenValue, readOptions } from "../program/options.ts";
import { defaultStore } from "../program/server-options.ts";
import { UsageError, problemOf } from "../program/problem.ts";
import { holdsStore } from "../stores/file/folder.ts";
import { isMemoryStore, openStore, storeFolder } from "../stores/open.ts";
import type { Store } from "../stores/store.ts";
import { printable, quoted } from "./format.ts";

/** The flags of every command. */
export const commonFlags = {
  store: { type: "string", valueHint: "url", description: `Store; default: JWT_STORE, else ${defaultStore}` },
  config: { type: "string", valueHint: "file", description: "Configuration file, the same as the server's" },
} as const;

/** The configuration file of this run, which is the server's. It is loaded before a command runs. */
let config: ConfigFile | undefined;

/** Returns a setting as the server here would have it, before its default: from the environment, else from the file. */
export const settingHere = (name: string): unknown => givenValue(name, process.env, config);

/** Returns all options as a server here would have them. */
export const optionsHere = (flags: string[] = []): ServerOptions => readOptions(flags, process.env, config);

/** Returns the store's URL: that of the flag, else of the environment or the configuration file, else the default. */
export const storeUrl = (flag: string | undefined): string => flag ?? String(settingHere("store") ?? defaultStore);

/** Records what a command did in the audit log, if there is one. */
export const record = (event: AuditEventName, details: Omit<Partial<AuditEvent>, "time" | "event">): void =>
  recordCommand(event, details, {
    target: settingHere("auditLog") as string | undefined,
    recorded: settingHere("auditEvents") as string[] | undefined,
  });

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

/** The commands behind one word of the program: `jwt-endpoints user`. */
export interface Program {
  /** The word. */
  name: string;
  description: string;
  commands: Record<string, CommandDef<any>>;
}

/** Returns the flags and arguments of a command. */
export const flagsOf = (command: CommandDef<any>): Flags => (command.args ?? {}) as Flags;

/**
 * Runs the command that a command line names. An error that the user can mend is one line and exit code 1.
 * @param args the words behind the program's.
 */
export async function runProgram(program: Program, args: string[]): Promise<void> {
  // Without a listener, a reader that has gone (`list | head`) ends the process with a stack. `print` gets the error too.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  try {
    await dispatch(program, args);
  } catch (error) {
    const code = (error as { code?: unknown } | undefined)?.code;
    if (code === "EPIPE") return;
    process.exitCode = 1;
    process.stderr.write(`${problemOf(error)}\n`);
  }
}

async function dispatch(program: Program, args: string[]): Promise<void> {
  const { commands } = program;
  const [name, ...rawArgs] = args;
  const accepted = `accepted: ${Object.keys(commands).join(", ")}; --help tells more`;
  if (name === undefined) throw new UsageError(`name a command; ${accepted}`);
  if (wantsHelp([name])) return printHelp(program);
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) throw new UsageError(`unknown command ${quoted(name)}; ${accepted}`);
  if (wantsHelp(rawArgs)) return printHelp(program, name);
  const flags = readFlags(rawArgs, flagsOf(command), problemsOf(name, flagsOf(command)));
  checkVariables(process.env);
  config = await loadConfig(flags["config"]);
  await runCommand(command, { rawArgs });
}

/** Returns what a command says of itself. */
export const textOf = ({ meta }: CommandDef<any>): string => (meta as { description?: string }).description ?? "";

/** Returns the first sentence of that. */
const summaryOf = (command: CommandDef<any>): string => textOf(command).split(/\. /, 1)[0]!;

/** Prints the help of a program, or of one of its commands. */
async function printHelp({ name: program, description, commands }: Program, name?: string): Promise<void> {
  const { flagRows, renderHelp } = await import("../program/help.ts"); // loaded here, since commands run without
  if (name === undefined) {
    const rows = Object.entries(commands).map(([each, command]) => [each, summaryOf(command)] as const);
    const usage = [`jwt-endpoints ${program} COMMAND [FLAG...]`, `jwt-endpoints ${program} COMMAND --help`];
    return print(`${renderHelp({ usage, description, sections: [{ title: "Commands", rows }] })}\n`);
  }
  const command = commands[name]!;
  const definitions = Object.entries(flagsOf(command));
  const terms = definitions.filter(([, { type }]) => type === "positional");
  const rows = terms.map(([each, flag]) => [each.toUpperCase(), flag.description ?? ""] as const);
  const words = [program, name, ...rows.map(([term]) => term), "[FLAG...]"];
  const sections = [
    ...(rows.length === 0 ? [] : [{ title: "Arguments", rows }]),
    { title: "Flags", rows: flagRows(flagsOf(command)) },
  ];
  await print(
    `${renderHelp({ usage: [`jwt-endpoints ${words.join(" ")}`], description: textOf(command), sections })}\n`,
  );
}

/** Words the problems of a command's line. */
const problemsOf = (command: string, definitions: Flags): CommandLineProblems => ({
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
