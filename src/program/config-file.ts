/**
 * Finds, loads and checks the configuration file of server and commands. TypeScript is read by what runs the program: Deno,
 * Bun, tsx in a checkout, Node from 22.18.
 */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { type DescribedSetting, SettingError, describeSettings } from "../index.ts";
import { didYouMean } from "../settings/describe.ts";
import { checkSettings } from "../settings/parse.ts";
import { openToOthers } from "../stores/file/folder.ts";
import { type ConfigFile, type ServerOptions, listOptions, readOptions, readServerFlags } from "./options.ts";

/** Names that are looked for in the working directory. */
const fileNames = ["ts", "js", "mjs", "json"].map((extension) => `jwt-endpoints.config.${extension}`);

/** Settings of `createJwtEndpoints` that the program makes itself. */
const ownSettings = ["keys", "log", "audit"];

/**
 * Reads what the server is started with: flags, environment, and the file that `--config` names or the folder has.
 * @param args the words after the program's name.
 * @throws {SettingError} as `readOptions` and {@link loadConfig}.
 */
export const loadOptions = async (args: string[], env: Record<string, string | undefined>): Promise<ServerOptions> =>
  readOptions(args, env, await loadConfig(readServerFlags(args)["config"]));

/**
 * Loads the configuration file.
 * @param named its path; without one, the working directory is searched.
 * @returns `undefined` when there is none.
 * @throws {SettingError} in one line that names the file, and the setting where one is wrong.
 */
export async function loadConfig(named: string | undefined): Promise<ConfigFile | undefined> {
  const file = named ?? findConfig();
  if (file === undefined) return undefined;
  const found = await valuesOf(file);
  if (typeof found !== "object" || found === null || Array.isArray(found)) {
    const remedy = file.endsWith(".json") ? "is not a JSON object" : "has no object as its default export";
    throw new SettingError(`${file} ${remedy}; accepted: settings by their names`);
  }
  const values = membersOf(file, found);
  checkValues(file, values);
  return { path: file, values, warning: secretWarning(file, values) };
}

/** @throws {SettingError} when the file's own code fails, in a getter. */
function membersOf(file: string, found: object): Record<string, unknown> {
  try {
    return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
  } catch (error) {
    throw unreadable(file, error);
  }
}

/** @throws {SettingError} when the working directory has several. */
function findConfig(): string | undefined {
  const [first, second] = fileNames.filter(isThere);
  if (second === undefined) return first;
  throw new SettingError(`${first} and ${second} are both here; remove one, or name one with --config`);
}

/** Returns false also where Deno may not look: a server that has no such file needs no permission for it. */
function isThere(name: string): boolean {
  try {
    return fs.existsSync(name);
  } catch {
    return false;
  }
}

async function valuesOf(file: string): Promise<unknown> {
  if (!file.endsWith(".json")) return importFile(file);
  let text: string;
  try {
    text = fs.readFileSync(file, "utf8");
  } catch (error) {
    throw unreadable(file, error);
  }
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch {
    throw new SettingError(`${file} is not JSON`); // without the parser's message: it quotes the file
  }
}

async function importFile(file: string): Promise<unknown> {
  try {
    fs.closeSync(fs.openSync(file, "r")); // not accessSync, for which Deno asks another permission
    const { href } = pathToFileURL(path.resolve(file));
    // oxlint-disable-next-line import/no-dynamic-require -- its name is known only when the program runs
    const module = (await import(href)) as { default?: unknown };
    return await module.default;
  } catch (error) {
    throw unreadable(file, error);
  }
}

function unreadable(file: string, error: unknown): Error {
  if ((error as Error | undefined)?.name === "NotCapable") return error as Error; // Deno's, which names the permission
  const { code, message = error } = (error ?? {}) as Partial<NodeJS.ErrnoException>;
  if (code === "ERR_UNKNOWN_FILE_EXTENSION") {
    const remedy = "name it .js or .mjs, start with node --import tsx, or use Node 22.18 or later, Deno or Bun";
    return new SettingError(`${file}: Node ${process.versions.node} reads no TypeScript; ${remedy}`, { cause: error });
  }
  const why = typeof message === "string" ? message.split("\n", 1)[0] : "its code throws a value that is no error";
  const reason = code === "ENOENT" ? "is not there" : `can't be read: ${why}`;
  return new SettingError(`${file} ${reason}`, { cause: error });
}

/** What values of the server's own options are in JSON and code, by their form; text where nothing is said. */
const typesOf: Partial<Record<DescribedSetting["form"], string[]>> = {
  boolean: ["boolean"],
  number: ["number"],
  duration: ["string", "number"],
};

/** @throws {SettingError} that names the file and the first setting that is wrong. */
function checkValues(file: string, values: Record<string, unknown>): void {
  const settings = describeSettings().map(({ name }) => name);
  const ofServer = listOptions().filter(({ name }) => !settings.includes(name));
  const known = [...ofServer.map(({ name }) => name), ...settings];
  const rest: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(values)) {
    const option = ofServer.find((each) => each.name === name);
    const refuse = (problem: string): never => {
      throw new SettingError(`${file}: setting ${name} ${problem}`);
    };
    if (ownSettings.includes(name)) refuse("is made by the server; it can be set in code alone");
    if (!known.some((each) => each.split(".", 1)[0] === name)) refuse(`is not a setting${didYouMean(name, known)}`);
    if (option === undefined) rest[name] = value;
    else {
      const accepted = typesOf[option.form] ?? ["string"];
      if (!accepted.includes(typeof value)) refuse(`is not ${accepted[0] === "string" ? "text" : `a ${accepted[0]}`}`);
    }
  }
  try {
    checkSettings(rest);
  } catch (error) {
    throw error instanceof SettingError ? new SettingError(`${file}: ${error.message}`) : error;
  }
}

/** Returns a line when the text of the file has a secret in it, and others than its owner may read it. */
function secretWarning(file: string, { signingKey, verifyingKey, store }: Record<string, unknown>): string | undefined {
  const problem = openToOthers(file, fs.statSync(file));
  if (problem === undefined) return undefined;
  const password = /^[^:]+:\/\/[^/@]*:([^/@]+)@/.exec(String(store))?.[1];
  const secrets = [secretPart(signingKey), secretPart(verifyingKey), password];
  const text = fs.readFileSync(file, "utf8");
  const isThere = secrets.some((secret) => secret !== undefined && text.includes(secret));
  return isThere ? `the configuration file holds a secret, and ${problem}` : undefined;
}

/** Returns what of a key the text of a file would contain: the longest line of PEM, the secret member of a JWK. */
function secretPart(key: unknown): string | undefined {
  if (typeof key === "string") {
    if (key.startsWith("-----BEGIN PUBLIC KEY")) return undefined;
    return key.split("\n").toSorted((a, b) => b.length - a.length)[0];
  }
  const { d, k } = (key ?? {}) as { d?: string; k?: string };
  return d ?? k;
}
