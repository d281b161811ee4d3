/** Limits how often a client may call a route, as DRF's SimpleRateThrottle does. */
import { throttled } from "../errors.ts";
import type { LogEvent, Rate, Settings } from "../settings/types.ts";
import type { ShareCounts } from "../shared-counts.ts";

/**
 * The most requests that one throttle remembers, of all clients together: some 20 MB at one request a client. Beyond it the
 * client seen least recently is forgotten, so that an attacker with many addresses can't fill the memory.
 */
const mostTimes = 100_000;

interface Client {
  /** The times of its requests in milliseconds, oldest first. */
  readonly times: number[];
  /** Index of the first time within the span. Those before are cut off many at a time, so that no request has to move all. */
  start: number;
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

function cutOff(client: Client): void {
  client.times.splice(0, client.start);
  client.start = 0;
}

/** Counts a request of a client against a limit. Throws `throttled`. */
type Throttle = (client: string) => void;
/** The limits that are set, by the names of their settings. */
export type Throttles = ReadonlyMap<string, Throttle>;

/**
 * Creates the throttles of the settings.
 * @param share shares the counts with other handlers and processes of the store.
 */
export function createThrottles<Name extends keyof Settings>(
  settings: Settings & Record<Name, Rate | false>,
  names: readonly Name[],
  share: ShareCounts,
): Throttles {
  const throttles = new Map<string, Throttle>();
  for (const name of names) {
    const rate: Rate | false = settings[name];
    if (rate !== false) throttles.set(name, createThrottle(rate, { ...settings, name, share }));
  }
  return throttles;
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
): Throttle {
  const { limit } = rate;
  const span = rate.seconds * 1000;
  const shared = share(rate);
  const clients = shared.countsOf<Clients>(name, () => ({ younger: new Map(), older: new Map(), remembered: 0 }));

  /** Returns a client, which the younger generation then has. */
  function find(key: string): Client {
    let client = clients.younger.get(key);
    if (client !== undefined) return client;
    client = clients.older.get(key) ?? { times: [], start: 0, isRefused: false };
    cutOff(client);
    clients.younger.set(key, client);
    clients.remembered += client.times.length;
    return client;
  }

  /** Drops the times outside the span that ends at `time`. */
  function dropOthers(client: Client, time: number): void {
    const { times } = client;
    // A time in the future was counted before the clock was set back; it would stay for too long.
    while (times.length > client.start && times.at(-1)! > time) times.pop();
    while (client.start < times.length && times[client.start]! <= time - span) client.start++;
    if (2 * client.start > times.length) cutOff(client);
  }

  function add(key: string, client: Client, time: number): void {
    const { times, start } = client;
    let at = times.length;
    for (; at > start && times[at - 1]! > time; at--) times[at] = times[at - 1]!; // it comes late, from another process
    times[at] = time;
    if (++clients.remembered < mostTimes / 2) return;
    Object.assign(clients, { younger: new Map([[key, client]]), older: clients.younger, remembered: 0 });
  }

  const tell = shared.share(name, (key, time) => {
    if (time <= now() - span) return;
    const client = find(key);
    add(key, client, time);
    // Processes that count at the same time allow more than the limit together. The newest times decide until when.
    if (client.times.length - client.start > limit) client.start++;
    if (2 * client.start > client.times.length) cutOff(client);
  });

  return (key) => {
    const time = now();
    const client = find(key);
    dropOthers(client, time);
    const { times, start } = client;
    const isRefused = times.length - start >= limit;
    const wasRefused = client.isRefused;
    client.isRefused = isRefused;
    if (!isRefused) {
      add(key, client, time);
      tell?.(key, time);
      return;
    }
    if (!wasRefused) log({ level: "warn", code: "throttled", message: `a client reached the limit of ${name}` });
    throw throttled(times[start]! + span - time);
  };
}
