/**
 * Manages the users of a store: `npm run user -- add alice`. Every command opens the store, does one thing and closes it,
 * also while servers run on the same store.
 */
import { type ArgsDef, defineCommand } from "citty";
import type { JwtEndpointsSettings, Passwords } from "../index.ts";
import { createHasher } from "../program/hasher.ts";
import { UsageError } from "../program/problem.ts";
import type { Store, User, UsernameMatching } from "../stores/store.ts";
import { foldUsername } from "../stores/usernames.ts";
import {
  type Program,
  noSuchUser,
  optionsHere,
  print,
  record,
  settingHere,
  commonFlags,
  storeUrl,
  withStore,
} from "./command.ts";
import { normalizeUsername, parseEmail, parseUsername, refuseWeak } from "./fields.ts";
import { isoTime, printable, quoted, tableLines } from "./format.ts";
import { readPassword } from "./prompt.ts";
import { endSessions, sessionLines, sessionsOf } from "./sessions.ts";
import type { ImportFormat } from "./users-file.ts";

const matchings: UsernameMatching[] = ["exact", "case-insensitive"];

/** Flags of every command. */
const usersFlags = {
  "username-matching": {
    type: "enum",
    options: matchings,
    description:
      "Whether names that differ by case are one; the same as the server's; default: JWT_USERNAME_MATCHING, else exact",
  },
  ...commonFlags,
} satisfies ArgsDef;
/** Flags of the commands that hash passwords. */
const hashingFlags = {
  "hashing-preferred": {
    type: "string",
    valueHint: "format",
    description: "Format of new hashes; default: JWT_HASHING_PREFERRED, else pbkdf2_sha256",
  },
  "hashing-iterations": {
    type: "string",
    valueHint: "number",
    description: "PBKDF2 iterations of new hashes; default: JWT_HASHING_ITERATIONS, else 600000",
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
    const passwords = await hasherFrom(args);
    const addUser = async (store: Store, matching: UsernameMatching): Promise<void> => {
      // Checked before the password is asked for. The store checks again when the user is added.
      if (await store.findUserByUsername(username, matching))
        throw new UsageError(`the username ${quoted(username)} is taken`);
      const password = await readPassword({ fromStdin: args["password-stdin"] === true });
      await refuseWeak(password, { username, email });
      const passwordHash = await passwords.hash(password);
      const isActive = args.inactive !== true;
      const user = await store.addUser({ username, email, passwordHash, isActive }, matching);
      record("user_added", { userId: user.id });
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
      const header = ["USERNAME", "ID", "EMAIL", "ACTIVE", "LAST LOGIN"];
      for await (const line of args.json === true ? jsonLines(store) : tableLines(header, rowsOf(store))) {
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
    const passwords = await hasherFrom(args);
    await withUsers(args, async (store, matching) => {
      const user = await findUser(store, args.username, matching);
      const password = await readPassword({ fromStdin: args["password-stdin"] === true });
      await refuseWeak(password, user);
      await endSessions(store, user, { passwordHash: await passwords.hash(password) });
      record("password_changed", { userId: user.id });
      await print(`changed the password of ${quoted(user.username)}\n`);
    });
  },
});

const logout = defineCommand({
  meta: { name: "logout", description: "End all sessions of a user: every token issued until now is revoked" },
  args: { ...usernameArgument, ...usersFlags },
  async run({ args }) {
    await withUsers(args, async (store, matching) => {
      const user = await findUser(store, args.username, matching);
      await endSessions(store, user);
      record("logout", { userId: user.id });
      await print(`ended all sessions of ${quoted(user.username)}\n`);
    });
  },
});

const sessions = defineCommand({
  meta: {
    name: "sessions",
    description: "List where a user is logged in, newest use first; needs a server with --sessions",
  },
  args: { ...usernameArgument, json: { type: "boolean", description: "One JSON object per line" }, ...usersFlags },
  async run({ args }) {
    await withUsers(args, async (store, matching) => {
      const user = await findUser(store, args.username, matching);
      if (store.listSessions === undefined) throw new UsageError("the store keeps no sessions");
      for await (const line of sessionLines(await sessionsOf(store, user), args.json === true))
        await print(`${line}\n`);
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
      record("user_disabled", { userId: user.id });
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
      record("user_enabled", { userId: id });
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
      record("user_removed", { userId: user.id });
      await print(`removed ${quoted(user.username)}, id ${user.id}\n`);
    });
  },
});

const importCommand = defineCommand({
  meta: {
    name: "import",
    description:
      "Add users from a file of JSON lines, or of CSV with a header line: all of them or none. Keys or columns: username; password (a " +
      "hash in a known format, or plain text), or password_hash or plain_password to say which; optional email, id, " +
      "is_active. With --django, the file is what `manage.py dumpdata auth.user` writes",
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
    const { djangoOptions, importUsers } = await import("./import.ts"); // loaded here, since the other commands start faster without
    const format = args.format as ImportFormat | undefined;
    const django = djangoOptions(args);
    const passwords = await hasherFrom(args);
    const addUsers = async (store: Store, matching: UsernameMatching): Promise<void> => {
      const options = { format, django, matching, passwords, skipBad: args["skip-bad"] === true };
      await print(`${await importUsers(store, args.file, options)}\n`);
    };
    await withUsers(args, addUsers, { makes: true });
  },
});

interface UsersFlags {
  store?: string | undefined;
  "username-matching"?: string | undefined;
}

async function withUsers(
  flags: UsersFlags,
  use: (store: Store, matching: UsernameMatching) => Promise<void>,
  options?: { makes: boolean },
): Promise<void> {
  const text = flags["username-matching"] ?? settingHere("usernameMatching") ?? "exact";
  const matching = matchings.find((each) => each === text);
  if (matching === undefined) throw new UsageError(`JWT_USERNAME_MATCHING is not one of ${matchings.join(", ")}`);
  await withStore(storeUrl(flags.store), (store) => use(store, matching), options);
}

/** Makes a hasher with the settings that the server gets from these flags and this environment. */
async function hasherFrom(flags: { [name in keyof typeof hashingFlags]?: string }): Promise<Passwords> {
  const args = Object.keys(hashingFlags).flatMap((flag) => {
    const value = flags[flag as keyof typeof hashingFlags];
    return value === undefined ? [] : [`--${flag}=${value}`];
  });
  const { hashing } = optionsHere(args).settings as Pick<JwtEndpointsSettings, "hashing">;
  return createHasher(hashing);
}

/** @throws {UsageError} when there is no such user, or several that differ by case alone. */
async function findUser(store: Store, name: string, matching: UsernameMatching): Promise<User> {
  const username = normalizeUsername(name);
  const found = await store.findUserByUsername(username, matching);
  if (found !== undefined) return found;
  if (matching === "case-insensitive") {
    const folded = foldUsername(username);
    for await (const user of store.listUsers()) {
      if (foldUsername(user.username) !== folded) continue;
      throw new UsageError(`several users have the name ${quoted(username)} but for case; say it as list shows it`);
    }
  }
  throw noSuchUser(username);
}

/** Refuses text that was not UTF-8 on the command line and so holds U+FFFD, since no login could send it. */
function refuseMangled(text: string, name: string): void {
  if (text.includes("\uFFFD")) throw new UsageError(`the ${name} is not UTF-8`);
}

async function* jsonLines(store: Store): AsyncGenerator<string> {
  for await (const { username, id, email, isActive, lastLogin } of store.listUsers()) {
    yield JSON.stringify({ username, id, email, isActive, lastLogin: lastLogin === null ? null : isoTime(lastLogin) });
  }
}

async function* rowsOf(store: Store): AsyncGenerator<string[]> {
  for await (const { username, id, email, isActive, lastLogin } of store.listUsers()) {
    yield [
      ...[username, id, email].map(printable),
      isActive ? "yes" : "no",
      lastLogin === null ? "never" : isoTime(lastLogin),
    ];
  }
}

export const program: Program = {
  name: "user",
  description: "Manages the users of a store, also while servers run on it",
  commands: { add, list, passwd, sessions, logout, disable, enable, remove, import: importCommand },
};
