/** Adds users from a file to a store, all or none. */
import { availableParallelism } from "node:os";
import process from "node:process";
import { createPasswords } from "../passwords/index.ts";
import { type NewUser, type Store, StoreError } from "../stores/store.ts";
import { Mistake, counted } from "./fields.ts";
import { type Draft, type ImportFormat, type Line, formatOf, openSource, readLines } from "./users-file.ts";

const maxReported = 20;
/** Lines looked at or hashed at a time; the hasher itself keeps to the cores. */
const width = 64;

export interface ImportOptions {
  /** Default: by the file's extension. */
  format?: ImportFormat | undefined;
  /** Add the good lines although others are bad. */
  skipBad: boolean;
}

/**
 * Reads the file twice: once to judge every line, once to add. Answers the summary.
 * @param file a path, or `-` for standard input, which is kept in memory: passwords don't go to a temporary file.
 */
export async function importUsers(store: Store, file: string, options: ImportOptions): Promise<string> {
  const format = options.format ?? formatOf(file);
  const read = await openSource(file);
  const passwords = createPasswords({ concurrency: availableParallelism() });
  const lines = () => readLines(read(), format, passwords.isHash);
  const progress = createProgress();

  const bad = new Set<number>();
  const reports: string[] = [];
  let good = 0;
  for await (const { number, reason } of refuseRepeated(inParallel(lines(), (line) => refuseTaken(store, line)))) {
    if (reason === undefined) good++;
    else {
      bad.add(number);
      if (reports.length < maxReported) reports.push(`line ${number}: ${reason}\n`);
    }
    progress.show(() => `${good + bad.size} lines checked, ${bad.size} bad`);
  }
  progress.clear();
  if (bad.size > reports.length) reports.push(`and ${counted(bad.size - reports.length, "more bad line")}\n`);
  process.stderr.write(reports.join(""));
  if (bad.size > 0 && !options.skipBad) {
    const share = `${bad.size} of ${counted(good + bad.size, "line")} ${bad.size === 1 ? "is" : "are"} bad`;
    throw new Mistake(`nothing was imported: ${share} (--skip-bad imports the others)`);
  }

  async function* drafts(): AsyncGenerator<Draft> {
    for await (const { number, draft } of lines()) {
      if (bad.has(number)) continue;
      if (draft === undefined) throw new Mistake(`nothing was imported: the file changed meanwhile (line ${number})`);
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
    const imported = good === 0 ? 0 : await store.addUsers(newUsers());
    const skipped = bad.size === 0 ? "" : `, skipped ${counted(bad.size, "bad line")}`;
    return `imported ${counted(imported, "user")}${skipped}`;
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "USER_EXISTS") throw error;
    throw new Mistake(`nothing was imported: ${error.message}, since a moment ago`);
  } finally {
    progress.clear();
  }
}

async function* refuseRepeated(lines: AsyncIterable<Line>): AsyncGenerator<Line> {
  const usernames = new Map<string, number>();
  const ids = new Map<string, number>();
  for await (const line of lines) {
    if (line.draft === undefined) {
      yield line;
      continue;
    }
    const { number, draft } = line;
    const sameName = usernames.get(draft.username);
    const sameId = draft.id === undefined ? undefined : ids.get(draft.id);
    if (sameName !== undefined) yield { number, reason: `the same username as line ${sameName}` };
    else if (sameId !== undefined) yield { number, reason: `the same id as line ${sameId}` };
    else {
      usernames.set(draft.username, number);
      if (draft.id !== undefined) ids.set(draft.id, number);
      yield line;
    }
  }
}

async function refuseTaken(store: Store, line: Line): Promise<Line> {
  const { number, draft } = line;
  if (draft === undefined) return line;
  if (await store.findUserByUsername(draft.username)) return { number, reason: "the username is taken" };
  if (draft.id !== undefined && (await store.findUserById(draft.id))) return { number, reason: "the id is taken" };
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
