#!/usr/bin/env node
/**
 * The users of a store: `npm run user -- add alice`. Every command opens the store, does one thing and closes it, and
 * may do so while servers run on the same store.
 */
import { availableParallelism } from "node:os";
import process from "node:process";
import { type ArgsDef, defineCommand } from "citty";
import { type JwtEndpointsSettings, SettingError } from "../index.ts";
import { type Passwords, createPasswords } from "../passwords/index.ts";
import { readOptions } from "../program/options.ts";
import { parseHashing } from "../settings/parse.ts";
import { type Store, type User, type UserChanges, type UsernameMatching, foldUsername } from "../stores/store.ts";
import { print, runProgram, storeFlag, storeUrl, withStore } from "./command.ts";
import type { DumpOptions } from "./django-dump.ts";
import { Mistake, normalizeUsername, parseEmail, parseUsername, printable, quoted } from "./fields.ts";
import { readPassword } from "./prompt.ts";
import type { ImportFormat } from "./users-file.ts";

const matchings: UsernameMatching[] = ["exact", "case-insensitive"];

/** Of every command. */
const usersFlags = {
  "username-matching": {
    type: "enum",
    options: matchings,
    description:
      "Whether names that differ by case alone are one, as the server has it; default: JWT_USERNAME_MATCHING, else exact",
  },
  ...storeFlag,
} satisfies ArgsDef;
/** Of those that hash. */
const hashingFlags = {
  "hashing-preferred": {
    type: "string",
    valueHint: "format",
    description: "Format of new hashes, as the server has it; default: JWT_HASHING_PREFERRED, else pbkdf2_sha256",
  },
  "hashing-iterations": {
    type: "string",
    valueHint: "number",
    description: "PBKDF2 iterations of new hashes, likewise; default: JWT_HASHING_ITERATIONS, else 600000",
  },
} as const;
const passwordFlags = {
  "password-stdin": { type: "boolean", description: "Read the password from standard input, up to a newline" },
  ...hashingFlags,
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
    ...passwordFlags,
    ...usersFlags,
  },
  async run({ args }) {
    refuseMangled(args.username, "username");
    refuseMangled(args.email ?? "", "email");
    const username = parseUsername(args.username);
    const email = parseEmail(args.email ?? "");
    const passwords = await passwordsFrom(args);
    const addUser = async (store: Store, matching: UsernameMatching): Promise<void> => {
      // Before anybody types a password in vain; the store has the last word.
      if (await store.findUserByUsername(username, matching))
        throw new Mistake(`the username ${quoted(username)} is taken`);
      const password = await readPassword({ fromStdin: args["password-stdin"] === true });
      const passwordHash = await passwords.hash(password);
      const isActive = args.inactive !== true;
      const user = await store.addUser({ username, email, passwordHash, isActive }, matching);
      await print(`added ${quoted(user.username)}, id ${user.id}${user.isActive ? "" : ", disabled"}\n`);
    };
    await withUsers(args, addUser, { makes: true });
  },
});

