/** Long work in slices, so that requests are served between two of them. */

/** How long one slice keeps everything else waiting. */
const sliceMs = 4;

/** Lets other work run. */
export const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

/**
 * Repeats a step until the slice is over.
 * @param step does a part of the work and returns whether more is left.
 * @returns whether all is done.
 */
export function runSlice(step: () => boolean): boolean {
  for (const end = performance.now() + sliceMs; performance.now() < end;) if (!step()) return true;
  return false;
}
