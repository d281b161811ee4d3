/** The tables: what makes them, which version stands, and the line that tells an operator what to run. */
import { StoreError } from "../store.ts";
import { type Database, type Run, quoted } from "./connection.ts";
import { checkRights, checkRightsToMake, checkUsage } from "./rights.ts";
import type { UserTable } from "./user-table.ts";

/** The version of the tables that this code works with: see {@link steps}. */
const version = 2;

/**
 * The own tables of version 1. `tx` is the transaction that wrote a row, by which the feed finds what is new: ids of transactions
 * begin in order but end in any, so the feed compares them with snapshots, not with each other.
 */
const firstTables = (s: string): string[] => [
  `create table ${s}.facts (
  kind text collate "C" not null,
  id text collate "C" not null,
  value text not null,
  expires_at double precision not null,
  tx xid8 not null default pg_current_xact_id(),
  primary key (kind, id)
)`,
  `create index facts_tx on ${s}.facts (tx)`,
  `create index facts_expires_at on ${s}.facts (expires_at)`,
  `create table ${s}.marks (
  user_id text collate "C" primary key,
  tokens_valid_from double precision,
  tx xid8 not null default pg_current_xact_id()
)`,
  `create index marks_tx on ${s}.marks (tx)`,
  `create table ${s}.removed (
  field text collate "C" not null,
  value text collate "C" not null,
  tx xid8 not null default pg_current_xact_id(),
  primary key (field, value)
)`,
  `create index removed_tx on ${s}.removed (tx)`,
  `create table ${s}.forgetting (
  single boolean primary key default true check (single),
  believed double precision,
  doubted double precision
)`,
  `insert into ${s}.forgetting (believed) values (null)`,
];

/** No key refers to the users, whose table may be another program's: the trigger drops the sessions of a removed user. */
const sessionsTable = (s: string): string[] => [
  `create table ${s}.sessions (
  position bigint generated always as identity,
  id text collate "C" primary key,
  user_id text collate "C" not null,
  created_at double precision not null,
  last_used_at double precision not null,
  expires_at double precision not null,
  ip text,
  user_agent text
)`,
  `create index sessions_user_id on ${s}.sessions (user_id)`,
  `create index sessions_expires_at on ${s}.sessions (expires_at)`,
];

const usersTable = (s: string): string[] => [
  `create table ${s}.users (
  position bigint generated always as identity unique,
  id text collate "C" primary key,
  username text collate "C" not null unique,
  folded text collate "C" not null,
  email text not null,
  password_hash text not null,
  is_active boolean not null,
  last_login double precision
)`,
  `create index users_folded on ${s}.users (folded)`,
];

/**
 * What the database does by itself when any program changes a user: it remembers ids and names that were given up, and
 * marks a user who takes such a name. A password that another program changes, and a user it disables, end the sessions.
 */
const userFunction = (s: string): string => `create or replace function ${s}.user_changed() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  before jsonb;
  after jsonb;
  begins boolean := false;
begin
  if tg_op <> 'INSERT' then before := to_jsonb(old); end if;
  if tg_op <> 'DELETE' then after := to_jsonb(new); end if;
  if tg_op = 'DELETE' then
    insert into ${s}.removed (field, value)
      values ('id', before ->> tg_argv[0]), ('username', before ->> tg_argv[1]) on conflict do nothing;
    delete from ${s}.sessions where user_id = replace(before ->> tg_argv[0], chr(92), chr(92) || chr(92));
    return null;
  end if;
  if tg_op = 'INSERT' and exists (select from ${s}.removed where field = 'id' and value = after ->> tg_argv[0]) then
    raise exception using errcode = 'unique_violation', message = 'the id of a removed user is never used again';
  end if;
  if tg_op = 'INSERT' or before ->> tg_argv[1] <> after ->> tg_argv[1] then
    if tg_op = 'UPDATE' then
      insert into ${s}.removed (field, value) values ('username', before ->> tg_argv[1]) on conflict do nothing;
    end if;
    begins := exists (select from ${s}.removed where field = 'username' and value = after ->> tg_argv[1]);
  end if;
  if tg_op = 'UPDATE' and current_setting('jwt_endpoints.is_writer', true) is distinct from 'on' then
    begins := begins or before ->> tg_argv[2] <> after ->> tg_argv[2]
      or ((before ->> tg_argv[3])::boolean and not (after ->> tg_argv[3])::boolean);
  end if;
  if begins then
    insert into ${s}.marks as m (user_id, tokens_valid_from)
      values (after ->> tg_argv[0], round(extract(epoch from clock_timestamp())::numeric, 3))
      on conflict (user_id) do update
      set tokens_valid_from = greatest(m.tokens_valid_from, excluded.tokens_valid_from), tx = excluded.tx;
  end if;
  return null;
end
$$`;

