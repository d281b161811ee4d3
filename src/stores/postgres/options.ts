/** What a store's URL says of its connections, read once and refused in one line. No message holds the password. */
import { readFileSync } from "node:fs";
import type { ConnectionOptions } from "node:tls";
import { StoreUrlError } from "../store.ts";

/** How a server's certificate is checked, in libpq's words. */
const sslModes = ["disable", "require", "verify-ca", "verify-full"] as const;
type SslMode = (typeof sslModes)[number];

export interface ConnectionSettings {
  host: string;
  port: number;
  database: string;
  user: string | undefined;
  password: string | undefined;
  ssl: ConnectionOptions | false;
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
  /** What `recent` does while the feed is older than `maxLag`: refuse, or ask the database. */
  whenBehind: "fail" | "ask";
  /** Milliseconds. */
  maxLag: number;
  /** Django's table of users, such as `auth_user` or `schema.app_user`, where users live in it. */
  django: string | undefined;
  /** Column of the name that users log in with, there. */
  djangoUsername: string;
}

function wrong(name: string, problem: string): never {
  throw new StoreUrlError(`setting store: the parameter ${name} of the postgres: URL ${problem}`);
}

function positive(name: string, text: string, most: number): number {
  if (!/^[1-9]\d{0,8}$/.test(text) || Number(text) > most) wrong(name, `is no whole number from 1 to ${most}`);
  return Number(text);
}

function oneOf<const T extends string>(name: string, text: string, accepted: readonly T[]): T {
  if (!accepted.includes(text as T)) wrong(name, `has an unknown value; accepted: ${accepted.join(", ")}`);
  return text as T;
}

function identifier(name: string, text: string): string {
  if (!/^[A-Za-z_][A-Za-z0-9_$]{0,62}$/.test(text)) wrong(name, "is no name of a table, column or schema");
  return text;
}

const isLocal = (host: string): boolean => /^(localhost|127\.\d+\.\d+\.\d+|\[?::1\]?|\/.*)$/.test(host);

function readAuthority(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    return wrong("sslrootcert", `names a file that can't be read (${(error as { code?: string }).code})`);
  }
}

/** TLS as libpq has it, but never silently without: `prefer` and `allow` fall back to plain text under an attack. */
function sslOf(mode: SslMode, host: string, authority: string | undefined): ConnectionOptions | false {
  if (mode === "disable") return false;
  const ca = authority === undefined ? {} : { ca: readAuthority(authority) };
  const name = /^[\d.]+$|:/.test(host) ? {} : { servername: host };
  if (mode === "require") return { ...ca, ...name, rejectUnauthorized: authority !== undefined };
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
  const given = new Map(url.searchParams);
  const take = (name: string, fallback: string): string => {
    const value = given.get(name) ?? fallback;
    given.delete(name);
    return value;
  };
  const part = (value: string, name: string): string | undefined => {
    try {
      return value === "" ? undefined : decodeURIComponent(value);
    } catch {
      throw new StoreUrlError(`setting store: the ${name} of the postgres: URL has a % that begins no code`);
    }
  };
  const user = part(url.username, "user");
  const host = take("host", part(url.hostname, "host") ?? "localhost");
  const rootCertificate = take("sslrootcert", "");
  const mode = oneOf("sslmode", take("sslmode", isLocal(host) ? "disable" : "verify-full"), sslModes);
  const django = take("django", "");
  const settings: ConnectionSettings = {
    host,
    port: url.port === "" ? 5432 : Number(url.port),
    database: part(url.pathname.slice(1), "database") ?? user ?? "postgres",
    user,
    password: part(url.password, "password"),
    ssl: sslOf(mode, host, rootCertificate === "" ? undefined : rootCertificate),
    schema: identifier("schema", take("schema", "jwt_endpoints")),
    poolSize: positive("pool", take("pool", "10"), 1000),
    pooler: oneOf("pooler", take("pooler", "none"), ["none", "transaction"]) === "transaction",
    connectTimeout: 1000 * positive("connect_timeout", take("connect_timeout", "5"), 600),
    statementTimeout: positive("statement_timeout", take("statement_timeout", "5000"), 600_000),
    whenBehind: oneOf("when_behind", take("when_behind", "ask"), ["fail", "ask"]),
    maxLag: positive("max_lag", take("max_lag", "1000"), 600_000),
    django:
      django === ""
        ? undefined
        : django
            .split(".", 2)
            .map((name) => identifier("django", name))
            .join("."),
    djangoUsername: identifier("django_username", take("django_username", "username")),
  };
  const [unknown] = given.keys();
  if (unknown !== undefined) {
    const known =
      "host, sslmode, sslrootcert, schema, pool, pooler, connect_timeout, statement_timeout, when_behind, max_lag, " +
      "django, django_username";
    wrong(JSON.stringify(unknown), `is unknown; accepted: ${known}`);
  }
  return settings;
}
