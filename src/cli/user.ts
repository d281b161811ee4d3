#!/usr/bin/env node
/**
 * The users of a store: `npm run user -- add alice`. Every command opens the store, does one thing and closes it, and
 * may do so while servers run on the same store.
 */
import process from "node:process";
import { parseArgs, stripVTControlCharacters } from "node:util";
import { type ArgsDef, type CommandDef, defineCommand, renderUsage, runCommand } from "citty";
import { createPasswords } from "../passwords/index.ts";
import { openStore } from "../stores/open.ts";
import { type Store, StoreError, type User, type UserChanges } from "../stores/store.ts";
import { Mistake, normalizeUsername, parseEmail, parseUsername, printable, quoted } from "./fields.ts";
import { readPassword } from "./prompt.ts";
import type { ImportFormat } from "./users-file.ts";

const defaultStore = "file:./data";

const storeFlag = {
  store: { type: "string", valueHint: "url", description: `Store; default: JWT_STORE, else ${defaultStore}` },
} as const;
const passwordFlag = {
  "password-stdin": { type: "boolean", description: "Read the password from standard input, up to a newline" },
} as const;
const usernameArgument = {
  username: { type: "positional", required: true, description: "Name the user logs in with" },
} as const;

const add = defineCommand({
  meta: { name: "add", description: "Add a user; asks for the password" },
  args: {
    ...usernameArgument,
    email: { type: "string", description: "Email address" },
    inactive: { type: "boolean", description: "Add the user disabled" },
    ...passwordFlag,
    ...storeFlag,
  },
  async run({ args }) {
    const username = parseUsername(args.username);
    const email = parseEmail(args.email ?? "");
    await withStore(args.store, async (store) => {
      // Before anybody types a password in vain; the store has the last word.
      if (await store.findUserByUsername(username)) throw new Mistake(`the username ${quoted(username)} is taken`);
      const password = await readPassword({ fromStdin: args["password-stdin"] === true });
      const passwordHash = await createPasswords().hash(password);
      const user = await store.addUser({ username, email, passwordHash, isActive: args.inactive !== true });
      await print(`added ${quoted(user.username)}, id ${user.id}${user.isActive ? "" : ", disabled"}\n`);
    });
  },
});

const list = defineCommand({
  meta: { name: "list", description: "List the users, in the order they were added" },
  args: { json: { type: "boolean", description: "One JSON object per line" }, ...storeFlag },
  async run({ args }) {
    await withStore(args.store, async (store) => {
      let text = "";
      for await (const line of args.json === true ? jsonLines(store) : tableLines(store)) {
        text += `${line}\n`;
        if (text.length < 65_536) continue;
        await print(text);
        text = "";
      }
      await print(text);
    });
  },
});

const passwd = defineCommand({
  meta: { name: "passwd", description: "Change a user's password; asks for the new one" },
  args: { ...usernameArgument, ...passwordFlag, ...storeFlag },
  async run({ args }) {
    await withStore(args.store, async (store) => {
      const user = await findUser(store, args.username);
      const password = await readPassword({ fromStdin: args["password-stdin"] === true });
      await change(store, user, { passwordHash: await createPasswords().hash(password) });
      await print(`changed the password of ${quoted(user.username)}\n`);
    });
  },
});

const disable = defineCommand({
  meta: { name: "disable", description: "Keep a user from logging in" },
  args: { ...usernameArgument, ...storeFlag },
  run: ({ args }) => setActive(args.store, args.username, false),
});

const enable = defineCommand({
  meta: { name: "enable", description: "Let a disabled user log in again" },
  args: { ...usernameArgument, ...storeFlag },
  run: ({ args }) => setActive(args.store, args.username, true),
});

const remove = defineCommand({
  meta: { name: "remove", description: "Remove a user for good" },
  args: { ...usernameArgument, ...storeFlag },
  async run({ args }) {
    await withStore(args.store, async (store) => {
      const user = await findUser(store, args.username);
      if (!(await store.removeUser(user.id))) throw noSuchUser(user.username);
      await print(`removed ${quoted(user.username)}, id ${user.id}\n`);
    });
  },
});

const importCommand = defineCommand({
  meta: {
    name: "import",
    description:
      "Add users from JSON lines, or CSV with a header line, all or none. Keys or columns: username; password (a " +
      "hash in a known format, or plain), or surely password_hash or plain_password; optional email, id, is_active",
  },
  args: {
    file: { type: "positional", required: true, description: "Path, or - for standard input (kept in memory)" },
    format: { type: "enum", options: ["csv", "jsonl"], description: "Default: by the file's extension" },
    "skip-bad": { type: "boolean", description: "Report bad lines, but add the others" },
    ...storeFlag,
  },
  async run({ args }) {
    const { importUsers } = await import("./import.ts"); // the other commands start sooner without
    const format = args.format as ImportFormat | undefined;
    await withStore(args.store, async (store) => {
      await print(`${await importUsers(store, args.file, { format, skipBad: args["skip-bad"] === true })}\n`);
    });
  },
});

