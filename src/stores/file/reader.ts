/** Follows the journal: holds the state that its records make, and opens the next generation when one is sealed. */
import type fs from "node:fs";
import { StoreError } from "../store.ts";
import { createRetention } from "../state/retention.ts";
import { createState } from "../state/index.ts";
import { unavailable } from "./folder.ts";
import type { Generations } from "./generations.ts";
import { type Journal, openJournal } from "./journal.ts";
import type { ReadRecord } from "./record.ts";
import { applyRecord } from "./replay.ts";

export type Outcome = { value: unknown } | { error: unknown };

export type Reader = ReturnType<typeof createReader>;

export function createReader(folder: string, generations: Generations, warn: (line: string) => void) {
  let state = createState();
  let retention = createRetention();
  let journal: Journal | undefined;
  let records = 0;
  let isServing = false;
  let broken: StoreError | undefined;
  /** Outcomes of the writer's records, by `by`, once they have been read back in their place in the order. */
  const expected = new Map<string, Outcome | undefined>();

  function take(record: ReadRecord): void {
    records++;
    const isMine = record.by !== undefined && expected.has(record.by);
    try {
      const value = applyRecord(record, state, retention, folder);
      if (isMine) expected.set(record.by!, { value: record.k === "add" ? record.u.user : value });
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (isMine) expected.set(record.by!, { error });
    }
  }

  /** Ends the serving. Damage is a reason not to serve while the store is open; at the start an operator sees it. */
  function breakWith(error: StoreError): StoreError {
    const isNews = isServing && error.code === "STORE_DAMAGED";
    return (broken = isNews ? new StoreError("STORE_UNAVAILABLE", error.message, { cause: error }) : error);
  }

  /**
   * Applies what has been appended since, up to a seal.
   * @param bytes about how many.
   * @returns whether there is more.
   */
  function readForward(bytes?: number): boolean {
    if (broken !== undefined) throw broken;
    try {
      return journal!.readForward(take, bytes);
    } catch (error) {
      throw breakWith(error instanceof StoreError ? error : unavailable("can't read", folder, error));
    }
  }

  function openGeneration(generation: number): void {
    let next: Journal;
    try {
      next = openJournal(generations.file(generation), generation, folder, warn);
    } catch (error) {
      throw error instanceof StoreError ? breakWith(error) : error;
    }
    journal?.close();
    journal = next;
    records = 0;
  }

  /** Reads the newest generation from its beginning. */
  function openLatest(): void {
    for (;;) {
      const latest = generations.latest();
      try {
        openGeneration(latest);
        break;
      } catch (error) {
        // Compacted away between the listing and the opening?
        if ((error as NodeJS.ErrnoException).code !== "ENOENT" || generations.latest() === latest) throw error;
      }
    }
    state = createState();
    retention = createRetention();
    readForward();
  }

  /** Opens the generation after the sealed one, or a later one, and returns whether its snapshot was already held. */
  function openNext(): boolean {
    const next = journal!.generation + 1;
    let isNext = generations.latest() === next;
    try {
      if (isNext) openGeneration(next);
      isNext &&= generations.latest() === next;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      isNext = false; // compacted away just now
    }
    if (isNext) {
      journal!.skipSnapshot(); // it holds the very state that is held here
      records = state.userCount() + state.factCount() + state.sessionCount();
    } else {
      // Others have compacted twice while this process slept. If a name was free for a second file of that number just
      // now, it is stale: nobody uses it, since every opener looks for a later one afterwards, as here.
      openLatest();
    }
    return isNext;
  }

  return {
    state: () => state,
    retention: () => retention,
    /** Returns the journal that is open; there is one from `openLatest` on. */
    journal: (): Journal => journal!,
    /** Returns how many records the generation holds. */
    records: (): number => records,
    /** Returns why the store does not serve any more. */
    broken: (): StoreError | undefined => broken,
    /** From now on damage is a reason not to serve. */
    serve(): void {
      isServing = true;
    },
    readForward,
    openLatest,
    openNext,
    /** Keeps the outcome of a record for when it is read back. */
    expect(by: string): void {
      expected.set(by, undefined);
    },
    /** Returns the outcome of an expected record, `undefined` when it has not been read. */
    takeOutcome(by: string): Outcome | undefined {
      const outcome = expected.get(by);
      expected.delete(by);
      return outcome;
    },
    fileStats: (): fs.Stats => journal!.stats(),
    close: (): void => journal?.close(),
  };
}
