/** Delays further guesses at the password of one account, and not the logins of those who know it. */
import { throttled } from "../errors.ts";
import type { Settings } from "../settings/types.ts";

/** The longest delay, in milliseconds: a stranger's guesses never lock a new device of the owner out for longer. */
const longestDelay = 60_000;
/** The most accounts, and the most known clients, that are remembered; the least recently used are forgotten. */
const mostEntries = 100_000;
/** Names longer than any user's are counted by length alone, so that they can't fill the memory. */
const longestName = 254;

export interface Attempt {
  /** Takes the attempt back: the password was right, or it was not checked. */
  forgive(): void;
  /** Forgives the attempt and remembers the client, whom failures of others then don't delay. */
  succeed(): void;
}

export interface FailedLogins {
  /**
   * Counts an attempt as failed until it is taken back, so that guesses at the same time count too. An unknown account is
   * treated alike.
   * @param userId when the user is known already.
   * @throws `throttled`, with the seconds to wait.
   */
  begin(username: string, client: string | undefined, userId?: string): Attempt;
}

/** Creates the counts of the setting `throttleFailures`; `undefined` when it is off. */
export function createFailedLogins(settings: Settings): FailedLogins | undefined {
  const { throttleFailures, usernameMatching, now, log } = settings;
  if (throttleFailures === false) return undefined;
  const { limit, seconds } = throttleFailures;
  const failures = new Map<string, { count: number; last: number; isRefused: boolean }>();
  const known = new Map<string, true>();

  const accountOf = (username: string): string => {
    const name = username.normalize("NFKC");
    if (name.length > longestName) return `${name.length}`;
    return `=${usernameMatching === "exact" ? name : name.toLowerCase()}`;
  };
  /** Failures up to the limit cost nothing; each further one doubles the delay: 1 s, 2 s, 4 s and so on. */
  const delayAfter = (count: number): number =>
    count < limit ? 0 : Math.min(longestDelay, 1000 * 2 ** Math.min(count - limit, 10));

  return {
    begin(username, client, userId) {
      const time = now();
      const account = accountOf(username);
      const own = `${client ?? ""} ${account}`;
      // A client that logged in before has a count of its own: others' failures don't delay it, its own do.
      const key = client !== undefined && known.has(own) ? own : account;
      let entry = failures.get(key);
      if (entry === undefined || entry.last + seconds * 1000 <= time || entry.last > time) {
        entry = { count: 0, last: time, isRefused: false };
      }
      const wait = entry.last + delayAfter(entry.count) - time;
      if (entry.count >= limit && wait > 0) {
        if (!entry.isRefused) log({ level: "warn", code: "throttled", message: "an account had many failed logins" });
        entry.isRefused = true;
        throw throttled(wait, userId === undefined ? undefined : { userId });
      }
      Object.assign(entry, { count: entry.count + 1, last: time, isRefused: false });
      put(failures, key, entry);
      const forgive = () => {
        if (--entry.count <= 0) failures.delete(key);
      };
      return {
        forgive,
        succeed() {
          forgive();
          if (client !== undefined) put(known, own, true);
        },
      };
    },
  };
}

/** Sets an entry as the most recently used one, and drops the least recently used beyond the limit. */
function put<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= mostEntries) return;
  // A tenth at once: a Map skips the holes of deleted entries each time it is read from the start.
  let surplus = mostEntries / 10;
  for (const oldest of map.keys()) {
    if (surplus-- <= 0) return;
    map.delete(oldest);
  }
}
