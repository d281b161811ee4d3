/**
 * Django's own tables: its users are read and written in place, with Django's meaning of every column, and Simple JWT's
 * blacklist is kept in step both ways by triggers. Nothing of Django's is altered but for the triggers named here.
 */
import { StoreError } from "../store.ts";
import { type Database, type Run, quoted } from "./connection.ts";
import { clock } from "./facts.ts";
import type { ConnectionSettings } from "./options.ts";
import type { UserTable } from "./user-table.ts";

interface Column {
  name: string;
  type: string;
  isRequired: boolean;
}

/** What a new user has in columns that Django fills, by their type. */
const emptyValues: Record<string, string> = {
  boolean: "false",
  text: "''",
  "character varying": "''",
  "timestamp with time zone": "now()",
  date: "current_date",
  integer: "0",
  smallint: "0",
  bigint: "0",
  jsonb: "'{}'",
};

const idTypes: Record<string, Pick<UserTable, "idType" | "idOf">> = {
  integer: { idType: "bigint", idOf: (text) => (/^(0|[1-9]\d{0,17})$/.test(text) ? text : undefined) },
  uuid: {
    idType: "uuid",
    idOf: (text) => (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text) ? text.toLowerCase() : undefined),
  },
  text: { idType: "text", idOf: (text) => (text.includes("\0") ? undefined : text) },
};
const idKinds: Record<string, string> = {
  smallint: "integer",
  bigint: "integer",
  "character varying": "text",
};

/** A table's name as settings give it, quoted. */
const quotedName = (name: string): string => name.split(".").map(quoted).join(".");

/**
 * Reads off the table of Django's user model what its columns are.
 * @throws {StoreError} `STORE_UNAVAILABLE` in one line, when it is not there or lacks a column.
 */
export async function djangoUserTable(
  { run, where }: Database,
  { django, djangoUsername }: { django: string; djangoUsername: ConnectionSettings["djangoUsername"] },
): Promise<UserTable> {
  const name = quotedName(django);
  const refuse = (problem: string): never => {
    throw new StoreError("STORE_UNAVAILABLE", `the database ${JSON.stringify(where.database)} ${problem}`);
  };
  const found = await run<Column>(
    `select attname as name, format_type(atttypid, null) as type,
       attnotnull and not atthasdef and attidentity = '' as "isRequired"
     from pg_attribute where attrelid = to_regclass($1) and attnum > 0 and not attisdropped`,
    [name],
  );
  if (found.length === 0) {
    refuse(`has no table ${django}; migrate the Django site first, or name its user table with the parameter django`);
  }
  const types = new Map(found.map((column) => [column.name, column.type]));
  for (const needed of ["id", "password", "is_active", "last_login", djangoUsername]) {
    if (!types.has(needed)) refuse(`has no column ${needed} in the table ${django}`);
  }
  const idType = types.get("id")!;
  const id = idTypes[idKinds[idType] ?? idType] ?? refuse(`has ids of the type ${idType} in the table ${django}`);
  const columns = {
    id: "id",
    username: djangoUsername,
    email: types.has("email") ? "email" : "",
    passwordHash: "password",
    isActive: "is_active",
    lastLogin: "last_login",
  };
  const known: string[] = Object.values(columns);
  const required = found
    .filter((column) => column.isRequired && !known.includes(column.name))
    .map(({ name: column, type }) => [column, emptyValues[type] ?? "null"] as const);
  const newId = id.idType === "bigint" ? {} : { newId: () => crypto.randomUUID() as string };
  return {
    isOwn: false,
    name,
    columns,
    ...id,
    order: types.has("date_joined") ? "date_joined" : "id",
    required,
    ...newId,
  };
}

const blacklist = "token_blacklist_blacklistedtoken";
const outstanding = "token_blacklist_outstandingtoken";
const triggers = { heard: "jwt_endpoints_heard", told: "jwt_endpoints_told" };

/** Django's check goes by the id of a token alone: the text of ours stays empty, since no token's text is stored. */
const tellFunction = (s: string, site: string): string => `create or replace function ${s}.tell_django() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into ${site}.${outstanding} (token, created_at, expires_at, jti)
    values ('', now(), to_timestamp(least(new.expires_at, 253402300799)), new.id) on conflict do nothing;
  insert into ${site}.${blacklist} (blacklisted_at, token_id)
    select now(), o.id from ${site}.${outstanding} o where o.jti = new.id on conflict do nothing;
  return null;
end
$$`;

const hearFunction = (s: string, site: string): string => `create or replace function ${s}.hear_django() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  insert into ${s}.facts (kind, id, value, expires_at)
    select 'blacklist', o.jti, '1', ceil(extract(epoch from o.expires_at)) + 1
    from ${site}.${outstanding} o where o.id = new.token_id
    on conflict do nothing;
  return null;
end
$$`;

/**
 * What keeps Simple JWT's blacklist in step, where the site has one and it is not kept yet.
 * @returns statements to run.
 */
export async function blacklistStatements({ schema: s }: Database, run: Run): Promise<string[]> {
  const [table] = await run<{ site: string }>(
    `select quote_ident(n.nspname) as site from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.oid = to_regclass($1)`,
    [blacklist],
  );
  if (table === undefined) return [];
  const { site } = table;
  const [there] = await run("select from pg_trigger where tgrelid = to_regclass($1) and tgname = $2", [
    blacklist,
    triggers.heard,
  ]);
  if (there !== undefined) return [];
  return [
    tellFunction(s, site),
    hearFunction(s, site),
    `create trigger ${triggers.heard} after insert on ${site}.${blacklist}
  for each row execute function ${s}.hear_django()`,
    `create trigger ${triggers.told} after insert on ${s}.facts
  for each row when (new.kind = 'blacklist' and length(new.id) <= 255) execute function ${s}.tell_django()`,
    `insert into ${s}.facts (kind, id, value, expires_at)
  select 'blacklist', o.jti, '1', ceil(extract(epoch from o.expires_at)) + 1
  from ${site}.${blacklist} b join ${site}.${outstanding} o on o.id = b.token_id
  where extract(epoch from o.expires_at) > ${clock} on conflict do nothing`,
  ];
}
