/** Connections: a pool of the driver's, prepared statements where they may be, one transaction helper, our own errors. */
import type { ConnectionSettings } from "./options.ts";
import { type Where, codeOf, unavailable } from "./problems.ts";

export type Row = Record<string, unknown>;

/** The part of a query that a handed-in client has to understand; that of `pg`. */
interface Query {
  text: string;
  values: unknown[];
  name?: string;
  query_timeout?: number;
}

/** A connection taken out of the pool. */
interface PoolClient {
  query(query: Query): Promise<{ rows: Row[] }>;
  release(broken?: boolean): void;
}

/** A pool such as `pg.Pool`: what a host may hand in, to share its own. */
export interface PostgresPool {
  query(query: Query): Promise<{ rows: Row[] }>;
  connect(): Promise<PoolClient>;
}

export type Run = <R = Row>(text: string, values?: unknown[]) => Promise<R[]>;

export interface Database {
  /** Schema of the own tables, quoted. */
  readonly schema: string;
  readonly where: Where;
  /** Whether LISTEN works: poolers in transaction mode pass no notices on. */
  readonly hasNotices: boolean;
  /** One statement, one round trip. */
  run: Run;
  /** All statements of a function or none. Work that takes its time is not cut short by the statement timeout. */
  transaction<T>(begin: string, work: (run: Run) => Promise<T>, options?: { isLong?: boolean }): Promise<T>;
  /** Opens a connection of its own for as long as it lasts. Each notice's payload is handed over. */
  listen(channel: string, onNotice: (payload: string) => void, onEnd: () => void): Promise<Listener>;
  close(): Promise<void>;
}

export interface Listener {
  run: Run;
  close(): Promise<void>;
}

/** Longer than any work: the driver takes 0 for its default. */
const noTimeout = 2 ** 31 - 1;
/** How much longer than the server the driver waits for a statement: a server that hangs ends none. */
const patienceMs = 1000;

/** Text of a statement -> its name, one for the process: two stores may share a pool that was handed in. */
const names = new Map<string, string>();
function nameOf(text: string): string {
  let name = names.get(text);
  if (name === undefined) names.set(text, (name = `jwt_endpoints_${names.size}`));
  return name;
}

export const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** Loads the driver and opens a pool; nothing is connected before the first statement. */
export async function connect(settings: ConnectionSettings, handedIn?: PostgresPool): Promise<Database> {
  const { pooler, statementTimeout, schema } = settings;
  const where: Where = settings;
  const { default: pg } = await import("pg");
  const connection = {
    host: settings.host,
    port: settings.port,
    database: settings.database,
    ...(settings.user === undefined ? {} : { user: settings.user }),
    ...(settings.password === undefined ? {} : { password: settings.password }),
    ssl: settings.ssl,
    connectionTimeoutMillis: settings.connectTimeout,
    query_timeout: statementTimeout + patienceMs,
    keepAlive: true,
    // Poolers refuse parameters that they do not know at the start of a connection.
    ...(pooler ? {} : { application_name: "jwt-endpoints", statement_timeout: statementTimeout }),
  };
  const owned = handedIn === undefined ? new pg.Pool({ ...connection, max: settings.poolSize }) : undefined;
  owned?.on("error", () => {}); // an idle connection ended: the pool makes another when one is needed
  const pool: PostgresPool = handedIn ?? (owned as unknown as PostgresPool);

  const queryOf = (text: string, values: unknown[] = []): Query => {
    if (pooler) return { text, values };
    return { text, values, name: nameOf(text) };
  };

  async function transaction<T>(
    begin: string,
    work: (run: Run) => Promise<T>,
    { isLong = false }: { isLong?: boolean } = {},
  ): Promise<T> {
    const client = await pool.connect().catch((error: unknown) => {
      throw unavailable(error, where);
    });
    let isBroken = true;
    const run: Run = async <R>(text: string, values: unknown[] = []) => {
      try {
        const query: Query = { text, values, ...(isLong ? { query_timeout: noTimeout } : {}) };
        return (await client.query(query)).rows as R[];
      } catch (error) {
        throw unavailable(error, where);
      }
    };
    try {
      await run(begin);
      if (isLong) await run("set local statement_timeout = 0");
      const result = await work(run);
      await run("commit");
      isBroken = false;
      return result;
    } catch (error) {
      isBroken = await run("rollback").then(
        () => false,
        () => true,
      );
      throw error;
    } finally {
      client.release(isBroken);
    }
  }

  return {
    schema: quoted(schema),
    where,
    hasNotices: !pooler,
    async run<R>(text: string, values?: unknown[]) {
      try {
        return (await pool.query(queryOf(text, values))).rows as R[];
      } catch (error) {
        throw unavailable(error, where);
      }
    },
    transaction,
    async listen(channel, onNotice, onEnd) {
      const client = new pg.Client(connection);
      let isOver = false;
      const end = (): void => {
        if (isOver) return;
        isOver = true;
        onEnd();
      };
      client.on("error", end);
      client.on("end", end);
      client.on("notification", ({ payload }) => onNotice(payload ?? ""));
      const run: Run = async <R>(text: string, values: unknown[] = []) => {
        try {
          return (await client.query(queryOf(text, values))).rows as R[];
        } catch (error) {
          if (isOver || !/^[0-9A-Z]{5}$/.test(codeOf(error))) {
            void client.end().catch(() => {}); // after a time-out the reply may still come, to the next statement
            end();
          }
          throw unavailable(error, where);
        }
      };
      try {
        await client.connect();
      } catch (error) {
        isOver = true;
        void client.end().catch(() => {});
        throw unavailable(error, where);
      }
      if (!pooler) await run(`listen ${quoted(channel)}`);
      return {
        run,
        async close() {
          isOver = true;
          await client.end().catch(() => {});
        },
      };
    },
    async close() {
      await owned?.end();
    },
  };
}
