/** Limits how often a client may call a route, as DRF's SimpleRateThrottle does. */
import { throttled } from "../errors.ts";
import type { LogEvent, Rate } from "../settings/types.ts";
import type { ShareCounts } from "../shared-counts.ts";

/**
 * The most requests that one throttle remembers, of all clients together: some 20 MB at one request a client. Beyond it the
 * client seen least recently is forgotten, so that an attacker with many addresses can't fill the memory.
 */
const mostTimes = 100_000;

interface Client {
  /** The times of its requests in milliseconds, oldest first. */
  times: number[];
  /** Whether its last request was refused, so that a series of refusals is logged once. */
  isRefused: boolean;
}

/**
 * Creates a throttle: at most `limit` requests of one client within any `seconds`.
 * @param name what is limited, for the log and for the other processes of the store.
 * @param share shares the counts with these.
 * @returns a function to call once per request with what the client's requests share. It throws `throttled`, with the
 * seconds to wait.
 */
export function createThrottle(
  { limit, seconds }: Rate,
  { name, now, log, share }: { name: string; now: () => number; log: (event: LogEvent) => void; share?: ShareCounts },
): (client: string) => void {
  const span = seconds * 1000;
  // Two generations: full, the younger replaces the older. Deleting one by one would leave holes that a Map has to skip.
  let [clients, older] = [new Map<string, Client>(), new Map<string, Client>()];
  let remembered = 0; // in the younger

  /** Returns a client, which the younger generation then has. */
  function find(key: string): Client {
    let client = clients.get(key);
    if (client !== undefined) return client;
    client = older.get(key) ?? { times: [], isRefused: false };
    clients.set(key, client);
    remembered += client.times.length;
    return client;
  }

  function add(key: string, client: Client, time: number): void {
    client.times.push(time);
    if (++remembered >= mostTimes / 2) [clients, older, remembered] = [new Map([[key, client]]), clients, 0];
  }

  const tell = share?.(name, (key, time) => {
    if (time <= now() - span) return;
    const client = find(key);
    add(key, client, time);
    const { times } = client;
    if (times.at(-2)! > time) times.sort((a, b) => a - b); // it comes late
    // Processes that count at the same time allow more than the limit together. The newest times decide until when.
    if (times.length > limit) times.shift();
  });

  return (key) => {
    const time = now();
    const client = find(key);
    // A time in the future was counted before the clock was set back; it would stay for too long.
    client.times = client.times.filter((then) => then > time - span && then <= time);
    const { times } = client;
    const isRefused = times.length >= limit;
    const wasRefused = client.isRefused;
    client.isRefused = isRefused;
    if (!isRefused) {
      add(key, client, time);
      tell?.(key, time);
      return;
    }
    if (!wasRefused) log({ level: "warn", code: "throttled", message: `a client reached the limit of ${name}` });
    throw throttled(times[0]! + span - time);
  };
}
