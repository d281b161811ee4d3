/** Keeps a process in step with what others append to the journal, and knows when it has fallen behind. */
import { clearInterval, setImmediate, setInterval } from "node:timers";
import type { MaybePromise } from "../../maybe-promise.ts";
import type { Lag } from "../parameters.ts";
import { StoreError } from "../store.ts";
import { unavailable } from "./folder.ts";
import { type Generations, sliceBytes } from "./generations.ts";
import type { Reader } from "./reader.ts";
import type { Writer } from "./writer.ts";

export interface FollowerOptions extends Lag {
  folder: string;
  warn: (line: string) => void;
}

/** How often the journal is looked at for what other processes have appended, in milliseconds. */
const pollMs = 50;

export function createFollower(reader: Reader, writer: Writer, generations: Generations, options: FollowerOptions) {
  const { folder, warn, maxLag, whenBehind } = options;
  let caughtUpAt = performance.now();
  /** Whether the last poll found that it had not caught up for too long: the journal can't be read, or grows too fast. */
  let isLate = false;
  let lastWarning = ""; // given once, however often the poll meets it
  let isClosed = false;

  /**
   * Reads about so many bytes of what others have appended until now.
   * @returns whether there is more.
   */
  function readSome(bytes?: number): boolean {
    const began = performance.now();
    const journal = reader.journal();
    const isMore = journal.hasNews() && reader.readForward(bytes);
    // After a seal others may have gone on in the next generation, which only the writer opens.
    if (isMore || (journal.isSealed() && generations.latest() !== journal.generation)) return true;
    caughtUpAt = began;
    isLate = false;
    return false;
  }

  const isBehind = (): boolean => performance.now() - caughtUpAt > maxLag;

  /** Reads a slice of what others have appended, or has the writer open the next generation. Returns whether there is more. */
  function readSlice(): boolean {
    if (reader.broken() !== undefined || isClosed) return false;
    let isMore = false;
    try {
      isMore = readSome(sliceBytes);
      if (reader.journal().isSealed() && (isMore || writer.mayRetry())) void writer.pump();
      lastWarning = "";
    } catch (error) {
      // Anything but a StoreError is a mistake in this code, which its stack shows.
      const { message, stack = message } = error as Error;
      const line = error instanceof StoreError ? message : unreadable(error).message;
      if (line !== lastWarning) warn(error instanceof StoreError ? line : `${line}\n${stack}`);
      lastWarning = line;
    }
    isLate = isBehind();
    return isMore;
  }

  function readOthers(): void {
    if (readSlice() && !reader.journal().isSealed()) setImmediate(readOthers);
  }

  /**
   * Reads what others have appended until now, if there is anything. It costs little where there is not, and does not see that
   * the journal was removed: the poll does.
   */
  function readIfAppended(): void {
    const journal = reader.journal();
    try {
      if (!journal.isSealed() && !journal.hasAppended()) return;
    } catch {
      // The journal can't be read, which the next line reports.
    }
    readOthers();
  }

  /** Reads on until there is no more, for as long as the state may be old. */
  async function readRest(): Promise<void> {
    const end = performance.now() + maxLag;
    do {
      await (reader.journal().isSealed() ? writer.pump() : new Promise((resolve) => setImmediate(resolve)));
      if (reader.journal().isSealed() && !writer.mayRetry()) return; // the next generation can't be opened now
    } while (readSlice() && performance.now() < end);
  }

  const unreadable = (error: unknown): StoreError => unavailable("can't look at the journal in", folder, error);

  /** Checks that the store serves, whether it is behind or not. */
  function requireOpen(): void {
    if (isClosed) throw unavailable("the store is closed:", folder);
    const broken = reader.broken();
    if (broken !== undefined) throw broken;
  }

  /** Reads all that others have appended until now, or tells that it can't. */
  function catchUp(): void {
    try {
      if (whenBehind === "ask" && !readSome()) return;
    } catch (error) {
      throw error instanceof StoreError ? error : unreadable(error);
    }
    throw unavailable("what other processes wrote was not read for longer than max_lag allows, from", folder);
  }

  const poll = setInterval(readOthers, pollMs);
  poll.unref();

  return {
    readIfAppended,
    /** Reads all that others have appended until now: at once, unless it is much or in another generation. */
    readAll: (): MaybePromise<void> => (readSlice() ? readRest() : undefined),
    requireOpen,
    /**
     * Returns the state, at most `maxLag` old.
     * @throws {StoreError} `STORE_UNAVAILABLE`
     */
    freshState(): ReturnType<Reader["state"]> {
      requireOpen();
      if (isLate || isBehind()) catchUp();
      return reader.state();
    },
    /** The same without the clock, which is a large part of such a look-up: for those that follow that of a user. */
    state(): ReturnType<Reader["state"]> {
      requireOpen();
      if (isLate) catchUp();
      return reader.state();
    },
    isClosed: (): boolean => isClosed,
    close(): void {
      isClosed = true;
      clearInterval(poll);
    },
  };
}
