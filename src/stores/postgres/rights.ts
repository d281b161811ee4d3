/** What the database's user must be allowed. Whatever is missing is named in one line, with the statement that grants it. */
import { StoreError } from "../store.ts";
import { type Database, type Run, quoted } from "./connection.ts";
import type { UserTable } from "./user-table.ts";

/** What a server does with each table of its own. Triggers run as their owner, so it need not write all of them. */
const ownTables: Record<string, readonly string[]> = {
  version: ["select"],
  facts: ["select", "insert", "update", "delete"],
  marks: ["select", "insert", "update"],
  removed: ["select"],
  forgetting: ["select", "update"],
  sessions: ["select", "insert", "update", "delete"],
};

const refusal = ({ host, port, user = "" }: Database["where"], what: string, grant: string): StoreError =>
  new StoreError(
    "STORE_UNAVAILABLE",
    `PostgreSQL at ${host}:${port} does not let the user ${JSON.stringify(user)} ${what}; run as the owner: ${grant}`,
  );

/**
 * Checks that the schema of the own tables, if it is there, may be looked into: without that nothing else can be asked.
 * @returns whether it is there.
 * @throws {StoreError} `STORE_UNAVAILABLE`
 */
export async function checkUsage(run: Run, { schema, where }: Pick<Database, "schema" | "where">): Promise<boolean> {
  const [row] = await run<{ may: boolean; role: string }>(
    `select has_schema_privilege(oid, 'USAGE') as may, quote_ident(current_user) as role
     from pg_namespace where nspname = $1`,
    [where.schema],
  );
  if (row?.may !== false) return row !== undefined;
  throw refusal(where, `use the schema ${where.schema}`, `grant usage on schema ${schema} to ${row.role}`);
}

/**
 * Checks that a server can read and write all tables that are there.
 * @throws {StoreError} `STORE_UNAVAILABLE` naming a table and what may not be done with it.
 */
export async function checkRights({ run, schema, where }: Database, table: UserTable): Promise<void> {
  const needed = Object.entries(ownTables).flatMap(([name, rights]) =>
    rights.map((right): [table: string, right: string] => [`${schema}.${name}`, right]),
  );
  // A site may grant single columns of its table.
  const users = table.isOwn ? ["select", "insert", "update", "delete"] : ["select", "update"];
  for (const right of users) needed.push([table.name, right]);
  const [missing] = await run<{ name: string; right: string; role: string }>(
    `select n.name, n.right, quote_ident(current_user) as role
     from unnest($1::text[], $2::text[]) with ordinality as n (name, "right", place)
     where not case when n.right = 'delete' then has_table_privilege(to_regclass(n.name), n.right)
       else has_any_column_privilege(to_regclass(n.name), n.right) end order by n.place limit 1`,
    [needed.map(([name]) => name), needed.map(([, right]) => right)],
  );
  if (missing === undefined) return;
  const { name, right, role } = missing;
  const onto = name === table.name && !table.isOwn ? name : `all tables in schema ${schema}`;
  const grant = `grant select, insert, update, delete on ${onto} to ${role}`;
  throw refusal(where, `${right} in the table ${name}`, grant);
}

/**
 * Checks that what is missing can be made.
 * @param isSchemaThere whether the schema of the own tables exists.
 * @throws {StoreError} `STORE_UNAVAILABLE` naming what may not be made.
 */
export async function checkRightsToMake(
  run: Run,
  { schema, where }: Pick<Database, "schema" | "where">,
  isSchemaThere: boolean,
): Promise<void> {
  const database = quoted(where.database);
  const right = isSchemaThere ? "has_schema_privilege($1, 'CREATE')" : "has_database_privilege($1, 'CREATE')";
  const [row] = await run<{ may: boolean; role: string }>(`select ${right} as may, quote_ident(current_user) as role`, [
    isSchemaThere ? where.schema : where.database,
  ]);
  if (row!.may) return;
  const [what, onto] = isSchemaThere
    ? [`make tables in the schema ${where.schema}`, `schema ${schema}`]
    : [`make the schema ${where.schema} in the database ${JSON.stringify(where.database)}`, `database ${database}`];
  throw refusal(where, what, `grant create on ${onto} to ${row!.role}`);
}
