/** How much longer than until it expires a fact is kept, in seconds: a clock may be wrong by so much at any time. */
const delay = 2 * 3600;
/** The longest step from one recorded time to the next, in seconds, that counts as time gone by. */
const longestStep = 3600;
/** How long a clock has to go on after a longer step forward before it is believed, in seconds. */
const doubt = 24 * 3600;

/** The recorded time that is believed, and the first of those that are in doubt, in seconds. Journals hold it. */
export type Times = [believed: number, doubtedSince: number | null];

/**
 * Decides which expired facts can be dropped, by recorded times alone: a clock that runs ahead for less than a day drops
 * nothing. What such a clock takes for expired is absent under that clock only, and back when it is right again. After
 * hours without a record, or a clock that was behind, facts are kept for up to a day longer. Equal records lead to equal
 * decisions. All times are in seconds.
 */
export function createRetention() {
  let believed = Number.NEGATIVE_INFINITY;
  let doubtedSince: number | null = null;

  return {
    /** Takes note of a recorded time. */
    observe(at: number): void {
      const isFirst = believed === Number.NEGATIVE_INFINITY;
      if (isFirst || at <= believed + longestStep) {
        believed = at; // also when it is earlier: of two clocks, the one behind decides
        doubtedSince = null;
      } else {
        doubtedSince = Math.min(doubtedSince ?? at, at);
        if (at < doubtedSince + doubt) return;
        believed = at;
        doubtedSince = null;
      }
    },
    /** Returns the time by which a fact has to have expired to be dropped. */
    horizon: (): number => believed - delay,
    times: (): Times | undefined => (believed === Number.NEGATIVE_INFINITY ? undefined : [believed, doubtedSince]),
    restore(times: Times): void {
      [believed, doubtedSince] = times;
    },
  };
}

export type Retention = ReturnType<typeof createRetention>;
