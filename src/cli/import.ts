/** Adds users from a file to a store, all or none. */
import process from "node:process";
import { type Passwords, createPasswords } from "../passwords/index.ts";
import { type NewUser, type Store, StoreError, type UsernameMatching } from "../stores/store.ts";
import { foldUsername } from "../stores/usernames.ts";
import { type DumpOptions, openDump } from "./django-dump.ts";
import { UsageError } from "../program/problem.ts";
import { record } from "./command.ts";
import { counted, quoted } from "./format.ts";
import {
  type Draft,
  type ImportFormat,
  type Line,
  type UsersFile,
  formatOf,
  openSource,
  readLines,
} from "./users-file.ts";

const maxReported = 20;
/** How many other models of a dump an error names. */
const maxModels = 10;
/** How many lines are checked or hashed at a time. The hasher itself limits hashing to the cores. */
const width = 64;

export interface ImportOptions {
  /** Default: by the file's extension. */
  format?: ImportFormat | undefined;
  /** The file is a dump of a Django site. */
  django?: DumpOptions | undefined;
  /** Default `exact`. */
  matching?: UsernameMatching | undefined;
  /** Hashes the plain passwords; default: with the default settings. */
  passwords?: Passwords;
  /** Whether to add the valid lines when others are bad. */
  skipBad: boolean;
}

/**
 * Adds users from a file. Reads it twice: once to check every line, once to add.
 * @param file a path, or `-` for standard input, which is kept in memory: passwords don't go to a temporary file.
 * @returns the summary.
 * @throws {UsageError} when nothing was imported.
 */
export async function importUsers(store: Store, file: string, options: ImportOptions): Promise<string> {
  const { django, matching = "exact", passwords = createPasswords() } = options;
  const { isHash } = passwords;
  const openFile = async (): Promise<UsersFile> => {
    const format = options.format ?? (django === undefined ? formatOf(file) : undefined);
    const read = await openSource(file);
    if (django !== undefined) return openDump({ read, file, format, isHash }, django);
    return { noun: "line", lines: () => readLines(read(), format!, isHash) };
  };
  const { noun, lines, passedOver = new Map<string, number>() } = await openFile();
  const progress = createProgress();
  const isTaken = await takenUsernames(store, matching);
  const judgedLines = inParallel(lines(), (line) => refuseTaken(store, line, isTaken));

  const bad = new Set<number>();
  const reports: string[] = [];
  let accepted = 0;
  for await (const { number, reason } of refuseRepeated(judgedLines, noun, matching)) {
    if (reason === undefined) accepted++;
    else {
      bad.add(number);
      if (reports.length < maxReported) reports.push(`${noun} ${number}: ${reason}\n`);
    }
    progress.show(() => `${accepted + bad.size} ${noun}s checked, ${bad.size} bad`);
  }
  progress.clear();
  if (bad.size > reports.length) reports.push(`and ${counted(bad.size - reports.length, `more bad ${noun}`)}\n`);
  process.stderr.write(reports.join(""));
  if (django !== undefined && accepted + bad.size === 0 && passedOver.size > 0) {
    const names = [...passedOver.keys()].slice(0, maxModels).map(quoted).join(", ");
    const told = `${names}${passedOver.size > maxModels ? ", …" : ""}`;
    throw new UsageError(
      `nothing was imported: no record is of the model ${quoted(django.model)} (--model), but of ${told}`,
    );
  }
  if (bad.size > 0 && !options.skipBad) {
    const share = `${bad.size} of ${counted(accepted + bad.size, noun)} ${bad.size === 1 ? "is" : "are"} bad`;
    throw new UsageError(`nothing was imported: ${share} (--skip-bad imports the others)`);
  }

  async function* drafts(): AsyncGenerator<Draft> {
    for await (const { number, draft } of lines()) {
      if (bad.has(number)) continue;
      if (draft === undefined) {
        throw new UsageError(`nothing was imported: the file changed meanwhile (${noun} ${number})`);
      }
      yield draft;
    }
  }
  async function* newUsers(): AsyncGenerator<NewUser> {
    let done = 0;
    const hashed = inParallel(drafts(), async (draft): Promise<NewUser> => {
      if ("passwordHash" in draft) return draft;
      const { plainPassword, ...user } = draft;
      return { ...user, passwordHash: await passwords.hash(plainPassword) };
    });
    for await (const user of hashed) {
      yield user;
      done++;
      progress.show(() => `${done} of ${counted(accepted, "user")}`);
    }
  }
  try {
    const imported = accepted === 0 ? 0 : await store.addUsers(newUsers(), matching);
    record("users_imported", { count: imported });
    const skipped = bad.size === 0 ? "" : `, skipped ${counted(bad.size, `bad ${noun}`)}`;
    const others = [...passedOver.values()].reduce((sum, count) => sum + count, 0);
    const passed = others === 0 ? "" : `, passed over ${counted(others, "record")} of other models`;
    return `imported ${counted(imported, "user")}${skipped}${passed}`;
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "USER_EXISTS") throw error;
    throw new UsageError(`nothing was imported: ${error.message}, since a moment ago`);
  } finally {
    progress.clear();
  }
}

