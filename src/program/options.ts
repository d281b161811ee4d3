/** Flags and environment -> settings, by the names in the settings schema: flags first, then the environment. */
import { parseArgs } from "node:util";
import { type DescribedSetting, SettingError, describeSettings } from "../index.ts";
import { didYouMean, flagOf } from "../settings/describe.ts";
import { isMemoryStore } from "../stores/open.ts";

/** What the server has beyond the handler's settings. */
export interface ServerOptions {
  host: string;
  port: number;
  /** Store URL: `memory:`, `file:./data`. */
  store: string;
  /** One line for each request. */
  requestLog: boolean;
  /** Processes that serve. */
  workers: number;
  help: boolean;
  /** For `createJwtEndpoints`; what is not set is absent. */
  settings: Record<string, unknown>;
}

type ServerOption = Pick<DescribedSetting, "name" | "description" | "form" | "default" | "env">;

const serverOptions: ServerOption[] = [
  { name: "host", env: "HOST", form: "text", default: "127.0.0.1", description: "Address to listen on." },
  { name: "port", env: "PORT", form: "number", default: 8000, description: "Port to listen on; 0 takes a free one." },
  {
    name: "store",
    env: "JWT_STORE",
    form: "text",
    default: "file:./data",
    description: "`memory:` or `file:./folder`.",
  },
  {
    name: "requestLog",
    env: "JWT_REQUEST_LOG",
    form: "boolean",
    default: true,
    description: "One log line for each request.",
  },
  {
    name: "workers",
    env: "JWT_WORKERS",
    form: "number",
    default: 1,
    description: "Processes that serve the address together, on a store they can share.",
  },
];

/** Everything the command line knows. */
export function listOptions(): (ServerOption & { flag: string })[] {
  const settings = describeSettings().filter(({ form }) => form !== "none");
  return [...serverOptions.map((option) => ({ ...option, flag: flagOf(option.name) })), ...settings];
}

/** Those that the program gives its own workers. */
const ownVariables = "JWT_ENDPOINTS_";
/** Where an empty text would stand for a key that nobody has chosen. */
const neverEmpty = new Set(["JWT_SIGNING_KEY", "JWT_VERIFYING_KEY", "JWT_JWK_URL"]);

/**
 * Refuses variables that would go unnoticed: misspelt ones, and a key that is empty because what was to fill it is.
 * @throws {SettingError} in one line that names the nearest variable, and no value.
 */
export function checkVariables(env: Record<string, string | undefined>): void {
  const known = listOptions().map((option) => option.env);
  for (const name of variablesOf(env)) {
    if (name.startsWith(ownVariables)) continue;
    if (!known.includes(name)) {
      const hint = didYouMean(name, known) || "; the server's --help lists those that are";
      throw new SettingError(`variable ${name} is not a setting${hint}`);
    }
    if (neverEmpty.has(name) && env[name] === "") {
      throw new SettingError(`variable ${name} is empty; give it a value, or take it away`);
    }
  }
}

function variablesOf(env: Record<string, string | undefined>): string[] {
  try {
    return Object.keys(env).filter((name) => name.startsWith("JWT_"));
  } catch {
    // Deno lets a program that may read some variables ask for them by name alone.
    console.error("jwt-endpoints: misspelt JWT_ variables go unnoticed; to refuse them takes all of --allow-env");
    return [...neverEmpty].filter((name) => env[name] !== undefined);
  }
}

/**
 * @param args the command line after the program's name.
 * @throws {SettingError} for an unknown flag or variable or a value of the wrong form, in one line.
 */
export function readOptions(args: string[], env: Record<string, string | undefined>): ServerOptions {
  checkVariables(env);
  const known = listOptions();
  const values = readFlags(
    args,
    known.map(({ flag }) => flag),
  );
  const result: Record<string, unknown> = {};
  for (const option of known) {
    const { name, flag } = option;
    const text = values[flag] ?? (env[option.env] || undefined); // an empty variable counts as not set
    const fallback = serverOptions.some((own) => own.name === name) ? option.default : undefined;
    const value = text === undefined ? fallback : convert(option, text);
    if (value !== undefined) setPath(result, name.split("."), value);
  }
  const { host, port, store, requestLog, workers, ...settings } = result as unknown as ServerOptions;
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new SettingError(`setting port: ${port} is not a port; accepted: 0 to 65535`);
  }
  if (workers < 1 || workers > 1024) {
    throw new SettingError(`setting workers: ${workers} is not a number of processes; accepted: 1 to 1024`);
  }
  if (workers > 1 && isMemoryStore(store)) {
    throw new SettingError(`setting workers: ${workers} processes can't share the store memory:; use a file: store`);
  }
  return { host, port, store, requestLog, workers, help: values.help !== undefined, settings: { ...settings } };
}

function readFlags(args: string[], flags: string[]): Record<string, string | undefined> {
  const options = Object.fromEntries(flags.map((flag) => [flag, { type: "string" as const }]));
  const help = { help: { type: "boolean", short: "h" } } as const;
  const { values, tokens } = parseArgs({ args, options: { ...options, ...help }, strict: false, tokens: true });
  for (const token of tokens) {
    if (token.kind === "option-terminator") continue;
    // A stray text isn't quoted: it may be a key.
    if (token.kind === "positional") throw new SettingError("the command line has a text that belongs to no flag");
    const { name, rawName, value, inlineValue } = token;
    if (name === "help") continue;
    if (!flags.includes(name)) {
      const hint = didYouMean(
        rawName,
        flags.map((flag) => `--${flag}`),
      );
      throw new SettingError(`setting ${rawName} is not a flag of the server${hint || "; see --help"}`);
    }
    if (value === undefined || (!inlineValue && /^-./.test(value))) {
      throw new SettingError(`setting ${rawName} lacks its value; a value that begins with - takes ${rawName}=`);
    }
  }
  return values as Record<string, string | undefined>;
}

function convert({ name, form, default: fallback }: ServerOption, text: string): unknown {
  if (fallback === false && text === "false") return false; // what is off by default can be said to be off
  switch (form) {
    case "number":
      if (!/^\d+$/.test(text)) throw new SettingError(`setting ${name}: ${JSON.stringify(text)} is not a whole number`);
      return Number(text);
    case "boolean":
      if (/^(true|1|yes|on)$/i.test(text)) return true;
      if (/^(false|0|no|off)$/i.test(text)) return false;
      throw new SettingError(`setting ${name}: ${JSON.stringify(text)} is not a boolean; accepted: true or false`);
    case "list":
      return text === "*" ? text : text.split(",").map((part) => part.trim());
    default:
      return name === "signingKey" || name === "verifyingKey" ? readKey(text) : text;
  }
}

/** A JWK comes as JSON; in PEM, an environment variable may hold `\n` for its line ends. */
function readKey(text: string): unknown {
  if (text.startsWith("-----BEGIN")) return text.replaceAll("\\n", "\n");
  if (!text.startsWith("{")) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text; // a secret may begin with a brace
  }
}

function setPath(target: Record<string, unknown>, [key, ...rest]: string[], value: unknown): void {
  if (rest.length === 0) target[key!] = value;
  else setPath((target[key!] ??= {}) as Record<string, unknown>, rest, value);
}

export function helpText(): string {
  const rows = listOptions().map(
    ({ flag, env, description }) => `  --${flag.padEnd(24)} ${env.padEnd(28)} ${description}`,
  );
  return ["Serves the JWT endpoints. Every flag has an environment variable; flags come first.", "", ...rows].join(
    "\n",
  );
}
