/** The users of the store: reading takes one statement, writing a short transaction. */
import {
  type NewUser,
  StoreError,
  type User,
  type UserChanges,
  type UserStore,
  type UsernameMatching,
  completeUser,
} from "../store.ts";
import { foldUsername } from "../usernames.ts";
import { type Database, type Run, quoted } from "./connection.ts";
import { listByCursor } from "./listing.ts";
import { type UserColumns, type UserTable, fromUsers, selectList, written } from "./user-table.ts";

/** Users that one statement adds. */
const batchSize = 1000;
/** Password hashes that are told at most, of different formats and costs. */
const mostHashes = 1000;

const taken = (field: "username" | "id", value: string): StoreError =>
  new StoreError("USER_EXISTS", `the ${field} ${JSON.stringify(value)} is taken`);

/** No text of PostgreSQL's holds a NUL. */
const hasNul = (text: string): boolean => text.includes("\0");

/** A field that is `undefined` counts as not named. */
const named = (changes: UserChanges): [keyof UserChanges, unknown][] =>
  Object.entries(changes).filter(([, value]) => value !== undefined) as [keyof UserChanges, unknown][];

const fields = ["id", "username", "email", "passwordHash", "isActive", "lastLogin"] as const;

export function createUsers(database: Database, table: UserTable) {
  const { schema } = database;
  // Own folded names are JavaScript's; Django's tables have none, and case is compared as Django's iexact does.
  const foldSql = (text: string): string => (table.isOwn ? text : `upper(${text})`);
  const column = (field: keyof UserColumns): string => quoted(table.columns[field]);
  const select = `select ${selectList(table)} from ${fromUsers(table, schema)}`;
  const byId = `${select} where u.${column("id")} = $1::${table.idType}`;
  const byUsername = `${select} where u.${column("username")} = $1`;
  const foldedColumn = table.folded === undefined ? foldSql(`u.${column("username")}`) : `u.${quoted(table.folded)}`;
  const byFolded =
    `${select} where u.${column("username")} = $1 or ${foldedColumn} = ${foldSql("$2")} ` +
    `order by (u.${column("username")} = $1) desc limit 2`;
  const { email, username: nameColumn } = table.columns;
  const stored = fields.filter((field) => field !== "email" || (email !== "" && email !== nameColumn));

  async function findUserByUsername(username: string, matching?: UsernameMatching): Promise<User | undefined> {
    if (hasNul(username)) return undefined;
    if (matching !== "case-insensitive") return (await database.run<User>(byUsername, [username]))[0];
    const [first, second] = await database.run<User>(byFolded, [username, foldUsername(username)]);
    return second === undefined || first?.username === username ? first : undefined;
  }

  async function findUserById(id: string, run: Run = database.run): Promise<User | undefined> {
    const known = table.idOf(id);
    return known === undefined ? undefined : (await run<User>(byId, [known]))[0];
  }

  /** Keeps others who mind case from choosing a like name until the transaction ends. */
  const lockNames = (run: Run) => run("select pg_advisory_xact_lock(hashtextextended($1, 0))", [`${schema}.usernames`]);

  /** Returns those of some names that a user other than one has, in any case. */
  async function alike(run: Run, usernames: string[], exceptId?: string): Promise<Set<string>> {
    const rows = await run<{ folded: string }>(
      `select distinct wanted.folded from unnest($1::text[]) as wanted (folded) join ${table.name} u ` +
        `on ${foldedColumn} = ${foldSql("wanted.folded")} and u.${column("id")}::text is distinct from $2`,
      [usernames.map(foldUsername), exceptId ?? null],
    );
    return new Set(rows.map((row) => row.folded));
  }

  async function writeMark(run: Run, id: string, mark: number | null): Promise<void> {
    await run(
      `insert into ${schema}.marks (user_id, tokens_valid_from) values ($1, $2)
       on conflict (user_id) do update set tokens_valid_from = excluded.tokens_valid_from, tx = excluded.tx`,
      [id, mark],
    );
  }

  const names = [...stored.map(column), ...(table.folded ? [quoted(table.folded)] : [])];
  const expressions = stored.map((field, i) => written(table, field, `n.c${i}`));
  if (table.folded) expressions.push(`n.c${stored.length}`);
  const types = { isActive: "boolean[]", lastLogin: "double precision[]" } as Record<string, string>;
  const arrays = stored.map((field, i) => `$${i + 1}::${types[field] ?? "text[]"}`);
  if (table.folded) arrays.push(`$${stored.length + 1}::text[]`);
  const aliases = arrays.map((_, i) => `c${i}`).join(", ");
  const more = table.required;
  const insert =
    `insert into ${table.name} (${[...names, ...more.map(([name]) => quoted(name))].join(", ")}) ` +
    `select ${[...expressions, ...more.map(([, expression]) => expression)].join(", ")} ` +
    `from unnest(${arrays.join(", ")}) with ordinality as n (${aliases}, place) ` +
    `where not exists (select from ${schema}.removed r where r.field = 'id' and r.value = n.c0) ` +
    `order by n.place on conflict do nothing returning ${column("id")}::text as id`;

  /**
   * Adds some users in their order, within a transaction.
   * @throws {StoreError} `USER_EXISTS` naming the first that is taken.
   */
  async function addSome(run: Run, users: readonly User[], matching?: UsernameMatching): Promise<void> {
    for (const user of users) {
      const bad = [user.id, user.username, user.email, user.passwordHash].some(hasNul);
      if (bad || table.idOf(user.id) === undefined) throw new TypeError("a field of a user can't be stored: id or NUL");
    }
    if (matching === "case-insensitive") {
      const standing = await alike(
        run,
        users.map(({ username }) => username),
      );
      for (const { username } of users) {
        const folded = foldUsername(username);
        if (standing.has(folded)) throw taken("username", username);
        standing.add(folded);
      }
    }
    const values = stored.map((field) => users.map((user) => user[field]));
    if (table.folded) values.push(users.map(({ username }) => foldUsername(username)));
    const added = new Set((await run<{ id: string }>(insert, values)).map(({ id }) => id));
    const seen = new Set<string>();
    for (const user of users) {
      if (!added.has(user.id) || seen.has(user.id)) throw await reasonOf(run, user, seen);
      seen.add(user.id);
    }
    for (const { id, tokensValidFrom = null } of users) {
      if (tokensValidFrom === null) continue;
      const [mark] = await run<{ at: number }>(
        `select tokens_valid_from as at from ${schema}.marks where user_id = $1`,
        [id],
      );
      await writeMark(run, id, Math.max(mark?.at ?? 0, tokensValidFrom));
    }
  }

  async function reasonOf(run: Run, { id, username }: User, seen: ReadonlySet<string>): Promise<StoreError> {
    const [removed] = await run(`select from ${schema}.removed where field = 'id' and value = $1`, [id]);
    if (removed !== undefined) {
      const reason = "belonged to a user who was removed, and ids are never used again";
      return new StoreError("USER_EXISTS", `the id ${JSON.stringify(id)} ${reason}`);
    }
    return seen.has(id) || (await findUserById(id, run)) !== undefined ? taken("id", id) : taken("username", username);
  }

  async function complete(run: Run, user: NewUser): Promise<User> {
    if (user.id !== undefined || table.newId !== undefined) {
      return completeUser({ ...user, id: user.id ?? table.newId!() });
    }
    const [row] = await run<{ id: string }>("select nextval(pg_get_serial_sequence($1, $2))::text as id", [
      table.name,
      table.columns.id,
    ]);
    return completeUser({ ...user, id: row!.id });
  }

  async function addUsers(
    users: Iterable<NewUser> | AsyncIterable<NewUser>,
    matching?: UsernameMatching,
  ): Promise<number> {
    const work = async (run: Run): Promise<number> => {
      if (matching === "case-insensitive") await lockNames(run);
      let [count, batch]: [number, User[]] = [0, []];
      for await (const user of users as AsyncIterable<NewUser>) {
        batch.push(await complete(run, user));
        if (batch.length < batchSize) continue;
        await addSome(run, batch, matching);
        count += batch.length;
        batch = [];
      }
      if (batch.length > 0) await addSome(run, batch, matching);
      return count + batch.length;
    };
    return database.transaction("begin", work, { isLong: true });
  }

  async function addUser(user: NewUser, matching?: UsernameMatching): Promise<User> {
    return database.transaction("begin", async (run) => {
      if (matching === "case-insensitive") await lockNames(run);
      const whole = await complete(run, user);
      await addSome(run, [whole], matching);
      return (await findUserById(whole.id, run))!;
    });
  }

  /** One statement: compares and changes what stands in the table itself. */
  async function changeRow(
    run: Run,
    id: string,
    changes: UserChanges,
    expected: UserChanges,
  ): Promise<User | undefined> {
    const values: unknown[] = [id];
    const parameter = (field: keyof UserColumns, value: unknown): string => {
      values.push(value);
      return written(table, field, `$${values.length}`);
    };
    const own = named(changes).filter(([field]) => stored.includes(field as never)) as [keyof UserColumns, unknown][];
    const compared = named(expected).filter(([field]) => stored.includes(field as never)) as typeof own;
    const sets = own.map(([field, value]) => `${column(field)} = ${parameter(field, value)}`);
    const username = changes.username;
    if (username !== undefined && table.folded) {
      values.push(foldUsername(username));
      sets.push(`${quoted(table.folded)} = $${values.length}`);
    }
    const conditions = compared.map(
      ([field, value]) => `u.${column(field)} is not distinct from ${parameter(field, value)}`,
    );
    const idColumn = column("id");
    if (sets.length === 0) sets.push(`${idColumn} = u.${idColumn}`);
    const where = [`u.${idColumn} = $1::${table.idType}`, ...conditions].join(" and ");
    const changed =
      `with u as (update ${table.name} u set ${sets.join(", ")} where ${where} returning u.*) ` +
      `select ${selectList(table)} from u left join ${schema}.marks m on m.user_id = u.${idColumn}::text`;
    return (await run<User>(changed, values))[0];
  }

  async function updateUser(
    id: string,
    changes: UserChanges,
    expected: UserChanges = {},
    matching?: UsernameMatching,
  ): Promise<User | undefined> {
    const known = table.idOf(id);
    if (known === undefined) return undefined;
    if (named(changes).some(([, value]) => typeof value === "string" && hasNul(value))) {
      throw new TypeError("a field of a user can't be stored: NUL");
    }
    const { username: newName, tokensValidFrom: newMark, passwordHash, isActive } = changes;
    const isWatched = !table.isOwn && (passwordHash !== undefined || isActive !== undefined); // by the site's trigger
    if (newName === undefined && newMark === undefined && expected.tokensValidFrom === undefined && !isWatched) {
      return (await changeRow(database.run, known, changes, expected)) ?? findUserById(known);
    }
    return database.transaction("begin", async (run) => {
      await run("set local jwt_endpoints.is_writer = 'on'");
      if (matching === "case-insensitive" && changes.username !== undefined) await lockNames(run);
      await run(`select from ${table.name} where ${column("id")} = $1::${table.idType} for update`, [known]);
      const user = await findUserById(known, run);
      if (user === undefined) return undefined;
      for (const [field, value] of named(expected)) if (user[field] !== value) return user;
      if (newName !== undefined && newName !== user.username) await requireFree(run, known, newName, matching);
      await changeRow(run, known, changes, {});
      if (newMark !== undefined) await writeMark(run, known, newMark);
      return findUserById(known, run);
    });
  }

  async function requireFree(run: Run, id: string, username: string, matching?: UsernameMatching): Promise<void> {
    const [other] = await run(byUsername, [username]);
    const isTaken =
      other !== undefined ||
      (matching === "case-insensitive" && (await alike(run, [username], id)).has(foldUsername(username)));
    if (isTaken) throw taken("username", username);
  }

  async function removeUser(id: string): Promise<boolean> {
    const known = table.idOf(id);
    if (known === undefined) return false;
    const remove = `delete from ${table.name} u where u.${column("id")} = $1::${table.idType} returning true as gone`;
    return (await database.run(remove, [known])).length > 0;
  }

  async function wasRemoved(field: string, value: string): Promise<boolean> {
    if ((field !== "id" && field !== "username") || hasNul(value)) return false;
    const rows = await database.run(
      `select from ${schema}.removed where field = $1 and value = $2 and not (field = 'username' and exists (
         select from ${table.name} u where u.${column("username")} = $2))`,
      [field, value],
    );
    return rows.length > 0;
  }

  /** One hash of each format and cost. Salts and digests are the long parts between the dollar signs. */
  async function* passwordHashes(): AsyncGenerator<string> {
    const hash = `u.${column("passwordHash")}`;
    const rows = await database.run<{ hash: string }>(
      `select distinct on (split_part(${hash}, '$', 1), regexp_replace(${hash}, '[^$]{20,}', '', 'g')) ${hash} as hash ` +
        `from ${table.name} u limit ${mostHashes}`,
    );
    for (const row of rows) yield row.hash;
  }

  return {
    findUserByUsername,
    findUserById: (id: string) => findUserById(id),
    updateUser,
    addUser,
    addUsers,
    removeUser,
    wasRemoved,
    listUsers: () => listByCursor<User>(database, `${select} order by u.${quoted(table.order)}`),
    passwordHashes,
  } satisfies UserStore;
}
