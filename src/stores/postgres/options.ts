/** What a store's URL says of its connections, read once and refused in one line. No message holds the password. */
import { readFileSync } from "node:fs";
import { type Lag, type Parameters, readLag, readParameters } from "../parameters.ts";
import { StoreUrlError } from "../store.ts";

/** How a server's certificate is checked, in libpq's words. */
const sslModes = ["disable", "require", "verify-ca", "verify-full"] as const;

/** The part of `tls.ConnectionOptions` that is used: declarations of the package must not need Node's types. */
interface TlsSettings {
  ca?: string;
  servername?: string;
  rejectUnauthorized: boolean;
  checkServerIdentity?: () => undefined;
}

export interface ConnectionSettings extends Lag {
  host: string;
  port: number;
  database: string;
  user: string | undefined;
  password: string | undefined;
  ssl: TlsSettings | false;
  /** Schema of the store's own tables. */
  schema: string;
  /** Most connections of the pool; the feed has one more. */
  poolSize: number;
  /** A pooler in transaction mode stands between: no prepared statements, no LISTEN. */
  pooler: boolean;
  /** Milliseconds. */
  connectTimeout: number;
  /** Milliseconds. */
  statementTimeout: number;
  /** Django's table of users, such as `auth_user` or `schema.app_user`, where users live in it. */
  django: string | undefined;
  /** Column of the name that users log in with, there. */
  djangoUsername: string;
}

function identifier({ text, wrong }: Parameters, name: string, fallback: string): string {
  const given = text(name, fallback);
  if (!/^[A-Za-z_][A-Za-z0-9_$]{0,62}$/.test(given)) wrong(name, "is no name of a table, column or schema");
  return given;
}

/** Returns the name of a table, with its schema or without; `undefined` for none. */
function tableName({ text, wrong }: Parameters, name: string): string | undefined {
  const given = text(name, "");
  if (given === "") return undefined;
  if (!/^[A-Za-z_][A-Za-z0-9_$]{0,62}(\.[A-Za-z_][A-Za-z0-9_$]{0,62})?$/.test(given))
    wrong(name, "is no name of a table");
  return given;
}

const isLocal = (host: string): boolean => /^(localhost|127\.\d+\.\d+\.\d+|\[?::1\]?|\/.*)$/.test(host);

function readAuthority({ wrong }: Parameters, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    return wrong("sslrootcert", `names a file that can't be read (${(error as { code?: string }).code})`);
  }
}

/** TLS as libpq has it, but never silently without: `prefer` and `allow` fall back to plain text under an attack. */
function sslOf(parameters: Parameters, host: string): TlsSettings | false {
  const authority = parameters.text("sslrootcert", "");
  const mode = parameters.oneOf("sslmode", isLocal(host) ? "disable" : "verify-full", sslModes);
  if (mode === "disable") return false;
  const ca = authority === "" ? {} : { ca: readAuthority(parameters, authority) };
  const name = /^[\d.]+$|:/.test(host) ? {} : { servername: host };
  if (mode === "require") return { ...ca, ...name, rejectUnauthorized: authority !== "" };
  const anyName = mode === "verify-ca" ? { checkServerIdentity: () => undefined } : {};
  return { ...ca, ...name, ...anyName, rejectUnauthorized: true };
}

/**
 * Reads `postgres://user:password@host:port/database?parameter=value`.
 * @throws {StoreUrlError} for a parameter that is unknown or wrong.
 */
export function readPostgresUrl(text: string): ConnectionSettings {
  let url: URL;
  try {
    url = new URL(text.replace(/^postgresql:/i, "postgres:"));
  } catch {
    throw new StoreUrlError("setting store is no URL; accepted: postgres://user:password@host:port/database");
  }
  const parameters = readParameters("postgres", url.searchParams);
  const { text: take, positive, oneOf } = parameters;
  const part = (value: string, name: string): string | undefined => {
    try {
      return value === "" ? undefined : decodeURIComponent(value);
    } catch {
      throw new StoreUrlError(`setting store: the ${name} of the postgres: URL has a % that begins no code`);
    }
  };
  const user = part(url.username, "user");
  const host = take("host", part(url.hostname, "host") ?? "localhost");
  const settings: ConnectionSettings = {
    host,
    port: url.port === "" ? 5432 : Number(url.port),
    database: part(url.pathname.slice(1), "database") ?? user ?? "postgres",
    user,
    password: part(url.password, "password"),
    ssl: sslOf(parameters, host),
    schema: identifier(parameters, "schema", "jwt_endpoints"),
    poolSize: positive("pool", 10, 1000),
    pooler: oneOf("pooler", "none", ["none", "transaction"]) === "transaction",
    connectTimeout: 1000 * positive("connect_timeout", 5, 600),
    statementTimeout: positive("statement_timeout", 5000, 600_000),
    ...readLag(parameters),
    django: tableName(parameters, "django"),
    djangoUsername: identifier(parameters, "django_username", "username"),
  };
  parameters.refuseOthers();
  return settings;
}
