import { readLag, readParameters } from "./parameters.ts";
import { type Store, StoreUrlError } from "./store.ts";

export { StoreUrlError };

/**
 * Opens the store that a URL names and loads only that one's code: `memory:`, `file:./data` or
 * `postgres://…`.
 * @param endsSoon for programs that write once and end: a file store starts no thread for its writes, and a PostgreSQL
 * store does not follow what others write.
 * @param onSync receives how many seconds each sync of a file store's journal took.
 * @throws {StoreUrlError} for a URL that names no store; what the store itself throws when it can't be opened.
 */
export async function openStore(
  url: string,
  { endsSoon = false, onSync }: { endsSoon?: boolean; onSync?: ((seconds: number) => void) | undefined } = {},
): Promise<Store> {
  const scheme = /^([a-z][a-z0-9+.-]+):/i.exec(url)?.[1]?.toLowerCase();
  switch (scheme) {
    case "memory":
      return (await import("./memory.ts")).memoryStore();
    case "file": {
      const { openFileStore, poolDisk } = await import("./file/index.ts");
      const parameters = readParameters("file", new URLSearchParams(/\?(.*)$/s.exec(url)?.[1]));
      const lag = readLag(parameters);
      parameters.refuseOthers();
      return openFileStore(storeFolder(url)!, {
        ...lag,
        ...(endsSoon && { disk: poolDisk() }),
        ...(onSync && { onSync }),
      });
    }
    case "postgres":
    case "postgresql":
      return (await import("./postgres/index.ts")).postgresStore({ url, endsSoon });
    default: // the rest of the URL may hold a password
      throw refusal(scheme === undefined ? "is not a URL" : `has the unknown scheme "${scheme}:"`);
  }
}

function refusal(problem: string): StoreUrlError {
  return new StoreUrlError(`setting store ${problem}; accepted: memory:, file:./folder or postgres://…`);
}

/** Whether a URL names a store in a database, which several machines may share. */
export const isPostgresStore = (url: string): boolean => /^postgres(ql)?:/i.test(url);

/** A store's URL as it may be shown: without the user and the password of a database. */
export const shownUrl = (url: string): string =>
  isPostgresStore(url) ? url.replace(/^([^:]+:\/\/)[^/?#]*@/, "$1").replace(/\?.*$/s, "") : url;

/** Whether a URL names a store that lives in one process, and ends with it. */
export const isMemoryStore = (url: string): boolean => /^memory:/i.test(url);

/**
 * Returns the folder of a file store's URL, `undefined` for another store's. `file:./data` and `file:/data` are paths as
 * they stand; `file:///data%20here` is percent-encoded (RFC 8089). Parameters follow a `?`.
 * @throws {StoreUrlError} when it names no folder of this machine.
 */
export function storeFolder(url: string): string | undefined {
  if (!/^file:/i.test(url)) return undefined;
  const rest = url.slice("file:".length).replace(/\?.*$/s, "");
  if (rest === "") throw refusal("names no folder");
  if (!rest.startsWith("//")) return rest;
  try {
    const { host, pathname } = new URL(`file:${rest}`);
    if (host === "") return decodeURIComponent(pathname);
  } catch {
    // not a URL after all: refused below
  }
  throw refusal("names no folder of this machine");
}
