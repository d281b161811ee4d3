/** Rows of a snapshot, read by a cursor on a connection of its own, so that the caller may write while it reads. */
import type { Database, Row } from "./connection.ts";

/** Rows that one fetch reads. */
const pageSize = 1000;

export async function* listByCursor<T extends Row | object>(database: Database, select: string): AsyncGenerator<T> {
  const pages = createPages<T>();
  const reading = database.transaction(
    "begin isolation level repeatable read read only",
    async (run) => {
      await run(`declare listing no scroll cursor for ${select}`);
      for (let isMore = true; isMore;) {
        const page = await run<T>(`fetch ${pageSize} from listing`);
        isMore = page.length > 0 && (await pages.hand(page));
      }
    },
    { isLong: true },
  );
  reading.then(pages.end, pages.end);
  try {
    for (let page = await pages.take(); page !== undefined; page = await pages.take()) yield* page;
  } finally {
    pages.stop();
    await reading;
  }
}

/** Hands pages from one loop to another, one at a time. */
function createPages<T>() {
  let give: (page: T[] | undefined) => void;
  let next = new Promise<T[] | undefined>((resolve) => (give = resolve));
  let resume: (isMore: boolean) => void = () => {};
  let isStopped = false;
  return {
    /** Resolves when the page is taken, to whether more are wanted. */
    hand: (page: T[]): Promise<boolean> => {
      if (isStopped) return Promise.resolve(false);
      give(page);
      return new Promise((resolve) => (resume = resolve));
    },
    take: async (): Promise<T[] | undefined> => {
      resume(true);
      const page = await next;
      next = new Promise((resolve) => (give = resolve));
      return page;
    },
    end: () => give(undefined),
    stop: () => {
      isStopped = true;
      resume(false);
    },
  };
}
