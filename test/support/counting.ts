/** Endpoints on stores of every kind, for suites about what throttles count in several processes and handlers. */
import type { JwtEndpointsSettings } from "../../src/index.ts";
import { openFileStore } from "../../src/stores/file/index.ts";
import { migratePostgres, postgresStore } from "../../src/stores/postgres/index.ts";
import type { Store } from "../../src/stores/store.ts";
import { credentials, endpointsWith } from "./endpoints.ts";
import { skipWithoutPostgres, startPostgres } from "./postgres.ts";
import { temporaryFolder } from "./runtime.ts";

export type Open = () => Promise<Store>;
/** Makes an empty store and returns what opens it, once for each process. */
export type StoreKind = [name: string, make: () => Promise<Open>];

/**
 * Starts a PostgreSQL server, and returns the kinds of stores that several processes open.
 * @param title of what is skipped where there is no PostgreSQL.
 */
export async function sharedStores(title: string): Promise<{ kinds: StoreKind[]; stop(): Promise<void> }> {
  const server = await startPostgres();
  const kinds: StoreKind[] = [
    [
      "file",
      async () => {
        const folder = temporaryFolder();
        return () => openFileStore(folder);
      },
    ],
  ];
  if (server === undefined) skipWithoutPostgres(title);
  else {
    let schemas = 0;
    kinds.push([
      "PostgreSQL",
      async () => {
        const url = server.url("postgres", { schema: `s${++schemas}`, pool: "2" });
        await migratePostgres({ url });
        return () => postgresStore({ url });
      },
    ]);
  }
  return { kinds, stop: async () => server?.stop() };
}

export const wrong = { ...credentials, password: "wrong" };
const clientAddress: JwtEndpointsSettings["clientAddress"] = (request) => request.headers.get("x-client") ?? undefined;

/** A clock that stands still, for delays that must not pass meanwhile. */
export const stopped = Date.now();

/** The stores that a case has closed itself. */
export const closed = new WeakSet<Store>();

/** Endpoints of one process. */
export async function processOn(store: Store, settings: Partial<JwtEndpointsSettings>) {
  const { endpoints, post, log } = await endpointsWith({ store, clientAddress, ...settings });
  await endpoints.ready(); // from then on it hears what the others count
  const logIn = async (client: string, data: object = wrong, prefix = "") =>
    (await post(`${prefix}/jwt/create/`, data, { "x-client": client })).status;
  return { post, logIn, log, close: () => (closed.add(store), store.close()) };
}

/** Limits that are easy to reach. */
export const limits = {
  throttle: "3/min",
  throttleVerify: "3/min",
  throttleFailures: "3/min",
  throttleRotations: "3/min",
  rotateRefreshTokens: true,
};
