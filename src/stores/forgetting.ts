/** How much longer than until it expires a fact is kept, in seconds: clocks may be wrong by so much at any time. */
const delay = 2 * 3600;
/** The longest step from one time on record to the next that is taken for time gone by. */
const longestStep = 3600;
/** How long a clock has to go on after a longer step, forward, before it is believed. */
const doubt = 24 * 3600;

/** What there is to know of the times on record: the last that is believed, and the first of those that are in doubt. */
export type Times = [believed: number, doubtedSince: number | null];

/**
 * Decides until when facts have to have expired to be forgotten, by the times on record alone. A clock that runs ahead for
 * less than a day drops nothing: what it takes for expired is absent by that clock only, and back when it is right again.
 * After hours without a record, or a clock that was behind, facts are kept for up to a day longer. Equal records come to
 * the same. All times are in seconds.
 */
export function createForgetting() {
  let believed = Number.NEGATIVE_INFINITY;
  let doubtedSince: number | null = null;

  return {
    /** Takes note of a time on record. */
    hear(at: number): void {
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
    /** What has expired by then can be forgotten. */
    until: (): number => believed - delay,
    times: (): Times | undefined => (believed === Number.NEGATIVE_INFINITY ? undefined : [believed, doubtedSince]),
    restore(times: Times): void {
      [believed, doubtedSince] = times;
    },
  };
}
