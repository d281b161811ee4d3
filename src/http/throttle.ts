import { fail } from "../errors.ts";

export interface Rate {
  limit: number;
  seconds: number;
}

/**
 * At most `limit` requests in any `seconds` for one client, as DRF's SimpleRateThrottle; counts in this process only.
 * @param now the clock, in milliseconds.
 * @returns a function to call once for each request. It throws `throttled`, with the seconds to wait.
 */
export function createThrottle({ limit, seconds }: Rate, now: () => number): (client: string) => void {
  const span = seconds * 1000;
  const history = new Map<string, number[]>(); // client -> times, oldest first; least recently seen client first
  return (client) => {
    const time = now();
    // A time ahead is of before the clock was set back: it would count for far too long.
    const times = (history.get(client) ?? []).filter((then) => then > time - span && then <= time);
    history.delete(client);
    history.set(client, times);
    for (const [other, seen] of history) {
      if (seen.length > 0 && seen.at(-1)! > time - span) break;
      if (other !== client) history.delete(other);
      else break;
    }
    if (times.length >= limit) {
      const retryAfter = Math.ceil((times[0]! + span - time) / 1000);
      const text = `Request was throttled. Expected available in ${retryAfter} second${retryAfter === 1 ? "" : "s"}.`;
      throw fail("throttled", { text, retryAfter });
    }
    times.push(time);
  };
}
