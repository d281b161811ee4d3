/** Turns records into state, and state into the records of a snapshot. */
import { StoreError } from "../store.ts";
import type { Retention } from "../state/retention.ts";
import type { State } from "../state/index.ts";
import { type JournalRecord, type ReadRecord, rowFrom, sessionFrom, sessionRowFrom } from "./record.ts";

/** Thrown for a record that only a newer version writes. */
export class UnknownRecordError extends Error {}

export const usersPerBatch = 1000;

/**
 * Applies a record to the state, and returns its outcome for the writer.
 * @throws {StoreError} the outcome of a refused change, `USER_EXISTS` as a rule.
 * @throws {UnknownRecordError}
 */
export function applyRecord(record: ReadRecord, state: State, retention: Retention, folder: string): unknown {
  if (record.by !== undefined) retention.observe(record.at);
  switch (record.k) {
    case "add":
      return state.addEntry(record.u, record.at, record.m);
    case "set":
      return state.updateUser(record.id, record.c, record.x, record.m);
    case "rename":
      return state.updateUser(record.id, record.c, record.x, record.m, record.at);
    case "remove":
      return state.removeUser(record.id);
    case "removed":
      return state.restoreRemoved(record.ids, record.names);
    case "del":
      return state.dropUser(record.id);
    case "claim":
      return state.putIfAbsent(record.kind, record.id, record.v, record.exp, record.at);
    case "login":
      return state.addSession(sessionFrom(record.s));
    case "touch":
      return state.touchSession(record.id, record.t, record.exp);
    case "logout":
      return state.removeSession(record.id);
    case "flush":
      return state.flushExpired(retention.horizon());
    case "batch":
      return state.stageEntries(record.b, record.u, record.at);
    case "commit":
      // A compaction may have dropped the batch, and its writer begun it anew since: it must not be added in part.
      if (state.stagedCount(record.b) !== record.n) {
        state.dropStaged(record.b);
        throw new StoreError("STORE_UNAVAILABLE", `a batch of users took too long to be added to ${folder}`);
      }
      return state.commitUsers(record.b, record.at, record.m);
    case "drop":
      return state.dropStaged(record.b);
    case "seal":
      return undefined; // the journal ends its reading there
    case "head":
      if (record.times !== undefined) retention.restore(record.times);
      return undefined;
    default:
      throw new UnknownRecordError();
  }
}

/**
 * Yields the records that make this state from an empty one. To be read when all expired facts and sessions are swept.
 * Versions that know no sessions can't read records of them, so a store without sessions has none.
 */
export function* snapshotOf(state: State): Iterable<JournalRecord> {
  for (const user of state.users()) yield { k: "add", u: rowFrom(user), at: 0 };
  const { ids, names } = state.removed(); // after the users, who have got their issued-before marks already
  for (let i = 0; i < Math.max(ids.length, names.length); i += usersPerBatch) {
    const end = i + usersPerBatch;
    yield { k: "removed", ids: ids.slice(i, end), names: names.slice(i, end), at: 0 };
  }
  for (const [kind, id, { value, expiresAt }] of state.facts()) {
    yield { k: "claim", kind, id, v: value, exp: expiresAt, at: 0 };
  }
  for (const session of state.sessions()) yield { k: "login", s: sessionRowFrom(session), at: 0 };
  for (const [b, users, at] of state.staged()) yield { k: "batch", b, u: users.map(rowFrom), at };
}
