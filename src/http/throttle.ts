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

interface Clients {
  /** Two generations: full, the younger replaces the older. Deleting one by one would leave holes that a Map has to skip. */
  younger: Map<string, Client>;
  older: Map<string, Client>;
  /** The requests in the younger. */
  remembered: number;
}

/**
 * Creates a throttle: at most `limit` requests of one client within any `seconds`.
 * @param name what is limited, for the log and for others that count.
 * @param share shares the counts with other handlers and processes of the store.
 * @returns a function to call once per request with what the client's requests share. It throws `throttled`, with the
 * seconds to wait.
 */
export function createThrottle(
  rate: Rate,
  { name, now, log, share }: { name: string; now: () => number; log: (event: LogEvent) => void; share: ShareCounts },
): (client: string) => void {
  const { limit } = rate;
  const span = rate.seconds * 1000;
  const shared = share(rate);
  const clients = shared.countsOf<Clients>(name, () => ({ younger: new Map(), older: new Map(), remembered: 0 }));

  /** Returns a client, which the younger generation then has. */
  function find(key: string): Client {
    let client = clients.younger.get(key);
    if (client !== undefined) return client;
    client = clients.older.get(key) ?? { times: [], isRefused: false };
    clients.younger.set(key, client);
    clients.remembered += client.times.length;
    return client;
  }

  function add(key: string, client: Client, time: number): void {
    client.times.push(time);
    if (++clients.remembered < mostTimes / 2) return;
    Object.assign(clients, { younger: new Map([[key, client]]), older: clients.younger, remembered: 0 });
  }

  const tell = shared.share(name, (key, time) => {
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
