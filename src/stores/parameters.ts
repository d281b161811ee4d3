/** The parameters of a store's URL: each is read once, and what is wrong or unknown is refused in one line. */
import { StoreUrlError } from "./store.ts";

export type Parameters = ReturnType<typeof readParameters>;

/** @param scheme of the URL, for messages: they hold nothing else of it. */
export function readParameters(scheme: string, search: URLSearchParams) {
  const known = new Set<string>();

  function wrong(name: string, problem: string): never {
    throw new StoreUrlError(`setting store: the parameter ${name} of the ${scheme}: URL ${problem}`);
  }

  function text(name: string, fallback: string): string {
    known.add(name);
    return search.get(name) ?? fallback;
  }

  function positive(name: string, fallback: number, most: number): number {
    const given = text(name, String(fallback));
    if (!/^[1-9]\d{0,8}$/.test(given) || Number(given) > most) wrong(name, `is no whole number from 1 to ${most}`);
    return Number(given);
  }

  function oneOf<const T extends string>(name: string, fallback: T, accepted: readonly T[]): T {
    const given = text(name, fallback) as T;
    if (!accepted.includes(given)) wrong(name, `has an unknown value; accepted: ${accepted.join(", ")}`);
    return given;
  }

  return {
    wrong,
    text,
    positive,
    oneOf,
    /** Refuses a parameter that was not read by now. */
    refuseOthers(): void {
      for (const name of search.keys()) {
        if (!known.has(name)) wrong(JSON.stringify(name), `is unknown; accepted: ${[...known].join(", ")}`);
      }
    },
  };
}

/** How old a server's memory of what others wrote may be, and what is done when it is older. */
export interface Lag {
  /** Milliseconds. */
  maxLag: number;
  /** Read what others wrote before anything is returned, or refuse with `STORE_UNAVAILABLE`. */
  whenBehind: "ask" | "fail";
}

export const defaultLag: Lag = { maxLag: 1000, whenBehind: "ask" };

export const readLag = ({ positive, oneOf }: Parameters): Lag => ({
  maxLag: positive("max_lag", defaultLag.maxLag, 600_000),
  whenBehind: oneOf("when_behind", defaultLag.whenBehind, ["ask", "fail"]),
});
