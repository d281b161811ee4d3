/** Limits how often a client may log in, as DRF's SimpleRateThrottle does; each process counts for itself. */
import { fail } from "../errors.ts";
import type { Settings } from "../settings/types.ts";
import type { HttpRequest } from "./message.ts";

/**
 * Makes the throttle of the setting `throttle`: at most `limit` requests of one client within any `seconds`.
 * @param onUnknownClient called when the host provides no address; such clients share one count.
 * @returns a function to call once per login; `undefined` when the setting is off. It throws `throttled`, with the seconds
 * to wait.
 */
export function createThrottle(
  { throttle, clientAddress, now }: Settings,
  onUnknownClient: () => void,
): ((request: HttpRequest) => void) | undefined {
  if (throttle === false) return undefined;
  const { limit, seconds } = throttle;
  const span = seconds * 1000;
  const history = new Map<string, number[]>(); // client -> times, oldest first; least recently seen client first
  return (request) => {
    const client = clientAddress(request);
    if (client === undefined) onUnknownClient();
    count(client ?? "");
  };

  function count(client: string): void {
    const time = now();
    // A time in the future was counted before the clock was set back; it would stay for too long.
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
  }
}