const commands = new Map<string, CommandDef<any>>(
  Object.entries({ add, list, passwd, disable, enable, remove, import: importCommand }),
);
const root = defineCommand({
  meta: { name: "jwt-endpoints-user", description: "The users of a store; works while servers run on it" },
  subCommands: Object.fromEntries(commands),
});

async function withStore(url: string | undefined, use: (store: Store) => Promise<void>): Promise<void> {
  const chosen = url ?? (process.env["JWT_STORE"] || defaultStore);
  if (/^memory:/i.test(chosen)) {
    throw new Mistake("a memory: store lives in its server alone; name another with --store");
  }
  const store = await openStore(chosen).catch((error: unknown) => {
    throw error instanceof TypeError ? new Mistake(error.message) : error; // a URL that names no store
  });
  try {
    await use(store);
  } finally {
    await store.close();
  }
}

async function findUser(store: Store, name: string): Promise<User> {
  const username = normalizeUsername(name);
  const found = await store.findUserByUsername(username);
  if (found === undefined) throw noSuchUser(username);
  return found;
}

async function change(store: Store, { id, username }: User, changes: UserChanges): Promise<void> {
  if ((await store.updateUser(id, changes)) === undefined) throw noSuchUser(username);
}

async function setActive(url: string | undefined, name: string, isActive: boolean): Promise<void> {
  await withStore(url, async (store) => {
    const found = await findUser(store, name);
    await change(store, found, { isActive });
    await print(`${isActive ? "enabled" : "disabled"} ${quoted(found.username)}\n`);
  });
}

const noSuchUser = (username: string): Mistake => new Mistake(`there is no user ${quoted(username)}`);
const isoTime = (seconds: number | null): string | null =>
  seconds === null ? null : new Date(seconds * 1000).toISOString();

async function* jsonLines(store: Store): AsyncGenerator<string> {
  for await (const { username, id, email, isActive, lastLogin } of store.listUsers()) {
    yield JSON.stringify({ username, id, email, isActive, lastLogin: isoTime(lastLogin) });
  }
}

/** Columns are as wide as the first rows need: to measure them all would mean to hold them all. */
async function* tableLines(store: Store): AsyncGenerator<string> {
  const first = [["USERNAME", "ID", "EMAIL", "ACTIVE", "LAST LOGIN"]];
  let widths: number[] | undefined;
  const line = (row: string[]) =>
    row
      .map((cell, column) => cell.padEnd(widths![column]!))
      .join("  ")
      .trimEnd();
  const measure = () => (widths = first[0]!.map((_, column) => Math.max(...first.map((row) => row[column]!.length))));
  for await (const { username, id, email, isActive, lastLogin } of store.listUsers()) {
    const row = [...[username, id, email].map(printable), isActive ? "yes" : "no", isoTime(lastLogin) ?? "never"];
    if (widths !== undefined) yield line(row);
    else if (first.push(row) === 1000) {
      measure();
      yield* first.map(line);
    }
  }
  if (widths === undefined) {
    measure();
    yield* first.map(line);
  }
}

/** Resolves when the text is out, so that a slow reader slows the writer. */
async function print(text: string): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(text, (error) => (error ? reject(error) : resolve()));
    });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw code === "EPIPE" ? error : new Mistake(`can't write the output: ${message}`);
  }
}

/** citty lets pass what it doesn't know. A stray argument isn't quoted: it may be a password. */
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
      const known = flags.map(([flag]) => `--${flag}`).join(", ");
      throw new Mistake(`unknown flag ${printable(token.rawName)} for ${name}; accepted: ${known}`);
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

async function main([name, ...rawArgs]: string[]): Promise<void> {
  const accepted = `accepted: ${[...commands.keys()].join(", ")}; --help tells more`;
  if (name === undefined) throw new Mistake(`name a command; ${accepted}`);
  if (wantsHelp([name])) return showHelp(root);
  const command = commands.get(name);
  if (command === undefined) throw new Mistake(`unknown command ${quoted(name)}; ${accepted}`);
  if (wantsHelp(rawArgs)) return showHelp(command, root);
  refuseUnknown(name, rawArgs, command.args as ArgsDef);
  await runCommand(command, { rawArgs });
}

// Without a listener, a reader that went away (`list | head`) ends the process with a stack; `print` tells of it too.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
try {
  await main(process.argv.slice(2));
} catch (error) {
  const code = (error as { code?: unknown } | undefined)?.code;
  if (code !== "EPIPE") {
    process.exitCode = 1;
    const isExpected = error instanceof Mistake || error instanceof StoreError;
    const unexpected = error instanceof Error ? error.stack : String(error);
    process.stderr.write(`${isExpected ? error.message.replace(/\s*\n\s*/g, " ") : unexpected}\n`);
  }
}