const list = defineCommand({
  meta: { name: "list", description: "List the users, in the order they were added" },
  args: { json: { type: "boolean", description: "One JSON object per line" }, ...usersFlags },
  async run({ args }) {
    await withUsers(args, async (store) => {
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
  meta: { name: "passwd", description: "Change a user's password and end all sessions; asks for the new one" },
  args: { ...usernameArgument, ...passwordFlags, ...usersFlags },
  async run({ args }) {
    const passwords = await passwordsFrom(args);
    await withUsers(args, async (store, matching) => {
      const user = await findUser(store, args.username, matching);
      const password = await readPassword({ fromStdin: args["password-stdin"] === true });
      await endSessions(store, user, { passwordHash: await passwords.hash(password) });
      await print(`changed the password of ${quoted(user.username)}\n`);
    });
  },
});

const logout = defineCommand({
  meta: { name: "logout", description: "End all sessions of a user: every token issued until now is void" },
  args: { ...usernameArgument, ...usersFlags },
  async run({ args }) {
    await withUsers(args, async (store, matching) => {
      const user = await findUser(store, args.username, matching);
      await endSessions(store, user);
      await print(`ended all sessions of ${quoted(user.username)}\n`);
    });
  },
});

const disable = defineCommand({
  meta: { name: "disable", description: "Keep a user from logging in, and end all sessions" },
  args: { ...usernameArgument, ...usersFlags },
  async run({ args }) {
    await withUsers(args, async (store, matching) => {
      const user = await findUser(store, args.username, matching);
      await endSessions(store, user, { isActive: false });
      await print(`disabled ${quoted(user.username)}\n`);
    });
  },
});

const enable = defineCommand({
  meta: { name: "enable", description: "Let a disabled user log in again" },
  args: { ...usernameArgument, ...usersFlags },
  async run({ args }) {
    await withUsers(args, async (store, matching) => {
      const { id, username } = await findUser(store, args.username, matching);
      if ((await store.updateUser(id, { isActive: true })) === undefined) throw noSuchUser(username);
      await print(`enabled ${quoted(username)}\n`);
    });
  },
});

const remove = defineCommand({
  meta: { name: "remove", description: "Remove a user for good" },
  args: { ...usernameArgument, ...usersFlags },
  async run({ args }) {
    await withUsers(args, async (store, matching) => {
      const user = await findUser(store, args.username, matching);
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
      "hash in a known format, or plain), or surely password_hash or plain_password; optional email, id, is_active. " +
      "With --django, from what `manage.py dumpdata auth.user` writes",
  },
  args: {
    file: { type: "positional", required: true, description: "Path, or - for standard input (kept in memory)" },
    format: { type: "enum", options: ["csv", "jsonl"], description: "Default: by the file's extension" },
    django: { type: "boolean", description: "The file is a dump of a Django site, as JSON or JSON lines" },
    model: { type: "string", valueHint: "app.name", description: "The site's user model; default: auth.user" },
    "username-field": {
      type: "string",
      valueHint: "name",
      description: "The model's field with the name users log in with; default: username",
    },
    "skip-bad": { type: "boolean", description: "Report bad lines or records, but add the others" },
    ...hashingFlags,
    ...usersFlags,
  },
  async run({ args }) {
    const { importUsers } = await import("./import.ts"); // the other commands start sooner without
    const format = args.format as ImportFormat | undefined;
    const django = djangoOptions(args);
    const passwords = await passwordsFrom(args);
    const addUsers = async (store: Store, matching: UsernameMatching): Promise<void> => {
      const options = { format, django, matching, passwords, skipBad: args["skip-bad"] === true };
      await print(`${await importUsers(store, args.file, options)}\n`);
    };
    await withUsers(args, addUsers, { makes: true });
  },
});

interface DjangoFlags {
  django?: boolean | undefined;
  format?: string | undefined;
  model?: string | undefined;
  "username-field"?: string | undefined;
}

function djangoOptions({
  django,
  format,
  model,
  "username-field": usernameField,
}: DjangoFlags): DumpOptions | undefined {
  if (django === true) {
    if (format === "csv") throw new Mistake("--format csv can't be used with --django: it reads JSON or JSON lines");
    return { model: model ?? "auth.user", usernameField: usernameField ?? "username" };
  }
  if (model !== undefined) throw new Mistake("--model needs --django");
  if (usernameField !== undefined) throw new Mistake("--username-field needs --django");
  return undefined;
}

interface UsersFlags {
  store?: string | undefined;
  "username-matching"?: string | undefined;
}

async function withUsers(
  flags: UsersFlags,
  use: (store: Store, matching: UsernameMatching) => Promise<void>,
  options?: { makes: boolean },
): Promise<void> {
  const text = flags["username-matching"] ?? (process.env["JWT_USERNAME_MATCHING"] || "exact");
  const matching = matchings.find((each) => each === text);
  if (matching === undefined) throw new Mistake(`JWT_USERNAME_MATCHING is not one of ${matchings.join(", ")}`);
  await withStore(storeUrl(flags.store), (store) => use(store, matching), options);
}

/** Hashes as the server does that is set up by these flags and this environment, on all cores and however many wait. */
async function passwordsFrom(flags: { [name in keyof typeof hashingFlags]?: string }): Promise<Passwords> {
  const args = Object.keys(hashingFlags).flatMap((flag) => {
    const value = flags[flag as keyof typeof hashingFlags];
    return value === undefined ? [] : [`--${flag}=${value}`];
  });
  const { hashing } = readOptions(args, process.env).settings as Pick<JwtEndpointsSettings, "hashing">;
  const settings = parseHashing({ concurrency: availableParallelism(), ...hashing });
  const passwords = createPasswords({ ...settings, queue: Number.POSITIVE_INFINITY });
  await passwords.ready().catch((error: Error) => {
    throw new SettingError(`setting hashing.preferred can't be used: ${error.message}`);
  });
  return passwords;
}

async function findUser(store: Store, name: string, matching: UsernameMatching): Promise<User> {
  const username = normalizeUsername(name);
  const found = await store.findUserByUsername(username, matching);
  if (found !== undefined) return found;
  if (matching === "case-insensitive") {
    const folded = foldUsername(username);
    for await (const user of store.listUsers()) {
      if (foldUsername(user.username) !== folded) continue;
      throw new Mistake(`several users have the name ${quoted(username)} but for case; say it as list shows it`);
    }
  }
  throw noSuchUser(username);
}

/**
 * Voids all tokens of a user that were issued until now, and changes the user in the same step. Later than any earlier
 * mark, also one that another process sets meanwhile, so that two within a millisecond both count.
 */
async function endSessions(store: Store, { id, username, ...user }: User, changes: UserChanges = {}): Promise<void> {
  let standing = user.tokensValidFrom ?? null;
  for (;;) {
    const wanted: UserChanges = { ...changes, tokensValidFrom: Math.max(Date.now() / 1000, (standing ?? 0) + 0.001) };
    const stands = await store.updateUser(id, wanted, { tokensValidFrom: standing });
    if (stands === undefined) throw noSuchUser(username);
    // The mark alone doesn't tell whose it is: two processes may have come upon the same one.
    if (Object.entries(wanted).every(([field, value]) => stands[field as keyof User] === value)) return;
    standing = stands.tokensValidFrom ?? null;
  }
}

/** What the command line holds in another encoding comes as U+FFFD, and nobody could log in with that. */
function refuseMangled(text: string, name: string): void {
  if (text.includes("\uFFFD")) throw new Mistake(`the ${name} is not UTF-8`);
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

await runProgram({
  name: "jwt-endpoints-user",
  description: "The users of a store; works while servers run on it",
  commands: { add, list, passwd, logout, disable, enable, remove, import: importCommand },
});
