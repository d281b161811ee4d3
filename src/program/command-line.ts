/**
 * Reads command lines strictly, by citty's definitions. citty itself accepts flags it does not know, flags without their
 * value and arguments nothing reads, and has no strict mode; a misspelt flag must stop the program instead.
 */
import { parseArgs } from "node:util";
import type { ArgDef } from "citty";
import { didYouMean } from "../settings/describe.ts";

/** A flag or an argument, and how a flag may be written beside `--flag value` and `--flag=value`. */
export type Flag = ArgDef & {
  /** `--flag` alone is `true`. */
  isSwitch?: boolean;
  /** `--no-flag` is `false`. */
  hasNegation?: boolean;
};

/** By the name without dashes; positional arguments in their order. */
export type Flags = Record<string, Flag>;

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

/** Text that the word behind a switch has to be to count as its value. */
const switchValue = /^(true|false|yes|no|on|off|1|0)$/i;

/** Writes `--me` as `--me=true` and `--no-me` as `--me=false`, which is what the parser of Node can read. */
function withValues(args: string[], definitions: Flags): string[] {
  const end = args.indexOf("--");
  return args.map((arg, index) => {
    const name = arg.slice(2);
    if (!arg.startsWith("--") || (end !== -1 && index >= end)) return arg;
    if (definitions[name]?.isSwitch && !switchValue.test(args[index + 1] ?? "")) return `${arg}=true`;
    const negated = name.startsWith("no-") ? name.slice(3) : "";
    return definitions[negated]?.hasNegation ? `--${negated}=false` : arg;
  });
}

/**
 * Checks a command line against the definitions and returns its flags.
 * @param args the words after the program's or the command's name.
 * @param problems makes the errors. None gets a value or an argument: it may be a password, a key or a token.
 * @returns values by the flag's name without dashes; "true" for a flag that takes no value.
 * @throws what `problems` makes, for the first problem.
 */
export function readFlags(args: string[], definitions: Flags, problems: CommandLineProblems): Record<string, string> {
  const names = Object.keys(definitions);
  const flags = names.filter((name) => definitions[name]!.type !== "positional");
  const isBoolean = (name: string): boolean => definitions[name]!.type === "boolean";
  const options = Object.fromEntries(
    flags.map((name) => [name, { type: isBoolean(name) ? ("boolean" as const) : ("string" as const) }]),
  );
  const lenient = { strict: false, allowPositionals: true, tokens: true } as const;
  const { tokens, positionals } = parseArgs({ args: withValues(args, definitions), options, ...lenient });
  const values: Record<string, string> = {};
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const { name, rawName: flag, value, inlineValue } = token;
    if (!flags.includes(name) || !flag.startsWith("--")) {
      const shown = shownFlag(flag);
      throw problems.unknownFlag(shown, nearest(shown, definitions));
    }
    const definition = definitions[name]!;
    if (isBoolean(name)) {
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

/** Returns the part of an unknown flag that is a name. What follows, behind `=` or in a key that was not quoted, may be secret. */
const shownFlag = (flag: string): string => /^-*[\w.-]{0,40}/.exec(flag)![0];

/** Returns the hint for an unknown flag: the nearest one, with `no-` where that was typed and may be. */
function nearest(flag: string, definitions: Flags): string {
  const known = Object.entries(definitions).flatMap(([name, { type, hasNegation }]) => {
    if (type === "positional") return [];
    return hasNegation && flag.startsWith("--no-") ? [`--no-${name}`] : [`--${name}`];
  });
  return didYouMean(flag, known);
}

/** Returns whether a command line asks for help. Behind `--` even `-h` may be a name. */
export const wantsHelp = (args: string[]): boolean =>
  args.some((arg, index) => /^(-h|--help)$/.test(arg) && !args.slice(0, index).includes("--"));

/** Returns the words behind the program's name that are the server's: `serve` may stand in front of its flags. */
export const serverArguments = (argv: string[]): string[] => argv.slice(argv[2] === "serve" ? 3 : 2);

/** Returns whether a command line of the server asks for a text instead of a server. */
export const wantsInformation = (args: string[]): boolean =>
  args.some((arg) => /^(-h|--help|--version|--print-config(=.*)?)$/.test(arg));
