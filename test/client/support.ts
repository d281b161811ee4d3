/** What the suites of the client share: servers on sockets, a storage, a browser's cookies, and a record of the requests. */
import { type JwtClientOptions, type TokenStorage, createJwtClient } from "../../src/client/index.ts";
import type { suite } from "uvu";
import { openFileStore } from "../../src/stores/file/index.ts";
import { addContractUsers, secret } from "../support/contract-client.ts";
import { temporaryFolder } from "../support/runtime.ts";
import { type Running, serve } from "../support/server.ts";

export const credentials = { username: "ada", password: "correct horse" };

/** Starts the server program with the users of the contract. */
export async function startServer(...args: string[]): Promise<Running> {
  const folder = temporaryFolder();
  const store = await openFileStore(folder);
  await addContractUsers(store);
  await store.close();
  return serve(["--store", `file:${folder}`, ...args], { JWT_SIGNING_KEY: secret });
}

/**
 * Returns what gives the cases of a suite a server with the flags that they need, one for each set of flags: no case
 * changes more than sessions of its own. They stop with the suite.
 */
export function serversOf(it: ReturnType<typeof suite>): (...args: string[]) => Promise<Running> {
  const servers = new Map<string, Promise<Running>>();
  it.after(async () => {
    for (const server of servers.values()) await (await server).stop();
  });
  return (...args) => {
    const flags = args.join(" ");
    const server = servers.get(flags) ?? startServer(...args);
    servers.set(flags, server);
    return server;
  };
}

export type TestStorage = TokenStorage & { readonly items: Map<string, string> };

/** A storage like `localStorage`. */
export function createStorage(): TestStorage {
  const items = new Map<string, string>();
  return {
    items,
    getItem: (key) => items.get(key) ?? null,
    setItem: (key, value) => void items.set(key, value),
    removeItem: (key) => void items.delete(key),
  };
}

/** A `fetch` that keeps a list of the requests, each as `POST /jwt/refresh/ 200`. */
export function recordingFetch(through: typeof fetch = fetch) {
  const requests: string[] = [];
  const recorded = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const response = await through(input, init);
    const method = init?.method ?? (input instanceof Request ? input.method : "GET");
    const { pathname } = new URL(input instanceof Request ? input.url : input);
    requests.push(`${method} ${pathname} ${response.status}`);
    return response;
  };
  return { requests, fetch: recorded };
}

/** A `fetch` that keeps cookies as a browser does for requests with credentials. */
export function browserFetch(through: typeof fetch = fetch): typeof fetch {
  const cookies = new Map<string, string>();
  return async (input, init) => {
    if (init?.credentials !== "include") return through(input, init);
    const headers = new Headers(init.headers);
    headers.set("cookie", [...cookies].map(([name, value]) => `${name}=${value}`).join("; "));
    const response = await through(input, { ...init, headers });
    for (const cookie of response.headers.getSetCookie()) {
      const [name, value] = cookie.split(";")[0]!.split("=") as [string, string];
      if (value === "") cookies.delete(name);
      else cookies.set(name, value);
    }
    return response;
  };
}

/** Makes ten clients that share a storage, as tabs do. */
export function openTabs(options: JwtClientOptions) {
  const storage = createStorage();
  const { requests, fetch } = recordingFetch();
  const tabs = Array.from({ length: 10 }, () => createJwtClient({ ...options, tokens: storage, fetch }));
  return { tabs, storage, requests };
}

export const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function change({ items }: TestStorage, changes: Record<string, unknown>): void {
  for (const [key, item] of items) items.set(key, JSON.stringify({ ...JSON.parse(item), ...changes }));
}

/** Makes the tokens look as if they had arrived long ago. */
export const age = (storage: TestStorage): void => change(storage, { since: 1 });

/** Replaces the access token by one that every server refuses. */
export const spoil = (storage: TestStorage): void => change(storage, { access: "no token of the server" });
