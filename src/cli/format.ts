/** Formats what the commands print: quoted text, counts, spans of time, tables. */

/** Makes text from elsewhere safe to print on one line of a terminal. */
export const printable = (text: string): string =>
  text.replace(/[\p{Cc}\p{Bidi_Control}\p{Cs}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0)!.toString(16)}}`);

/** Quotes text on one line, the first 150 characters of it. */
export const quoted = (text: string): string => `"${printable(text.length > 150 ? `${text.slice(0, 150)}…` : text)}"`;

/** Returns a count with its noun: `1 user`, `2 users`. */
export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

export const isoTime = (seconds: number): string => new Date(seconds * 1000).toISOString();

const units = [
  ["d", 86_400],
  ["h", 3600],
  ["m", 60],
  ["s", 1],
] as const;

/**
 * Words a span of time in its largest units: `23h 59m`, or `23h` in one.
 * @param seconds zero or more.
 * @param count how many units are shown at most.
 */
export function spanOf(seconds: number, count = 2): string {
  let rest = count === 1 ? Math.floor(seconds) : Math.round(seconds);
  const first = units.findIndex(([, size]) => rest >= size);
  const shownUnits = first === -1 ? units.slice(-1) : units.slice(first, first + count);
  const parts = shownUnits.map(([unit, size]) => {
    const amount = Math.floor(rest / size);
    rest -= amount * size;
    return `${amount}${unit}`;
  });
  return parts.filter((part, index) => index === 0 || !part.startsWith("0")).join(" ");
}

/** Rows that decide how wide the columns are. Measuring all rows would mean to hold them all. */
const measuredRows = 1000;

/**
 * Yields the lines of a table. Columns are as wide as the first thousand rows need.
 * @param header the columns' titles.
 * @param rows cells as they are to be printed.
 */
export async function* tableLines(
  header: string[],
  rows: Iterable<string[]> | AsyncIterable<string[]>,
): AsyncGenerator<string> {
  const first = [header];
  let widths: number[] | undefined;
  const measure = (): number[] => header.map((_, column) => Math.max(...first.map((row) => row[column]!.length)));
  for await (const row of rows) {
    if (widths !== undefined) yield lineOf(row, widths);
    else if (first.push(row) === measuredRows) {
      widths = measure();
      for (const each of first) yield lineOf(each, widths);
    }
  }
  if (widths !== undefined) return;
  widths = measure();
  for (const each of first) yield lineOf(each, widths);
}

const lineOf = (row: string[], widths: number[]): string =>
  row
    .map((cell, column) => cell.padEnd(widths[column]!))
    .join("  ")
    .trimEnd();
