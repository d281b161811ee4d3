/** Tells the other processes of a store what this one counts, and hands out what they count, so that a limit is one for all. */
import type { Settings } from "./settings/types.ts";

/**
 * Takes an event: of another process, or of this one to tell the others.
 * @param key what is counted: an address, a session's id.
 * @param time when it was counted, in milliseconds since the epoch; never later than now.
 */
export type CountEvent = (key: string, time: number) => void;

/**
 * Shares a count with the other processes.
 * @param name the same in all processes.
 * @param receive called for each event of another process. It must bound what it remembers: the messages may be forged.
 * @returns a function to call for each event of this process; `undefined` for a store without messages.
 */
export type ShareCounts = (name: string, receive: CountEvent) => CountEvent | undefined;

/** Name, time, key. Longer keys come from a host's own `clientAddress` or from foreign tokens, and are not shared. */
const message = /^(\w+) (\d{1,16}) (.{0,300})$/s;
const longestKey = 300;

/** Creates the function that shares counts over the messages of a store. */
export function createSharedCounts({ store, now }: Pick<Settings, "store" | "now">): ShareCounts {
  const receivers = new Map<string, CountEvent>();
  return (name, receive) => {
    if (store.publish === undefined || store.subscribe === undefined) return undefined;
    if (receivers.size === 0) {
      store.subscribe((text) => {
        const [, sender, time, key] = message.exec(text) ?? [];
        if (sender !== undefined) receivers.get(sender)?.(key!, Math.min(Number(time), now()));
      });
    }
    receivers.set(name, receive);
    return (key, time) => {
      if (key.length <= longestKey) store.publish!(`${name} ${Math.trunc(time)} ${key}`);
    };
  };
}
