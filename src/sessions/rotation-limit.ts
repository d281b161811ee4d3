/** Limits how often a session rotates its refresh token: each rotation leaves a fact in the store until that token expires. */
import { type JwtEndpointsError, throttled } from "../errors.ts";
import type { Rate, Settings } from "../settings/types.ts";
import type { ShareCounts } from "../shared-counts.ts";

/**
 * The most sessions that are remembered, in some 15 MB. Beyond it those that rotated least recently are forgotten, half of
 * them at a time: it takes rotations in as many other sessions to get there.
 */
const mostSessions = 100_000;

/** A leaky bucket: each rotation adds one, and it drains evenly. */
interface Bucket {
  level: number;
  /** When it had this level, in milliseconds. */
  at: number;
  /** Whether a refusal was logged since it was empty. */
  isLogged: boolean;
}

/** Two generations: full, the younger replaces the older. Deleting one by one would leave holes that a Map has to skip. */
interface Sessions {
  younger: Map<string, Bucket>;
  older: Map<string, Bucket>;
}

export interface RotationLimit {
  /** Returns how long a session has to wait before it may rotate again, in milliseconds; 0 when it may at once. */
  waitOf(session: string): number;
  /** Counts a rotation that the store has recorded. */
  count(session: string): void;
  /**
   * Makes the error of a session that has to wait. The first one of a series is logged.
   * @param wait in milliseconds.
   */
  refusal(session: string, wait: number, userId: string): JwtEndpointsError;
}

/**
 * Creates the counts of the setting `throttleRotations`. A bucket is of one size whatever the limit, and after a burst its
 * session waits for one part of the time, not for all of it.
 * @param share shares the counts with other handlers and processes of the store.
 */
export function createRotationLimit(
  { now, log }: Pick<Settings, "now" | "log">,
  rate: Rate,
  share: ShareCounts,
): RotationLimit {
  const { limit, seconds } = rate;
  const drainMs = (seconds * 1000) / limit;
  const name = "throttleRotations";
  const shared = share(rate);
  const sessions = shared.countsOf<Sessions>(name, () => ({ younger: new Map(), older: new Map() }));

  const held = (session: string): Bucket | undefined => sessions.younger.get(session) ?? sessions.older.get(session);

  /** Returns the bucket of a session as it is at a time. One from before the clock was set back keeps its level. */
  function find(session: string, time = now()): Bucket | undefined {
    const bucket = held(session);
    if (bucket === undefined) return undefined;
    bucket.level = Math.max(0, bucket.level - Math.max(0, time - bucket.at) / drainMs);
    bucket.at = time;
    if (bucket.level === 0) bucket.isLogged = false;
    return bucket;
  }

  function add(session: string, time: number): void {
    const bucket = find(session, time) ?? { level: 0, at: time, isLogged: false };
    bucket.level += 1;
    const { younger } = sessions;
    if (younger.size >= mostSessions / 2 && !younger.has(session)) {
      Object.assign(sessions, { younger: new Map(), older: younger });
    }
    sessions.younger.set(session, bucket);
  }

  const tell = shared.share(name, (session, time) => {
    const at = Math.max(held(session)?.at ?? 0, time);
    if ((find(session, at)?.level ?? 0) < limit) add(session, at);
  });

  return {
    waitOf(session) {
      const wait = ((find(session)?.level ?? 0) + 1 - limit) * drainMs;
      return Math.max(0, Math.floor(wait)); // a sum of fractions may be off by a fraction of a millisecond
    },
    count(session) {
      const time = now();
      add(session, time);
      tell?.(session, time);
    },
    refusal(session, wait, userId) {
      const bucket = find(session);
      if (bucket?.isLogged === false) {
        bucket.isLogged = true;
        const message = "a session reached the limit of throttleRotations";
        log({ level: "warn", code: "throttled", message, userId });
      }
      return throttled(wait, { userId, sessionId: session });
    },
  };
}
