/** Statistics of measured values. */

/** Returns the middle of the values, in any order; of an even number the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/**
 * Returns the median of the ratios of two contestants that were measured side by side. A ratio within a round is steadier
 * than one of medians: what slows the machine slows both.
 */
export const medianRatio = (values: readonly number[], others: readonly number[]): number =>
  median(values.map((value, round) => value / others[round]!));

/**
 * Returns the smallest value that is not exceeded by the given share of the values; 0 of no values.
 * @param sorted the values in ascending order.
 * @param share from 0 to 1.
 */
export const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
