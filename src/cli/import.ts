/** Adds users from a file to a store, all or none. */
import process from "node:process";
import { type Passwords, createPasswords } from "../passwords/index.ts";
import { type NewUser, type Store, StoreError, type UsernameMatching, foldUsername } from "../stores/store.ts";
import { type DumpOptions, openDump } from "./django-dump.ts";
import { Mistake, counted, quoted } from "./fields.ts";
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
/** Other models of a dump that are told by name. */
const maxModels = 10;
/** Lines looked at or hashed at a time; the hasher itself keeps to the cores. */
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
  /** Add the good lines although others are bad. */
  skipBad: boolean;
}

/**
 * Reads the file twice: once to judge every line, once to add. Answers the summary.
 * @param file a path, or `-` for standard input, which is kept in memory: passwords don't go to a temporary file.
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
  let good = 0;
  for await (const { number, reason } of refuseRepeated(judgedLines, noun, matching)) {
    if (reason === undefined) good++;
    else {
      bad.add(number);
      if (reports.length < maxReported) reports.push(`${noun} ${number}: ${reason}\n`);
    }
    progress.show(() => `${good + bad.size} ${noun}s checked, ${bad.size} bad`);
  }
  progress.clear();
  if (bad.size > reports.length) reports.push(`and ${counted(bad.size - reports.length, `more bad ${noun}`)}\n`);
  process.stderr.write(reports.join(""));
  if (django !== undefined && good + bad.size === 0 && passedOver.size > 0) {
    const names = [...passedOver.keys()].slice(0, maxModels).map(quoted).join(", ");
    const told = `${names}${passedOver.size > maxModels ? ", …" : ""}`;
    throw new Mistake(
      `nothing was imported: no record is of the model ${quoted(django.model)} (--model), but of ${told}`,
    );
  }
  if (bad.size > 0 && !options.skipBad) {
    const share = `${bad.size} of ${counted(good + bad.size, noun)} ${bad.size === 1 ? "is" : "are"} bad`;
    throw new Mistake(`nothing was imported: ${share} (--skip-bad imports the others)`);
  }

  async function* drafts(): AsyncGenerator<Draft> {
    for await (const { number, draft } of lines()) {
      if (bad.has(number)) continue;
      if (draft === undefined) {
        throw new Mistake(`nothing was imported: the file changed meanwhile (${noun} ${number})`);
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
      progress.show(() => `${done} of ${counted(good, "user")}`);
    }
  }
  try {
    const imported = good === 0 ? 0 : await store.addUsers(newUsers(), matching);
    const skipped = bad.size === 0 ? "" : `, skipped ${counted(bad.size, `bad ${noun}`)}`;
    const others = [...passedOver.values()].reduce((sum, count) => sum + count, 0);
    const passed = others === 0 ? "" : `, passed over ${counted(others, "record")} of other models`;
    return `imported ${counted(imported, "user")}${skipped}${passed}`;
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "USER_EXISTS") throw error;
    throw new Mistake(`nothing was imported: ${error.message}, since a moment ago`);
  } finally {
    progress.clear();
  }
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

/** A store doesn't find a name that several users share but for case; so the names are gathered to tell. */
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

/** Results in the order of the items, some of which are worked on at the same time. */
async function* inParallel<T, R>(items: AsyncIterable<T>, step: (item: T) => Promise<R>): AsyncGenerator<R> {
  const running: Promise<R>[] = [];
  for await (const item of items) {
    const result = step(item);
    result.catch(() => {}); // reported when its turn comes, or after an earlier failure not at all
    running.push(result);
    if (running.length >= width) yield await running.shift()!;
  }
  for (const result of running) yield await result;
}

/** On a terminal one line that is rewritten; elsewhere, in a log, a line now and then. */
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