/** What takes the tables to each version from the one before, from 0 for none. What stands in them stays. */
const steps: readonly ((s: string) => string[])[] = [
  (s) => [`create table ${s}.version (version integer not null)`, ...firstTables(s)],
  (s) => [...sessionsTable(s), userFunction(s)],
];

const triggerName = "jwt_endpoints_user_changed";

const userTrigger = (s: string, { name, columns: { id, username, passwordHash, isActive } }: UserTable): string =>
  `create trigger ${triggerName} after insert or update or delete on ${name}
  for each row execute function ${s}.user_changed(${[id, username, passwordHash, isActive].map(literal).join(", ")})`;

export const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** The version that stands; 0 for none. */
async function standingVersion(run: Run, schema: string): Promise<number> {
  const [{ exists = null } = {}] = await run<{ exists: string | null }>("select to_regclass($1)::text as exists", [
    `${schema}.version`,
  ]);
  if (exists === null) return 0;
  const [row] = await run<{ version: number }>(`select version from ${schema}.version`);
  return row?.version ?? 0;
}

export interface MigrateOptions {
  /** Only tells what would be run. */
  isDryRun?: boolean;
}

/** Statements that a site's own tables need besides, given what is there already. */
export type MoreStatements = (run: Run) => Promise<string[]>;

/**
 * Makes what is missing, in one transaction; servers that do so at once wait for each other.
 * @returns the statements that were run, or would be.
 */
export async function migrateDatabase(
  database: Database,
  table: UserTable,
  more: MoreStatements,
  { isDryRun = false }: MigrateOptions = {},
): Promise<string[]> {
  const { schema, where } = database;
  return database.transaction(
    isDryRun ? "begin read only" : "begin",
    async (run) => {
      if (!isDryRun) await run("select pg_advisory_xact_lock(hashtextextended($1, 0))", [`${schema}.migrate`]);
      const isSchemaThere = await checkUsage(run, database);
      const standing = await standingVersion(run, schema);
      if (standing > version) throw tooNew(where.schema, standing);
      const statements: string[] = [];
      if (!isSchemaThere) statements.push(`create schema ${schema}`);
      statements.push(...steps.slice(standing).flatMap((step) => step(schema)));
      if (standing === 0) statements.push(`insert into ${schema}.version values (${version})`);
      else if (standing < version) statements.push(`update ${schema}.version set version = ${version}`);
      const [{ users = null } = {}] = await run("select to_regclass($1)::text as users", [`${schema}.users`]);
      if (table.isOwn && users === null) statements.push(...usersTable(schema));
      const [trigger] = await run("select from pg_trigger where tgrelid = to_regclass($1) and tgname = $2", [
        table.name,
        triggerName,
      ]);
      if (trigger === undefined) statements.push(userTrigger(schema, table));
      statements.push(...(await more(run)));
      if (!isDryRun) {
        if (statements.length > 0) await checkRightsToMake(run, database, isSchemaThere);
        for (const statement of statements) await run(statement);
        if (standing > 0) await adoptRestored(run, schema);
      }
      return statements;
    },
    { isLong: true },
  );
}

/** A dump that was restored into another server names transactions which that one has yet to begin. */
async function adoptRestored(run: Run, schema: string): Promise<void> {
  for (const table of ["facts", "marks", "removed"]) {
    await run(`update ${schema}.${table} set tx = pg_current_xact_id() where tx > pg_current_xact_id()`);
  }
}

const tooNew = (schema: string, standing: number): StoreError =>
  new StoreError(
    "STORE_UNAVAILABLE",
    `the tables in the schema ${schema} are of version ${standing}, made by a newer release; this one knows ${version}; update it`,
  );

/**
 * Checks that the tables are there, of this version, and can be used.
 * @throws {StoreError} `STORE_UNAVAILABLE` in one line that says what to run.
 */
export async function checkSchema(database: Database, table: UserTable): Promise<void> {
  const { run, schema, where } = database;
  if (await checkUsage(run, database)) await checkRights(database, table);
  const standing = await standingVersion(run, schema);
  const [{ exists = null } = {}] = await run("select to_regclass($1)::text as exists", [table.name]);
  const remedy = "run: npm run db -- migrate --store <this URL>";
  const place = `the database ${quoted(where.database)} at ${where.host}:${where.port}`;
  if (standing > version) throw tooNew(where.schema, standing);
  if (standing === 0 || exists === null) {
    throw new StoreError("STORE_UNAVAILABLE", `${place} lacks the tables of this store; ${remedy}`);
  }
  if (standing < version) {
    throw new StoreError("STORE_UNAVAILABLE", `${place} has tables of version ${standing}, not ${version}; ${remedy}`);
  }
}
