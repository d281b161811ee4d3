/** A store in PostgreSQL, for any number of servers: see README.md beside this file. */
import { type SessionStore, type Store, StoreError } from "../store.ts";
import { type Database, type PostgresPool, connect } from "./connection.ts";
import { blacklistStatements, djangoUserTable } from "./django.ts";
import { createFacts } from "./facts.ts";
import { type Feed, startFeed } from "./feed.ts";
import { type ConnectionSettings, readPostgresUrl } from "./options.ts";
import { createRecent } from "./recent.ts";
import { type MigrateOptions, type MoreStatements, checkSchema, migrateDatabase } from "./schema.ts";
import { createSessions } from "./sessions.ts";
import { createState } from "./state.ts";
import { type UserTable, ownUserTable } from "./user-table.ts";
import { createUsers } from "./users.ts";

export type { PostgresPool };

/** Which database `openPostgresStore` uses, and how. */
export interface PostgresStoreOptions {
  /** `postgres://user:password@host:port/database?parameter=value`; README.md lists the parameters. */
  url: string;
  /** A pool to use in place of an own one, such as `new pg.Pool(…)`. The store does not end it. */
  pool?: PostgresPool;
  /** For programs that write once and end: the store does not follow what others write, so `recent` asks. */
  endsSoon?: boolean;
}

interface Opened {
  settings: ConnectionSettings;
  database: Database;
  table: UserTable;
}

async function open({ url, pool }: PostgresStoreOptions): Promise<Opened> {
  const settings = readPostgresUrl(url);
  const database = await connect(settings, pool);
  const { django, djangoUsername } = settings;
  try {
    const table =
      django === undefined
        ? ownUserTable(database.schema)
        : await djangoUserTable(database, { django, djangoUsername });
    return { settings, database, table };
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** Kinds of facts by which tokens are revoked. Successors of rotated tokens are many, and are asked for. */
const revocations = ["blacklist", "session"];

/**
 * Opens a store whose tables are there.
 * @throws {StoreUrlError} for a URL or parameter that can't be used; {@link StoreError} `STORE_UNAVAILABLE` when the
 * database can't be reached or lacks the tables, in one line that says what to run.
 */
export async function postgresStore(options: PostgresStoreOptions): Promise<Store & SessionStore> {
  const { settings, database, table } = await open(options);
  const { endsSoon = false } = options;
  const recent = createRecent(revocations);
  let feed: Feed | undefined;
  const facts = createFacts(database, (kind, id, expiresAt) => {
    if (!recent.holds(kind)) return;
    recent.addFact(kind, id, expiresAt);
    feed?.announce();
  });
  const users = createUsers(database, table);
  try {
    await checkSchema(database, table);
    if (!endsSoon) feed = await startFeed(database, recent, revocations);
  } catch (error) {
    await database.close();
    throw error;
  }
  return {
    ...users,
    async updateUser(id, changes, expected, matching) {
      const user = await users.updateUser(id, changes, expected, matching);
      if (user !== undefined && changes.tokensValidFrom !== undefined) {
        recent.setMark(user.id, user.tokensValidFrom ?? null);
        feed?.announce();
      }
      return user;
    },
    async removeUser(id) {
      const wasThere = await users.removeUser(id);
      if (wasThere) {
        recent.addRemoved(id);
        feed?.announce();
      }
      return wasThere;
    },
    ...facts,
    ...createSessions(database),
    ...createState(database, table, recent, feed, settings),
    ...(feed?.messages && { publish: feed.messages.publish, subscribe: feed.messages.subscribe }),
    async ping() {
      const [row] = await database.run<{ readOnly: boolean }>(
        `select current_setting('transaction_read_only')::boolean as "readOnly"`,
      );
      if (row!.readOnly) throw new StoreError("STORE_UNAVAILABLE", "the database takes no writes");
    },
    async close() {
      await feed?.close();
      await database.close();
    },
  };
}

/**
 * Makes the tables that are missing.
 * @returns the statements that were run, or with `isDryRun` would be.
 */
export async function migratePostgres(options: PostgresStoreOptions, how: MigrateOptions = {}): Promise<string[]> {
  const { database, table } = await open(options);
  const more: MoreStatements = async (run) => (table.isOwn ? [] : blacklistStatements(database, run));
  try {
    return await migrateDatabase(database, table, more, how);
  } finally {
    await database.close();
  }
}