/** The flags of a dump as they were given. */
interface DjangoFlags {
  django?: boolean | undefined;
  format?: string | undefined;
  model?: string | undefined;
  "username-field"?: string | undefined;
}

/**
 * Reads the flags of a dump.
 * @returns `undefined` when the file is none.
 * @throws {UsageError} for flags that do not go together.
 */
export function djangoOptions({
  django,
  format,
  model,
  "username-field": usernameField,
}: DjangoFlags): DumpOptions | undefined {
  if (django === true) {
    if (format === "csv") throw new UsageError("--format csv can't be used with --django: it reads JSON or JSON lines");
    return { model: model ?? "auth.user", usernameField: usernameField ?? "username" };
  }
  if (model !== undefined) throw new UsageError("--model needs --django");
  if (usernameField !== undefined) throw new UsageError("--username-field needs --django");
  return undefined;
}

async function* refuseRepeated(
  lines: AsyncIterable<Line>,
  noun: string,
  matching: UsernameMatching,
): AsyncGenerator<Line> {
  const usernames = new Map<string, number>();
  const ids = new Map<string, number>();
  for await (const line of lines) {
    if (line.draft === undefined) {
      yield line;
      continue;
    }
    const { number, draft } = line;
    const name = matching === "exact" ? draft.username : foldUsername(draft.username);
    const sameName = usernames.get(name);
    const sameId = draft.id === undefined ? undefined : ids.get(draft.id);
    if (sameName !== undefined) yield { number, reason: `the same username as ${noun} ${sameName}` };
    else if (sameId !== undefined) yield { number, reason: `the same id as ${noun} ${sameId}` };
    else {
      usernames.set(name, number);
      if (draft.id !== undefined) ids.set(draft.id, number);
      yield line;
    }
  }
}

type IsTaken = (username: string) => boolean | Promise<boolean>;

/** Makes the check of a username. Without regard to case it collects the names: a store finds none that several users share. */
async function takenUsernames(store: Store, matching: UsernameMatching): Promise<IsTaken> {
  if (matching === "exact") return async (username) => (await store.findUserByUsername(username)) !== undefined;
  const taken = new Set<string>();
  for await (const { username } of store.listUsers()) taken.add(foldUsername(username));
  return (username) => taken.has(foldUsername(username));
}

async function refuseTaken(store: Store, line: Line, isTaken: IsTaken): Promise<Line> {
  const { number, draft } = line;
  if (draft === undefined) return line;
  if (await isTaken(draft.username)) return { number, reason: "the username is taken" };
  if (draft.id !== undefined) {
    if (await store.findUserById(draft.id)) return { number, reason: "the id is taken" };
    if (await store.wasRemoved("id", draft.id)) return { number, reason: "the id belonged to a user who was removed" };
  }
  return line;
}

/** Runs a step on several items at a time, and yields the results in the order of the items. */
async function* inParallel<T, R>(items: AsyncIterable<T>, step: (item: T) => Promise<R>): AsyncGenerator<R> {
  const running: Promise<R>[] = [];
  for await (const item of items) {
    const result = step(item);
    result.catch(() => {}); // thrown below in its turn, unless an earlier one fails
    running.push(result);
    if (running.length >= width) yield await running.shift()!;
  }
  for (const result of running) yield await result;
}

/** Shows progress: on a terminal one line that is rewritten, elsewhere a line every five seconds. */
function createProgress() {
  const { stderr } = process;
  const interval = stderr.isTTY ? 100 : 5000;
  let nextAt = performance.now() + interval;
  let isShown = false;
  return {
    show(text: () => string): void {
      const now = performance.now();
      if (now < nextAt) return;
      nextAt = now + interval;
      isShown = true;
      stderr.write(stderr.isTTY ? `\r\x1b[K${text()}` : `${text()}\n`);
    },
    clear(): void {
      if (stderr.isTTY && isShown) stderr.write("\r\x1b[K");
      isShown = false;
    },
  };
}
