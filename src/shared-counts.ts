/**
 * Counts for limits that are one for all: the handlers of a store in this process count in the same objects, and tell the
 * other processes of the store, which add it to theirs.
 */
import { sharedBy } from "./shared-by.ts";
import type { Rate, Settings } from "./settings/types.ts";

/**
 * Takes an event: of another process, or of this one to tell the others.
 * @param key what is counted: an address, a session's id.
 * @param time when it was counted, in milliseconds since the epoch; never later than now.
 */
export type CountEvent = (key: string, time: number) => void;

export interface SharedCounts {
  /** Returns what is counted under a name, in the same object for all handlers of this process. The first one creates it. */
  countsOf<T extends object>(name: string, create: () => T): T;
  /**
   * Shares a count with the other processes.
   * @param receive called for each event of another process. It must bound what it remembers: the messages may be forged.
   * Of several handlers the last one's is called, so it must do no more than change what {@link countsOf} returns.
   * @returns a function to call for each event of this process; `undefined` for a store without messages.
   */
  share(name: string, receive: CountEvent): CountEvent | undefined;
}

/** Returns what the handlers with this limit and one prefix share on their store. */
export type ShareCounts = (rate: Rate) => SharedCounts;

/** Name, time, key. Longer keys come from a host's own `clientAddress` or from foreign tokens, and are not shared. */
const message = /^(\S+) (\d{1,16}) (.{0,300})$/s;
const longestKey = 300;

/** Creates the function that shares counts on a store. */
export function createSharedCounts({ store, prefix, now }: Pick<Settings, "store" | "prefix" | "now">): ShareCounts {
  const receivers = sharedBy(store, "receivers", () => new Map<string, CountEvent>());
  return ({ limit, seconds }) => {
    const fullName = (name: string): string => `${name}:${limit}/${seconds}${prefix}`;
    return {
      countsOf: (name, create) => sharedBy(store, fullName(name), create),
      share(count, receive) {
        const name = fullName(count);
        if (store.publish === undefined || store.subscribe === undefined) return undefined;
        if (receivers.size === 0) {
          store.subscribe((text) => {
            const [, sender, time, key] = message.exec(text) ?? [];
            receivers.get(sender!)?.(key!, Number(time));
          });
        }
        receivers.set(name, (key, time) => receive(key, Math.min(time, now())));
        return (key, time) => {
          if (key.length <= longestKey) store.publish!(`${name} ${Math.trunc(time)} ${key}`);
        };
      },
    };
  };
}
