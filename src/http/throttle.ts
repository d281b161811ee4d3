/** Limits how often a client may call a route, as DRF's SimpleRateThrottle does; each process counts for itself. */
import { throttled } from "../errors.ts";
import type { LogEvent, Rate } from "../settings/types.ts";

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
 * @param name what is limited, for the log.
 * @returns a function to call once per request with what the client's requests share. It throws `throttled`, with the
 * seconds to wait.
 */
export function createThrottle(
  { limit, seconds }: Rate,
  { name, now, log }: { name: string; now: () => number; log: (event: LogEvent) => void },
): (client: string) => void {
  const span = seconds * 1000;
  // Two generations: full, the younger replaces the older. Deleting one by one would leave holes that a Map has to skip.
  let [clients, older] = [new Map<string, Client>(), new Map<string, Client>()];
  let remembered = 0;

  return (key) => {
    const time = now();
    const client = clients.get(key) ?? older.get(key) ?? { times: [], isRefused: false };
    // A time in the future was counted before the clock was set back; it would stay for too long.
    client.times = client.times.filter((then) => then > time - span && then <= time);
    const { times } = client;
    const isRefused = times.length >= limit;
    if (!isRefused) times.push(time);
    clients.set(key, client);
    if (!isRefused && ++remembered >= mostTimes / 2) {
      [clients, older, remembered] = [new Map([[key, client]]), clients, 0];
    }
    const wasRefused = client.isRefused;
    client.isRefused = isRefused;
    if (!isRefused) return;
    if (!wasRefused) log({ level: "warn", code: "throttled", message: `a client reached the limit of ${name}` });
    throw throttled(times[0]! + span - time);
  };
}
