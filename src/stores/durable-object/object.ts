/** The Durable Object: users, facts and sessions in memory, and each of them as a row of its SQLite database. */
import { createRetention } from "../state/retention.ts";
import { createState } from "../state/index.ts";
import { type Session, StoreError, type User, type UserChanges, type UsernameMatching } from "../store.ts";
import { usernameDigest } from "../usernames.ts";

/** The part of a Durable Object's state that is used here. */
export interface ObjectState {
  readonly storage: {
    readonly sql: { exec(query: string, ...values: (string | number | null)[]): Iterable<Record<string, unknown>> };
  };
}

/** What the store sends to its object: a method of {@link Calls} and its arguments. */
export interface Call {
  method: keyof Calls;
  args: unknown[];
}

/** What the object returns: the result, or the error of the store. */
export interface CallResult {
  result?: unknown;
  error?: { code: StoreError["code"]; message: string };
}

export type Calls = ReturnType<typeof createCalls>;

/** How many facts are written between two rounds of dropping expired ones. */
const flushEvery = 1000;

/**
 * The class of the Durable Object that keeps the data of `durableObjectStore`. Export it from the worker and name it in the
 * configuration, with SQLite: `new_sqlite_classes = ["JwtEndpointsStore"]`. An object handles one call after the other, so
 * the first writer wins; its response leaves only when what it wrote is stored.
 */
export class JwtEndpointsStore {
  readonly #calls: Calls;
  constructor({ storage }: ObjectState) {
    this.#calls = createCalls(storage.sql);
  }
  async fetch(request: Request): Promise<Response> {
    const { method, args } = (await request.json()) as Call;
    return Response.json(await this.#call(method, args));
  }
  async #call(method: keyof Calls, args: unknown[]): Promise<CallResult> {
    try {
      return { result: await (this.#calls[method] as (...values: unknown[]) => unknown)(...args) };
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      return { error: { code: error.code, message: error.message } };
    }
  }
}

function createCalls(sql: ObjectState["storage"]["sql"]) {
  const state = createState();
  const retention = createRetention();
  const staged = new Map<string, string[]>();
  const seconds = (): number => Date.now() / 1000;
  let writesUntilFlush = flushEvery;

  sql.exec("CREATE TABLE IF NOT EXISTS entries (kind TEXT, id TEXT, value TEXT, expires REAL, PRIMARY KEY (kind, id))");
  // In the order they were added, which an update keeps.
  const formerIds: string[] = [];
  const formerNames: number[] = [];
  for (const row of sql.exec("SELECT kind, id, value, expires FROM entries ORDER BY rowid")) {
    const { kind, id, value, expires } = row as { kind: string; id: string; value: string; expires: number };
    if (kind === "user") state.addUser(JSON.parse(value) as User, 0);
    else if (kind === "session") state.addSession(JSON.parse(value) as Session);
    else if (kind === "former id") formerIds.push(id);
    else if (kind === "former name") formerNames.push(Number(id));
    else state.putIfAbsent(kind.slice("fact ".length), id, value, expires, 0);
  }
  state.restoreRemoved(formerIds, formerNames); // after the users, who have their issued-before marks already

  function write(kind: string, id: string, value: string, expires: number | null = null): void {
    const update = "ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value, expires = excluded.expires";
    sql.exec(`INSERT INTO entries (kind, id, value, expires) VALUES (?, ?, ?, ?) ${update}`, kind, id, value, expires);
  }
  const erase = (kind: string, id: string): unknown =>
    sql.exec("DELETE FROM entries WHERE kind = ? AND id = ?", kind, id);
  const writeUser = (user: User): void => write("user", user.id, JSON.stringify(user));
  const writeFormerName = (name: string): void => write("former name", String(usernameDigest(name)), "");
  const writeSession = (session: Session): void =>
    write("session", session.id, JSON.stringify(session), session.expiresAt);

  async function flushExpired(): Promise<number> {
    retention.observe(seconds());
    const dropped = await state.flushExpired(retention.horizon());
    sql.exec("DELETE FROM entries WHERE expires <= ?", retention.horizon());
    return dropped;
  }

  return {
    findUserByUsername: (username: string, matching?: UsernameMatching) => state.findUserByUsername(username, matching),
    findUserById: (id: string) => state.findUserById(id),
    updateUser(id: string, changes: UserChanges, expected?: UserChanges, matching?: UsernameMatching) {
      const before = state.findUserById(id)?.username;
      const user = state.updateUser(id, changes, expected ?? undefined, matching ?? undefined, seconds());
      if (user === undefined) return undefined;
      if (before !== undefined && before !== user.username) writeFormerName(before);
      writeUser(user);
      return user;
    },
    addUser(user: User, matching?: UsernameMatching) {
      const added = state.addUser(user, seconds(), matching ?? undefined);
      writeUser(added);
      return added;
    },
    stageUsers(batch: string, users: User[]) {
      state.stageUsers(batch, users, seconds());
      staged.set(batch, [...(staged.get(batch) ?? []), ...users.map(({ id }) => id)]);
    },
    commitUsers(batch: string, matching?: UsernameMatching) {
      const count = state.commitUsers(batch, seconds(), matching ?? undefined);
      for (const id of staged.get(batch) ?? []) writeUser(state.findUserById(id)!);
      staged.delete(batch);
      return count;
    },
    dropStaged(batch: string) {
      staged.delete(batch);
      state.dropStaged(batch);
    },
    removeUser(id: string) {
      const user = state.findUserById(id);
      if (user === undefined || !state.removeUser(id)) return false;
      erase("user", id);
      write("former id", id, "");
      writeFormerName(user.username);
      sql.exec("DELETE FROM entries WHERE kind = 'session' AND json_extract(value, '$.userId') = ?", id);
      return true;
    },
    wasRemoved: (field: string, value: string) => state.wasRemoved(field, value),
    listUsers: () => state.listUsers(),
    passwordHashes: () => [...state.passwordHashes()],
    async putIfAbsent(kind: string, id: string, value: string, expiresAt: number) {
      const at = seconds();
      const isNew = state.get(kind, id, () => at) === undefined;
      const standing = state.putIfAbsent(kind, id, value, expiresAt, at);
      if (isNew) write(`fact ${kind}`, id, standing, expiresAt);
      if (--writesUntilFlush <= 0) {
        writesUntilFlush = flushEvery;
        await flushExpired();
      }
      return standing;
    },
    get: (kind: string, id: string) => state.get(kind, id, seconds),
    flushExpired,
    addSession(session: Session) {
      state.addSession(session);
      const standing = state.listSessions(session.userId, 0).find(({ id }) => id === session.id);
      if (standing !== undefined) writeSession(standing);
    },
    touchSession(id: string, lastUsedAt: number, expiresAt: number) {
      state.touchSession(id, lastUsedAt, expiresAt);
      for (const { value } of sql.exec("SELECT value FROM entries WHERE kind = 'session' AND id = ?", id)) {
        const { userId } = JSON.parse(value as string) as Session;
        const touched = state.listSessions(userId, 0).find((session) => session.id === id);
        if (touched !== undefined) writeSession(touched);
      }
    },
    listSessions: (userId: string) => state.listSessions(userId, seconds()),
    removeSession(id: string) {
      state.removeSession(id);
      erase("session", id);
    },
  };
}
