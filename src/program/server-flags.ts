/** The flags of the server, made from its options. */
import { type DescribedSetting, SettingError } from "../index.ts";
import type { CommandLineProblems, Flags } from "./command-line.ts";

export type ServerOption = Pick<DescribedSetting, "name" | "description" | "form" | "default" | "shown"> & {
  env: string;
  flag: string;
};

/** How help names the value of a flag. */
const valueHints: Record<ServerOption["form"], string> = {
  text: "text",
  number: "number",
  duration: "duration",
  boolean: "true|false",
  list: "list",
  file: "file",
  none: "",
};

/**
 * Derives the server's flags from its options.
 * @param guards defaults of the server alone, which help shows instead of those of the settings; `""` for none.
 */
export function serverFlags(options: readonly ServerOption[], guards: Record<string, string> = {}): Flags {
  const flags = options.map(({ name, flag, env, form, description, default: value, shown: named }) => {
    const shown: unknown = guards[name] ?? named ?? (Array.isArray(value) ? value.join(",") : value);
    const isShown = ["string", "number", "boolean"].includes(typeof shown) && shown !== "" && shown !== false;
    const definition = {
      type: "string" as const,
      valueHint: name.startsWith("throttle") ? "rate" : valueHints[form],
      description: `${description} [${env}]${isShown ? ` (default: ${String(shown)})` : ""}`,
      isSwitch: form === "boolean",
      hasNegation: form === "boolean" || value === false,
    };
    return [flag, definition] as const;
  });
  const config = {
    type: "string" as const,
    valueHint: "file",
    description: "Configuration file; default: jwt-endpoints.config.ts, .js, .mjs or .json in the working directory.",
  };
  return { ...Object.fromEntries(flags), config };
}

/** Options whose value may be a secret: each can be read from a file, as containers hand secrets over (`JWT_STORE_FILE`). */
export const secretOptions = ["store", "signing-key", "verifying-key"];
export const fileFlagOf = (flag: string): string => `${flag}-file`;
export const fileVariableOf = (env: string): string => `${env}_FILE`;

export function fileFlags(options: readonly ServerOption[]): Flags {
  const rows = options.filter(({ flag }) => secretOptions.includes(flag));
  return Object.fromEntries(
    rows.map(({ flag, env, name }) => {
      const description = `File that holds the value of \`${name}\`. [${fileVariableOf(env)}]`;
      return [fileFlagOf(flag), { type: "string" as const, valueHint: "path", description }] as const;
    }),
  );
}

/** Words the problems of the server's command line. A stray argument isn't quoted: it may be a key. */
export const serverProblems: CommandLineProblems = {
  unknownFlag: (flag, hint) => new SettingError(`setting ${flag} is not a flag of the server${hint || "; see --help"}`),
  missingValue: (flag) =>
    new SettingError(`setting ${flag} lacks its value; a value that begins with - takes ${flag}=`),
  needlessValue: (flag) => new SettingError(`setting ${flag} takes no value`),
  unknownValue: (flag, options) => new SettingError(`setting ${flag} is not one of ${options.join(", ")}`),
  argumentCount: () => new SettingError("the command line has a text that belongs to no flag"),
};
