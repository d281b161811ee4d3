/** What went wrong with the database, in one line that names it and says what to do; never a row, never a password. */
import { StoreError } from "../store.ts";
import type { ConnectionSettings } from "./options.ts";

/** The parts of the driver's errors that are read. `detail` and `where` may quote rows, and are not among them. */
interface DriverError {
  code?: unknown;
  message?: unknown;
  constraint?: unknown;
}

export const codeOf = (error: unknown): string => String((error as DriverError | null)?.code ?? "");

export type Where = Pick<ConnectionSettings, "host" | "port" | "database" | "user" | "schema">;

const migrate = "run: npm run db -- migrate --store <this URL>";

/** SQLSTATE -> what it means here. Appendix A of PostgreSQL's manual names them. */
const meanings: Record<string, (where: Where) => string> = {
  "3D000": ({ database }) => `has no database ${JSON.stringify(database)}; create it, then ${migrate}`,
  "28P01": ({ user }) => `refuses the password of the user ${JSON.stringify(user ?? "")}`,
  "28000": ({ user }) => `does not let the user ${JSON.stringify(user ?? "")} in; see its pg_hba.conf`,
  "42501": ({ user, schema }) =>
    `lacks rights for the user ${JSON.stringify(user ?? "")} on the tables of the schema ${schema}; ` +
    `${migrate} as their owner, or grant them`,
  "3F000": ({ database }) => `has no tables of this store in the database ${JSON.stringify(database)}; ${migrate}`,
  "42P01": ({ database }) => `has no tables of this store in the database ${JSON.stringify(database)}; ${migrate}`,
  "23503": () => "keeps a user whom other tables of the site refer to; remove the user in Django, or disable it",
  "25006": () => "takes no writes: it is a replica, or was made read-only",
  "53100": () => "has no room left on its disk",
  "53300": () => "has no connection left; lower the parameter pool, or raise max_connections",
  "57014": () => "took longer than the statement timeout",
  "55P03": () => "waited too long for a lock",
  ECONNREFUSED: () => "refuses connections: it is not running, or not there",
  ENOTFOUND: () => "is an unknown host",
  EAI_AGAIN: () => "is a host that can't be looked up now",
  ETIMEDOUT: () => "did not reply in time",
};

function meaningOf(error: unknown, where: Where): string {
  const code = codeOf(error);
  const meaning = Object.hasOwn(meanings, code) ? meanings[code]!(where) : undefined;
  if (meaning !== undefined) return meaning;
  const message = String((error as DriverError | null)?.message ?? "").split("\n", 1)[0]!;
  if (/does not support SSL/i.test(message)) return "offers no TLS; add sslmode=disable if the network is trusted";
  if (/certificate|self.signed|altnames/i.test(message)) {
    return `has a certificate that is not trusted (${message}); name its authority with sslrootcert`;
  }
  if (/timeout/i.test(message)) return "did not reply in time";
  if (/terminated|ended|ECONNRESET|EPIPE|closed/i.test(message + code)) return "closed the connection";
  return `failed: ${message}${code === "" ? "" : ` (${code})`}`;
}

/**
 * The store's error for whatever the driver throws. It has no cause: the driver's own may quote rows.
 */
export function unavailable(error: unknown, where: Where): StoreError {
  if (error instanceof StoreError) return error;
  if (codeOf(error) === "23505") return new StoreError("USER_EXISTS", "the id or the username is taken");
  const place = `PostgreSQL at ${where.host}:${where.port}`;
  return new StoreError("STORE_UNAVAILABLE", `${place} ${meaningOf(error, where)}`);
}
