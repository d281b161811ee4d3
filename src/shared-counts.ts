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

/**
 * Name, time, key; the name ends in the handler's prefix. Longer keys come from a host's own `clientAddress` or from foreign
 * tokens, and are not shared.
 */
const message = /^(\S+) (\d{1,16}) (.{0,300})$/s;
const longestKey = 300;

/** Creates the function that shares counts over the messages of a store, with handlers of the same prefix. */
export function createSharedCounts({ store, prefix, now }: Pick<Settings, "store" | "prefix" | "now">): ShareCounts {
  const receivers = new Map<string, CountEvent>();
  return (count, receive) => {
    const name = count + prefix;
    if (store.publish === undefined || store.subscribe === undefined) return undefined;
    if (receivers.size === 0) {
      store.subscribe((text) => {
        const [, sender, time, key] = message.exec(text) ?? [];
        receivers.get(sender!)?.(key!, Math.min(Number(time), now()));
      });
    }
    receivers.set(name, receive);
    return (key, time) => {
      if (key.length <= longestKey) store.publish!(`${name} ${Math.trunc(time)} ${key}`);
    };
  };
}
