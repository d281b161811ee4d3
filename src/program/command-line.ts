/**
 * Reads command lines strictly, by citty's definitions. citty itself accepts flags it does not know, flags without their
 * value and arguments nothing reads, and has no strict mode; a misspelt flag must stop the program instead.
 */
import process from "node:process";
import { parseArgs, stripVTControlCharacters } from "node:util";
import type { ArgsDef, CommandDef } from "citty";
import { didYouMean } from "../settings/describe.ts";

/** What a command line can have wrong. `flag` is as it was typed, with its dashes. */
export interface CommandLineProblems {
  /** @param hint the end of the message: the nearest flag, or "" when none is near. */
  unknownFlag(flag: string, hint: string): Error;
  missingValue(flag: string): Error;
  needlessValue(flag: string): Error;
  /** The value is none of the flag's options. */
  unknownValue(flag: string, options: readonly string[]): Error;
  /** There are fewer or more arguments than `names`. */
  argumentCount(given: number, names: readonly string[]): Error;
}

/**
 * Checks a command line against the definitions and returns its flags.
 * @param args the words after the program's or the command's name.
 * @param problems makes the errors. None gets a value or an argument: it may be a password, a key or a token.
 * @returns values by the flag's name without dashes; "true" for a flag that takes no value.
 * @throws what `problems` makes, for the first problem.
 */
export function readFlags(args: string[], definitions: ArgsDef, problems: CommandLineProblems): Record<string, string> {
  const names = Object.keys(definitions);
  const flags = names.filter((name) => definitions[name]!.type !== "positional");
  const isSwitch = (name: string): boolean => definitions[name]!.type === "boolean";
  const options = Object.fromEntries(
    flags.map((name) => [name, { type: isSwitch(name) ? ("boolean" as const) : ("string" as const) }]),
  );
  const lenient = { strict: false, allowPositionals: true, tokens: true } as const;
  const { tokens, positionals } = parseArgs({ args, options, ...lenient });
  const values: Record<string, string> = {};
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const { name, rawName: flag, value, inlineValue } = token;
    if (!flags.includes(name) || !flag.startsWith("--")) {
      const known = flags.map((each) => `--${each}`);
      throw problems.unknownFlag(flag, didYouMean(flag, known));
    }
    const definition = definitions[name]!;
    if (isSwitch(name)) {
      if (value !== undefined) throw problems.needlessValue(flag);
    } else if (value === undefined || (!inlineValue && /^-./.test(value))) {
      throw problems.missingValue(flag);
    } else if (definition.type === "enum" && !definition.options?.includes(value)) {
      throw problems.unknownValue(flag, definition.options ?? []);
    }
    values[name] = value ?? "true";
  }
  const wanted = names.filter((name) => definitions[name]!.type === "positional");
  if (positionals.length !== wanted.length) throw problems.argumentCount(positionals.length, wanted);
  return values;
}

/** Returns whether a command line asks for help. Behind `--` even `-h` may be a name. */
export const wantsHelp = (args: string[]): boolean =>
  args.some((arg, index) => /^(-h|--help)$/.test(arg) && !args.slice(0, index).includes("--"));

/** Renders the help of a command, in colour on a terminal only. citty is loaded here, so that servers start without it. */
export async function renderHelp(command: CommandDef<any>, parent?: CommandDef<any>): Promise<string> {
  const { renderUsage } = await import("citty");
  const text = await renderUsage(command, parent);
  const plain = process.stdout.isTTY ? text : stripVTControlCharacters(text);
  return plain.replace(/ +$/gm, "");
}
