/** Delays further guesses at the password of one account, and not the logins of those who know it. */
import { throttled } from "../errors.ts";
import type { Rate, Settings } from "../settings/types.ts";
import type { ShareCounts } from "../shared-counts.ts";
import { type Hmac, hmacOf } from "../tokens/hmac.ts";

/** The longest delay, in milliseconds: a stranger's guesses never lock a new device of the owner out for longer. */
const longestDelay = 60_000;
/** The most accounts, and the most known clients, that are remembered; the least recently used are forgotten. */
const mostEntries = 100_000;
/** Names longer than any user's are counted by length alone, so that they can't fill the memory. */
const longestName = 254;
/** How long after a failure the secret is not read again, in milliseconds. */
const retryMs = 5_000;
/** How long the store keeps the secret that {@link createFailedLogins} describes, in seconds: ten years. */
const secretLifetime = 315_360_000;

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
  begin(username: string, client: string | undefined, userId?: string): Promise<Attempt>;
}

interface Failures {
  count: number;
  /** The time of the last one, in milliseconds. */
  last: number;
  /** Whether an attempt was refused since then, so that a series of refusals is logged once. */
  isRefused: boolean;
}

interface Accounts {
  failures: Map<string, Failures>;
  /** The clients that have logged in, each with its account. */
  known: Map<string, true>;
  /** `undefined` until the secret is read. */
  hmac: Hmac | undefined;
  /** When a reading of the secret last failed, in milliseconds. */
  failedAt: number;
}

/**
 * Creates the counts of the setting `throttleFailures`.
 *
 * Other processes are told an HMAC of the account, since people type passwords into the field of the name. Its secret is a
 * fact of the store, which all its processes find there whatever their keys are.
 * @param share shares the counts with other handlers and processes of the store.
 */
export function createFailedLogins(
  { store, usernameMatching, now, log }: Settings,
  rate: Rate,
  share: ShareCounts,
): FailedLogins {
  const { limit, seconds } = rate;
  const shared = share(rate);
  const accounts = shared.countsOf<Accounts>("accounts", () => ({
    failures: new Map(),
    known: new Map(),
    hmac: undefined,
    failedAt: Number.NEGATIVE_INFINITY,
  }));
  const { failures, known } = accounts;
  let reading: Promise<void> | undefined;

  const accountOf = (username: string): string => {
    const name = username.normalize("NFKC");
    if (name.length > longestName) return `${name.length}`;
    return `=${usernameMatching === "exact" ? name : name.toLowerCase()}`;
  };
  /** Returns what stands for an account: text that others can be told, once there is a secret. */
  const keyOf = (username: string): string => {
    const account = accountOf(username);
    return accounts.hmac?.sign(encodeURIComponent(JSON.stringify(account))) ?? account; // ASCII, whatever the name
  };

  async function readSecret(): Promise<void> {
    try {
      const made = crypto.randomUUID() + crypto.randomUUID();
      const secret = await store.putIfAbsent!("throttle", "secret", made, now() / 1000 + secretLifetime);
      accounts.hmac = hmacOf("HS256", undefined, new TextEncoder().encode(secret));
    } catch {
      // The store takes no writes: this process counts by itself until a later login finds that it does.
      accounts.failedAt = now();
    }
  }

  /** Failures up to the limit cost nothing; each further one doubles the delay: 1 s, 2 s, 4 s and so on. */
  const delayAfter = (count: number): number =>
    count < limit ? 0 : Math.min(longestDelay, 1000 * 2 ** Math.min(count - limit, 10));

  /** Returns the failures that count at a time, which may be none. */
  function find(key: string, time: number): Failures {
    const entry = failures.get(key);
    const isOver = entry === undefined || entry.last + seconds * 1000 <= time || entry.last > time;
    return isOver ? { count: 0, last: time, isRefused: false } : entry;
  }

  function add(key: string, entry: Failures, time: number): void {
    put(failures, key, Object.assign(entry, { count: entry.count + 1, last: time, isRefused: false }));
  }

  function takeBack(key: string): void {
    const entry = failures.get(key);
    if (entry !== undefined && --entry.count <= 0) failures.delete(key);
  }

  const sharing = store.putIfAbsent === undefined ? undefined : shared;
  const tellFailed = sharing?.share("loginFailed", (key, at) => {
    const time = now();
    if (at + seconds * 1000 <= time) return;
    const entry = find(key, time);
    add(key, entry, entry.count === 0 ? at : Math.max(at, entry.last));
  });
  const tellTakenBack = sharing?.share("loginTakenBack", takeBack);
  const tellKnown = sharing?.share("clientKnown", (key) => put(known, key, true));

  return {
    async begin(username, client, userId) {
      if (tellFailed !== undefined && accounts.hmac === undefined) {
        if (Math.abs(now() - accounts.failedAt) > retryMs)
          reading ??= readSecret().finally(() => (reading = undefined));
        await reading;
      }
      const time = now();
      const account = keyOf(username);
      const own = `${client ?? ""} ${account}`;
      // A client that logged in before has a count of its own: others' failures don't delay it, its own do.
      const key = client !== undefined && known.has(own) ? own : account;
      const entry = find(key, time);
      const wait = entry.last + delayAfter(entry.count) - time;
      if (entry.count >= limit && wait > 0) {
        if (!entry.isRefused) log({ level: "warn", code: "throttled", message: "an account had many failed logins" });
        entry.isRefused = true;
        throw throttled(wait, userId === undefined ? undefined : { userId });
      }
      add(key, entry, time);
      const isShared = accounts.hmac !== undefined; // others are never told the name itself
      if (isShared) tellFailed?.(key, time);
      const forgive = () => {
        takeBack(key);
        if (isShared) tellTakenBack?.(key, time);
      };
      return {
        forgive,
        succeed() {
          forgive();
          if (client === undefined) return;
          put(known, own, true);
          if (isShared) tellKnown?.(own, time);
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
