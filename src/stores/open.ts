import type { Store } from "./store.ts";

/**
 * Opens the store that a URL names and loads only that one's code: `memory:` or `file:./data`.
 * @throws {TypeError} in one line for a URL that names no store; what the store itself throws when it can't be opened.
 */
export async function openStore(url: string): Promise<Store> {
  const scheme = /^([a-z]+):/.exec(url)?.[1];
  const accepted = "accepted: memory: or file:./folder";
  switch (scheme) {
    case "memory":
      return (await import("./memory.ts")).memoryStore();
    case "file": {
      const folder = url.startsWith("file:///") ? decodeURIComponent(new URL(url).pathname) : url.slice("file:".length);
      if (folder === "") throw new TypeError(`setting store names no folder; ${accepted}`);
      return (await import("./file.ts")).openFileStore(folder);
    }
    default: // the rest of the URL may hold a password
      throw new TypeError(
        `setting store ${scheme === undefined ? "is not a URL" : `has the unknown scheme "${scheme}:"`}; ${accepted}`,
      );
  }
}
